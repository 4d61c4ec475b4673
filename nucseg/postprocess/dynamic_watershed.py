"""Instances from a map of distances: watershed from minima of a least depth."""

import numpy as np
from scipy import ndimage
from skimage.morphology import local_minima, reconstruction
from skimage.segmentation import watershed

from nucseg.errors import DataError

_SQUARE = ndimage.generate_binary_structure(2, 2)
#: Largest distance that counts, px; larger ones are cut down to it (release of Naylor et al.).
LARGEST = 255


def dynamic_watershed(distance, depth=1, threshold=0.5, whole=True, lines=False):
    """Return the nuclei of a predicted distance map (Naylor et al., IEEE TMI 38(2), 2019).

    The map is turned upside down, and its basins that are no deeper than `depth` are filled. The minima left, within
    the foreground, are the markers of a watershed on the filled surface, which stays within the foreground. A part of
    the foreground without such a minimum is dropped. All steps follow the authors' release
    (PeterJackNaylor/DRFNS), except that there the most frequent region of an image was taken for its background.

    Parameters
    ----------
    distance : array_like, shape (H, W), float or integer
        Predicted distance to the edge of a nucleus, px; cut to [0, 255].
    depth : float
        Basins no deeper than this do not make a nucleus of their own, px; p1 of the release. 0 fills nothing.
    threshold : float
        The foreground is where the distance is above this, px; p2 of the release.
    whole : bool
        Whether distances are cut down to whole numbers first, as in the release.
    lines : bool
        Whether pixels that touch another nucleus, also at a corner, become background (release as first published).

    Returns
    -------
    numpy.ndarray, shape (H, W), int32
        Ids 1..n, 0 = background.

    Raises
    ------
    DataError
        Not a 2-D map of finite numbers, or a negative depth.

    Examples
    --------
    >>> distance = [[1, 2, 3, 1, 2, 1, 0]]
    >>> dynamic_watershed(distance, depth=0).tolist(), dynamic_watershed(distance, depth=1).tolist()
    ([[1, 1, 1, 1, 2, 2, 0]], [[1, 1, 1, 1, 1, 1, 0]])
    """
    distance = np.asarray(distance)
    if distance.ndim != 2 or distance.dtype.kind not in "buif" or not np.isfinite(distance).all():
        raise DataError(f"distance: expected a 2-D map of finite numbers, got {distance.shape}, {distance.dtype}")
    if depth < 0:
        raise DataError(f"depth: expected 0 or more, got {depth}")
    distance = distance.clip(0, LARGEST)
    if whole:
        distance = np.floor(distance)
    surface = LARGEST - distance.astype(np.float32)
    foreground = distance > threshold
    if depth:
        surface = reconstruction(np.minimum(surface + np.float32(depth), LARGEST), surface, method="erosion")
    markers, _ = ndimage.label(local_minima(surface, connectivity=2) & foreground, _SQUARE)
    labels = watershed(surface, markers, mask=foreground).astype(np.int32)
    return _without_lines(labels) if lines else labels


def _without_lines(labels):
    """Return labels less the pixels with a pixel of another nucleus among their eight neighbors, numbered anew."""
    nearest = np.where(labels > 0, labels, np.iinfo(np.int32).max)
    lowest, highest = ndimage.minimum_filter(nearest, 3), ndimage.maximum_filter(labels, 3)
    kept = np.where(lowest == highest, labels, 0)
    present = np.bincount(kept.ravel(), minlength=labels.max() + 1) > 0
    present[0] = False
    return np.where(present, np.cumsum(present), 0).astype(np.int32)[kept]
