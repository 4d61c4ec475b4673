"""How right a weak label is, measured against the true masks."""

from dataclasses import dataclass

import numpy as np

from nucseg.arrays import as_label_map
from nucseg.errors import DataError


@dataclass(frozen=True)
class LabelQuality:
    """How much a weak label states and how much of that is wrong, as shares: 0 to 1, or NaN (of none).

    Parameters
    ----------
    nucleus, background, ignored : float
        Shares of the image with each label; they add up to 1.
    wrong : float
        Share of wrong pixels among those labeled nucleus or background.
    nucleus_wrong, background_wrong : float
        Share of wrong pixels among those labeled nucleus, and among those labeled background.
    nucleus_found : float
        Share of true nucleus pixels labeled nucleus (the label's recall).
    background_of_labeled : float
        Share of background among labeled pixels: how unbalanced the label is.
    """

    nucleus: float
    background: float
    ignored: float
    wrong: float
    nucleus_wrong: float
    background_wrong: float
    nucleus_found: float
    background_of_labeled: float


def label_quality(gt, label):
    """Return what a weak label states and how much of it is wrong.

    Parameters
    ----------
    gt : array_like, shape (H, W), int
        True instance map, 0 = background.
    label : array_like, shape (H, W), int
        Weak label: 1 nucleus, 0 background, -1 ignored.

    Returns
    -------
    LabelQuality

    Raises
    ------
    DataError
        Not a label map, another size, or other values than 1, 0 and -1.

    Examples
    --------
    >>> quality = label_quality([[7, 7, 0, 0]], [[1, 0, 0, -1]])
    >>> quality.wrong == 1 / 3, quality.nucleus_wrong, quality.background_wrong, quality.nucleus_found
    (True, 0.0, 0.5, 0.5)
    """
    truth, label = as_label_map(gt, "gt") > 0, np.asarray(label)
    if label.shape != truth.shape or label.dtype.kind not in "iu" or not np.isin(label, (-1, 0, 1)).all():
        raise DataError(
            f"label: expected 1, 0 or -1 for {truth.shape} pixels, got {label.dtype} of shape {label.shape} "
            f"with values {label.min(initial=0)} to {label.max(initial=0)}"
        )
    nucleus, background = np.sum(label == 1), np.sum(label == 0)
    false_nucleus, false_background = np.sum((label == 1) & ~truth), np.sum((label == 0) & truth)
    return LabelQuality(
        nucleus=_share(nucleus, label.size),
        background=_share(background, label.size),
        ignored=_share(np.sum(label == -1), label.size),
        wrong=_share(false_nucleus + false_background, nucleus + background),
        nucleus_wrong=_share(false_nucleus, nucleus),
        background_wrong=_share(false_background, background),
        nucleus_found=_share(nucleus - false_nucleus, truth.sum()),
        background_of_labeled=_share(background, nucleus + background),
    )


def _share(part, whole):
    return float(part / whole) if whole else float("nan")
