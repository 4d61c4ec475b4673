"""The object-level Dice coefficient of Sirinukunwattana et al. (2015), with and without the 50 % rule."""

import numpy as np

from nucseg.metrics.contingency import as_table


def object_dice(gt, pred=None):
    """Return the object-level Dice coefficient without a minimum overlap, as released code computes it.

    Half of it is the area-weighted mean over ground truths of the Dice with the prediction of largest
    overlap, the other half the same over predictions.  An instance may be used several times; one without
    overlap scores 0.

    Parameters
    ----------
    gt : array_like, shape (H, W), or ContingencyTable
        Ground-truth label map, 0 = background, or the table of both maps.
    pred : array_like, shape (H, W), optional
        Predicted label map.

    Returns
    -------
    float
        In [0, 1]; 0 if one map is empty, NaN if both are.

    Raises
    ------
    DataError
        Unusable maps; see :func:`nucseg.metrics.as_table`.

    Examples
    --------
    >>> round(object_dice([[1, 1, 2, 2]], [[1, 1, 1, 1]]), 3)
    0.667
    """
    return _object_dice(as_table(gt, pred), lambda own, other: True)


def object_dice_half(gt, pred=None):
    """Return the object-level Dice where a pair needs an overlap above 50 % of the object that looks for a
    partner.

    This is the rule stated in Qu et al. (2020), section IV-C, read as in Sirinukunwattana et al. (2015): of
    the ground truth in the first sum, of the prediction in the second.

    Parameters
    ----------
    gt : array_like, shape (H, W), or ContingencyTable
        Ground-truth label map, 0 = background, or the table of both maps.
    pred : array_like, shape (H, W), optional
        Predicted label map.

    Returns
    -------
    float
        In [0, 1]; 0 if one map is empty, NaN if both are.

    Raises
    ------
    DataError
        Unusable maps; see :func:`nucseg.metrics.as_table`.

    Examples
    --------
    >>> round(object_dice_half([[1, 1, 2, 2]], [[1, 1, 1, 1]]), 3)
    0.333
    """
    return _object_dice(as_table(gt, pred), lambda own, other: own > 0.5)


def object_dice_half_both(gt, pred=None):
    """Return the object-level Dice where a pair needs an overlap above 50 % of both objects.

    The stricter reading of the rule; see :func:`object_dice_half`.

    Parameters
    ----------
    gt : array_like, shape (H, W), or ContingencyTable
        Ground-truth label map, 0 = background, or the table of both maps.
    pred : array_like, shape (H, W), optional
        Predicted label map.

    Returns
    -------
    float
        In [0, 1]; 0 if one map is empty, NaN if both are.

    Raises
    ------
    DataError
        Unusable maps; see :func:`nucseg.metrics.as_table`.
    """
    return _object_dice(as_table(gt, pred), lambda own, other: (own > 0.5) & (other > 0.5))


def _object_dice(table, accepted):
    if table.is_empty:
        return float("nan")
    of_gt = table.overlaps / table.gt_areas[table.rows]
    of_pred = table.overlaps / table.pred_areas[table.cols]
    dice = 2 * table.overlaps / (table.gt_areas[table.rows] + table.pred_areas[table.cols])
    best_pred, best_gt = table.best_for_gt(table.overlaps), table.best_for_pred(table.overlaps)
    # A matched pair is charged by its ground truth, an unmatched prediction by itself.
    pred_counts = np.where(best_gt >= 0, False, table.pred_counts)
    found = best_gt >= 0
    pred_counts[found] = table.gt_counts[table.rows[best_gt[found]]]
    first = _weighted(best_pred, dice * accepted(of_gt, of_pred), table.gt_areas, table.gt_counts)
    second = _weighted(best_gt, dice * accepted(of_pred, of_gt), table.pred_areas, pred_counts)
    return 0.5 * first + 0.5 * second


def _weighted(best, score, areas, counts):
    """Return the area-weighted mean score of the counted instances, 0 if there are none."""
    value = np.zeros(len(best))
    found = best >= 0
    value[found] = score[best[found]]
    total = areas[counts].sum()
    return float((areas * value)[counts].sum() / total) if total else 0.0
