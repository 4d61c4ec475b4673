"""Voronoi labels: nuclei are where the dots are, background is half-way between them."""

import numpy as np
from scipy import ndimage

from nucseg.supervision.distance import nearest_points

_CROSS = ndimage.generate_binary_structure(2, 1)
_SQUARE = ndimage.generate_binary_structure(2, 2)


def voronoi_edges(points, shape):
    """Return the edges of the Voronoi cells of dots, about two pixels wide.

    A pixel is an edge if it or one of its four neighbors has another nearest dot; the set is then closed
    with a disk of radius 1, as in the release of Qu et al. 2020. The border of the image is not an edge.

    Parameters
    ----------
    points : array_like, shape (N, 2)
        Row and column of the dots, px.
    shape : tuple of int
        (H, W) of the image.

    Returns
    -------
    numpy.ndarray, shape (H, W), bool
        All False with fewer than two dots.

    Raises
    ------
    DataError
        Bad points (see :func:`nucseg.supervision.nearest_points`).
    """
    _, nearest = nearest_points(points, shape)
    return _edges(nearest)


def _edges(nearest):
    edges = np.zeros(nearest.shape, bool)
    for axis in (0, 1):
        differs = np.diff(nearest, axis=axis) != 0
        one, other = [slice(None)] * 2, [slice(None)] * 2
        one[axis], other[axis] = slice(None, -1), slice(1, None)
        edges[tuple(one)] |= differs
        edges[tuple(other)] |= differs
    # Room around the image, so that closing neither opens nor adds edges at its border.
    return ndimage.binary_closing(np.pad(edges, 2), _CROSS)[2:-2, 2:-2]


def voronoi_labels(points, shape, radius=2):
    """Return the Voronoi label of dots (Qu et al. 2020, sec. IV-A.1).

    Background are the edges of the Voronoi cells, nucleus is a small disk around every dot, the rest is
    ignored; nucleus wins where both apply.

    Parameters
    ----------
    points : array_like, shape (N, 2)
        Row and column of the dots, px.
    shape : tuple of int
        (H, W) of the image.
    radius : float
        Radius of the nucleus disks, px.

    Returns
    -------
    numpy.ndarray, shape (H, W), int8
        1 nucleus, 0 background, -1 ignored. One dot has no edges; without dots everything is ignored.

    Raises
    ------
    DataError
        Bad points (see :func:`nucseg.supervision.nearest_points`).

    Examples
    --------
    >>> voronoi_labels([(0, 0), (0, 8)], (1, 9), radius=1).tolist()
    [[1, 1, -1, -1, 0, 0, -1, 1, 1]]
    """
    distance, nearest = nearest_points(points, shape)
    labels = np.where(_edges(nearest), 0, -1).astype(np.int8)
    labels[distance <= radius] = 1
    return labels


def voronoi_cells(points, shape, radius=2):
    """Return the Voronoi cells as label map, each grown back over its edges.

    Cells are the 8-connected components of the pixels that are not edges; a pixel within `radius` of several
    cells goes to the one that comes last in reading order, as in the release of Qu et al. 2020.

    Parameters
    ----------
    points : array_like, shape (N, 2)
        Row and column of the dots, px.
    shape : tuple of int
        (H, W) of the image.
    radius : int
        How far cells grow, px.

    Returns
    -------
    numpy.ndarray, shape (H, W), int32
        Cells 1..n in reading order; 0 only where edges are wider than the growth. One cell with fewer than
        two dots.

    Raises
    ------
    DataError
        Bad points (see :func:`nucseg.supervision.nearest_points`).
    """
    cells, _ = ndimage.label(~voronoi_edges(points, shape), _SQUARE)
    rows, columns = np.ogrid[-radius:radius + 1, -radius:radius + 1]
    disk = rows**2 + columns**2 <= radius**2
    return ndimage.maximum_filter(cells.astype(np.int32), footprint=disk, mode="constant", cval=0)
