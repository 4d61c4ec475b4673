"""Scores of semantic class maps, all from one confusion matrix."""

from dataclasses import dataclass

import numpy as np

from nucseg.arrays import as_label_pair
from nucseg.errors import DataError


@dataclass(frozen=True, eq=False)
class SemanticScores:
    """Scores per class and their means.

    A class that occurs neither in the truth nor in the prediction is NaN and left out of the means; one that
    occurs on a single side scores 0.

    Parameters
    ----------
    confusion : numpy.ndarray, shape (C, C + 1), int64
        Pixels by true class (rows) and predicted class (columns); the last column counts predictions outside
        the C classes, which are errors.
    """

    confusion: np.ndarray

    @classmethod
    def pooled(cls, scores):
        """Return the scores of several images together, from the sum of their confusion matrices.

        Parameters
        ----------
        scores : iterable of SemanticScores
            One or more, of the same classes.

        Returns
        -------
        SemanticScores

        Raises
        ------
        DataError
            No scores at all, or different numbers of classes.
        """
        matrices = [score.confusion for score in scores]
        if len({matrix.shape for matrix in matrices}) != 1:
            raise DataError(f"cannot pool confusion matrices of shapes {sorted({m.shape for m in matrices})}")
        return cls(np.sum(matrices, axis=0))

    @property
    def iou(self):
        """Intersection over union per class, shape (C,)."""
        return self._per_class(self._hits, self._true + self._predicted - self._hits)

    @property
    def dice(self):
        """2 TP / (2 TP + FP + FN) per class, shape (C,)."""
        return self._per_class(2 * self._hits, self._true + self._predicted)

    @property
    def precision(self):
        """TP / (TP + FP) per class, shape (C,)."""
        return self._per_class(self._hits, self._predicted)

    @property
    def recall(self):
        """TP / (TP + FN) per class, shape (C,)."""
        return self._per_class(self._hits, self._true)

    @property
    def mean_iou(self):
        """Mean IoU over the classes that occur (mIoU), NaN if none does."""
        return _mean(self.iou)

    @property
    def mean_dice(self):
        """Mean Dice over the classes that occur."""
        return _mean(self.dice)

    @property
    def mean_precision(self):
        """Mean precision over the classes that occur."""
        return _mean(self.precision)

    @property
    def mean_recall(self):
        """Mean recall over the classes that occur."""
        return _mean(self.recall)

    @property
    def frequency_weighted_iou(self):
        """IoU of the classes weighted by their share of true pixels (fwIoU), NaN without any scored pixel."""
        total = self._true.sum()
        return float(np.nansum(self._true * self.iou) / total) if total else float("nan")

    @property
    def pixel_accuracy(self):
        """Share of scored pixels with the right class, NaN without any scored pixel."""
        total = self.confusion.sum()
        return float(self._hits.sum() / total) if total else float("nan")

    @property
    def _hits(self):
        return np.diagonal(self.confusion)

    @property
    def _true(self):
        return self.confusion.sum(axis=1)

    @property
    def _predicted(self):
        return self.confusion[:, :-1].sum(axis=0)

    def _per_class(self, numerator, denominator):
        occurs = self._true + self._predicted > 0
        return np.where(occurs, numerator / np.maximum(denominator, 1), np.nan)


def semantic_scores(gt, pred, classes=4):
    """Return the scores of one predicted class map.

    Parameters
    ----------
    gt : array_like, shape (H, W)
        True class per pixel, 0 to `classes` - 1; pixels with any higher value (unlabeled, white) are not
        scored.
    pred : array_like, shape (H, W)
        Predicted class per pixel; a value of `classes` or more (a background output, say) is always an error.
    classes : int
        Number of classes, 4 in BCSS-WSSS and LUAD-HistoSeg.

    Returns
    -------
    SemanticScores

    Raises
    ------
    DataError
        Maps that are not 2-D and integer, have negative values or different sizes, or fewer than one class.

    Examples
    --------
    >>> scores = semantic_scores([[0, 0, 1, 9]], [[0, 1, 1, 0]], classes=2)
    >>> scores.iou.tolist(), round(scores.pixel_accuracy, 3)
    ([0.5, 0.5], 0.667)
    """
    if classes < 1:
        raise DataError(f"there must be at least one class, got {classes}")
    gt, pred = as_label_pair(gt, pred)
    scored = gt < classes
    flat = gt[scored].astype(np.int64) * (classes + 1) + np.minimum(pred[scored], classes)
    return SemanticScores(np.bincount(flat, minlength=classes * (classes + 1)).reshape(classes, classes + 1))


def _mean(values):
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
