"""Masks of a batch: against equation 1 pixel by pixel, the mask of a single image, and disks whose place is known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nucseg.engine import AugmentConfig, sample_warp
from nucseg.errors import DataError
from nucseg.supervision import extended_gaussian_mask
from nucseg.supervision.gaussian_batch import extended_gaussian_masks

SIZE = (12, 15)
PIXELS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 14)), max_size=6)
PLACES = st.lists(st.tuples(st.floats(-9, 20, width=16), st.floats(-9, 24, width=16)), max_size=5)


def as_dots(points):
    return torch.tensor(points, dtype=torch.float32).reshape(-1, 2)


def equation_one(points, shape, r1, r2, sigma):
    """Walk over every pixel."""
    mask = np.full(shape, -1.0)
    for row, column in np.ndindex(*shape):
        distance = min((math.dist((row, column), p) for p in points), default=math.inf)
        if distance < r1:
            mask[row, column] = math.exp(-(distance**2) / (2 * sigma**2))
        elif distance < r2:
            mask[row, column] = 0
    return mask


@given(st.lists(PIXELS, min_size=1, max_size=4), st.integers(1, 5), st.integers(0, 5), st.floats(0.5, 3))
def test_whole_pixels_give_the_mask_of_a_single_image(points, r1, gap, sigma):
    masks = extended_gaussian_masks([as_dots(p) for p in points], SIZE, r1, r1 + gap, sigma)
    assert masks.shape == (len(points), *SIZE) and masks.dtype == torch.float32
    for mask, own in zip(masks, points):
        single = extended_gaussian_mask(own, SIZE, r1, r1 + gap, sigma)
        np.testing.assert_allclose(mask.numpy(), single, rtol=1e-5, atol=1e-7)


@given(PLACES)
def test_fractions_of_a_pixel_count_and_dots_may_lie_outside(points):
    mask = extended_gaussian_masks([as_dots(points)], SIZE, 3.3, 7.7, 1.2)[0].numpy()
    expected = equation_one(points, SIZE, 3.3, 7.7, 1.2)
    # Squares of 16-bit fractions are exact here, so no pixel is near enough to a radius to change sides.
    np.testing.assert_allclose(mask, expected, rtol=1e-5, atol=1e-7)


def test_an_image_sees_the_dots_beyond_its_border_like_a_larger_one():
    dots = torch.tensor([[4.25, 6.5], [20.0, 3.75], [30.5, 30.5]])
    large = extended_gaussian_masks([dots], (40, 40), 5, 10, 2)[0]
    part = extended_gaussian_masks([dots - torch.tensor([8.0, 8.0])], (20, 24), 5, 10, 2)[0]
    assert torch.equal(part, large[8:28, 8:32])
    assert part[0, 0] == pytest.approx(math.exp(-(3.75**2 + 1.5**2) / 8)), "the bump of a dot above reaches in"


def test_images_do_not_meet_and_dots_stay_as_they_are():
    rng = np.random.default_rng(0)
    points = [torch.from_numpy(rng.uniform(0, 30, (n, 2))).float() for n in (3, 0, 1, 7)]
    copies = [p.clone() for p in points]
    masks = extended_gaussian_masks(points, (30, 30), 4, 8, 1.5)
    for index, dots in enumerate(points):
        assert torch.equal(masks[index], extended_gaussian_masks([dots], (30, 30), 4, 8, 1.5)[0])
        assert torch.equal(masks[index], extended_gaussian_masks([dots.flip(0)], (30, 30), 4, 8, 1.5)[0])
        assert torch.equal(dots, copies[index])
    assert (masks[1] == -1).all(), "without dots all is ignored"


@pytest.mark.parametrize("elastic", [False, True])
def test_bumps_land_on_the_disks_that_were_drawn_around_the_dots(elastic):
    """A disk of 6 px around each dot, warped with it: the bump's top lies in it, whatever became of its size."""
    rng, side = np.random.default_rng(1), 128
    dots = [rng.uniform(20, 108, (6, 2)) for _ in range(4)]
    rows, columns = np.mgrid[:side, :side]
    disks = np.stack([
        np.min([np.hypot(rows - r, columns - c) for r, c in own], axis=0) <= 6 for own in dots
    ])
    warp = sample_warp(4, (side, side), AugmentConfig(crop=112, elastic=elastic), torch.Generator().manual_seed(3))
    moved = warp.points(dots, margin=-math.inf)
    masks = extended_gaussian_masks(moved, (112, 112), 11, 22, 2.75)
    warped = warp.image(torch.from_numpy(disks)[:, None])[:, 0]
    tops = masks > math.exp(-(0.75**2) / (2 * 2.75**2))  # every dot's nearest pixel, at most 0.71 px away
    assert tops.sum() >= 10 and (warped[tops] > 0.5).all()


def test_radii_do_not_grow_with_the_image():
    for scale in (0.8, 1.25):
        config = AugmentConfig((scale, scale), 0, 0, 0, (0, 0), crop=100)
        warp = sample_warp(1, (100, 100), config, torch.Generator().manual_seed(0))
        mask = extended_gaussian_masks(warp.points([[[49.5, 49.5]]]), (100, 100), 11, 22, 2.75)[0]
        # The center may fall between pixels, which moves the areas of the disks by less than their border.
        assert (mask > 0).sum() == pytest.approx(np.pi * 11**2, rel=0.03)
        assert (mask >= 0).sum() == pytest.approx(np.pi * 22**2, rel=0.03)


def test_what_cannot_be_drawn_is_refused():
    dots = [torch.zeros(1, 2)]
    for radii in ((0, 5, 1), (5, 4, 1), (4, 5, 0), (float("nan"), 5, 1)):
        with pytest.raises(DataError, match="expected 0 < r1 <= r2, sigma > 0"):
            extended_gaussian_masks(dots, SIZE, *radii)
    with pytest.raises(DataError, match="no images"):
        extended_gaussian_masks([], SIZE, 1, 2, 1)
