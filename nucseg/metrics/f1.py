"""F1 of instances at thresholds of the intersection over union (Costa et al., 2022)."""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from nucseg.errors import DataError
from nucseg.metrics.contingency import ContingencyTable, as_table

#: The ten thresholds 0.1, 0.2 ... 1.0 over which Costa et al. average.
TEN_THRESHOLDS = tuple(round(0.1 * step, 1) for step in range(1, 11))
#: An IoU this little below a threshold still reaches it, so that a computed 0.3 counts as 0.3.
TOLERANCE = 1e-9


class MatchCounts(NamedTuple):
    """Matched and unmatched instances at each threshold, int64 arrays of shape (T,)."""

    tp: np.ndarray  #: matched pairs
    fp: np.ndarray  #: predictions without a partner
    fn: np.ndarray  #: ground truths without a partner

    @property
    def f1(self):
        """2 TP / (2 TP + FP + FN) at each threshold, NaN where there is nothing on either side."""
        total = 2 * self.tp + self.fp + self.fn
        return np.where(total > 0, 2 * self.tp / np.maximum(total, 1), np.nan)


def f1_at_iou(gt, pred=None, thresholds=TEN_THRESHOLDS):
    """Return the F1 of instances at each threshold; the mean of the default ten is the paper's mean F1.

    At each threshold as many pairs as possible with IoU >= t are matched one-to-one.  For the F1 of a whole
    set of images give ``ContingencyTable.pooled(tables)``.

    Parameters
    ----------
    gt : array_like, shape (H, W), or ContingencyTable
        Ground-truth label map, 0 = background, or the table of both maps.
    pred : array_like, shape (H, W), optional
        Predicted label map.
    thresholds : sequence of float
        Each in (0, 1]; at 1 only pixel-identical instances match.

    Returns
    -------
    numpy.ndarray, shape (T,), float64
        In [0, 1]; 0 if one map is empty, NaN if both are.

    Raises
    ------
    DataError
        Unusable maps (see :func:`nucseg.metrics.as_table`) or a threshold outside (0, 1].

    Examples
    --------
    >>> f1_at_iou([[1, 1, 1, 1]], [[4, 4, 4, 0]], thresholds=[0.5, 0.75, 0.8]).tolist()
    [1.0, 1.0, 0.0]
    """
    return match_counts(as_table(gt, pred, flat=False), thresholds=thresholds).f1


def f1_of_masks(gt, pred, thresholds=TEN_THRESHOLDS):
    """Return the F1 of instances given as masks that may overlap one another.

    Intersections are taken on the full masks, as Costa et al. do for predicted shapes.

    Parameters
    ----------
    gt, pred : array_like, shape (N, H, W) bool, or (H, W) integer
        Stacks of masks or label maps; see :meth:`nucseg.metrics.ContingencyTable.from_masks`.
    thresholds : sequence of float
        Each in (0, 1].

    Returns
    -------
    numpy.ndarray, shape (T,), float64
        As :func:`f1_at_iou`.

    Raises
    ------
    DataError
        Unusable masks or a threshold outside (0, 1].
    """
    return match_counts(ContingencyTable.from_masks(gt, pred), thresholds=thresholds).f1


def match_counts(gt, pred=None, thresholds=TEN_THRESHOLDS):
    """Return TP, FP and FN at each threshold under the largest one-to-one matching of pairs with IoU >= t.

    Parameters
    ----------
    gt : array_like, shape (H, W), or ContingencyTable
        Ground-truth label map, 0 = background, or the table of both maps.
    pred : array_like, shape (H, W), optional
        Predicted label map.
    thresholds : sequence of float
        Each in (0, 1].

    Returns
    -------
    MatchCounts

    Raises
    ------
    DataError
        Unusable maps (see :func:`nucseg.metrics.as_table`) or a threshold outside (0, 1].
    """
    table = as_table(gt, pred, flat=False)
    return _counted(table, [_largest_matching(table, np.flatnonzero(table.jaccard >= t - TOLERANCE))
                            for t in _checked(thresholds)])


def match_counts_greedy(gt, pred=None, thresholds=TEN_THRESHOLDS):
    """Return TP, FP and FN where pairs are matched by falling IoU instead of as many as possible.

    It equals :func:`match_counts` above t = 0.5, where pairs of a label map are unique, and can fall below it
    elsewhere.

    Parameters
    ----------
    gt : array_like, shape (H, W), or ContingencyTable
        Ground-truth label map, 0 = background, or the table of both maps.
    pred : array_like, shape (H, W), optional
        Predicted label map.
    thresholds : sequence of float
        Each in (0, 1].

    Returns
    -------
    MatchCounts

    Raises
    ------
    DataError
        Unusable maps (see :func:`nucseg.metrics.as_table`) or a threshold outside (0, 1].
    """
    table = as_table(gt, pred, flat=False)
    free_gt, free_pred, taken = np.ones(table.n, bool), np.ones(table.m, bool), []
    for pair in np.argsort(-table.jaccard, kind="stable"):
        row, col = table.rows[pair], table.cols[pair]
        if free_gt[row] and free_pred[col]:
            free_gt[row] = free_pred[col] = False
            taken.append(pair)
    taken = np.array(taken, np.int64)
    return _counted(table, [taken[table.jaccard[taken] >= t - TOLERANCE] for t in _checked(thresholds)])


def _checked(thresholds):
    thresholds = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
    if thresholds.ndim != 1 or not ((thresholds > 0) & (thresholds <= 1)).all():
        raise DataError(f"thresholds of the IoU lie in (0, 1], got {thresholds.tolist()}")
    return thresholds


def _largest_matching(table, pairs):
    """Return the pairs of a one-to-one matching of maximum cardinality among `pairs`."""
    rows, cols = table.rows[pairs], table.cols[pairs]
    if max(np.bincount(rows).max(initial=0), np.bincount(cols).max(initial=0)) <= 1:
        return pairs
    # The values only carry the position of each pair through the sparse matrix; +1 because 0 is no entry.
    graph = csr_array((np.arange(1, len(pairs) + 1), (rows, cols)), shape=(table.n, table.m))
    partner = maximum_bipartite_matching(graph, perm_type="column")
    return pairs[partner[rows] == cols]


def _counted(table, matchings):
    counts = []
    for pairs in matchings:
        missed, surplus = table.gt_counts.copy(), table.pred_counts.copy()
        missed[table.rows[pairs]] = False
        surplus[table.cols[pairs]] = False
        counts.append((table.gt_counts[table.rows[pairs]].sum(), surplus.sum(), missed.sum()))
    return MatchCounts(*np.array(counts, np.int64).reshape(-1, 3).T)
