"""Confident learning: find labels that a network's probabilities contradict, and turn them around."""

import numpy as np

from nucseg.errors import DataError

#: A probability this little below a threshold still reaches it, as a mean of equal numbers must.
TOLERANCE = 1e-6


def label_errors(labels, prob):
    """Return which labels of two classes are probably wrong (Northcutt et al. 2021, sec. 3, "prune by noise rate").

    An item counts confidently for a class if its probability reaches the mean probability of that class over the
    items labeled so; where it reaches both, the likelier class counts. Among the items of a label that count, the
    share that counts for the other class is the noise rate of the label. As many items, those with the lowest
    probability of their own label, are wrong, except where the probability still favors their label.

    Parameters
    ----------
    labels : array_like, any shape, int or bool
        0 or 1.
    prob : array_like, the shape of `labels`, float
        Probability of class 1, in [0, 1], preferably of a network that did not memorize the labels.

    Returns
    -------
    numpy.ndarray, the shape of `labels`, bool
        All False where only one class occurs; at least one item of each class is kept.

    Raises
    ------
    DataError
        Shapes that differ, other labels, or values that are no probabilities.

    Examples
    --------
    >>> label_errors([0, 0, 0, 1, 1, 1], [0.1, 0.1, 0.9, 0.1, 0.9, 0.9]).tolist()
    [False, False, True, True, False, False]
    """
    labels, prob = np.asarray(labels), np.asarray(prob, np.float64)
    if labels.shape != prob.shape or not np.isin(labels, (0, 1)).all():
        raise DataError(
            f"label errors: expected labels 0 and 1 of the shape of the probabilities, got {labels.dtype} of shape "
            f"{labels.shape} and {prob.shape}"
        )
    if not ((prob >= 0) & (prob <= 1)).all():
        raise DataError("label errors: expected probabilities between 0 and 1")
    given, one = labels.astype(bool).ravel(), prob.ravel()
    wrong = np.zeros(given.shape, bool)
    if not given.any() or given.all():
        return wrong.reshape(labels.shape)
    own = np.where(given, one, 1 - one)
    is_one = one >= own[given].mean() - TOLERANCE
    is_zero = 1 - one >= own[~given].mean() - TOLERANCE
    guess = np.where(is_one & is_zero, one > 0.5, is_one)
    for value in (False, True):
        members = np.flatnonzero(given == value)
        counted = guess[members[(is_one | is_zero)[members]]]
        agree = max(1, (counted == value).sum())  # as in cleanlab: one item of each label is right
        rate = (counted != value).sum() / (agree + (counted != value).sum())
        number = min(int(np.rint(rate * len(members))), len(members) - 1)
        least = members[np.argsort(own[members], kind="stable")[:number]]
        wrong[least] = own[least] < 0.5
    return wrong.reshape(labels.shape)


def corrected_labels(labels, prob):
    """Return labels of two classes with the probable errors turned around, in both directions (Guo et al. 2021).

    Parameters
    ----------
    labels : array_like, any shape, int or bool
        0 or 1.
    prob : array_like, the shape of `labels`, float
        Probability of class 1, in [0, 1].

    Returns
    -------
    numpy.ndarray, the shape of `labels`, int8
        0 or 1; see :func:`label_errors`.

    Raises
    ------
    DataError
        As :func:`label_errors`.

    Examples
    --------
    >>> corrected_labels([0, 0, 0, 1, 1, 1], [0.1, 0.1, 0.9, 0.1, 0.9, 0.9]).tolist()
    [0, 0, 1, 0, 1, 1]
    """
    return (np.asarray(labels) != label_errors(labels, prob)).astype(np.int8)
