"""Dots: where an annotator would click, and which of the clicks are kept."""

import numpy as np

from nucseg.arrays import as_label_map, as_points
from nucseg.errors import DataError


def _foreground(labels):
    """Return rows and columns of the foreground, the number of each pixel's object, and all ids."""
    rows, columns = np.nonzero(labels)
    ids, number = np.unique(labels[rows, columns], return_inverse=True)
    return rows, columns, number, ids


def extents(labels):
    """Return the first and last row and column of every object of an int32 label map, by ascending id.

    Parameters
    ----------
    labels : numpy.ndarray, shape (H, W), int32
        Instance map, 0 = background.

    Returns
    -------
    low, high : numpy.ndarray, shape (N, 2), float64
        Smallest and largest row and column, px.
    """
    rows, columns, number, ids = _foreground(labels)
    low, high = np.full((len(ids), 2), np.inf), np.full((len(ids), 2), -np.inf)
    for axis, values in enumerate((rows, columns)):
        np.minimum.at(low[:, axis], number, values)
        np.maximum.at(high[:, axis], number, values)
    return low, high


def box_centers(labels):
    """Return the center of every object's bounding box, floor((min + max) / 2) on each axis.

    These are the dots of Qu et al. 2020 (sec. V-A). Such a dot can lie outside a bent object.

    Parameters
    ----------
    labels : array_like, shape (H, W), int
        Instance map, 0 = background.

    Returns
    -------
    numpy.ndarray, shape (N, 2), float64
        Row and column, px, whole numbers, by ascending id.

    Raises
    ------
    DataError
        Not a label map.
    """
    low, high = extents(as_label_map(labels))
    return np.floor((low + high) / 2)


def centroids(labels, inside=False):
    """Return the center of mass of every object.

    Parameters
    ----------
    labels : array_like, shape (H, W), int
        Instance map, 0 = background.
    inside : bool
        Move a centroid whose pixel is not the object's own to the nearest pixel that is (the first in reading
        order if several are as near).

    Returns
    -------
    numpy.ndarray, shape (N, 2), float64
        Row and column, px, by ascending id.

    Raises
    ------
    DataError
        Not a label map.

    Examples
    --------
    >>> ring = [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    >>> centroids(ring).tolist(), centroids(ring, inside=True).tolist()
    ([[1.0, 1.0]], [[0.0, 1.0]])
    """
    labels = as_label_map(labels)
    rows, columns, number, ids = _foreground(labels)
    area = np.bincount(number, minlength=len(ids))
    centers = np.column_stack([np.bincount(number, axis, len(ids)) / area for axis in (rows, columns)])
    if inside:
        own = labels[tuple(np.floor(centers + 0.5).astype(int).T)] == ids
        for stray in np.flatnonzero(~own):
            mine = np.flatnonzero(number == stray)
            pixels = np.column_stack([rows[mine], columns[mine]])
            centers[stray] = pixels[np.argmin(((pixels - centers[stray]) ** 2).sum(axis=1))]
    return centers


def sample_points(points, ratio, rng, replace=False):
    """Return a random part of the dots: partial annotation.

    Parameters
    ----------
    points : array_like, shape (N, 2)
        All dots of one image, px.
    ratio : float
        Share of the dots to draw, 0 to 1; int(ratio * N) are drawn, which may be none.
    rng : int or numpy.random.Generator
        A seed, or a generator (see :func:`nucseg.seeding.generator`).
    replace : bool
        Draw with replacement and keep each dot once, as the release of Qu et al. 2020 does; fewer dots
        remain, about 1 - exp(-ratio) of them. False is what the article says. Without replacement a larger
        ratio with the same seed keeps all dots of a smaller one.

    Returns
    -------
    numpy.ndarray, shape (M, 2), float64
        The dots kept, in their given order.

    Raises
    ------
    DataError
        Bad points, or a ratio outside 0 to 1.

    Examples
    --------
    >>> sample_points([(0, 0), (0, 9), (9, 0), (9, 9)], 0.5, rng=1).shape
    (2, 2)
    """
    if not 0 <= ratio <= 1:
        raise DataError(f"sample_points: ratio must be between 0 and 1, got {ratio}")
    points, rng = as_points(points), np.random.default_rng(rng)
    # 0.29 * 100 is a hair below 29 in floating point; the sliver keeps int() from dropping a dot.
    count = int(ratio * len(points) + 1e-9)
    if replace and len(points):
        kept = np.unique(rng.integers(len(points), size=count))
    else:
        kept = np.sort(rng.permutation(len(points))[:count])
    return points[kept]
