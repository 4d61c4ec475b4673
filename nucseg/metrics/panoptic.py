"""Detection, segmentation and panoptic quality (Kirillov et al., 2019)."""

from typing import NamedTuple

import numpy as np

from nucseg.errors import DataError
from nucseg.metrics.aggregate import ratio
from nucseg.metrics.contingency import as_table


class PanopticQuality(NamedTuple):
    """The three qualities, each in [0, 1], NaN where both maps are empty."""

    dq: float  #: detection quality, TP / (TP + FP/2 + FN/2)
    sq: float  #: segmentation quality, mean IoU of the matched pairs, 0 without any
    pq: float  #: panoptic quality, dq * sq


def panoptic_quality(gt, pred=None, iou=0.5):
    """Return detection, segmentation and panoptic quality.

    A pair is matched if its intersection over union exceeds `iou` (strictly); from 0.5 on such pairs are
    unique. Without a match sq is 0, as in the release of Graham et al. (2019), so that a mean of sq over
    images mixes "no match" with values above `iou`; :func:`sq_matched` leaves those images out.

    Parameters
    ----------
    gt : array_like, shape (H, W), or ContingencyTable
        Ground-truth label map, 0 = background, or the table of both maps.
    pred : array_like, shape (H, W), optional
        Predicted label map.
    iou : float
        Threshold, in [0.5, 1).

    Returns
    -------
    PanopticQuality

    Raises
    ------
    DataError
        Unusable maps (see :func:`nucseg.metrics.as_table`) or a threshold below 0.5, where pairs are not
        unique.

    Examples
    --------
    >>> dq, sq, pq = panoptic_quality([[1, 1, 1, 0, 2]], [[3, 3, 0, 0, 0]])
    >>> round(dq, 3), round(sq, 3), round(pq, 3)
    (0.667, 0.667, 0.444)
    """
    if not 0.5 <= iou < 1:
        raise DataError(f"iou must lie in [0.5, 1), where matches are unique, got {iou}; else use f1_at_iou")
    table = as_table(gt, pred)
    if table.is_empty:
        return PanopticQuality(*(float("nan"),) * 3)
    pairs = np.flatnonzero(table.jaccard > iou)
    counted = pairs[table.gt_counts[table.rows[pairs]]]
    tp = len(counted)
    missed, surplus = table.gt_counts.copy(), table.pred_counts.copy()
    missed[table.rows[pairs]] = False
    surplus[table.cols[pairs]] = False
    dq = ratio(tp, tp + 0.5 * surplus.sum() + 0.5 * missed.sum(), "DQ")
    sq = ratio(table.jaccard[counted].sum(), tp, "SQ")
    return PanopticQuality(dq, sq, dq * sq)


def sq_matched(gt, pred=None, iou=0.5):
    """Return the segmentation quality where there is a match, NaN where there is none.

    A mean over images then says how well matched nuclei are outlined and nothing about how many were found.

    Parameters
    ----------
    gt : array_like, shape (H, W), or ContingencyTable
        Ground-truth label map, 0 = background, or the table of both maps.
    pred : array_like, shape (H, W), optional
        Predicted label map.
    iou : float
        Threshold, in [0.5, 1).

    Returns
    -------
    float
        In (`iou`, 1], or NaN.

    Raises
    ------
    DataError
        Unusable maps (see :func:`nucseg.metrics.as_table`) or a threshold outside [0.5, 1).
    """
    return panoptic_quality(gt, pred, iou).sq or float("nan")
