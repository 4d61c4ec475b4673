"""The permutohedral lattice against sums over all pairs, and laws that any such filter obeys."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucseg.errors import DataError
from nucseg.losses.lattice import _simplices, lattice_filter


def gaussian_sums(values, features):
    apart = ((features[:, None] - features[None]) ** 2).sum(-1)
    return np.exp(-apart / 2) @ values


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_it_follows_the_gaussian_up_to_one_factor(d):
    rng = np.random.default_rng(d)
    features, values = rng.normal(size=(800, d)), rng.random((800, 2))
    exact, approximate = gaussian_sums(values, features), lattice_filter(values, features)
    assert np.corrcoef(exact.ravel(), approximate.ravel())[0, 1] > 0.98
    factor = (exact * approximate).sum() / (exact**2).sum()
    assert 0.4 < factor < 1.2


def test_one_point_alone_answers_by_hand():
    """At a lattice point all of the value is on one corner. The blur leaves it there with weight 1, and once around
    the triangle, by three half steps, 1/8 of it comes back."""
    assert lattice_filter([[3.0]], [[0.0, 0.0]])[0, 0] == pytest.approx(3 * (1 + 1 / 8) / (1 + 2**-2))


def test_two_points_one_step_apart_in_one_dimension():
    """In one dimension, corners lie sqrt(3) / 2 widths apart and both directions of the blur are the same line.

    There are two corners. Of its own value each gets 1, and 1/2 times 1/2 back by way of the other; of the other's
    value it gets 1/2 in either pass.
    """
    answer = lattice_filter([[1.0, 0.0], [0.0, 1.0]], [[0.0], [np.sqrt(3) / 2]]) * (1 + 2**-1)
    np.testing.assert_allclose(answer, [[1.25, 1.0], [1.0, 1.25]])


@given(st.integers(1, 5), st.integers(0, 10**6))
def test_points_are_shares_of_the_corners_of_their_simplex(d, seed):
    features = np.random.default_rng(seed).normal(scale=3, size=(20, d))
    corners, shares = _simplices(features)
    assert (shares >= -1e-9).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (corners.sum(axis=2) == 0).all(), "corners lie in the plane of zero sum"
    remainders = corners % (d + 1)
    assert (remainders == remainders[..., :1]).all() and (remainders[..., 0] == np.arange(d + 1)).all()
    # Two points are as far apart after elevation as before, but for one factor; so mixing the corners gives it back.
    mixed = (shares[..., None] * corners).sum(axis=1)
    ratio = (d + 1) * np.sqrt(2 / 3)
    before = np.linalg.norm(features[:, None] - features[None], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(mixed[:, None] - mixed[None], axis=-1), ratio * before, atol=1e-6)


def test_it_is_linear_in_the_values():
    rng = np.random.default_rng(0)
    features, a, b = rng.normal(size=(60, 5)), rng.random((60, 1)), rng.random((60, 1))
    together = lattice_filter(2 * a - 3 * b, features)
    np.testing.assert_allclose(together, 2 * lattice_filter(a, features) - 3 * lattice_filter(b, features), atol=1e-9)


@pytest.mark.parametrize(
    ("values", "features", "message"),
    [
        (np.ones((3, 1)), np.ones((2, 2)), r"got \(3, 1\) and \(2, 2\)"),
        (np.ones(3), np.ones((3, 2)), r"got \(3,\)"),
        (np.ones((0, 1)), np.ones((0, 2)), "needed"),
        (np.ones((2, 1)), np.ones((2, 6)), "at most 5 dimensions, got 6"),
        (np.ones((2, 1)), np.array([[0.0], [np.nan]]), "finite"),
        (np.ones((2, 1)), np.array([[0.0], [1e6]]), "widths too small"),
    ],
)
def test_what_cannot_be_filtered_is_refused(values, features, message):
    with pytest.raises(DataError, match=message):
        lattice_filter(values, features)
