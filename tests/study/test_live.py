"""Small pieces of datasets, and folders that go away."""

import numpy as np
import pytest

from nucseg.data import load_dataset
from nucseg.errors import DataError
from nucseg.study import live


def test_windows_lie_in_the_middle_and_whole_images_stay_whole():
    whole = load_dataset("synthetic-he", "val")[0]
    height, width = whole.image.shape[:2]
    small = live.windows("synthetic-he", "val", 1, 100)
    top, left = (height - 100) // 2, (width - 100) // 2
    assert np.array_equal(small[0].image, whole.image[top : top + 100, left : left + 100])
    assert np.array_equal(small[0].labels, whole.labels[top : top + 100, left : left + 100])
    assert np.array_equal(live.windows("synthetic-he", "val", 1, 10_000)[0].image, whole.image)
    with pytest.raises(DataError, match="at least 1 image"):
        live.windows("synthetic-he", "val", 0, 100)


def test_the_folder_of_a_small_run_goes_away(monkeypatch, tmp_path):
    monkeypatch.setattr(live, "runs_folder", lambda slug: tmp_path)
    with live.workplace("a-chapter", "quick") as folder:
        (tmp_path / folder / "weights").write_text("x")
    assert list(tmp_path.iterdir()) == []
    with live.workplace("a-chapter", "full") as folder:
        assert folder == tmp_path / "training"
