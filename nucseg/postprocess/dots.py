"""From a probability map of nuclear centers to dots."""

import numpy as np
from scipy import ndimage

from nucseg.errors import DataError

_SQUARE = ndimage.generate_binary_structure(2, 2)


def points_from_map(prob, threshold=0.35, min_area=12, max_area=200):
    """Return the centroids of the connected regions above a threshold (release of Qu et al. 2020).

    Parameters
    ----------
    prob : array_like, shape (H, W), float
        Probability of a nuclear center, in [0, 1].
    threshold : float
        Regions are 8-connected components of ``prob >= threshold``; the article gives no number.
    min_area, max_area : int
        Regions of fewer than `min_area` or of at least `max_area` pixels are dropped, unless there is only
        one region. The release uses 200 on multi-organ images, 150 on lung cancer.

    Returns
    -------
    numpy.ndarray, shape (N, 2), float64
        Row and column, px, in reading order of the regions' first pixels.

    Raises
    ------
    DataError
        Not a 2-D map of finite numbers, or min_area above max_area.
    """
    prob = np.asarray(prob)
    if prob.ndim != 2 or not np.isfinite(prob).all():
        raise DataError(f"points_from_map: expected a 2-D map of finite numbers, got shape {prob.shape}")
    if min_area > max_area:
        raise DataError(f"points_from_map: min_area {min_area} is more than max_area {max_area}")
    regions, count = ndimage.label(prob >= threshold, _SQUARE)
    numbers = np.arange(1, count + 1)
    if count > 1:
        areas = np.bincount(regions.ravel(), minlength=count + 1)[1:]
        numbers = numbers[(areas >= min_area) & (areas < max_area)]
    if not len(numbers):
        return np.zeros((0, 2))
    return np.array(ndimage.center_of_mass(regions > 0, regions, numbers), np.float64)
