"""Expand against a walk over components one by one, and pictures whose pixels are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from nucseg.errors import DataError
from nucseg.postprocess import Centers, center_blobs, center_peaks, components, expand_centers, unassigned_blobs

SHAPE = (40, 60)


def square(row, column, half, value=1, shape=SHAPE):
    """A map with one square around a pixel."""
    filled = np.zeros(shape)
    filled[max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1] = value
    return filled


@st.composite
def scenes(draw):
    shape = draw(st.tuples(st.integers(1, 10), st.integers(1, 10)))
    labels = draw(arrays(np.int32, shape, elements=st.sampled_from([0, 0, 0, 2, 9])))
    center_map = draw(arrays(float, shape, elements=st.sampled_from([0, 0, 0.04, 0.5])))
    heatmap = draw(arrays(float, shape, elements=st.sampled_from([-5, 0, 0.4, 2, 8])))
    return labels, center_map, heatmap


def one_by_one(labels, centers, heatmap, normalize, reach, overlap, max_size, min_size):
    """The rules as they are stated, a component at a time."""
    height, width = labels.shape
    expected = [np.argwhere(labels == value) for value in np.unique(labels[labels > 0])]
    points = [point for point in centers.points if labels[tuple(point.astype(int))] == 0]
    blobs = [tuple(p) for number, point in enumerate(centers.points, start=1)
             if labels[tuple(point.astype(int))] == 0 for p in np.argwhere(centers.blobs == number)]
    if not points:
        return expected
    away = np.array([[[np.hypot(r - p, c - q) for p, q in points] for c in range(width)] for r in range(height)])
    kept = np.zeros(labels.shape, bool)
    for pixel in np.ndindex(height, width):
        same = away.argmin(axis=2) == away[pixel].argmin() if normalize == "blob" else np.ones(labels.shape, bool)
        top = heatmap[same].max()
        kept[pixel] = top > 0 and heatmap[pixel] > 0.1 * top
    found = components(kept, min_size=min_size, fill_holes=True)
    for number in range(1, found.max() + 1):
        own = found == number
        near = min(np.hypot(r - p, c - q) for r, c in np.argwhere(own) for p, q in blobs)
        shares = [0]
        for value in np.unique(labels[labels > 0]):
            shared, other = (own & (labels == value)).sum(), (labels == value).sum()
            shares.append(shared / min(own.sum(), other) if overlap == "min" else
                          shared / (own.sum() + other - shared))
        if (reach is None or near <= reach) and max(shares) < 0.5 and own.sum() <= (max_size or np.inf):
            pieces = components(own & (labels == 0))
            sizes = np.bincount(pieces.ravel())[1:]
            if len(sizes) and sizes.max() >= min_size:
                expected.append(np.argwhere(pieces == sizes.argmax() + 1))
    return expected


@given(scenes(), st.sampled_from(["image", "blob"]), st.sampled_from([1.0, None]), st.sampled_from(["min", "iou"]),
       st.sampled_from([None, 6]), st.sampled_from([1, 3]))
def test_nuclei_equal_those_found_one_by_one(scene, normalize, reach, overlap, max_size, min_size):
    labels, center_map, heatmap = scene
    centers = center_blobs(center_map, min_size=1)
    unassigned = unassigned_blobs(labels, center_map, centers=centers)
    options = dict(normalize=normalize, reach=reach, overlap=overlap, max_size=max_size, min_size=min_size)
    if normalize == "blob" and len(unassigned.points) > 1:
        # Where two points are as near either may count; only a strip apart from such pixels is decided.
        heatmap = np.where(decided(unassigned.points, labels.shape), heatmap, -5)
    result = expand_centers(labels, center_map, heatmap, unassigned=unassigned, sigma=0, **options)
    assert result.dtype == np.int32
    expected = np.zeros(labels.shape, int)
    for number, pixels in enumerate(one_by_one(labels, centers, heatmap, **options), start=1):
        expected[tuple(pixels.T)] = number
    order = relabeled_in_reading_order(expected, len(np.unique(labels[labels > 0])))
    np.testing.assert_array_equal(relabeled_in_reading_order(result, len(np.unique(labels[labels > 0]))), order)


def decided(points, shape):
    rows, columns = np.indices(shape)
    away = np.sort(np.hypot(rows[..., None] - points[:, 0], columns[..., None] - points[:, 1]), axis=2)
    return away[..., 1] - away[..., 0] > 1e-9


def relabeled_in_reading_order(labels, known):
    """Number what comes after the known nuclei by first pixels."""
    order = [value for value in dict.fromkeys(labels.ravel().tolist()) if value > known]
    result = np.where(labels <= known, labels, 0)
    for number, value in enumerate(order, start=known + 1):
        result[labels == value] = number
    return result


def test_a_missed_nucleus_is_added_with_the_pixels_of_its_heat():
    labels = square(20, 15, 6).astype(int) * 7
    center_map = square(20, 15, 2, 0.9) + square(20, 40, 2, 0.3)
    heatmap = square(20, 40, 5, 0.002) + square(20, 40, 2, 0.01)
    result = expand_centers(labels, center_map, heatmap, sigma=0)
    np.testing.assert_array_equal(result == 1, labels == 7)
    np.testing.assert_array_equal(result == 2, square(20, 40, 5) > 0)
    assert result.max() == 2


def test_smoothing_comes_before_the_division_so_that_no_single_pixel_decides():
    nothing, center_map = np.zeros(SHAPE, int), square(20, 40, 2, 0.3)
    heatmap = square(20, 40, 5) + square(20, 40, 0, 10.0)
    assert not expand_centers(nothing, center_map, heatmap, sigma=0).any(), "all but the hot pixel is below a tenth"
    smooth = ndimage.gaussian_filter(heatmap, 1.0)
    expected = smooth > 0.1 * smooth.max()
    assert expected[square(20, 40, 5) > 0].all()
    np.testing.assert_array_equal(expand_centers(nothing, center_map, heatmap), expected)


def test_a_strong_center_hides_a_weak_one_only_under_one_maximum():
    center_map = square(20, 12, 2, 0.9) + square(20, 45, 2, 0.1)
    heatmap = square(20, 12, 4, 1.0) + square(20, 45, 4, 0.01)
    nothing = np.zeros(SHAPE, int)
    assert expand_centers(nothing, center_map, heatmap).max() == 2
    assert expand_centers(nothing, center_map, heatmap, normalize="image").max() == 1


def test_scale_of_the_heatmap_does_not_matter():
    center_map, heatmap = square(20, 30, 2, 0.5), square(20, 30, 4, 1.0) + square(20, 30, 6, 0.3)
    nothing = np.zeros(SHAPE, int)
    one, other = (expand_centers(nothing, center_map, heatmap * scale) for scale in (1, 2.0**-30))
    np.testing.assert_array_equal(one, other)
    assert not expand_centers(nothing, center_map, -heatmap).any()
    assert not expand_centers(nothing, center_map, 0 * heatmap).any()


def test_heat_far_from_every_unassigned_blob_is_left_out():
    """The blob ends at column 12; the other piece of heat begins 3 or 4 px from it."""
    nothing, center_map = np.zeros(SHAPE, int), square(20, 10, 2, 0.5)
    for gap, count in ((3, 1), (4, 0)):
        heatmap = np.zeros(SHAPE)
        heatmap[15:25, 12 + gap : 20] = 1
        assert expand_centers(nothing, center_map, heatmap, sigma=0).max() == count
        assert expand_centers(nothing, center_map, heatmap, sigma=0, reach=None).max() == 1


def test_overlap_by_the_smaller_or_by_both_together():
    """A nucleus of 200 px and heat of 40 px, of which 19 or 20 lie in it: 0.5 of the smaller, 0.09 of both."""
    labels = np.zeros(SHAPE, int)
    labels[10:20, 10:30] = 1
    center_map = square(20, 34, 2, 0.5)
    heatmap = np.zeros(SHAPE)
    heatmap[18:20, 20:40] = 1
    heatmap[18, 29] = heatmap[17, 35] = 0
    heatmap[17, 36] = 1
    assert ((heatmap > 0) & (labels > 0)).sum() == 19 and (heatmap > 0).sum() == 40
    result = expand_centers(labels, center_map, heatmap, sigma=0)
    np.testing.assert_array_equal(result == 2, (heatmap > 0) & (labels == 0))
    np.testing.assert_array_equal(result == 1, labels == 1)
    heatmap[18, 29], heatmap[17, 36] = 1, 0
    assert expand_centers(labels, center_map, heatmap, sigma=0).max() == 1
    assert expand_centers(labels, center_map, heatmap, sigma=0, overlap="iou").max() == 2
    assert expand_centers(labels, center_map, heatmap, sigma=0, max_overlap=0.6).max() == 2


def test_of_heat_cut_in_two_by_a_nucleus_the_larger_piece_is_added():
    labels = np.zeros(SHAPE, int)
    labels[:, 30:32] = 1
    heatmap = np.zeros(SHAPE)
    heatmap[18:23, 20:36] = 1
    result = expand_centers(labels, square(20, 25, 2, 0.5), heatmap, sigma=0)
    expected = heatmap.astype(bool)
    expected[:, 30:] = False
    np.testing.assert_array_equal(result == 2, expected)
    assert expand_centers(labels, square(20, 25, 2, 0.5), heatmap, sigma=0, min_size=51).max() == 1, "50 px are left"


def test_small_heat_goes_holes_are_filled_and_large_heat_can_be_refused():
    nothing, center_map = np.zeros(SHAPE, int), square(20, 30, 2, 0.5)
    ring = square(20, 30, 3) - square(20, 30, 1)
    assert (expand_centers(nothing, center_map, ring, sigma=0) == 1).sum() == 49
    assert not expand_centers(nothing, center_map, square(20, 30, 1), sigma=0).any(), "9 px are below 10"
    assert expand_centers(nothing, center_map, ring, sigma=0, max_size=49).any()
    assert not expand_centers(nothing, center_map, ring, sigma=0, max_size=48).any()


def test_unassigned_by_point_or_by_blob():
    """A blob that reaches into a nucleus with its edge, one in it, one free."""
    labels = np.zeros(SHAPE, int)
    labels[10:20, 10:20] = 3
    center_map = square(15, 21, 3, 0.5) + square(15, 13, 2, 0.5) + square(30, 40, 2, 0.5)
    by_point = unassigned_blobs(labels, center_map)
    assert by_point.points.tolist() == [[15, 21], [30, 40]]
    np.testing.assert_array_equal(by_point.blobs, square(15, 21, 3) + 2 * square(30, 40, 2))
    by_blob = unassigned_blobs(labels, center_map, rule="overlap")
    assert by_blob.points.tolist() == [[30, 40]]
    np.testing.assert_array_equal(by_blob.blobs, square(30, 40, 2))
    peaks = center_peaks(np.maximum(center_map, square(30, 40, 0, 0.6)), distance=2)
    assert [30, 40] in unassigned_blobs(labels, center_map, centers=peaks).points.tolist()


def test_nothing_to_add():
    labels = np.where(square(20, 30, 5) > 0, 9, 0)
    heat = np.ones(SHAPE)
    for center_map in (np.zeros(SHAPE), square(20, 30, 2, 0.9)):  # no center at all; one, inside
        result = expand_centers(labels, center_map, heat)
        np.testing.assert_array_equal(result, labels > 0)
        assert result.dtype == np.int32
        found = unassigned_blobs(labels, center_map)
        assert found.points.shape == (0, 2) and not found.blobs.any()
    assert not expand_centers(np.zeros(SHAPE, int), np.zeros(SHAPE), heat).any()
    assert unassigned_blobs(labels, np.zeros(SHAPE), rule="overlap").points.shape == (0, 2)


GOOD = np.zeros((3, 4), int), np.full((3, 4), 0.5), np.ones((3, 4))
FREE = Centers(np.zeros((3, 4), int), np.zeros((0, 2)))


@pytest.mark.parametrize(
    "position, bad, word", [
        (0, np.zeros((3, 4)), "labels: .* float64"), (1, np.full((3, 4), np.nan), "center_map: 12 of 12 .* nan"),
        (1, np.full((3, 4), 2), r"center_map: .* in \[0, 1\]; the first is 2"),
        (1, np.zeros((4, 3)), r"center_map: .* \(3, 4\) .* \(4, 3\)"),
        (2, np.full((3, 4), np.nan), "heatmap: 12 of 12 values are not finite; the first is nan"),
        (2, np.full((3, 4), -np.inf), "heatmap: .* -inf"), (2, np.ones((3, 5)), r"heatmap: .* \(3, 4\) .* \(3, 5\)"),
        (2, np.full((3, 4), "a"), "heatmap: .* <U1"),
    ],
)
@pytest.mark.parametrize("unassigned", [None, FREE])
def test_bad_maps(position, bad, word, unassigned):
    maps = list(GOOD)
    maps[position] = bad
    with pytest.raises(DataError, match=word):
        expand_centers(*maps, unassigned=unassigned)


@pytest.mark.parametrize(
    "options, word", [
        (dict(normalize="all"), "got 'all', 'min' and 1.0"), (dict(overlap="dice"), "got 'blob', 'dice'"),
        (dict(sigma=-1), "and -1"),
        (dict(unassigned=Centers(np.ones((3, 4), int), np.zeros((0, 2)))), "up to 0, .* numbers up to 1"),
        (dict(unassigned=Centers(np.zeros((2, 4), int), np.zeros((0, 2)))), r"shape \(3, 4\), .* got shape \(2, 4\)"),
        (dict(unassigned=Centers(np.zeros((3, 4), int), [(0, 9)])), "centers: 1 of 1 points lie outside"),
    ],
)
def test_bad_options(options, word):
    with pytest.raises(DataError, match=word):
        expand_centers(*GOOD, **options)


def test_bad_rule():
    with pytest.raises(DataError, match="got 'blob'"):
        unassigned_blobs(*GOOD[:2], rule="blob")
