"""From a probability map of cell centers to the centers: one blob and one point for each.

Two rules, which return the same: connected blobs above a threshold, and local maxima. Blobs of neighbors can fuse at a
low threshold, and then two nuclei count as one; maxima tell such neighbors apart but make several centers of an uneven
blob.
"""

from typing import NamedTuple

import numpy as np
from skimage.feature import peak_local_max
from skimage.segmentation import watershed

from nucseg.errors import DataError
from nucseg.postprocess.components import components
from nucseg.postprocess.maps import as_map
from nucseg.supervision.points import centroids


class Centers(NamedTuple):
    """Cell centers found in a map."""

    blobs: np.ndarray  #: (H, W) int32, 0 = no blob; blob i + 1 belongs to point i
    points: np.ndarray  #: (N, 2) float64, row and column of a pixel of each blob, px


def center_blobs(center_map, threshold=0.05, min_size=10):
    """Return the blobs of a cell-center map and the point of each (Foo et al. 2022, sec. 3.3).

    Components of the map above the threshold, small ones removed, holes filled. The point of a blob is its centroid,
    rounded to a pixel; if that pixel is not the blob's own, the nearest one that is.

    Beware of 9 px: the target of a center is a square of 3 x 3 pixels, so a network that has learned it to perfection
    returns blobs of 9 px, which the published least size of 10 removes, every one. They survive only because a
    threshold of 0.05 makes them wider. Look at ``numpy.bincount(blobs.ravel())[1:]``; if the median is near 9, lower
    `min_size`.

    Parameters
    ----------
    center_map : array_like, shape (H, W), float
        Probability of a cell center, in [0, 1].
    threshold : float
        Blobs are 8-connected components of ``center_map > threshold``.
    min_size : int
        Blobs of fewer pixels are removed, before holes are filled.

    Returns
    -------
    Centers
        Blobs and points in reading order of the blobs' first pixels; no points in an empty map.

    Raises
    ------
    DataError
        Not a 2-D map of finite numbers in [0, 1].

    Examples
    --------
    >>> center_blobs([[0.0, 0.9, 0.9, 0.9, 0.0, 0.1]], min_size=2).points.tolist()
    [[0.0, 2.0]]
    """
    center_map = as_map(center_map, name="center_map", lowest=0, highest=1)
    blobs = components(center_map > threshold, min_size=min_size, fill_holes=True)
    return Centers(blobs, np.floor(centroids(blobs, inside=True) + 0.5))


def center_peaks(center_map, height=0.05, distance=4):
    """Return the local maxima of a cell-center map, each with the part of the map around it.

    The alternative to :func:`center_blobs` where blobs of neighbors fuse; it is not in the article. The blob of a
    peak is its basin: a watershed from the peaks divides the pixels above `height`. There is no least size.

    Parameters
    ----------
    center_map : array_like, shape (H, W), float
        Probability of a cell center, in [0, 1].
    height : float
        A peak is higher than this.
    distance : int
        No other value within this many rows and columns is higher, px; of equal ones the first in reading order
        counts. At least 1.

    Returns
    -------
    Centers
        Blobs and points in reading order of the peaks; no points in a map that is the same everywhere.

    Raises
    ------
    DataError
        Not a 2-D map of finite numbers in [0, 1], or a distance below 1.

    Examples
    --------
    >>> center_peaks([[0.0, 0.5, 0.9, 0.4, 0.6, 0.1]], distance=1).blobs.tolist()
    [[0, 1, 1, 1, 2, 2]]
    """
    center_map = as_map(center_map, name="center_map", lowest=0, highest=1)
    if distance < 1:
        raise DataError(f"center_peaks: distance is at least 1 px, got {distance}")
    peaks = peak_local_max(center_map, min_distance=int(distance), threshold_abs=height, exclude_border=False)
    peaks = peaks[np.lexsort(peaks.T[::-1])]
    markers = np.zeros(center_map.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    blobs = watershed(-center_map, markers, connectivity=2, mask=center_map > height)
    return Centers(blobs.astype(np.int32), peaks.astype(np.float64))
