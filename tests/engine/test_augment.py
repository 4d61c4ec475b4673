"""Random warps: against exact transposes, hand-made matrices and disks whose place is known."""

import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.interpolate import BSpline
from torch.nn import functional

from nucseg.engine import AugmentConfig, sample_warp
from nucseg.engine.warp import compose
from nucseg.errors import DataError

STILL = AugmentConfig.crop_only(crop=None)
ALL = -math.inf


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(batch=2, size=(40, 37), seed=0):
    return torch.rand(batch, 3, *size, generator=seeded(seed))


def maps(batch=2, size=(40, 37), seed=0):
    return torch.randint(-1, 2, (batch, *size), generator=seeded(seed), dtype=torch.int8)


def one(scale=1.0, flip=(False, False), jitter=((0, 0), (0, 0)), angle=0.0, corner=(0, 0), control=None, **sizes):
    """A warp of a single image from plain numbers."""
    numbers = [torch.tensor([part], dtype=torch.float64) for part in (scale, jitter, angle, corner)]
    return compose(
        sizes["size"],
        sizes.get("crop", sizes["size"]),
        numbers[0],
        torch.tensor([flip]),
        *numbers[1:],
        control,
    )


def test_the_defaults_are_the_published_settings():
    config = AugmentConfig()
    assert config.resize == (0.8, 1.25) and config.rotation == (-90, 90) and config.affine == 0.3
    assert (config.horizontal_flip, config.vertical_flip, config.crop) == (0.5, 0.5, 224)
    assert (config.elastic, config.elastic_sigma) == (False, 15)
    with pytest.raises(FrozenInstanceError):
        config.crop = 1


@pytest.mark.parametrize("size", [(40, 37), (32, 64), (1, 5), (250, 250)])
def test_nothing_changes_without_changes(size):
    warp = sample_warp(2, size, STILL, seeded())
    images, labels = pictures(size=size), maps(size=size)
    assert torch.equal(warp.image(images), images)
    assert torch.equal(warp.labels(labels), labels)
    dots = [np.array([[0, 0], [size[0] - 1, size[1] - 1]]), []]
    moved = warp.points(dots, margin=0)
    assert torch.equal(moved[0], torch.tensor(dots[0]).float()) and moved[1].shape == (0, 2)


def test_a_crop_is_a_slice():
    images, labels = pictures(20, (30, 27)), maps(20, (30, 27))
    warp = sample_warp(20, (30, 27), AugmentConfig.crop_only(24), seeded(3))
    cropped, cropped_labels = warp.image(images), warp.labels(labels)
    moved = warp.points([[[15.0, 13.0]]] * 20, margin=ALL)
    corners = set()
    for i, dots in enumerate(moved):
        top, left = (int(v) for v in torch.tensor([15, 13]) - dots[0])
        corners.add((top, left))
        assert torch.equal(cropped[i], images[i, :, top : top + 24, left : left + 24])
        assert torch.equal(cropped_labels[i], labels[i, top : top + 24, left : left + 24])
    rows, columns = zip(*corners)
    assert set(rows) == set(range(7)) and set(columns) == set(range(4)), "every corner should come up"


@pytest.mark.parametrize("vertical", [False, True])
@pytest.mark.parametrize("horizontal", [False, True])
@pytest.mark.parametrize("size", [(40, 37), (33, 33)])
def test_flips_equal_torch_flip(vertical, horizontal, size):
    config = replace(STILL, vertical_flip=float(vertical), horizontal_flip=float(horizontal))
    warp = sample_warp(2, size, config, seeded())
    axes = [-2] * vertical + [-1] * horizontal
    assert torch.equal(warp.image(pictures(size=size)), torch.flip(pictures(size=size), axes))
    assert torch.equal(warp.labels(maps(size=size)), torch.flip(maps(size=size), axes))


@pytest.mark.parametrize("quarters", [-1, 1, 2])
@pytest.mark.parametrize("side", [32, 37])
def test_quarter_turns_equal_rot90(quarters, side):
    warp = sample_warp(2, (side, side), replace(STILL, rotation=(90.0 * quarters, 90.0 * quarters)), seeded())
    images, labels = pictures(size=(side, side)), maps(size=(side, side))
    torch.testing.assert_close(warp.image(images), torch.rot90(images, quarters, (-2, -1)), atol=1e-5, rtol=0)
    assert torch.equal(warp.labels(labels), torch.rot90(labels, quarters, (-2, -1)))
    dot = torch.zeros(2, side, side, dtype=torch.int32)
    dot[:, 3, 9] = 1
    (moved, _) = warp.points([[[3.0, 9.0]]] * 2, margin=0)
    assert torch.rot90(dot, quarters, (-2, -1))[0].nonzero().tolist() == moved.round().int().tolist()


def test_doubling_and_halving_keep_the_center():
    image = torch.arange(64.0).reshape(1, 1, 8, 8)  # linear, so linear interpolation is exact
    half = one(scale=0.5, size=(8, 8)).image(image + 1)[0, 0]
    assert torch.equal(half[2:6, 2:6], (image + 1)[0, 0].unfold(0, 2, 2).unfold(1, 2, 2).mean((2, 3)))
    assert half.count_nonzero() == 16, "the rest is black"
    # Doubled about the center, the 16 x 16 canvas holds row r of the source at 2 r + 0.5.
    double = one(scale=2.0, size=(8, 8), crop=(8, 8), corner=(0.5, 0.5)).image(image)[0, 0]
    place = (torch.arange(4, 12) - 0.5) / 2
    torch.testing.assert_close(double, place[:, None] * 8 + place)


def test_parts_compose_to_the_matrix_made_by_hand():
    scale, angle, jitter = 1.2, 30.0, np.array([[0.1, -0.2], [0.05, 0.3]])
    warp = one(scale, (True, False), jitter.tolist(), angle, (0.99, 0.0), size=(50, 60), crop=(50, 60))
    turn = np.radians(angle)
    forward = (
        np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])  # counterclockwise, rows down
        @ np.linalg.inv(np.eye(2) + jitter)
        @ np.diag([-1, 1])
        * scale
    )
    dots = np.array([[0.0, 0.0], [10.0, 40.0], [49.0, 59.0], [24.5, 29.5]])
    # A canvas of 60 x 72, of which the last 50 rows and the first 60 columns are cut out.
    expected = (dots - [24.5, 29.5]) @ forward.T + [29.5 - 10, 35.5]
    np.testing.assert_allclose(warp.points([dots], margin=ALL)[0].numpy(), expected, atol=1e-4)


def test_images_agree_with_scipy():
    jitter = [[0.1, -0.2], [0.05, 0.3]]
    warp = one(0.9, (False, True), jitter, -40.0, size=(50, 60))
    image = torch.rand(1, 1, 50, 60, generator=seeded(), dtype=torch.float64)
    turn = np.radians(-40.0)
    backward = (
        np.diag([1, -1])
        @ (np.eye(2) + jitter)
        @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        / 0.9
    )
    center = np.array([24.5, 29.5])
    padded = np.pad(image[0, 0].numpy(), 1)  # so that the border fades to black within one pixel
    expected = ndimage.affine_transform(padded, backward, center + 1 - backward @ center, (50, 60), order=1)
    np.testing.assert_allclose(warp.image(image)[0, 0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("elastic", [False, True])
def test_disks_move_with_their_dots(elastic):
    batch = 200
    dots = np.random.default_rng(4).uniform(60, 190, (batch, 1, 2))
    down, across = np.mgrid[:250, :250][:, None] - dots[:, 0, :, None, None].swapaxes(0, 1)
    warp = sample_warp(batch, (250, 250), replace(AugmentConfig(), elastic=elastic), seeded(1))
    # An elastic warp bends what it moves, and the centroid of a bent disk is not where its center went.  The tent over
    # the pixels around a dot is the smallest shape whose centroid is the dot; where a warp stretches it tenfold, even
    # that bends.
    tent = np.clip(1 - np.abs(down), 0, 1) * np.clip(1 - np.abs(across), 0, 1)
    soft = warp.image(torch.from_numpy(tent)[:, None])[:, 0].numpy()
    distance = torch.from_numpy(np.hypot(down, across))
    hard = warp.labels((distance <= 5).to(torch.int32)).numpy()
    small, large = [], []
    for i, moved in enumerate(warp.points(dots, margin=12)):
        for place in moved.numpy():
            assert hard[i][tuple(np.round(place).astype(int))] == 1, "the dot lies in its disk"
            small.append(np.hypot(*(ndimage.center_of_mass(soft[i]) - place)))
            if not np.concatenate([hard[i][[0, -1]].ravel(), hard[i][:, [0, -1]].ravel()]).any():
                large.append(np.hypot(*(ndimage.center_of_mass(hard[i]) - place)))
    assert len(small) > 150 and len(large) > 150
    assert np.quantile(small, 0.98 if elastic else 1) < 0.5 and np.max(small) < 1
    assert np.quantile(large, 0.9 if elastic else 1) < 0.5


@pytest.mark.parametrize("seed", range(3))
def test_points_invert_the_elastic_sampling_map(seed):
    # A picture whose value is its own row or column: where a dot lands, the warped picture says where it came from.
    warp = sample_warp(20, (250, 250), replace(AugmentConfig(), elastic=True), seeded(seed))
    rows, columns = torch.meshgrid(torch.arange(250.0), torch.arange(250.0), indexing="ij")
    places = warp.image(torch.stack([rows, columns]).expand(20, -1, -1, -1))
    dots = torch.rand(20, 40, 2, generator=seeded(seed)) * 200 + 25
    checked = 0
    for i, moved in enumerate(warp.points(dots, margin=ALL)):
        inside = ((moved >= 1) & (moved <= 222)).all(1)
        found = np.stack([ndimage.map_coordinates(p.numpy(), moved[inside].T, order=1) for p in places[i]], axis=1)
        np.testing.assert_allclose(found, dots[i][inside].numpy(), atol=0.05)
        checked += int(inside.sum())
    assert checked > 300


def test_a_constant_field_is_a_shift():
    control = torch.zeros(1, 2, 9, 9, dtype=torch.float64)
    control[:, 0], control[:, 1] = 4.0, -3.0  # cubic B-splines sum to one
    warp = one(size=(40, 40), control=control)
    images, labels = pictures(1, (40, 40)), maps(1, (40, 40))
    torch.testing.assert_close(warp.image(images)[..., :36, 3:], images[..., 4:, :37], atol=1e-4, rtol=0)
    assert warp.image(images)[..., 37:, :].abs().max() < 1e-4
    assert torch.equal(warp.labels(labels, outside=-1)[..., :36, 3:], labels[..., 4:, :37])
    np.testing.assert_allclose(warp.points([[[20.0, 20.0]]])[0].numpy(), [[16, 23]], atol=1e-4)


def test_one_control_point_moves_what_scipy_says():
    control = torch.zeros(1, 2, 9, 9, dtype=torch.float64)
    control[0, 0, 4, 5] = 6.0  # row displacement; control point k sits at (k - 1) / 6 of the canvas
    warp = one(size=(121, 121), control=control)
    rows = torch.arange(121.0)[None, None, :, None].expand(1, 1, 121, 121)
    moved = warp.image(rows)[0, 0] - rows[0, 0]
    spline = BSpline.basis_element([-2, -1, 0, 1, 2], extrapolate=False)
    down, across = (np.nan_to_num(spline(np.arange(121) / 20 - place)) for place in (3, 4))
    np.testing.assert_allclose(moved.numpy(), 6 * np.outer(down, across), atol=0.005)


def test_ordinary_fields_are_left_as_drawn():
    # Slopes of the field between neighboring nodes are far below the limit here, so doubling doubles.
    control = torch.randn(1, 2, 9, 9, generator=seeded(), dtype=torch.float64)
    first, second = (one(size=(250, 250), control=factor * control).field for factor in (1, 2))
    torch.testing.assert_close(second, 2 * first)


def test_steep_fields_do_not_fold():
    warp = sample_warp(4, (120, 120), replace(STILL, elastic=True, elastic_sigma=80.0), seeded())
    rows, columns = torch.meshgrid(torch.arange(120.0), torch.arange(120.0), indexing="ij")
    placed = warp.image(torch.stack([rows, columns, torch.ones(120, 120)]).expand(4, -1, -1, -1)).double()
    down, right = placed.diff(dim=2)[..., :-1], placed.diff(dim=3)[:, :, :-1]
    whole = -functional.max_pool2d(-placed[:, 2], 2, stride=1) > 0.9999  # all four corners come from the source
    area = (down[:, 0] * right[:, 1] - down[:, 1] * right[:, 0])[whole]
    assert len(area) > 10_000 and area.min() > 0


def test_labels_keep_their_values_and_type():
    warp = sample_warp(8, (60, 60), replace(AugmentConfig(), elastic=True, crop=50), seeded())
    for labels in (maps(8, (60, 60)), maps(8, (60, 60)).to(torch.int32) * 70_000_001):
        background, ignored = warp.labels(labels), warp.labels(labels, outside=-1)
        assert background.dtype == ignored.dtype == labels.dtype
        assert set(background.unique().tolist()) == set(labels.unique().tolist())
        outside = background != ignored
        assert outside.any() and (background[outside] == 0).all() and (ignored[outside] == -1).all()
    black = warp.image(torch.ones(8, 1, 60, 60))[:, 0] < 0.25
    assert (warp.labels(torch.ones(8, 60, 60, dtype=torch.bool))[black] == 0).all()


def test_stacked_labels_move_like_single_ones():
    warp = sample_warp(3, (60, 60), AugmentConfig(crop=50), seeded())
    first, second = maps(3, (60, 60), 1), maps(3, (60, 60), 2)
    both = warp.labels(torch.stack([first, second], dim=1), outside=-1)
    assert torch.equal(both[:, 0], warp.labels(first, outside=-1))
    assert torch.equal(both[:, 1], warp.labels(second, outside=-1))


def test_points_outside_are_dropped():
    warp = one(size=(20, 20), crop=(10, 10), corner=(0.5, 0.5))  # rows and columns 5 to 14
    dots = [[5.0, 8.0], [7.9, 9.0], [8.0, 11.0], [11.0, 8.0], [11.1, 9.0], [4.9, 9.0], [0.0, 0.0], [9.0, 30.0]]
    assert warp.points([dots])[0].tolist() == [[3, 6], [6, 3]]
    assert len(warp.points([dots], margin=0)[0]) == 5
    assert len(warp.points([dots], margin=ALL)[0]) == len(dots)


@pytest.mark.parametrize("elastic", [False, True])
def test_same_seed_same_result(elastic):
    config = replace(AugmentConfig(), elastic=elastic, crop=50)
    images = pictures(4, (60, 60))
    results = []
    for seed in (5, 5, 6):
        torch.manual_seed(len(results))  # the global generator plays no part
        results.append(sample_warp(4, (60, 60), config, seeded(seed)).image(images))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert not torch.equal(results[0][0], results[0][1])


def test_autocast_does_not_blunt_the_coordinates():
    warp, again = (sample_warp(4, (60, 60), AugmentConfig(crop=50, elastic=True), seeded()) for _ in range(2))
    plain, dots = warp.image(pictures(4, (60, 60))), warp.points([[[30.0, 31.0]]] * 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(again.image(pictures(4, (60, 60))), plain)
        assert all(torch.equal(a, b) for a, b in zip(again.points([[[30.0, 31.0]]] * 4), dots))


@pytest.mark.parametrize(
    "settings",
    [
        {"resize": (0, 1)},
        {"resize": (2, 1)},
        {"rotation": (3, -3)},
        {"vertical_flip": 1.5},
        {"affine": 0.5},
        {"affine": -0.1},
        {"elastic_cells": 0},
        {"elastic_sigma": -1},
        {"crop": 0},
    ],
)
def test_settings_that_mean_nothing_are_refused(settings):
    (name,) = settings
    with pytest.raises(DataError, match=name):
        AugmentConfig(**settings)


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match=r"\(100, 100\).*\(224, 224\)"):
        sample_warp(1, (100, 100), AugmentConfig(), seeded())
    with pytest.raises(DataError, match="0 images"):
        sample_warp(0, (250, 250), AugmentConfig(), seeded())
    warp = sample_warp(2, (40, 37), STILL, seeded())
    with pytest.raises(DataError, match=r"images.*\(3, 3, 40, 37\)"):
        warp.image(pictures(3))
    with pytest.raises(DataError, match="labels"):
        warp.labels(maps(size=(37, 40)))
    with pytest.raises(DataError, match="2 arrays"):
        warp.points([[]])
    with pytest.raises(DataError, match=r"points\[1\]"):
        warp.points([[], [[1.0, 2.0, 3.0]]])
