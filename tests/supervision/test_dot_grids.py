"""Counts and bumps of dots, against loops over dots and pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nucseg.errors import DataError
from nucseg.supervision.dot_grids import dot_counts, dot_density


@given(st.lists(st.tuples(st.floats(-3, 14), st.floats(-3, 18)), max_size=12), st.integers(1, 5))
def test_counts_are_those_of_a_loop(dots, grid):
    wanted = np.zeros((grid, grid))
    for row, column in np.array(dots, np.float32).reshape(-1, 2):
        if -0.5 <= row < 11.5 and -0.5 <= column < 15.5:
            wanted[int((row + np.float32(0.5)) * grid / 12), int((column + np.float32(0.5)) * grid / 16)] += 1
    points = torch.tensor(dots).reshape(-1, 2)
    np.testing.assert_array_equal(dot_counts([points], (12, 16), grid, None)[0], wanted)
    np.testing.assert_array_equal(dot_counts([points], (12, 16), grid, 2)[0], np.minimum(wanted, 2))


def test_bumps_are_those_of_a_loop():
    dots, sigma = [(3.0, 2.0), (3.5, 6.25), (30.0, 30.0)], 1.5
    full = np.zeros((8, 12))
    for row in range(8):
        for column in range(12):
            for r, c in dots:
                if abs(row - r) <= 3 * sigma and abs(column - c) <= 3 * sigma:
                    full[row, column] += np.exp(-((row - r) ** 2 + (column - c) ** 2) / (2 * sigma**2))
    found = dot_density([torch.tensor(dots), torch.zeros(0, 2)], (8, 12), (2, 3), sigma)
    np.testing.assert_allclose(found[0], full.reshape(2, 4, 3, 4).mean(axis=(1, 3)), rtol=1e-5)
    assert found.shape == (2, 2, 3) and not found[1].any()


@pytest.mark.parametrize("call", [
    lambda: dot_counts([], (4, 4), 2), lambda: dot_counts([torch.zeros(0, 2)], (4, 4), 0),
    lambda: dot_counts([torch.zeros(0, 2)], (4, 4), 2, 0), lambda: dot_density([], (4, 4), (1, 1)),
    lambda: dot_density([torch.zeros(0, 2)], (4, 4), (1, 1), 0.0),
])
def test_bad_input(call):
    with pytest.raises(DataError):
        call()
