"""Pictures of class maps: one color for each tissue class, white for what has none."""

import numpy as np

from nucseg.errors import DataError
from nucseg.viz.style import CYCLE, rgb


def class_palette(classes):
    """Return the color of each class and, behind them, white.

    Parameters
    ----------
    classes : int
        Number of classes, 1 to 7: each has its color of the book's cycle.

    Returns
    -------
    numpy.ndarray, shape (classes + 1, 3), uint8

    Raises
    ------
    DataError
        More classes than colors, or none.
    """
    if not 1 <= classes <= len(CYCLE):
        raise DataError(f"class map: there are colors for 1 to {len(CYCLE)} classes, not for {classes}")
    return np.concatenate([[rgb(color) for color in CYCLE[:classes]], [rgb("white")]]).astype(np.uint8)


def class_colors(labels, classes=4):
    """Return a picture of a class map.

    Parameters
    ----------
    labels : array_like, shape (H, W), integer
        Class of each pixel, from 0; pixels of another value (white background, no class) are white.
    classes : int
        Number of classes, 1 to 7: each has its color of the book's cycle.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8

    Raises
    ------
    DataError
        Not a map of integers, or more classes than colors.

    Examples
    --------
    >>> class_colors([[0, 4]])[0].tolist()
    [[0, 114, 178], [255, 255, 255]]
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.size == 0 or labels.dtype.kind not in "ui":
        raise DataError(f"class map: expected integers (H, W), got {labels.dtype} {labels.shape}")
    return class_palette(classes)[np.where((labels >= 0) & (labels < classes), labels, classes)]
