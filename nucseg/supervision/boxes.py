"""Boxes from masks, and pseudo boxes from dots alone."""

import numpy as np
from scipy.spatial import cKDTree

from nucseg.arrays import as_label_map, as_points
from nucseg.errors import DataError
from nucseg.supervision.distance import image_size
from nucseg.supervision.points import extents


def label_boxes(labels):
    """Return the tight box of every object.

    Parameters
    ----------
    labels : array_like, shape (H, W), int
        Instance map, 0 = background.

    Returns
    -------
    numpy.ndarray, shape (N, 4), float64
        Top, left, bottom, right edge in pixel coordinates, by ascending id. A pixel reaches half a pixel to
        every side of its center, so an object of one pixel at (0, 0) has the box (-0.5, -0.5, 0.5, 0.5).

    Raises
    ------
    DataError
        Not a label map.
    """
    low, high = extents(as_label_map(labels))
    return np.hstack([low - 0.5, high + 0.5])


def pseudo_boxes(points, shape, ratio=1.0, smallest=2.0, largest=np.inf, range_split=10.0):
    """Return a square box around every dot, as large as the dots in its neighborhood lie apart.

    The locally uniform distribution assumption of Wang et al. 2021 (IEEE TIP 30, crowd detection from
    points), to which Wang et al. 2024 refer: the spacing of a dot is its mean distance to its two nearest
    neighbors; the side of a box is `ratio` times the mean spacing of all dots within (vertical extent of the
    dots) / `range_split` of its own, itself included. With one or two dots every side is the larger of 12 px
    and H / (4 + N).

    Parameters
    ----------
    points : array_like, shape (N, 2)
        Row and column of the dots, px; every nucleus should have one.
    shape : tuple of int
        (H, W) of the image.
    ratio : float
        Side over spacing; 1 for the densest set of the article, 0.5 for others.
    smallest, largest : float
        Limits of the side before clipping at the image, px.
    range_split : float
        The neighborhood's radius is the vertical extent of the dots divided by this.

    Returns
    -------
    numpy.ndarray, shape (N, 4), float64
        Top, left, bottom, right edge in pixel coordinates (see :func:`label_boxes`), clipped at the image, in
        the order of `points`. No boxes without dots.

    Raises
    ------
    DataError
        Bad points, or a ratio, limit or split that is not positive.
    """
    if not (ratio > 0 and 0 < smallest <= largest and range_split > 0):
        raise DataError(
            f"pseudo boxes: expected ratio > 0, 0 < smallest <= largest, range_split > 0, "
            f"got {ratio}, {smallest}, {largest}, {range_split}"
        )
    size = np.array(image_size(shape))
    points = as_points(points, size)
    if len(points) <= 2:
        # The reference leaves this case outside the limits; so does this.
        side = np.full(len(points), max(size[0] / (4 + len(points)), 12.0))
    else:
        side = np.clip(ratio * _local_spacing(points, range_split), smallest, largest)
    half = side[:, None] / 2
    return np.hstack([np.clip(points - half, -0.5, size - 0.5), np.clip(points + half, -0.5, size - 0.5)])


def box_iou(first, second):
    """Return the intersection over union of boxes, pair by pair.

    Parameters
    ----------
    first, second : array_like, shape (N, 4)
        Top, left, bottom, right edge in pixel coordinates (see :func:`label_boxes`).

    Returns
    -------
    numpy.ndarray, shape (N,), float64
        0 (apart) to 1 (equal); NaN if both boxes of a pair have no area.

    Raises
    ------
    DataError
        The two do not have the same shape (N, 4).

    Examples
    --------
    >>> box_iou([(0, 0, 2, 2)], [(0, 1, 2, 3)]).round(3).tolist()
    [0.333]
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape or first.ndim != 2 or first.shape[1] != 4:
        raise DataError(f"box_iou: expected two arrays of shape (N, 4), got {first.shape} and {second.shape}")
    low, high = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    union = sum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)) - shared
    return np.divide(shared, union, out=np.full(len(shared), np.nan), where=union > 0)


def _local_spacing(points, range_split):
    """Return the spacing around each of at least three dots."""
    tree = cKDTree(points)
    spacing = tree.query(points, k=3)[0][:, 1:].mean(axis=1)
    radius = np.ptp(points[:, 0]) / range_split
    pairs = tree.query_pairs(radius, output_type="ndarray")
    count = np.ones(len(points))
    total = spacing.copy()
    for one, other in ((0, 1), (1, 0)):
        count += np.bincount(pairs[:, one], minlength=len(points))
        total += np.bincount(pairs[:, one], spacing[pairs[:, other]], minlength=len(points))
    return total / count
