"""Squares on dots, against a loop over pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nucseg.errors import DataError
from nucseg.supervision.centers import center_squares


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 3, 5]))
def test_a_pixel_is_one_if_a_dot_is_near_along_both_axes(seed, side):
    rng = np.random.default_rng(seed)
    points = [torch.tensor(rng.uniform(-4, 16, (n, 2)), dtype=torch.float32) for n in (0, 1, 5)]
    squares = center_squares(points, (9, 12), side)
    for dots, square in zip(points, squares.numpy()):
        rows, columns = np.indices(square.shape)
        expected = np.zeros(square.shape, int)
        for row, column in dots.round().numpy():
            expected |= (abs(rows - row) <= side // 2) & (abs(columns - column) <= side // 2)
        np.testing.assert_array_equal(square, expected)


def test_one_dot_gives_nine_pixels():
    square = center_squares([torch.tensor([[4.2, 5.9]])], (10, 10))
    assert square.dtype == torch.int64 and square.sum() == 9 and square[0, 3:6, 5:8].all()


def test_bad_calls_are_refused():
    with pytest.raises(DataError, match="odd side, got 2"):
        center_squares([torch.zeros(1, 2)], (4, 4), 2)
    with pytest.raises(DataError, match="no images"):
        center_squares([], (4, 4))
