"""A chapter's settings are the published ones unless its profile shrinks them."""

import pytest

from nucseg.errors import DataError, UnknownNameError
from nucseg.study import chapter


@pytest.fixture
def root(monkeypatch, tmp_path):
    folder = tmp_path / "workflow" / "profiles"
    folder.mkdir(parents=True)
    (folder / "quick.yaml").write_text("some-chapter:\n  images: 2\nother:\n  epochs: 1\n")
    (folder / "empty.yaml").write_text("# nothing\n")
    monkeypatch.setattr(chapter, "repository_root", lambda: tmp_path)


def test_full_keeps_and_quick_shrinks(root):
    assert vars(chapter.settings("some-chapter", "full", images=12, seed=0)) == {
        "profile": "full",
        "images": 12,
        "seed": 0,
    }
    assert vars(chapter.settings("some-chapter", "quick", images=12, seed=0)) == {
        "profile": "quick",
        "images": 2,
        "seed": 0,
    }
    assert chapter.settings("some-chapter", "empty", images=12).images == 12


def test_unknown_profile_lists_those_there_are(root):
    with pytest.raises(UnknownNameError, match="unknown profile 'fast'; there are full, empty, quick"):
        chapter.settings("some-chapter", "fast", images=12)


def test_profile_with_a_setting_nobody_has(root):
    with pytest.raises(DataError, match=r"quick\.yaml: other has no setting 'epochs'"):
        chapter.settings("other", "quick", images=12)
