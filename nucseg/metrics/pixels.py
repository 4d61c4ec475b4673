"""Pixel-level scores of the foreground."""

from typing import NamedTuple

from nucseg.errors import DataError
from nucseg.metrics.aggregate import ratio
from nucseg.metrics.contingency import as_table


class PixelScores(NamedTuple):
    """Scores of the foreground, each in [0, 1]; all but the accuracy are NaN without any foreground."""

    accuracy: float  #: (TP + TN) / all pixels
    precision: float  #: TP / (TP + FP)
    recall: float  #: TP / (TP + FN)
    f1: float  #: 2 TP / (2 TP + FP + FN), the pixel Dice
    iou: float  #: TP / (TP + FP + FN)


class SmoothedScores(NamedTuple):
    """Foreground Dice and intersection over union with 1 added to numerator and denominator."""

    dice: float  #: (2 TP + 1) / (2 TP + FP + FN + 1)
    iou: float  #: (TP + 1) / (TP + FP + FN + 1)


def pixel_scores(gt, pred=None):
    """Return accuracy, precision, recall, F1 and intersection over union of the foreground.

    Dice and IoU of one image satisfy Dice = 2 IoU / (1 + IoU); their means over images do not, which tells
    pooled numbers from averaged ones.

    Parameters
    ----------
    gt : array_like, shape (H, W), or ContingencyTable
        Ground truth: a label map, a bool mask, or the table of both maps.
    pred : array_like, shape (H, W), optional
        Prediction, as `gt`.

    Returns
    -------
    PixelScores

    Raises
    ------
    DataError
        Unusable maps (see :func:`nucseg.metrics.as_table`) or a table in which some instances are not
        charged.

    Examples
    --------
    >>> pixel_scores([[1, 1, 0, 0]], [[0, 5, 5, 0]]).f1
    0.5
    """
    tp, fp, fn, tn = _counts(gt, pred)
    accuracy = (tp + tn) / (tp + fp + fn + tn)
    if tp + fp + fn == 0:
        return PixelScores(accuracy, *(float("nan"),) * 4)
    return PixelScores(
        accuracy, ratio(tp, tp + fp, "precision"), ratio(tp, tp + fn, "recall"), 2 * tp / (2 * tp + fp + fn),
        tp / (tp + fp + fn),
    )


def pixel_scores_smoothed(gt, pred=None):
    """Return the foreground Dice and IoU with a smoothing of 1, under which an empty image scores 1.

    Some releases of weakly supervised methods report these values; they differ noticeably from the plain ones
    only where there is hardly any foreground.

    Parameters
    ----------
    gt : array_like, shape (H, W), or ContingencyTable
        Ground truth: a label map, a bool mask, or the table of both maps.
    pred : array_like, shape (H, W), optional
        Prediction, as `gt`.

    Returns
    -------
    SmoothedScores

    Raises
    ------
    DataError
        As :func:`pixel_scores`.
    """
    tp, fp, fn, _ = _counts(gt, pred)
    return SmoothedScores((2 * tp + 1) / (2 * tp + fp + fn + 1), (tp + 1) / (tp + fp + fn + 1))


def _counts(gt, pred):
    table = as_table(gt, pred)
    if not (table.gt_counts.all() and table.pred_counts.all()):
        raise DataError("pixel scores need a whole table; this one charges only some of its instances")
    tp = int(table.overlaps.sum())
    fp, fn = int(table.pred_areas.sum()) - tp, int(table.gt_areas.sum()) - tp
    return tp, fp, fn, table.pixels - tp - fp - fn

