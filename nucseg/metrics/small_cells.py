"""Restriction of object metrics to small nuclei (Foo et al., Split and Expand), in three readings.

Each function returns a contingency table that any object metric takes: ``aji(small_cells(gt, pred))``.  An
image without a small ground truth gives an empty table, on which every metric is undefined (NaN).
"""

from dataclasses import replace

import numpy as np

from nucseg.errors import DataError
from nucseg.metrics.contingency import as_table

#: Nuclei of fewer pixels are small, section 4 of Foo et al.; about the median nucleus of MoNuSeg at 40x.
SMALL_AREA = 300


def small_cells(gt, pred=None, max_area=SMALL_AREA):
    """Return the table of the small instances of both maps, all others erased: the literal reading.

    A small nucleus predicted slightly too large is then missed, and a large nucleus predicted too small is a
    false positive.

    Parameters
    ----------
    gt : array_like, shape (H, W), or ContingencyTable
        Ground-truth label map, 0 = background, or the table of both maps.
    pred : array_like, shape (H, W), optional
        Predicted label map.
    max_area : int
        Instances of fewer pixels (strictly) are small.

    Returns
    -------
    ContingencyTable
        Empty if no ground truth is small.

    Raises
    ------
    DataError
        Unusable maps (see :func:`nucseg.metrics.as_table`) or a `max_area` below 1.

    Examples
    --------
    >>> from nucseg.metrics import aji
    >>> gt, pred = [[1, 1, 1, 0, 2]], [[1, 1, 0, 0, 2]]
    >>> aji(gt, pred), aji(small_cells(gt, pred, max_area=2))
    (0.75, 1.0)
    """
    table, small_gt, small_pred = _small(gt, pred, max_area)
    return table.restricted(small_gt, small_pred & small_gt.any())


def small_cells_gt_driven(gt, pred=None, max_area=SMALL_AREA):
    """Return the table of small ground truths against all predictions; unmatched large predictions cost
    nothing.

    A large prediction stays only if it is the best partner of a small ground truth, by Jaccard index or by
    overlap.

    Parameters
    ----------
    gt : array_like, shape (H, W), or ContingencyTable
        Ground-truth label map, 0 = background, or the table of both maps.
    pred : array_like, shape (H, W), optional
        Predicted label map.
    max_area : int
        Instances of fewer pixels (strictly) are small.

    Returns
    -------
    ContingencyTable
        Nothing in it is charged if no ground truth is small.

    Raises
    ------
    DataError
        Unusable maps (see :func:`nucseg.metrics.as_table`) or a `max_area` below 1.
    """
    table, small_gt, _ = _small(gt, pred, max_area)
    table = table.restricted(small_gt, np.full(table.m, small_gt.any()))
    small_pred = table.pred_areas < max_area
    partner = np.zeros(table.m, bool)
    for score in (table.jaccard, table.overlaps):
        best = table.best_for_gt(score)
        partner[table.cols[best[best >= 0]]] = True
    kept = small_pred | partner
    return replace(table, pred_counts=table.pred_counts & small_pred).restricted(np.ones(table.n, bool), kept)


def small_cells_pair_driven(gt, pred=None, max_area=SMALL_AREA):
    """Return the whole table, charging only pairs whose ground truth is small and unmatched small instances.

    All instances take part in the matching, so a fragment of a large nucleus is not charged to the small
    ones.

    Parameters
    ----------
    gt : array_like, shape (H, W), or ContingencyTable
        Ground-truth label map, 0 = background, or the table of both maps.
    pred : array_like, shape (H, W), optional
        Predicted label map.
    max_area : int
        Instances of fewer pixels (strictly) are small.

    Returns
    -------
    ContingencyTable
        Nothing in it is charged if no ground truth is small.

    Raises
    ------
    DataError
        Unusable maps (see :func:`nucseg.metrics.as_table`) or a `max_area` below 1.
    """
    table, small_gt, small_pred = _small(gt, pred, max_area)
    return replace(table, gt_counts=table.gt_counts & small_gt,
                   pred_counts=table.pred_counts & small_pred & small_gt.any())


def _small(gt, pred, max_area):
    if max_area < 1:
        raise DataError(f"max_area is a number of pixels, 1 or more, got {max_area}")
    table = as_table(gt, pred)
    return table, table.gt_areas < max_area, table.pred_areas < max_area
