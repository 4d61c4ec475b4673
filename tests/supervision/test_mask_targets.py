"""Targets made from full masks, against searches over all pairs of pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg.errors import DataError
from nucseg.supervision import boundary_classes, chessboard_distance

LABELS = arrays(np.int32, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.sampled_from([0, 1, 1, 4]))
CROSS = [(0, 1), (1, 0), (0, -1), (-1, 0)]


@given(LABELS)
def test_chessboard_distance_equals_a_search(labels):
    expected = np.zeros(labels.shape, int)
    for r, c in np.argwhere(labels > 0):
        others = np.argwhere(labels != labels[r, c])
        steps = np.abs(others - (r, c)).max(axis=1)
        expected[r, c] = steps.min() if len(others) else max(labels.shape)
    distance = chessboard_distance(labels)
    assert distance.dtype == np.int32
    np.testing.assert_array_equal(distance, expected)


def test_chessboard_distance_of_two_squares_that_touch():
    labels = np.zeros((9, 14), int)
    labels[2:7, 2:7], labels[2:7, 7:12] = 3, 8
    pyramid = [[1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1, 2, 3, 2, 1], [1, 2, 2, 2, 1], [1, 1, 1, 1, 1]]
    np.testing.assert_array_equal(chessboard_distance(labels)[2:7, 2:12], np.hstack([pyramid, pyramid]))


def moved(labels, step, fill):
    """Labels at one neighbor of each pixel; `fill` beyond the border."""
    framed = np.pad(labels, 1, constant_values=fill)
    return framed[1 + step[0] : 1 + step[0] + labels.shape[0], 1 + step[1] : 1 + step[1] + labels.shape[1]]


@given(LABELS, st.booleans())
def test_boundary_is_dilation_less_erosion_of_each_nucleus(labels, both_sides):
    boundary = np.zeros(labels.shape, bool)
    for number in set(labels.flat) - {0}:
        own = labels == number
        grown = own | np.any([moved(own, step, False) for step in CROSS], axis=0)
        shrunk = own & np.all([moved(own, step, True) for step in CROSS], axis=0)
        boundary |= grown & ~shrunk
    if not both_sides:
        boundary &= labels > 0
    classes = boundary_classes(labels, both_sides)
    assert classes.dtype == np.int8
    np.testing.assert_array_equal(classes, np.where(boundary, 2, labels > 0))


@pytest.mark.parametrize("function", [chessboard_distance, boundary_classes])
def test_masks_that_are_no_label_maps(function):
    for bad in (np.ones((3, 3)), np.ones(3, int), -np.ones((2, 2), int)):
        with pytest.raises(DataError, match="labels"):
            function(bad)
