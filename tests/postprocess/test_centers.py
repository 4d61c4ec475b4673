"""Centers from maps, against areas drawn by hand, a search over all blob pixels, and a search for maxima."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg.errors import DataError
from nucseg.postprocess import center_blobs, center_peaks, components
from nucseg.supervision import nearest_points

MAPS = arrays(float, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 0.05, 0.06, 0.5, 1]))


def bumps(points, shape, sigma):
    distance, _ = nearest_points(points, shape)
    return np.exp(-(distance**2) / (2 * sigma**2))


@given(MAPS, st.integers(0, 4))
def test_a_point_is_the_blob_pixel_at_its_centroid_or_the_nearest(center_map, min_size):
    blobs, points = center_blobs(center_map, min_size=min_size)
    assert blobs.dtype == np.int32 and points.dtype == np.float64
    np.testing.assert_array_equal(blobs, components(center_map > 0.05, min_size, fill_holes=True))
    assert len(points) == blobs.max()
    for number, point in enumerate(points, start=1):
        pixels = np.argwhere(blobs == number)
        rounded = np.floor(pixels.mean(axis=0) + 0.5)
        if (pixels == rounded).all(axis=1).any():
            np.testing.assert_array_equal(point, rounded)
        else:
            assert (pixels == point).all(axis=1).any()
            away = np.linalg.norm(pixels - pixels.mean(axis=0), axis=1)
            assert np.linalg.norm(point - pixels.mean(axis=0)) == pytest.approx(away.min())


def test_a_bent_blob_has_its_point_inside():
    center_map = np.zeros((9, 9))
    center_map[1, 1:8] = center_map[1:8, 1] = center_map[1:8, 7] = 0.9  # a gate, its centroid in the opening
    ((row, column),) = center_blobs(center_map).points
    assert center_map[int(row), int(column)] > 0


def test_blobs_of_nine_pixels_are_lost_at_the_published_size():
    """Targets learned to perfection: squares of 3 x 3. Wider by one pixel on each side, they stay."""
    center_map = np.zeros((30, 30))
    center_map[4:7, 4:7] = center_map[20:23, 11:14] = 1
    assert len(center_blobs(center_map).points) == 0
    assert center_blobs(center_map, min_size=9).points.tolist() == [[5, 5], [21, 12]]
    center_map[3, 4:7] = 0.06
    assert center_blobs(center_map).points.tolist() == [[5, 5]], "12 px, their mean at row 4.5"


def test_the_threshold_itself_is_no_center_and_holes_are_filled():
    center_map = np.full((5, 6), 0.05)
    assert center_blobs(center_map).blobs.max() == 0
    center_map[:, :5] = 0.1
    center_map[2, 2] = 0
    blobs, points = center_blobs(center_map)
    assert (blobs == 1).sum() == 25 and points.tolist() == [[2, 2]]


def test_dots_come_back_from_their_bumps_by_both_rules():
    """Bumps of radius 4.9 px; the last is cut in half by the border, so its centroid is 4r / 3pi = 2.1 px inside."""
    dots = [(5, 6), (12, 40), (25, 20), (32, 0)]
    center_map = bumps(dots, (40, 50), 2)
    assert center_peaks(center_map).points.tolist() == [list(dot) for dot in dots]
    assert center_blobs(center_map).points.tolist() == [[5, 6], [12, 40], [25, 20], [32, 2]]
    for blobs, _ in (center_blobs(center_map), center_peaks(center_map)):
        assert [blobs[dot] for dot in dots] == [1, 2, 3, 4]


def test_fused_blobs_are_told_apart_by_their_peaks():
    """Two dots 8 px apart, sigma 2: the saddle is at exp(-2) = 0.14, above the threshold."""
    center_map = bumps([(10, 10), (10, 18)], (20, 30), 2)
    assert len(center_blobs(center_map).points) == 1
    blobs, points = center_peaks(center_map)
    assert points.tolist() == [[10, 10], [10, 18]]
    np.testing.assert_array_equal(blobs > 0, center_map > 0.05)
    assert (blobs[:, :14] != 2).all() and (blobs[:, 15:] != 1).all()
    assert len(center_peaks(center_map, distance=9).points) == 1
    assert len(center_blobs(center_map, threshold=0.2).points) == 2


@given(arrays(float, (7, 8), elements=st.floats(0, 1), unique=True), st.integers(1, 3))
def test_peaks_equal_a_search_where_no_values_are_equal(center_map, distance):
    expected = [
        (r, c) for r, c in np.ndindex(*center_map.shape) if center_map[r, c] > 0.05 and center_map[r, c] ==
        center_map[max(r - distance, 0) : r + distance + 1, max(c - distance, 0) : c + distance + 1].max()
    ]
    blobs, points = center_peaks(center_map, distance=distance)
    assert points.tolist() == [list(map(float, point)) for point in expected]
    assert [blobs[point] for point in expected] == list(range(1, len(expected) + 1))


def test_an_empty_map_has_no_centers():
    for blobs, points in (center_blobs(np.zeros((6, 5))), center_peaks(np.zeros((6, 5)))):
        assert points.shape == (0, 2) and blobs.shape == (6, 5) and not blobs.any()
        assert blobs.dtype == np.int32


@pytest.mark.parametrize("rule", [center_blobs, center_peaks])
@pytest.mark.parametrize(
    "bad, word", [
        (np.zeros(3), r"\(3,\)"), (np.full((2, 2), np.nan), "4 of 4 .* nan"), (np.full((2, 2), 1.5), "1.5"),
        (np.full((2, 2), -0.1), "-0.1"), (np.full((2, 2), 255, np.uint8), "255"),
        (np.zeros((2, 2), complex), "complex"),
    ],
)
def test_what_is_no_map_of_probabilities_is_refused(rule, bad, word):
    with pytest.raises(DataError, match=f"center_map: .*{word}"):
        rule(bad)


def test_a_distance_below_one_is_refused():
    with pytest.raises(DataError, match="got 0"):
        center_peaks(np.zeros((2, 2)), distance=0)
