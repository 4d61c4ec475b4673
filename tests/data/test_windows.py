import numpy as np
import pytest

from nucseg.data import Dataset, Sample, windows
from nucseg.errors import DataError


def make(masks, groups=None, picture=None):
    def read(name):
        mask = masks[name]
        image = np.repeat(np.arange(mask.size, dtype=np.uint64).reshape(mask.shape)[..., None] % 251, 3, axis=2)
        return Sample(name, image.astype(np.uint8), mask=mask, group=(groups or {}).get(name, ""),
                      meta={"classes": ("tumor", "stroma"), "background_index": 2})

    return Dataset("tissue", tuple(masks), read, groups)


def test_windows_cover_every_pixel_and_hold_the_right_ones(rng):
    masks = {"a": rng.integers(0, 3, (50, 33)).astype(np.uint8)}
    dataset = make(masks)
    cut = windows(dataset, size=20)
    covered = np.zeros((50, 33), bool)
    for sample in cut:
        row, column = sample.meta["row"], sample.meta["column"]
        assert sample.id == f"a@{row},{column}" and sample.group == "a"
        assert np.array_equal(sample.mask, masks["a"][row:row + 20, column:column + 20])
        assert np.array_equal(sample.image, dataset["a"].image[row:row + 20, column:column + 20])
        covered[row:row + 20, column:column + 20] = True
    assert covered.all()
    assert [(s.meta["row"], s.meta["column"]) for s in cut] == [(r, c) for r in (0, 20, 30) for c in (0, 13)]


def test_tags_come_from_the_mask_of_the_window():
    mask = np.full((20, 40), 2, np.uint8)
    mask[0, 0] = 0  # 1 of 400 pixels: below one in a hundred
    mask[:, 20:] = 1
    mask[0:2, 20:22] = 0  # exactly 4 of 400
    cut = windows(make({"a": mask}), size=20, min_class_share=0.01)
    assert [sample.id for sample in cut] == ["a@0,20"], "the glass window is left out"
    assert cut[0].tags == {"tumor": True, "stroma": True}
    fine = windows(make({"a": mask}), size=20, min_class_share=1 / 400)
    assert [sample.tags["tumor"] for sample in fine] == [True, True]


def test_a_small_image_is_extended_by_white_background():
    mask = np.zeros((10, 30), np.uint8)
    sample = windows(make({"a": mask}), size=20)[0]
    assert sample.image.shape == (20, 20, 3) and (sample.image[10:] == 255).all() and (sample.mask[10:] == 2).all()
    assert (sample.mask[:10] == 0).all()


def test_groups_pass_on_and_unknown_groups_become_the_image():
    masks = {"a": np.zeros((20, 20), np.uint8), "b": np.zeros((20, 20), np.uint8)}
    cut = windows(make(masks, {"a": "patient 1", "b": ""}), size=20)
    assert cut.groups == {"a@0,0": "patient 1", "b@0,0": "b"}


@pytest.mark.parametrize("bad", [{"size": 0}, {"stride": 0}, {"min_class_share": 0}, {"min_class_share": 1.5}])
def test_bad_sizes(bad):
    with pytest.raises(DataError, match=r"windows: need size"):
        windows(make({"a": np.zeros((5, 5), np.uint8)}), **bad)


def test_an_image_without_mask_is_named():
    with pytest.raises(DataError, match=r"tissue: a has no mask"):
        windows(make({"a": np.zeros((5, 5), np.uint8)}), masks=lambda _: None)
