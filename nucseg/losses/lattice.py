"""The permutohedral lattice: the approximation of Gaussian sums that released dense CRF losses are made of."""

import numpy as np

from nucseg.errors import DataError


def lattice_filter(values, features):
    """Sum values over all points with weights that fall with distance, on a permutohedral lattice.

    Approximates ``sum_j exp(-|f_i - f_j|^2 / 2) v_j`` up to a factor: values are spread over the corners of the
    simplices that points lie in, blurred along the d + 1 directions of the lattice with weights 1/2, 1, 1/2, and
    gathered at the points (Adams, Baek and Davis 2010). As in the code that dense CRF losses are released with,
    nothing is divided by the response to ones, and the blur leaves the factor 1 / (1 + 2^-d). Kept to compare with
    the exact sums of :func:`nucseg.losses.dense_crf_loss`, which need no such factor.

    Parameters
    ----------
    values : array_like, shape (N, C)
        What is summed.
    features : array_like, shape (N, d)
        Positions of the points, in units of the width of the Gaussian.

    Returns
    -------
    numpy.ndarray, shape (N, C), float64

    Raises
    ------
    DataError
        Shapes that do not fit, no points, more than five dimensions, or features that are not finite or too far apart.
    """
    values, features = np.asarray(values, float), np.asarray(features, float)
    if values.ndim != 2 or features.ndim != 2 or len(values) != len(features) or 0 in features.shape:
        raise DataError(f"values (N, C) and features (N, d) are needed, got {values.shape} and {features.shape}")
    if features.shape[1] > 5:
        raise DataError(f"features may have at most 5 dimensions, got {features.shape[1]}")
    if not np.isfinite(features).all():
        raise DataError("features must be finite")
    corners, shares = _simplices(features)
    dimensions = features.shape[1]
    keys, first, vertices = np.unique(_keys(corners), return_index=True, return_inverse=True)
    vertices = vertices.reshape(corners.shape[:2])
    places = corners.reshape(-1, dimensions + 1)[first]
    spread = np.stack([
        np.bincount(vertices.ravel(), (shares * column[:, None]).ravel(), len(keys)) for column in values.T
    ], axis=1)
    for axis in range(dimensions + 1):
        step = np.ones(dimensions + 1, np.int64)
        step[axis] -= dimensions + 1
        spread = spread + sum(_neighbors(spread, keys, places + sign * step) for sign in (1, -1)) / 2
    return (shares[..., None] * spread[vertices]).sum(axis=1) / (1 + 2.0**-dimensions)


def _simplices(features):
    """Return the d + 1 corners of the simplex around each point, (N, d + 1, d + 1), and the point's shares in them."""
    count, d = features.shape
    order = np.arange(d)
    # Onto the hyperplane of zero sum, where a Gaussian of width 1 becomes the blur of one step.
    scaled = features * (d + 1) * np.sqrt(2 / 3) / np.sqrt((order + 1) * (order + 2))
    elevate = np.triu(np.ones((d + 1, d)))
    elevate[order + 1, order] = -(order + 1)
    points = scaled @ elevate.T
    nearest = np.rint(points / (d + 1)).astype(np.int64) * (d + 1)
    rank = np.argsort(np.argsort(nearest - points, axis=1, kind="stable"), axis=1, kind="stable")
    rank += nearest.sum(axis=1, keepdims=True) // (d + 1)
    turn = (rank < 0).astype(np.int64) - (rank > d)
    rank, nearest = rank + turn * (d + 1), nearest + turn * (d + 1)
    offset, shares, rows = (points - nearest) / (d + 1), np.zeros((count, d + 2)), np.arange(count)[:, None]
    # The ranks of one point are a permutation, so no place is written twice.
    shares[rows, d - rank] += offset
    shares[rows, d + 1 - rank] -= offset
    shares[:, 0] += 1 + shares[:, d + 1]
    number = np.arange(d + 1)[None, :, None]
    corners = nearest[:, None] + number - np.where(rank[:, None] > d - number, d + 1, 0)
    return corners, shares[:, : d + 1]


def _keys(corners):
    """Return one number for each lattice point, (M,) int64, from its first d coordinates, 12 bits each."""
    flat = corners.reshape(-1, corners.shape[-1])[:, :-1]
    if np.abs(flat).max(initial=0) >= 2**11:
        raise DataError("features span more than the lattice can number; are the widths too small?")
    return ((flat + 2**11) << (12 * np.arange(flat.shape[1]))).sum(axis=1)


def _neighbors(spread, keys, places):
    """Return the values at lattice points, 0 where a point has none."""
    wanted = _keys(places)
    found = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where((keys[found] == wanted)[:, None], spread[found], 0.0)
