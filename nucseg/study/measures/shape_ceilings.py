"""What true nuclei would score if each were drawn as a simple shape, or found in the true mask alone."""

from itertools import product

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.segmentation import watershed

from nucseg.engine.crops import tile_corners
from nucseg.methods.crop_method import PatchPrediction
from nucseg.postprocess import components
from nucseg.postprocess.masks import InstanceMasks
from nucseg.study.measures.canonical_shape import Scores, pooled_scores

#: Distance that the middles of two nuclei keep at least in the watershed, px.
MIDDLES_APART = 5


def moment_ellipse(mask, rows, columns, disk=False):
    """Return the pixels of the ellipse, or disk, with the area, the center and the second moments of a mask.

    Parameters
    ----------
    mask : numpy.ndarray, shape (H, W), bool
        One nucleus.
    rows, columns : numpy.ndarray, shape (H, W), int
        Coordinates of the pixels.
    disk : bool
        Whether the moments are made equal in all directions.

    Returns
    -------
    numpy.ndarray, shape (H, W), bool
    """
    where = np.stack([rows[mask], columns[mask]]).astype(float)
    center = where.mean(axis=1)
    # A pixel is a square, not a point: its own second moment is 1/12.
    moments = np.cov(where, bias=True).reshape(2, 2) + np.eye(2) / 12
    if disk:
        moments = np.eye(2)
    # Semi-axes are twice the roots of the moments' eigenvalues, scaled so that the area is that of the mask.
    area = 4 * np.pi * np.sqrt(np.linalg.det(moments))
    offset = np.stack([rows - center[0], columns - center[1]])
    distance = np.einsum("iyx,ij,jyx->yx", offset, np.linalg.inv(moments * mask.sum() / area), offset)
    return distance < 4


def drawn(labels, disk=False):
    """Return all nuclei of a label map as moment ellipses or disks, (N, H, W) bool; each has a pixel at least."""
    rows, columns = np.mgrid[: labels.shape[0], : labels.shape[1]]
    found = []
    for name in np.unique(labels[labels > 0]):
        mask = labels == name
        shape = moment_ellipse(mask, rows, columns, disk)
        found.append(shape if shape.any() else mask)
    return np.array(found, bool).reshape(-1, *labels.shape)


def parted(mask):
    """Return the instances that a watershed on the distance to the background finds in a mask, (H, W) int32."""
    distance = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    peaks = peak_local_max(ndimage.gaussian_filter(distance, 1.0), min_distance=MIDDLES_APART, labels=components(mask))
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-distance, markers, mask=mask).astype(np.int32)


def _stack(labels):
    return (labels[None] == np.unique(labels[labels > 0])[:, None, None]).reshape(-1, *labels.shape)


CEILINGS = {
    "moment ellipses": drawn,
    "disks": lambda labels: drawn(labels, disk=True),
    "connected components": lambda labels: _stack(components(labels > 0)),
    "watershed": lambda labels: _stack(parted(labels > 0)),
}


def measure_ceilings(dataset, row):
    """Yield the scores of each image, as :func:`pooled_scores` does, of what is made of the truth itself."""
    side, make = row.settings["patch"], CEILINGS[row.settings["made"]]

    def scored():
        for sample in dataset:
            scores, (height, width) = Scores(), sample.labels.shape
            for corner in product(tile_corners(height, side), tile_corners(width, side)):
                labels = sample.labels[corner[0] : corner[0] + side, corner[1] : corner[1] + side]
                masks = InstanceMasks.from_stack(make(labels))
                found = PatchPrediction(corner, masks.union().astype(np.float32), masks, len(masks))
                scores.add_patch(labels, found)
            yield sample, scores

    return (yield from pooled_scores(scored()))
