"""What a detector teaches its successor, against pictures drawn by hand, flood fills and all pairs of distances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg.errors import DataError
from nucseg.supervision import confident_background, merge_points

#: Below, at and above both thresholds.
MAPS = arrays(float, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 0.1, 0.5, 0.7, 1]))
DOTS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=8)


def region(mask, start):
    """Return the pixels that a walk over corners and edges reaches."""
    reached, todo = set(), [start]
    while todo:
        row, column = todo.pop()
        inside = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
        if inside and mask[row, column] and (row, column) not in reached:
            reached.add((row, column))
            todo += [(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return reached


@given(MAPS, st.integers(0, 12))
def test_background_equals_a_walk_from_every_pixel(prob, area):
    found = confident_background(prob, area=area)
    assert found.dtype == bool and found.shape == prob.shape
    for place in np.ndindex(prob.shape):
        saturated = prob[place] > 0.7 and len(region(prob > 0.7, place)) > area
        assert found[place] == (prob[place] < 0.1 or saturated), place


def test_a_picture_drawn_by_hand():
    picture = ["..##.", "..##.", "####o", "o#o##", "ooooo"]  # . sure background, # saturated, o in between
    prob = np.array([[{".": 0.02, "#": 0.95, "o": 0.4}[pixel] for pixel in row] for row in picture])
    # 11 px of # hang together, one part by a corner.
    large = ["11111", "11111", "11110", "01011", "00000"]
    small = ["11001", "11001", "00000", "00000", "00000"]
    assert confident_background(prob, area=10).tolist() == [[pixel == "1" for pixel in row] for row in large]
    assert confident_background(prob, area=11).tolist() == [[pixel == "1" for pixel in row] for row in small]


def test_the_thresholds_themselves_are_neither():
    prob = np.full((20, 20), 0.7)
    assert not confident_background(prob).any()
    assert confident_background(prob + 1e-6).all(), "400 px of saturation, more than the 200 of the release"
    assert not confident_background(np.full((20, 20), 0.1)).any()
    prob[:, :] = 0.5
    prob[:10] = 1.0
    assert not confident_background(prob).any(), "200 px are not more than 200"
    prob[10, 0] = 1.0
    assert confident_background(prob).sum() == 201


def test_nuclei_the_detector_is_sure_of_are_left_alone():
    """A bump as the detector should answer is smaller than what counts as large, however many there are."""
    rows, columns = np.mgrid[:90, :90]
    prob = np.zeros((90, 90))
    for row in (15, 45, 75):
        for column in (15, 45, 75):
            prob = np.maximum(prob, np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * 2.75**2)))
    np.testing.assert_array_equal(confident_background(prob), prob < 0.1)


@pytest.mark.parametrize(
    "arguments", [(np.zeros(4),), (np.zeros((2, 2)), 0.7, 0.1), (np.zeros((2, 2)), 0.5, 0.5), (np.zeros((2, 2)), -0.1)]
)
def test_what_makes_no_background_is_refused(arguments):
    with pytest.raises(DataError, match="background: expected a 2-D map"):
        confident_background(*arguments)


@given(DOTS, DOTS, st.floats(0.5, 15))
def test_merging_equals_all_pairs_of_distances(annotated, detected, radius):
    far = [d for d in detected if all(np.hypot(d[0] - a[0], d[1] - a[1]) > radius for a in annotated)]
    merged = merge_points(annotated, detected, radius)
    assert merged.shape == (len(annotated) + len(far), 2) and merged.dtype == np.float64
    assert merged.tolist() == [list(point) for point in [*annotated, *far]]


def test_the_radius_itself_is_the_same_nucleus():
    assert len(merge_points([(0, 0)], [(0, 11)], 11)) == 1
    assert len(merge_points([(0, 0)], [(0, 11.001)], 11)) == 2


def test_detections_near_each_other_are_all_kept():
    """Only the annotator's dots keep detections away."""
    assert merge_points([(0, 0)], [(50, 50), (50, 51)], 11).tolist() == [[0, 0], [50, 50], [50, 51]]


def test_bad_radii_and_points_are_refused():
    for radius in (0, -1, float("nan")):
        with pytest.raises(DataError, match="radius must be positive"):
            merge_points([(0, 0)], [(1, 1)], radius)
    with pytest.raises(DataError, match="detected: expected numbers"):
        merge_points([(0, 0)], [(1, 1, 1)], 5)
    with pytest.raises(DataError, match="annotated: 1 of 1 points"):
        merge_points([(0, float("nan"))], [(1, 1)], 5)
