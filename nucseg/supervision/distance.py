"""How far every pixel is from the nearest dot, and which dot that is."""

import numpy as np
from scipy import ndimage

from nucseg.arrays import as_pixels
from nucseg.errors import DataError


def image_size(shape):
    """Return (H, W) as two positive ints; a longer shape, such as that of an RGB image, is cut to two.

    Raises
    ------
    DataError
        Fewer than two numbers, or one that is not a positive whole number.
    """
    try:
        size = tuple(int(n) for n in shape[:2])
    except (TypeError, ValueError):
        size = ()
    if len(size) != 2 or min(size) < 1 or any(n != m for n, m in zip(size, shape)):
        raise DataError(f"shape: expected (rows, columns), both at least 1, got {shape!r}")
    return size


def nearest_points(points, shape):
    """Return the distance to the nearest dot and the number of that dot, for every pixel.

    Parameters
    ----------
    points : array_like, shape (N, 2)
        Row and column of the dots, px; each is moved to the nearest pixel center.
    shape : tuple of int
        (H, W) of the image.

    Returns
    -------
    distance : numpy.ndarray, shape (H, W), float64
        Euclidean distance, px; infinite everywhere without dots.
    nearest : numpy.ndarray, shape (H, W), int32
        Index into `points`; -1 everywhere without dots. Of several dots on one pixel the first counts, and a
        pixel at the same distance from two dots goes to one of them, whatever the order of `points`.

    Raises
    ------
    DataError
        Points of another form, not finite, or outside the image.

    Examples
    --------
    >>> distance, nearest = nearest_points([(0, 0), (0, 4)], (1, 5))
    >>> distance.tolist(), nearest[0, [0, 1, 3, 4]].tolist()
    ([[0.0, 1.0, 2.0, 1.0, 0.0]], [0, 0, 1, 1])
    """
    size = image_size(shape)
    pixels = as_pixels(points, size)
    if len(pixels) == 0:
        return np.full(size, np.inf), np.full(size, -1, np.int32)
    dotted, first = np.unique(np.ravel_multi_index(tuple(pixels.T), size), return_index=True)
    number = np.full(size, -1, np.int32)
    number.flat[dotted] = first
    distance, (rows, columns) = ndimage.distance_transform_edt(number < 0, return_indices=True)
    return distance, number[rows, columns]
