"""The aggregated Jaccard index in its three forms.

All three divide matched pixels by matched plus unmatched pixels of the whole image; they differ in how
instances are matched and in what a missed nucleus costs.  A number called "AJI" may be any of them.
"""

import numpy as np

from nucseg.metrics.aggregate import ratio
from nucseg.metrics.assignment import max_weight_assignment
from nucseg.metrics.contingency import as_table


def aji(gt, pred=None):
    """Return the aggregated Jaccard index of Kumar et al. (2017), as in their official code.

    Every ground truth takes the prediction of highest Jaccard index, even if another one has taken it
    already; a prediction that merges k nuclei therefore enters the denominator k times.  A ground truth
    without overlap adds its area, and so does a prediction that nobody took.  With an empty S(G_i) this is
    also eq. 13 of Qu et al. (2020).

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
    Two nuclei of two pixels each, merged by the prediction:

    >>> aji([[1, 1, 2, 2]], [[1, 1, 1, 1]])
    0.5
    """
    return _best_match_index(as_table(gt, pred), release=False)


def aji_release(gt, pred=None):
    """Return the aggregated Jaccard index as the code released with Qu et al. (2020) computes it.

    As :func:`aji`, but a ground truth without overlap is matched to predicted object number 1 of its image,
    because the arg-max over a row of zeros is the first entry.  Each miss then also costs the area of that
    object, and the object counts as taken.  The releases of Naylor et al. (2018) and of several later methods
    share this.

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
    One nucleus missed, one found exactly:

    >>> aji([[1, 0, 2]], [[0, 0, 1]]), round(aji_release([[1, 0, 2]], [[0, 0, 1]]), 3)
    (0.5, 0.333)
    """
    return _best_match_index(as_table(gt, pred), release=True)


def aji_plus(gt, pred=None):
    """Return AJI+, the aggregated Jaccard index under the best one-to-one matching (Graham et al., 2019).

    Pairs are chosen so that the sum of their Jaccard indices is largest; the areas of all instances left
    over, on either side, enter the denominator once.

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
    >>> round(aji_plus([[1, 1, 2, 2]], [[1, 1, 1, 1]]), 3)
    0.333
    """
    table = as_table(gt, pred)
    if table.is_empty:
        return float("nan")
    matched = max_weight_assignment(table.rows, table.cols, table.jaccard, (table.n, table.m))
    missed = _untaken(table.rows[matched], table.n) & table.gt_counts
    return _index(table, matched, table.gt_areas[missed].sum())


def _best_match_index(table, release):
    if table.is_empty:
        return float("nan")
    best = table.best_for_gt(table.jaccard)
    missed = np.flatnonzero((best < 0) & table.gt_counts)
    cost = table.gt_areas[missed].sum()
    also_taken = np.zeros(0, np.int64)
    if release and table.m:
        # The first prediction of the image that a missed nucleus lies in, where the image has any prediction.
        first = np.minimum(np.searchsorted(table.pred_image, table.gt_image[missed]), table.m - 1)
        also_taken = first[table.pred_image[first] == table.gt_image[missed]]
        cost += table.pred_areas[also_taken].sum()
    return _index(table, best[best >= 0], cost, also_taken)


def _index(table, matched, cost, also_taken=()):
    """Return matched intersections over matched unions plus `cost` plus the predictions nobody took."""
    counted = matched[table.gt_counts[table.rows[matched]]]
    free = _untaken(table.cols[matched], table.m) & table.pred_counts
    free[np.asarray(also_taken, np.int64)] = False
    union = table.unions[counted].sum() + cost + table.pred_areas[free].sum()
    return ratio(table.overlaps[counted].sum(), union, "AJI")


def _untaken(taken, size):
    free = np.ones(size, bool)
    free[taken] = False
    return free
