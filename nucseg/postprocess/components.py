"""Instances as connected components of a mask, the step that ends most weakly supervised methods."""

import numpy as np
from scipy import ndimage

from nucseg.errors import DataError

_NEIGHBORS = {4: ndimage.generate_binary_structure(2, 1), 8: ndimage.generate_binary_structure(2, 2)}


def components(mask, min_size=0, connectivity=8, fill_holes=False):
    """Return the connected components of a mask as instances.

    The order of steps is that of Qu et al. (2020) in their release: label, remove small components, fill
    holes.

    Parameters
    ----------
    mask : array_like, shape (H, W)
        Foreground where True or above 0.
    min_size : int
        Components of fewer pixels than this are removed; 20 in Qu et al.
    connectivity : int
        8 if pixels that touch at a corner are connected, 4 if they must share an edge.
    fill_holes : bool
        Give each background hole to the foreground around it. A component inside a hole becomes part of the
        one around it.

    Returns
    -------
    numpy.ndarray, shape (H, W), int32
        Ids 1..n in raster order of the first pixel, 0 = background.

    Raises
    ------
    DataError
        A mask that is not 2-D or not bool or integer, or another connectivity.

    Examples
    --------
    >>> components([[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]], min_size=2).tolist()
    [[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.size == 0 or mask.dtype.kind not in "bui":
        raise DataError(f"mask: expected a 2-D bool or integer array, got {mask.shape}, {mask.dtype}")
    if connectivity not in _NEIGHBORS:
        raise DataError(f"connectivity is 4 or 8 neighbors, got {connectivity!r}")
    labels, count = ndimage.label(mask > 0, _NEIGHBORS[connectivity], output=np.int32)
    kept = np.bincount(labels.ravel(), minlength=count + 1) >= min_size
    kept[0] = False
    if not fill_holes:
        new_ids = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
        return new_ids[labels]
    # Holes of an 8-connected object are 4-connected background, and the other way round.
    filled = ndimage.binary_fill_holes(kept[labels], _NEIGHBORS[12 - connectivity])
    return ndimage.label(filled, _NEIGHBORS[connectivity], output=np.int32)[0]
