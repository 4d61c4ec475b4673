"""Checks of the maps that post-processing reads."""

import numpy as np

from nucseg.errors import DataError


def as_map(array, shape=None, name="map", lowest=-np.inf, highest=np.inf):
    """Return a map of one finite number per pixel as a C-contiguous float64 array.

    Parameters
    ----------
    array : array_like, shape (H, W), float, int or bool
        The values.
    shape : tuple of int, optional
        (H, W) that the map must have.
    name : str
        How the array is called in an error message.
    lowest, highest : float
        Range that the values must lie in, both ends included; 0 and 1 for probabilities.

    Returns
    -------
    numpy.ndarray, shape (H, W), float64

    Raises
    ------
    DataError
        Not 2-D, empty, not numeric, of another size, or a value that is not finite or lies outside the range.
    """
    array = np.asarray(array)
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "buif":
        raise DataError(f"{name}: expected a 2-D map of numbers, got shape {array.shape}, dtype {array.dtype}")
    if shape is not None and array.shape != tuple(shape):
        raise DataError(f"{name}: expected the shape {tuple(shape)} of the other maps, got {array.shape}")
    bad = ~(np.isfinite(array) & (array >= lowest) & (array <= highest))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        within = "finite" if np.isinf([lowest, highest]).all() else f"in [{lowest:g}, {highest:g}]"
        raise DataError(
            f"{name}: {int(bad.sum())} of {bad.size} values are not {within}; the first is {array[row, column]} "
            f"at (row, column) = ({row}, {column})"
        )
    return np.ascontiguousarray(array, dtype=np.float64)
