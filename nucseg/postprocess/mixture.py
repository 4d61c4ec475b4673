"""Gaussian mixtures of weighted points in the plane, fitted by expectation-maximization (EM)."""

from typing import NamedTuple

import numba
import numpy as np

from nucseg.arrays import as_points
from nucseg.errors import DataError

#: Points that share one look at which Gaussians are near: about a square with this side, px.
_SIDE = 8
_BLOCK = _SIDE * _SIDE
#: A term less than exp(-40) of the largest is lost in the rounding of their sum.
_LOST = 40.0
#: A Gaussian with less than this share of the weight is left as it is and gets no point.
_VANISHED = 1e-12


class Mixture(NamedTuple):
    """A fitted mixture of k Gaussians."""

    assignment: np.ndarray  #: (n,) int32, the Gaussian most responsible for each point, 0..k-1
    shares: np.ndarray  #: (k,) float64, share of the weight that each Gaussian explains; their sum is 1
    means: np.ndarray  #: (k, 2) float64, row and column, px
    covariances: np.ndarray  #: (k, 2, 2) float64, px^2
    trace: np.ndarray  #: float64, weighted mean log-likelihood Q of the start and after each step


def fit_mixture(points, centers, weights=None, *, floor=0.0, tied=False, epsilon=1.0, variance=None, tol=1e-5,
                max_iter=50):
    """Fit a mixture of bivariate Gaussians to weighted points, one for each center (Foo et al. 2022, sec. 3.3).

    The article names the model; the steps are those of EM for points that count `weights` times, from the centers, so
    that the result is the same every time. `epsilon` keeps the covariances from collapsing. The price is that EM's
    promise, Q never falls, then holds no more: it holds at ``epsilon=0``, and for a tied covariance S for
    ``Q - epsilon / 2 * trace(inv(S))``. A step that lowers Q ends the fit and is taken back, so `trace` never falls.

    Parameters
    ----------
    points : array_like, shape (n, 2)
        Row and column, px.
    centers : array_like, shape (k, 2)
        First means, px; at least one, at most n.
    weights : array_like, shape (n,), optional
        How much each point counts, 0 or more; only their ratios matter. 1 for every point by default.
    floor : float
        Smaller weights are raised to this.
    tied : bool
        Whether all Gaussians share one covariance.
    epsilon : float
        Added to the diagonal of each covariance, px^2; 0 or more.
    variance : float, optional
        First variance along each axis, px^2; n / (2 pi k) by default, so that k disks of one sigma cover half of n
        pixels.
    tol : float
        The fit ends when Q gains less than this in a step. With ``-numpy.inf`` all steps are taken.
    max_iter : int
        Most steps; 0 leaves the start as it is.

    Returns
    -------
    Mixture
        A Gaussian that explains (nearly) no weight stays where it was, with a share of 0 and no points.

    Raises
    ------
    DataError
        Points or weights of another form or not finite, a negative weight, no weight above 0, no center or more than
        points, a negative epsilon, a variance that is not positive, or covariances that collapse at ``epsilon=0``.

    Examples
    --------
    >>> fit_mixture([(0, 0), (0, 1), (0, 7), (0, 8)], [(0, 0), (0, 8)], epsilon=0.01).means.round(2).tolist()
    [[0.0, 0.5], [0.0, 7.5]]
    """
    points, centers = as_points(points), as_points(centers, name="centers")
    if not 1 <= len(centers) <= len(points):
        raise DataError(f"centers: expected 1 to {len(points)} of them for {len(points)} points, got {len(centers)}")
    weights = _checked_weights(weights, floor, len(points))
    variance = len(points) / (2 * np.pi * len(centers)) if variance is None else variance
    if not (epsilon >= 0 and 0 < variance < np.inf):
        raise DataError(f"mixture: expected epsilon >= 0 and variance > 0, got {epsilon} and {variance}")
    return _fitted(points, weights, centers, float(variance), bool(tied), float(epsilon), float(tol), int(max_iter))


def _fitted(points, weights, centers, *options):
    order = np.lexsort(np.floor(points[:, ::-1].T / _SIDE))  # so that points that follow one another lie together
    # Of fixed types and layouts, because the loop is compiled anew for each combination.
    ordered = np.ascontiguousarray(points[order].T)
    sorted_assignment, *fitted = _fit(ordered, weights[order], np.array(centers, order="C"), *options)
    if np.isnan(fitted[-1]).any():
        raise DataError("mixture: a covariance collapsed, as of points on one line; give an epsilon above 0")
    assignment = np.empty_like(sorted_assignment)
    assignment[order] = sorted_assignment
    return Mixture(assignment, *fitted)


def _checked_weights(weights, floor, count):
    weights = np.ones(count) if weights is None else np.asarray(weights)
    if weights.shape != (count,) or weights.dtype.kind not in "buif":
        raise DataError(f"weights: expected {count} numbers, got shape {weights.shape}, dtype {weights.dtype}")
    weights = weights.astype(np.float64)
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        raise DataError(f"weights: {bad.sum()} of {count} are negative or not finite, the first is {weights[bad][0]}")
    weights = np.maximum(weights, floor)
    if not weights.any():
        raise DataError(f"weights: none of {count} is above 0")
    return weights


@numba.njit(cache=True)
def _fit(points, weights, means, variance, tied, epsilon, tol, max_iter):
    n, k = points.shape[1], len(means)
    shares = np.full(k, 1.0 / k)
    covariances = np.zeros((k, 2, 2))
    covariances[:, 0, 0] = covariances[:, 1, 1] = variance
    assignment = np.zeros(n, np.int32)
    trace = np.empty(max_iter + 1)
    moments = np.empty((k, 6))
    trace[0] = _expect(points, weights, shares, means, covariances, assignment, moments)
    steps = 0
    while steps < max_iter:
        old = shares.copy(), means.copy(), covariances.copy()
        _maximize(moments, shares, means, covariances, tied, epsilon)
        steps += 1
        trace[steps] = _expect(points, weights, shares, means, covariances, assignment, moments)
        gain = trace[steps] - trace[steps - 1]
        if not gain >= tol:  # as well if it is no number
            if gain < 0:
                shares, means, covariances = old
                steps -= 1
                _expect(points, weights, shares, means, covariances, assignment, moments)
            break
    return assignment, shares, means, covariances, trace[: steps + 1]


@numba.njit(cache=True)
def _maximize(moments, shares, means, covariances, tied, epsilon):
    # M step, in place. Moments are about the old means, so that nothing is lost by subtracting large squares.
    total = moments[:, 0].sum()
    shared = np.zeros((2, 2))
    for j in range(len(moments)):
        n = moments[j, 0]
        if n < _VANISHED * total:
            shares[j] = 0.0
            continue
        row, column = moments[j, 1] / n, moments[j, 2] / n
        means[j, 0] += row
        means[j, 1] += column
        shares[j] = n / total
        covariances[j, 0, 0] = max(moments[j, 3] / n - row * row, 0.0)
        covariances[j, 1, 1] = max(moments[j, 5] / n - column * column, 0.0)
        covariances[j, 0, 1] = covariances[j, 1, 0] = moments[j, 4] / n - row * column
        shared += shares[j] * covariances[j]
    for j in range(len(moments)):
        if tied:
            covariances[j] = shared
        if tied or shares[j] > 0:
            covariances[j, 0, 0] += epsilon
            covariances[j, 1, 1] += epsilon


@numba.njit(cache=True)
def _expect(points, weights, shares, means, covariances, assignment, moments):
    # E step: writes the most responsible Gaussian of each point and, per Gaussian, the sums of w g, w g d and
    # w g d d^T with d the offset from its mean; returns Q, or NaN if a covariance cannot be inverted.
    k = len(means)
    tops, inverses, spreads = np.empty(k), np.empty((k, 3)), np.empty((k, 2))
    for j in range(k):
        a, b, c = covariances[j, 0, 0], covariances[j, 0, 1], covariances[j, 1, 1]
        determinant = a * c - b * b
        if not determinant > 1e-12 * a * c:
            return np.nan
        inverses[j] = c / determinant, -b / determinant, a / determinant
        half = np.sqrt(0.25 * (a - c) ** 2 + b * b)
        spreads[j, 1] = np.sqrt(0.5 * (a + c) + half)
        spreads[j, 0] = np.sqrt(determinant) / spreads[j, 1]
        tops[j] = -np.log(2 * np.pi) - 0.5 * np.log(determinant)
        tops[j] += np.log(shares[j]) if shares[j] > 0 else -np.inf
    moments[:] = 0.0
    near, away = np.empty(k, np.int64), np.empty(k)
    terms, best, sums = np.empty((k, _BLOCK)), np.empty(_BLOCK), np.empty(_BLOCK)
    total = 0.0
    for first in range(0, points.shape[1], _BLOCK):
        rows, columns = points[0, first : first + _BLOCK], points[1, first : first + _BLOCK]
        own = weights[first : first + _BLOCK]
        count = _near(rows, columns, means, tops, spreads, near, away)
        best[:] = -np.inf
        sums[:] = 0.0
        for position in range(count):
            j = near[position]
            _logarithms(rows, columns, means[j], tops[j], inverses[j], terms[position], best,
                        assignment[first : first + _BLOCK], j)
        for position in range(count):
            _powers(terms[position, : len(own)], best, sums)
        for i in range(len(own)):
            total += own[i] * (best[i] + np.log(sums[i]))
            sums[i] = own[i] / sums[i]
        for position in range(count):
            j = near[position]
            _add_moments(rows, columns, means[j], terms[position], sums, moments[j])
    return total / weights.sum()


@numba.njit(cache=True)
def _near(rows, columns, means, tops, spreads, near, away):
    # Writes which Gaussians can matter to any of these points and returns how many: from the circle around the
    # points and the largest and least standard deviation of each Gaussian. `away` is scratch.
    top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
    radius = 0.5 * np.hypot(bottom - top, right - left)
    row, column = 0.5 * (top + bottom), 0.5 * (left + right)
    least = -np.inf
    for j in range(len(means)):
        away[j] = np.sqrt((means[j, 0] - row) ** 2 + (means[j, 1] - column) ** 2)
        far = (away[j] + radius) / spreads[j, 0]
        least = max(least, tops[j] - 0.5 * far * far)
    count = 0
    for j in range(len(means)):
        close = max(away[j] - radius, 0.0) / spreads[j, 1]
        if tops[j] - 0.5 * close * close >= least - _LOST:
            near[count] = j
            count += 1
    return count


@numba.njit(cache=True)
def _logarithms(rows, columns, mean, top, inverse, terms, best, assigned, j):
    # The logarithm of one Gaussian's term at each point of a block, and the largest so far.
    for i in range(len(rows)):
        row, column = rows[i] - mean[0], columns[i] - mean[1]
        square = (inverse[0] * row + 2 * inverse[1] * column) * row + inverse[2] * column * column
        terms[i] = top - 0.5 * square
        if terms[i] > best[i]:
            best[i] = terms[i]
            assigned[i] = j


@numba.njit(cache=True)
def _powers(terms, best, sums):
    # From logarithms to terms as parts of the largest, and their sums.
    for i in range(len(terms)):
        terms[i] = np.exp(terms[i] - best[i])
        sums[i] += terms[i]


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, error_model="numpy", cache=True)
def _add_moments(rows, columns, mean, terms, factors, moments):
    n, r, c, rr, rc, cc = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(len(rows)):
        row, column = rows[i] - mean[0], columns[i] - mean[1]
        share = factors[i] * terms[i]
        n += share
        r += share * row
        c += share * column
        rr += share * row * row
        rc += share * row * column
        cc += share * column * column
    moments[0] += n
    moments[1] += r
    moments[2] += c
    moments[3] += rr
    moments[4] += rc
    moments[5] += cc
