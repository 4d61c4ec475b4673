"""The weighted mixture: against repeated points, scikit-learn, plain NumPy, and laws of EM that hold or do not."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from nucseg.errors import DataError
from nucseg.postprocess import fit_mixture

ALL_STEPS = -np.inf


def clump(centers, radius):
    """Pixels of disks of one radius, in reading order."""
    centers = np.asarray(centers)
    rows, columns = np.indices(centers.max(axis=0) + int(radius) + 2)
    inside = ((rows[..., None] - centers[:, 0]) ** 2 + (columns[..., None] - centers[:, 1]) ** 2 <= radius**2).any(-1)
    return np.argwhere(inside).astype(float)


CENTERS = np.array([(12, 12), (14, 30), (30, 24)])
PIXELS = clump(CENTERS, 10)


def same(one, other, rtol=1e-9):
    np.testing.assert_array_equal(one.assignment, other.assignment)
    for a, b in zip(one[1:], other[1:]):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-9)


def by_hand(points, centers, weights, tied, epsilon, steps):
    """EM as it is written down: one matrix of responsibilities, SciPy's density."""
    n, k = len(points), len(centers)
    shares, means, covariances = np.full(k, 1 / k), centers.astype(float), [np.eye(2) * n / (2 * np.pi * k)] * k
    trace = []
    for step in range(steps + 1):
        logs = [np.log(s) + multivariate_normal(m, c).logpdf(points) for s, m, c in zip(shares, means, covariances)]
        total = logsumexp(logs, axis=0)
        trace.append(np.average(total, weights=weights))
        responsible = np.exp(logs - total)
        if step == steps:
            return responsible.argmax(axis=0), shares, means, np.array(covariances), np.array(trace)
        mass = (weights * responsible).sum(axis=1)
        shares, means = mass / weights.sum(), (weights * responsible) @ points / mass[:, None]
        covariances = [np.cov(points.T, aweights=weights * r, bias=True) for r in responsible]
        if tied:
            covariances = [sum(s * c for s, c in zip(shares, covariances))] * k
        covariances = [c + epsilon * np.eye(2) for c in covariances]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 12])
@pytest.mark.parametrize("count", [1, 3, 40])
def test_steps_equal_em_written_plainly(count, steps, tied, rng):
    """With 40 centers in a large clump, most Gaussians are far from most points and are passed over."""
    centers = rng.integers(12, 12 + 25 * np.sqrt(count), (count, 2))
    pixels = clump(centers, 10)
    weights = rng.random(len(pixels))
    fitted = fit_mixture(pixels, centers, weights, tied=tied, tol=ALL_STEPS, max_iter=steps)
    expected = by_hand(pixels, centers, weights, tied, 1.0, steps)
    np.testing.assert_array_equal(fitted.assignment, expected[0])
    for ours, theirs in zip(fitted[1:], expected[1:]):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("tied", [False, True])
def test_scikit_learn_agrees_where_all_points_weigh_the_same(tied):
    variance = 50.0
    precision = np.eye(2) / variance
    model = GaussianMixture(
        3, covariance_type="tied" if tied else "full", reg_covar=1.0, tol=0.0, max_iter=20, means_init=CENTERS,
        weights_init=np.full(3, 1 / 3), precisions_init=precision if tied else np.repeat(precision[None], 3, axis=0),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(PIXELS)
    fitted = fit_mixture(PIXELS, CENTERS, tied=tied, variance=variance, tol=ALL_STEPS, max_iter=model.n_iter_)
    np.testing.assert_array_equal(fitted.assignment, model.predict(PIXELS))
    np.testing.assert_allclose(fitted.shares, model.weights_, rtol=1e-7)
    np.testing.assert_allclose(fitted.means, model.means_, rtol=1e-7)
    np.testing.assert_allclose(fitted.covariances - model.covariances_, 0, atol=1e-6)


@given(st.integers(0, 2**32), st.booleans())
def test_whole_weights_are_repeated_points_and_zeros_are_absent_points(seed, tied):
    counts = np.random.default_rng(seed).integers(0, 4, len(PIXELS))
    options = dict(tied=tied, variance=40.0)
    weighted = fit_mixture(PIXELS, CENTERS, counts, **options)
    repeated = fit_mixture(np.repeat(PIXELS, counts, axis=0), CENTERS, **options)
    present = fit_mixture(PIXELS[counts > 0], CENTERS, counts[counts > 0], **options)
    same(weighted._replace(assignment=np.repeat(weighted.assignment, counts)), repeated)
    same(weighted._replace(assignment=weighted.assignment[counts > 0]), present)
    assert len(weighted.assignment) == len(PIXELS), "points that weigh nothing are assigned too"


@given(st.floats(1e-6, 1e6))
def test_only_ratios_of_weights_matter(scale):
    weights = np.random.default_rng(3).random(len(PIXELS))
    same(fit_mixture(PIXELS, CENTERS, weights), fit_mixture(PIXELS, CENTERS, scale * weights))


def test_weights_below_the_floor_are_raised_to_it(rng):
    weights = rng.random(len(PIXELS))
    same(fit_mixture(PIXELS, CENTERS, weights, floor=0.4), fit_mixture(PIXELS, CENTERS, weights.clip(0.4)))
    same(fit_mixture(PIXELS, CENTERS, weights, floor=1), fit_mixture(PIXELS, CENTERS))


def test_another_order_of_centers_only_changes_numbers(rng):
    order, weights = [2, 0, 1], rng.random(len(PIXELS))
    one, other = fit_mixture(PIXELS, CENTERS, weights), fit_mixture(PIXELS, CENTERS[order], weights)
    same(other, one._replace(assignment=np.argsort(order)[one.assignment].astype(np.int32), shares=one.shares[order],
                             means=one.means[order], covariances=one.covariances[order]))


def objective(fitted, epsilon):
    """What EM with a tied covariance S raises: Q - epsilon / 2 trace(S^-1)."""
    return fitted.trace[-1] - epsilon / 2 * np.trace(np.linalg.inv(fitted.covariances[0]))


@given(st.integers(0, 2**32), st.sampled_from([1, 4, 0.1]))
def test_what_em_promises(seed, power):
    """At epsilon 0 Q never falls; with it and one covariance for all, the penalized Q never falls."""
    weights = np.random.default_rng(seed).random(len(PIXELS)) ** power
    for tied in (False, True):
        gains = np.diff(fit_mixture(PIXELS, CENTERS, weights, tied=tied, epsilon=0, tol=ALL_STEPS).trace)
        assert gains.min() > -1e-12
    values = [objective(fit_mixture(PIXELS, CENTERS, weights, tied=True, epsilon=5, tol=ALL_STEPS, max_iter=steps), 5)
              for steps in range(12)]
    assert np.diff(values).min() > -1e-12


def test_with_epsilon_a_step_can_lower_q_and_is_then_taken_back():
    """Four points on a line: the first step makes the Gaussians, of variance 0.3 px^2, wider than the data."""
    points, centers = [(0, 0), (0, 1), (0, 7), (0, 8)], [(0, 0), (0, 8)]
    assert np.diff(fit_mixture(points, centers, tol=ALL_STEPS, max_iter=1).trace) < 0
    kept = fit_mixture(points, centers)
    same(kept, fit_mixture(points, centers, max_iter=0))
    assert len(kept.trace) == 1


@given(st.integers(0, 2**32))
def test_the_trace_never_falls_and_ends_below_the_tolerance(seed):
    weights = np.random.default_rng(seed).random(len(PIXELS)) ** 6
    fitted = fit_mixture(PIXELS, CENTERS, weights)
    gains = np.diff(fitted.trace)
    assert (gains >= 0).all()
    assert len(gains) == 50 or (gains[:-1] >= 1e-5).all()
    same(fitted, fit_mixture(PIXELS, CENTERS, weights, tol=ALL_STEPS, max_iter=len(gains)))


def test_a_center_without_weight_stays_without_points():
    points = np.array([(0.0, c) for c in range(10)] + [(0.0, 1000.0)])
    fitted = fit_mixture(points, [(0, 5), (0, 1000)], [1] * 10 + [0])
    assert fitted.means[1].tolist() == [0, 1000] and fitted.shares.tolist() == [1, 0]
    assert not fitted.assignment.any()


def test_one_point_and_points_on_a_line():
    alone = fit_mixture([(3, 4)], [(3, 4)])
    assert alone.assignment.tolist() == [0] and alone.means.tolist() == [[3, 4]]
    line = np.stack([np.arange(40), np.arange(40)], axis=1)
    fitted = fit_mixture(line, [(8, 8), (31, 31)])
    np.testing.assert_array_equal(fitted.assignment, np.repeat([0, 1], 20))
    with pytest.raises(DataError, match=r"collapsed.* on one line"):
        fit_mixture(line, [(8, 8), (31, 31)], epsilon=0)


@pytest.mark.parametrize(
    "change, word", [
        (dict(points=[(0, np.nan)] * 3), "points: 3 of 3"), (dict(points=[]), "1 to 0 of them for 0 points, got 1"),
        (dict(centers=[]), "got 0"), (dict(centers=[(0, 0)] * 4), "1 to 3 of them for 3 points, got 4"),
        (dict(centers=[(np.inf, 0)]), "centers: 1 of 1"), (dict(weights=[1, 2]), r"weights: expected 3 .* \(2,\)"),
        (dict(weights=["a"] * 3), "dtype <U1"), (dict(weights=[1, -2, 1]), "1 of 3 .* first is -2"),
        (dict(weights=[1, np.nan, 1]), "1 of 3 .* first is nan"), (dict(weights=[0, 0, 0]), "none of 3 is above 0"),
        (dict(epsilon=-1), "epsilon >= 0 .* got -1"), (dict(variance=0), "variance > 0, got 1.0 and 0"),
        (dict(variance=np.nan), "and nan"),
    ],
)
def test_bad_input(change, word):
    given_ = dict(points=[(0, 0), (0, 1), (1, 0)], centers=[(0, 0)]) | change
    with pytest.raises(DataError, match=word):
        fit_mixture(**given_)
