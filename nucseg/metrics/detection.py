"""Scores of detected points against true centers (Qu et al., 2020, section IV-B)."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from nucseg.arrays import as_points
from nucseg.errors import DataError
from nucseg.metrics.aggregate import ratio
from nucseg.metrics.assignment import max_weight_assignment


@dataclass(frozen=True, eq=False)
class DetectionScores:
    """Which true points were found, and how far off; everything else follows.

    Parameters
    ----------
    pairs : numpy.ndarray, shape (TP, 2), int64
        Row numbers of each matched true point and detection; of the concatenated points after pooling.
    distances : numpy.ndarray, shape (TP,), float64
        Distance in pixels of each pair.
    n_gt, n_pred : int
        Number of true points and of detections.
    """

    pairs: np.ndarray
    distances: np.ndarray
    n_gt: int
    n_pred: int

    @classmethod
    def pooled(cls, scores):
        """Return the scores over several images: counts and distances of all of them together.

        Parameters
        ----------
        scores : iterable of DetectionScores
            One or more.

        Returns
        -------
        DetectionScores

        Raises
        ------
        DataError
            No scores at all.
        """
        scores = list(scores)
        if not scores:
            raise DataError("nothing to pool: no detection scores were given")
        sizes = np.array([[s.n_gt, s.n_pred] for s in scores])
        starts = np.cumsum(sizes, axis=0) - sizes
        n_gt, n_pred = (int(total) for total in sizes.sum(axis=0))
        return cls(np.concatenate([s.pairs + start for s, start in zip(scores, starts)]),
                   np.concatenate([s.distances for s in scores]), n_gt, n_pred)

    @property
    def tp(self):
        """Matched pairs."""
        return len(self.distances)

    @property
    def fp(self):
        """Detections without a true point."""
        return self.n_pred - self.tp

    @property
    def fn(self):
        """True points without a detection."""
        return self.n_gt - self.tp

    @property
    def precision(self):
        """TP / (TP + FP); 0 without detections, NaN without points on either side."""
        return self._share(self.tp, self.n_pred, "precision")

    @property
    def recall(self):
        """TP / (TP + FN); 0 without true points, NaN without points on either side."""
        return self._share(self.tp, self.n_gt, "recall")

    @property
    def f1(self):
        """2 TP / (2 TP + FP + FN), NaN without points on either side."""
        return self._share(2 * self.tp, self.n_gt + self.n_pred, "F1")

    @property
    def mu_d(self):
        """Mean distance of the matched pairs in pixels, NaN without any."""
        return float(self.distances.mean()) if self.tp else float("nan")

    @property
    def sigma_d(self):
        """Standard deviation of these distances in pixels (divisor TP), NaN without any."""
        return float(self.distances.std()) if self.tp else float("nan")

    def _share(self, numerator, denominator, what):
        return ratio(numerator, denominator, what) if self.n_gt + self.n_pred else float("nan")


def detection_scores(gt_points, pred_points, radius):
    """Match detections one-to-one to true points within a radius: as many as possible, then as close as
    possible.

    Parameters
    ----------
    gt_points : array_like, shape (N, 2)
        True row/column positions in pixels.
    pred_points : array_like, shape (M, 2)
        Detected row/column positions in pixels.
    radius : float
        Largest distance of a match in pixels, inclusive; Qu et al. use the mean nuclear radius (11 on
        Multi-Organ).

    Returns
    -------
    DetectionScores

    Raises
    ------
    DataError
        Points that are not (N, 2) finite numbers, or a radius that is not positive.

    Examples
    --------
    >>> scores = detection_scores([[0, 0], [0, 10]], [[3, 4], [50, 50]], radius=5)
    >>> scores.tp, scores.fp, scores.fn, scores.mu_d
    (1, 1, 1, 5.0)
    """
    gt, pred, near, distances = _near(gt_points, pred_points, radius)
    # A bonus above any sum of distances makes one match more always worth it.
    bonus = radius * (1 + min(len(gt), len(pred)))
    chosen = max_weight_assignment(near[:, 0], near[:, 1], bonus + radius - distances, (len(gt), len(pred)))
    return DetectionScores(near[chosen], distances[chosen], len(gt), len(pred))


def detection_scores_greedy(gt_points, pred_points, radius):
    """Match detections as the code released with Qu et al. (2020) does: greedily, in raster order.

    True points are visited by row, then column; each takes the nearest detection still free, provided that
    the distance is below the radius (strictly).  In crowds the result depends on the order.

    Parameters
    ----------
    gt_points : array_like, shape (N, 2)
        True row/column positions in pixels.
    pred_points : array_like, shape (M, 2)
        Detected row/column positions in pixels.
    radius : float
        Matches are nearer than this, in pixels.

    Returns
    -------
    DetectionScores

    Raises
    ------
    DataError
        Points that are not (N, 2) finite numbers, or a radius that is not positive.

    Examples
    --------
    >>> detection_scores_greedy([[0, 0]], [[3, 4]], radius=5).tp
    0
    """
    gt, pred, near, distances = _near(gt_points, pred_points, radius)
    inside = np.flatnonzero(distances < radius)
    rank = np.empty(len(gt), np.int64)
    rank[np.lexsort((gt[:, 1], gt[:, 0]))] = np.arange(len(gt))
    order = inside[np.lexsort((near[inside, 1], distances[inside], rank[near[inside, 0]]))]
    free_gt, free_pred, chosen = np.ones(len(gt), bool), np.ones(len(pred), bool), []
    for pair in order:
        i, j = near[pair]
        if free_gt[i] and free_pred[j]:
            free_gt[i] = free_pred[j] = False
            chosen.append(pair)
    chosen = np.array(chosen, np.int64)
    return DetectionScores(near[chosen], distances[chosen], len(gt), len(pred))


def _near(gt_points, pred_points, radius):
    """Return both point sets, the pairs within the radius (rows of indices) and their distances."""
    if not (np.isscalar(radius) and np.isfinite(radius) and radius > 0):
        raise DataError(f"radius is a positive number of pixels, got {radius!r}")
    gt, pred = as_points(gt_points, name="gt_points"), as_points(pred_points, name="pred_points")
    if not len(gt) or not len(pred):
        return gt, pred, np.zeros((0, 2), np.int64), np.zeros(0)
    # The tree works on squared distances; ask for a little more and decide on the exact distance.
    found = cKDTree(gt).query_ball_tree(cKDTree(pred), radius * (1 + 1e-9))
    near = np.array([(i, j) for i, js in enumerate(found) for j in sorted(js)], np.int64).reshape(-1, 2)
    distances = np.hypot(*(gt[near[:, 0]] - pred[near[:, 1]]).T)
    kept = distances <= radius
    return gt, pred, near[kept], distances[kept]
