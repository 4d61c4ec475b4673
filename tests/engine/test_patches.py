"""Patches are parts of their images, and random batches keep image, maps and dots in register."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nucseg.engine import AugmentConfig, RandomBatches, StainJitterConfig, cut_patches
from nucseg.engine.patches import patch_corners
from nucseg.errors import DataError

STILL = AugmentConfig.crop_only(crop=None)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(1, 256, (*size, 3), dtype=np.uint8) for size in sizes]


@pytest.mark.parametrize("length, corners", [
    (1000, [0, 250, 500, 750]), (900, [0, 216, 432, 648]), (512, [0, 87, 174, 261]),
])
def test_corners_of_the_published_sizes(length, corners):
    assert patch_corners(length) == corners


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 6))
def test_corners_cover_an_image_evenly(length, size, least):
    if length < size:
        return
    corners = patch_corners(length, size, least)
    steps = set(np.diff(corners))
    assert len(corners) >= (least if length > size else 1) and corners[0] == 0 and corners[-1] + size <= length
    assert len(steps) <= 1 and all(0 <= step <= size for step in steps), "even, no gaps"
    # The release rounds the step down, so that the far border loses less than one pixel for each step.
    assert length - (corners[-1] + size) < max(1, len(corners) - 1)


def test_no_more_patches_than_needed():
    assert patch_corners(64, 64, 1) == [0] and patch_corners(128, 64, 1) == [0, 64]
    assert len(patch_corners(1000, 100, 4)) == 10 and len(patch_corners(1001, 250, 4)) == 5


@pytest.mark.parametrize("arguments", [(10, 11), (10, 0), (10, 5, 0)])
def test_impossible_corners_are_refused(arguments):
    with pytest.raises(DataError, match="patches: expected at least 1 of 1 to 10 pixels"):
        patch_corners(*arguments)


def test_patches_are_slices_named_by_their_corners():
    images = pictures((50, 40), (32, 75))
    rng = np.random.default_rng(1)
    maps = [rng.integers(-1, 2, (2, *image.shape[:2])).astype(np.int8) for image in images]
    patches = cut_patches(["one", "two"], images, maps, size=20, least=2)
    assert patches.images.dtype == torch.uint8 and patches.maps.dtype == torch.int8
    assert len(patches) == len(patches.names) == len(set(patches.names)) == len(patches.points) == 3 * 2 + 2 * 4
    for index, name in enumerate(patches.names):
        image_name, _, corner = name.partition("@")
        row, column = map(int, corner.split(","))
        source = ["one", "two"].index(image_name)
        window = np.s_[row:row + 20, column:column + 20]
        np.testing.assert_array_equal(patches.images[index].permute(1, 2, 0), images[source][window])
        np.testing.assert_array_equal(patches.maps[index], maps[source][:, *window])


def test_sixteen_patches_put_together_are_the_image():
    (image,) = pictures((100, 100))
    patches = cut_patches(["a"], [image], size=25)
    rows = patches.images.reshape(4, 4, 3, 25, 25).permute(0, 3, 1, 4, 2)
    np.testing.assert_array_equal(rows.reshape(100, 100, 3), image)
    assert patches.maps.shape == (16, 0, 25, 25)


def test_dots_go_to_every_patch_they_are_near():
    (image,) = pictures((90, 90))
    dots = np.random.default_rng(2).uniform(0, 89, (40, 2))
    patches = cut_patches(["a"], [image], points=[dots], size=30, least=3)
    for name, own in zip(patches.names, patches.points):
        corner = np.array([int(v) for v in name.partition("@")[2].split(",")])
        moved = [dot - corner for dot in dots if np.all(dot - corner > -15) and np.all(dot - corner < 45)]
        assert own.dtype == torch.float32
        np.testing.assert_allclose(own, np.reshape(moved, (-1, 2)), atol=1e-5)
    inside = sum(((own >= -0.5) & (own < 29.5)).all(dim=1).sum().item() for own in patches.points)
    assert inside == 40, "each dot lies in one patch of a grid without overlap"


def test_unusable_images_are_named():
    small, image = pictures((19, 40), (40, 40))
    with pytest.raises(DataError, match=r"^b: 19x40 pixels are less than a patch of 20"):
        cut_patches(["a", "b"], [image, small], size=20)
    with pytest.raises(DataError, match=r"^a: label maps of shape \(1, 40, 41\) for an image of 40x40"):
        cut_patches(["a"], [image], [np.zeros((1, 40, 41))], size=20)
    with pytest.raises(DataError, match=r"^a: label maps of shape \(40, 40\)"):
        cut_patches(["a"], [image], [np.zeros((40, 40))], size=20)
    with pytest.raises(DataError, match=r"^a: points: 1 of 1 points lie outside"):
        cut_patches(["a"], [image], points=[[(40, 3)]], size=20)
    with pytest.raises(DataError, match="there are no training images"):
        cut_patches([], [], size=20)


def numbered(count=7, side=24):
    """One patch for each image, whose color, label and only dot all say its number."""
    images = [np.full((side, side, 3), 10 + index, np.uint8) for index in range(count)]
    maps = [np.full((1, side, side), index, np.int8) for index in range(count)]
    points = [[(index, 2 * index)] for index in range(count)]
    return cut_patches([str(index) for index in range(count)], images, maps, points, size=side, least=1)


def test_each_patch_comes_once_in_an_epoch():
    batches = RandomBatches(numbered(), 3, STILL)
    drawn = list(batches(1, seeded()))
    assert [len(batch["image"]) for batch in drawn] == [3, 3, 1]
    order = [int(name.partition("@")[0]) for batch in drawn for name in batch["names"]]
    assert sorted(order) == list(range(7))
    images, maps = (torch.cat([batch[key] for batch in drawn]) for key in ("image", "maps"))
    assert images.dtype == torch.float32 and maps.dtype == torch.int8
    for index, number in enumerate(order):
        torch.testing.assert_close(images[index], torch.full((3, 24, 24), (10 + number) / 255))
        assert (maps[index] == number).all()
    dots = [dots.tolist() for batch in drawn for dots in batch["points"]]
    assert dots == [[[number, 2 * number]] for number in order]


def test_all_choices_come_from_the_generator():
    batches = RandomBatches(numbered(), 3, AugmentConfig(crop=16, elastic=True), StainJitterConfig())

    def epoch(number, seed):
        torch.manual_seed(number)  # the global generator must not matter
        return [(batch["names"], batch["image"]) for batch in batches(number, seeded(seed))]

    for (names, image), (others, other) in zip(epoch(1, 5), epoch(2, 5)):
        assert names == others and torch.equal(image, other)
    assert [names for names, _ in epoch(1, 5)] != [names for names, _ in epoch(1, 6)]


@pytest.mark.parametrize("elastic", [False, True])
def test_image_maps_and_dots_move_together(elastic):
    """Disks are painted into image and map around the dots; after the warp all three still say the same."""
    side, rng = 96, np.random.default_rng(3)
    rows, columns = np.mgrid[:side, :side]
    images, maps, points = [], [], []
    for _ in range(6):
        dots = rng.uniform(10, 86, (5, 2))
        disk = np.min([np.hypot(rows - r, columns - c) for r, c in dots], axis=0) <= 5
        images.append(np.where(disk, 255, 128)[..., None].repeat(3, axis=2).astype(np.uint8))
        maps.append(disk[None].astype(np.int8))
        points.append(dots)
    patches = cut_patches(list("abcdef"), images, maps, points, size=side, least=1)
    checked = 0
    for batch in RandomBatches(patches, 4, AugmentConfig(crop=80, elastic=elastic))(1, seeded(1)):
        nucleus = batch["maps"][:, 0] == 1
        bright, dark = batch["image"][:, 0] > 0.95, batch["image"][:, 0] < 0.55
        assert not (nucleus & dark).any(), "the nearest pixel says 1, so interpolation gives more than dark"
        assert not (~nucleus & bright).sum() > 0.02 * bright.sum()
        for mask, dots in zip(nucleus, batch["points"]):
            places = dots.round().long()
            places = places[((places >= 0) & (places < 80)).all(dim=1)]
            assert mask[tuple(places.T)].all()
            checked += len(places)
    assert checked >= 10


def test_dots_outside_the_crop_stay():
    batches = RandomBatches(numbered(), 7, AugmentConfig.crop_only(8))
    (batch,) = batches(1, seeded())
    assert all(len(dots) == 1 for dots in batch["points"])
    assert any((dots < 0).any() or (dots > 7).any() for dots in batch["points"])


@pytest.mark.parametrize("outside", [0, -1])
def test_surroundings_are_black_and_have_the_label_asked_for(outside):
    shrink = replace(STILL, resize=(0.5, 0.5))
    (batch,) = RandomBatches(numbered(), 7, shrink, outside=outside)(1, seeded())
    black = (batch["image"] == 0).all(dim=1)
    assert black.sum() == 7 * (24 * 24 - 12 * 12)
    assert (batch["maps"][:, 0][black] == outside).all()
    for name, own, dark in zip(batch["names"], batch["maps"][:, 0], black):
        assert (own[~dark] == int(name.partition("@")[0])).all()


def test_stain_changes_colors_alone():
    stain = StainJitterConfig(probability=1.0)
    shrink = AugmentConfig(crop=16)
    for plain, stained in zip(RandomBatches(numbered(), 7, shrink)(1, seeded()),
                              RandomBatches(numbered(), 7, shrink, stain)(1, seeded())):
        assert plain["names"] == stained["names"] and torch.equal(plain["maps"], stained["maps"])
        assert all(torch.equal(a, b) for a, b in zip(plain["points"], stained["points"]))
        black = (plain["image"] == 0).all(dim=1)
        assert torch.equal((stained["image"] == 0).all(dim=1), black) and black.any()
        assert not torch.allclose(plain["image"], stained["image"], atol=1e-3)


def test_patches_are_not_changed_by_what_is_made_of_them():
    patches = numbered()
    copies = patches.images.clone(), patches.maps.clone(), [dots.clone() for dots in patches.points]
    list(RandomBatches(patches, 2, AugmentConfig(crop=16), StainJitterConfig())(1, seeded()))
    assert torch.equal(patches.images, copies[0]) and torch.equal(patches.maps, copies[1])
    assert all(torch.equal(a, b) for a, b in zip(patches.points, copies[2]))


def test_patches_without_dots_and_maps_make_batches():
    patches = cut_patches(["a", "b"], pictures((24, 24), (24, 24)), size=24, least=1)
    (batch,) = RandomBatches(patches, 2, AugmentConfig(crop=16))(1, seeded())
    assert batch["maps"].shape == (2, 0, 16, 16)
    assert [tuple(dots.shape) for dots in batch["points"]] == [(0, 2), (0, 2)]


def test_impossible_batches_are_refused():
    with pytest.raises(DataError, match="batch: expected 1 patch or more, got 0"):
        RandomBatches(numbered(), 0, STILL)
    with pytest.raises(DataError, match="no smaller than the crop"):
        next(RandomBatches(numbered(), 2, AugmentConfig(crop=25))(1, seeded()))
