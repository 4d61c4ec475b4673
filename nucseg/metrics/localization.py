"""How much of a class its activation map covers, and how much of the map lies elsewhere."""

from dataclasses import dataclass

import numpy as np

from nucseg.errors import DataError


@dataclass(frozen=True, eq=False)
class LocalizationScores:
    """Pixels of each class, of its activated part, and of both.

    Parameters
    ----------
    hits, activated, true : numpy.ndarray, shape (C,), int64
        Pixels that are activated and of the class, activated, of the class.
    """

    hits: np.ndarray
    activated: np.ndarray
    true: np.ndarray

    @classmethod
    def pooled(cls, scores):
        """Return the scores of several images together.

        Parameters
        ----------
        scores : iterable of LocalizationScores
            One or more, of the same classes.

        Returns
        -------
        LocalizationScores

        Raises
        ------
        DataError
            No scores at all, or different numbers of classes.
        """
        scores = list(scores)
        if len({score.hits.shape for score in scores}) != 1:
            raise DataError(f"cannot pool localization scores of {[len(s.hits) for s in scores]} classes")
        return cls(*(np.sum([getattr(s, name) for s in scores], axis=0) for name in ("hits", "activated", "true")))

    @property
    def coverage(self):
        """Share of the class that is activated, shape (C,); NaN where the class does not occur."""
        return np.where(self.true > 0, self.hits / np.maximum(self.true, 1), np.nan)

    @property
    def false_share(self):
        """Share of the activated pixels that are not of the class, shape (C,); NaN where none is activated."""
        return np.where(self.activated > 0, 1 - self.hits / np.maximum(self.activated, 1), np.nan)

    @property
    def mean_coverage(self):
        """Mean coverage over the classes that occur, NaN if none does."""
        return _mean(self.coverage)

    @property
    def mean_false_share(self):
        """Mean false share over the classes with an activated pixel, NaN if there is none."""
        return _mean(self.false_share)


def localization_scores(gt, maps, threshold=0.5):
    """Return what activation maps of one image cover at a threshold.

    A map that covers little of its class is incomplete; one with a large false share is activated where the class is
    not. The highest of several maps may be right everywhere in either case, so no score of labels tells.

    Parameters
    ----------
    gt : array_like, shape (H, W), integer
        True class per pixel, 0 to C - 1; pixels with any higher value are not scored.
    maps : array_like, shape (C, H, W), float
        One map for each class.
    threshold : float
        Pixels above it are activated.

    Returns
    -------
    LocalizationScores

    Raises
    ------
    DataError
        Shapes that do not belong together, or classes that are not integers of 0 or more.

    Examples
    --------
    >>> scores = localization_scores([[0, 0, 1, 4]], [[[0.9, 0.1, 0.8, 1.0]], [[0.0, 0.2, 0.6, 0.0]]])
    >>> scores.coverage.tolist(), scores.false_share.tolist()
    ([0.5, 1.0], [0.5, 0.0])
    """
    gt, maps = np.asarray(gt), np.asarray(maps)
    if gt.ndim != 2 or maps.ndim != 3 or maps.shape[1:] != gt.shape or len(maps) == 0:
        raise DataError(f"localization: expected gt (H, W) and maps (C, H, W), got {gt.shape} and {maps.shape}")
    if gt.dtype.kind not in "ui" or (gt.size and gt.min() < 0):
        raise DataError(f"localization: classes must be integers of 0 or more, got {gt.dtype} from {gt.min()}")
    own = gt[None] == np.arange(len(maps))[:, None, None]
    activated = (maps > threshold) & (gt < len(maps))
    return LocalizationScores(*(part.sum(axis=(1, 2)).astype(np.int64) for part in (own & activated, activated, own)))


def _mean(values):
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
