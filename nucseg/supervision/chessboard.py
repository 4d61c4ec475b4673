"""Distance of every pixel to the edge of its own nucleus, the target of DIST."""

import numpy as np
from scipy import ndimage

from nucseg.arrays import as_label_map


def chessboard_distance(labels):
    """Return how deep each pixel lies in its nucleus, in steps to any of the eight neighbors.

    Each nucleus is measured on its own, so pixels where two nuclei touch are at distance 1 (Naylor et al., IEEE TMI
    38(2), 2019). Distances are whole pixels and not divided by the size of the nucleus (the authors' release,
    PeterJackNaylor/DRFNS). The border of the image is not an edge (release), since a nucleus may go on beyond it.

    Parameters
    ----------
    labels : array_like, shape (H, W), integer
        Instance map, 0 = background.

    Returns
    -------
    numpy.ndarray, shape (H, W), int32
        Distance to the nearest pixel outside the nucleus, px: 0 in the background, 1 at the edge of a nucleus.
        A nucleus that fills the whole image has no such pixel; all of it is at ``max(H, W)``.

    Raises
    ------
    DataError
        Not a label map.

    Examples
    --------
    >>> chessboard_distance([[1, 1, 1, 1, 2, 0]]).tolist()
    [[4, 3, 2, 1, 1, 0]]
    """
    labels = as_label_map(labels)
    distance = np.zeros(labels.shape, np.int32)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        # One pixel around the nucleus is enough: the nearest pixel outside is never farther than its bounding box.
        window = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
        own = labels[window] == number
        if own.all():
            distance[window] = max(labels.shape)
        else:
            distance[window][own] = ndimage.distance_transform_cdt(own, metric="chessboard")[own]
    return distance
