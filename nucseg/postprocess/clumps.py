"""Ways to divide the pixels of one clump among its centers.

Each takes the clump's pixels, (n, 2) whole rows and columns; the values of the center map there, (n,) in [0, 1]; its
centers, (k, 2) different pixels of the clump with k at least 2; and the least weight of a pixel. Each returns the
number of the center that every pixel goes to, 0 to k - 1, and the place of each part, (k, 2).
"""

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.segmentation import watershed

from nucseg.postprocess.mixture import fit_mixture

_MOST_ROUNDS = 300


def by_mixture(pixels, values, centers, floor, tied=False):
    """Divide by a Gaussian mixture, pixels weighted by their values; where all weigh 0, all count the same."""
    weighs = max(floor, values.max()) > 0
    fitted = fit_mixture(pixels, centers, values if weighs else None, floor=floor, tied=tied)
    return fitted.assignment, fitted.means


def by_tied_mixture(pixels, values, centers, floor):
    """Divide by a Gaussian mixture whose members share one covariance."""
    return by_mixture(pixels, values, centers, floor, tied=True)


def by_uniform_mixture(pixels, values, centers, floor):
    """Divide by a Gaussian mixture in which all pixels count the same."""
    return by_mixture(pixels, values, centers, floor=1.0)


def by_distance(pixels, values, centers, floor):
    """Give each pixel to the nearest center."""
    return cKDTree(centers).query(pixels)[1], centers


def by_k_means(pixels, values, centers, floor):
    """Divide by k-means from the centers (Lloyd's rounds), all pixels alike."""
    means, assignment = centers.astype(np.float64), None
    for _ in range(_MOST_ROUNDS):
        old, assignment = assignment, cKDTree(means).query(pixels)[1]
        if np.array_equal(old, assignment):
            break
        area = np.bincount(assignment, minlength=len(means))
        sums = [np.bincount(assignment, axis, len(means)) for axis in pixels.T]
        # A mean without pixels stays.
        means = np.where(area[:, None] > 0, np.stack(sums, axis=1) / np.maximum(area, 1)[:, None], means)
    return assignment, means


def by_depth(pixels, values, centers, floor):
    """Divide by a watershed from the centers on the distance to the edge of the clump, deepest inside."""
    return _flooded(pixels, centers, lambda inside, _: -ndimage.distance_transform_edt(inside)), centers


def by_center_map(pixels, values, centers, floor):
    """Divide by a watershed from the centers on the center map, deepest where it is highest."""
    def surface(inside, at):
        heights = np.zeros(inside.shape)
        heights[at] = -values
        return heights

    return _flooded(pixels, centers, surface), centers


def _flooded(pixels, centers, surface):
    # A frame of one pixel, which is the edge of the clump also where the image ends.
    corner = pixels.min(axis=0) - 1
    at = tuple((pixels - corner).T)
    inside = np.zeros(pixels.max(axis=0) - corner + 2, bool)
    inside[at] = True
    markers = np.zeros(inside.shape, np.int32)
    markers[tuple((centers - corner).T)] = np.arange(1, len(centers) + 1)
    assignment = watershed(surface(inside, at), markers, connectivity=2, mask=inside)[at] - 1
    # Water does not reach an island without a center.
    dry = assignment < 0
    if dry.any():
        assignment[dry] = cKDTree(centers).query(pixels[dry])[1]
    return assignment
