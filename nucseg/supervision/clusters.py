"""Cluster labels: k-means on color and distance to the dots, tidied inside each Voronoi cell.

The recipe is that of Qu et al. 2020 (sec. IV-A.2), with the constants of the authors' release.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from nucseg.arrays import as_image, as_pixels
from nucseg.errors import DataError
from nucseg.supervision.distance import nearest_points
from nucseg.supervision.voronoi import voronoi_cells

#: Colors are divided by this, so that 0-255 spans about the range of the distance.
COLOR_SCALE = 10.0
#: Distances to the nearest dot are cut here, px.
LARGEST_DISTANCE = 20.0
#: Radius of the disks whose overlap decides which cluster is background, px.
ROLE_RADIUS = 5
#: Pixels this near to a dot are never background, px.
SAFE_RADIUS = 10
#: Components of the nucleus cluster below this area are dropped, px.
SMALLEST_AREA = 30
#: Each cell's nucleus is dilated by the first radius and eroded by the second, px.
DILATION, EROSION = 5, 7

_ROLE_VALUES = {"nucleus": 1, "ignored": -1, "background": 0}
_SQUARE = ndimage.generate_binary_structure(2, 2)


@dataclass(frozen=True, eq=False)
class ClusterReport:
    """What the clusters of one image look like, to tell whether their roles are plausible.

    Each array has one row for each cluster, in the order of ``roles``.

    Parameters
    ----------
    roles : tuple of str
        ``("nucleus", "ignored", "background")``, shorter if the image has fewer distinct pixels, empty
        without dots.
    centers : numpy.ndarray, shape (K, 4), float64
        Mean red, green, blue (0 to 255) and distance to the nearest dot (px, cut at 20).
    pixel_share : numpy.ndarray, shape (K,), float64
        Share of the image in the cluster.
    dot_share : numpy.ndarray, shape (K,), float64
        Share of the dots in the cluster; the largest makes it nucleus.
    disk_share : numpy.ndarray, shape (K,), float64
        Share of the radius-5 disks around the dots in the cluster; of the two others, the smaller makes it
        background.
    inertia : float
        Sum of squared distances to the cluster centers, in feature units.
    """

    roles: tuple[str, ...]
    centers: np.ndarray
    pixel_share: np.ndarray
    dot_share: np.ndarray
    disk_share: np.ndarray
    inertia: float

    @property
    def contrast(self):
        """Distance between the mean colors of nucleus and background, 0 to 442; NaN without both."""
        if "background" not in self.roles:
            return float("nan")
        return float(np.linalg.norm(self.centers[0, :3] - self.centers[-1, :3]))


def cluster_roles(image, points, *, seed=0, restarts=10):
    """Return k-means clusters with their roles, before tidying (steps 1 to 3 of the recipe).

    Features of a pixel are its color / 10 and its distance to the nearest dot, cut at 20 px. The nucleus
    cluster holds the most dots; of the two others, background overlaps less with radius-5 disks around the
    dots; the third is ignored. A tie goes to the cluster nearer to the dots for nucleus, to the farther one
    for background.

    Parameters
    ----------
    image : array_like, shape (H, W, 3), uint8
        The color-normalized image, whole (not a patch).
    points : array_like, shape (N, 2)
        Row and column of the dots, px.
    seed : int
        Seed of k-means.
    restarts : int
        How often k-means starts anew; the best run counts.

    Returns
    -------
    roles : numpy.ndarray, shape (H, W), int8
        1 nucleus, 0 background, -1 ignored. Without dots no cluster can be named, and everything is ignored.
    report : ClusterReport
        Centers, shares and overlaps of the clusters.

    Raises
    ------
    DataError
        Bad image or points, or restarts below 1.
    """
    image = as_image(image)
    if restarts < 1:
        raise DataError(f"cluster_roles: restarts must be at least 1, got {restarts}")
    size = image.shape[:2]
    pixels = as_pixels(points, size)
    if len(pixels) == 0:
        none = np.zeros(0)
        return np.full(size, -1, np.int8), ClusterReport((), np.zeros((0, 4)), none, none, none, 0.0)
    distance, _ = nearest_points(pixels, size)
    features = np.empty((distance.size, 4))
    features[:, :3] = image.reshape(-1, 3) / COLOR_SCALE
    features[:, 3] = np.minimum(distance, LARGEST_DISTANCE).ravel()
    clusters, centers, inertia = _kmeans(features, seed, restarts)
    clusters = clusters.reshape(size)
    dotted = np.unique(pixels, axis=0)
    in_image = _shares(clusters.ravel(), len(centers))
    in_dots = _shares(clusters[dotted[:, 0], dotted[:, 1]], len(centers))
    in_disks = _shares(clusters[distance <= ROLE_RADIUS], len(centers))
    # Nucleus first, background last; ties are broken by the distance to the dots.
    nucleus = min(range(len(centers)), key=lambda k: (-in_dots[k], centers[k, 3]))
    others = [k for k in range(len(centers)) if k != nucleus]
    order = [nucleus, *sorted(others, key=lambda k: (-in_disks[k], centers[k, 3]))]
    names = ("nucleus", "background")[:len(order)] if len(order) < 3 else ("nucleus", "ignored", "background")
    value = np.empty(len(order), np.int8)
    value[order] = [_ROLE_VALUES[name] for name in names]
    centers = centers[order] * [COLOR_SCALE, COLOR_SCALE, COLOR_SCALE, 1]
    report = ClusterReport(names, centers, in_image[order], in_dots[order], in_disks[order], inertia)
    return value[clusters], report


def _shares(clusters, count):
    return np.bincount(clusters, minlength=count) / len(clusters)


def _kmeans(features, seed, restarts):
    """Return cluster numbers, centers and inertia of 3-means, the same on any number of cores."""
    # One thread: parallel partial sums arrive in any order, and their last bits with them.
    with threadpool_limits(1), warnings.catch_warnings():
        # Raised when an image has fewer than three distinct pixels; the caller sees fewer clusters.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = KMeans(min(3, len(features)), n_init=restarts, random_state=seed, copy_x=False).fit(features)
    used, clusters = np.unique(model.labels_, return_inverse=True)
    return clusters, model.cluster_centers_[used], float(model.inertia_)


def refine_roles(roles, points):
    """Return the cluster label from clusters with roles (steps 4 to 6 of the recipe).

    Components of the nucleus cluster below 30 px go; inside each Voronoi cell the rest is dilated by radius
    5, its holes are filled, and it is eroded by radius 7, so that boundaries become ignored. Background is
    what is left of the background cluster outside nuclei and at least 10 px away from every dot.

    Parameters
    ----------
    roles : array_like, shape (H, W), int8
        Output of :func:`cluster_roles`.
    points : array_like, shape (N, 2)
        Row and column of the dots, px.

    Returns
    -------
    numpy.ndarray, shape (H, W), int8
        1 nucleus, 0 background, -1 ignored.

    Raises
    ------
    DataError
        Bad points, or roles other than -1, 0 and 1.
    """
    roles = np.asarray(roles)
    if roles.ndim != 2 or roles.size == 0 or not np.isin(roles, (-1, 0, 1)).all():
        raise DataError(f"roles: expected a 2-D map of -1, 0, 1, got {roles.dtype} of shape {roles.shape}")
    parts, _ = ndimage.label(roles == 1, _SQUARE)
    area = np.bincount(parts.ravel())
    area[0] = 0
    nuclei = _refine_in_cells((area >= SMALLEST_AREA)[parts], voronoi_cells(points, roles.shape))
    distance, _ = nearest_points(points, roles.shape)
    labels = np.full(roles.shape, -1, np.int8)
    labels[(roles == 0) & (distance > SAFE_RADIUS)] = 0
    labels[nuclei] = 1
    return labels


def _refine_in_cells(nuclei, cells):
    """Return nuclei closed, filled and shrunk inside each cell."""
    owned = np.where(nuclei, cells, 0)
    refined = np.zeros(nuclei.shape, bool)
    margin = DILATION + 1
    for number, box in enumerate(ndimage.find_objects(owned), start=1):
        if box is None:
            continue
        # One pixel of background stays around the dilated nucleus, except at the border of the image, where
        # there is nothing: erosion must not nibble from there.
        window = tuple(slice(max(s.start - margin, 0), s.stop + margin) for s in box)
        nucleus = ndimage.distance_transform_edt(owned[window] != number) <= DILATION
        nucleus = ndimage.binary_fill_holes(nucleus)
        if not nucleus.all():
            nucleus = ndimage.distance_transform_edt(nucleus) > EROSION
        refined[window] |= nucleus
    return refined


def cluster_labels(image, points, *, seed=0, restarts=10):
    """Return the cluster label of an image and its dots (Qu et al. 2020, sec. IV-A.2, and its release).

    :func:`cluster_roles` followed by :func:`refine_roles`; call those two to see the clusters themselves, for
    in some images the roles of the two clusters without dots come out swapped.

    Parameters
    ----------
    image : array_like, shape (H, W, 3), uint8
        The color-normalized image, whole (not a patch).
    points : array_like, shape (N, 2)
        Row and column of the dots, px.
    seed : int
        Seed of k-means.
    restarts : int
        How often k-means starts anew; the best run counts.

    Returns
    -------
    numpy.ndarray, shape (H, W), int8
        1 nucleus, 0 background, -1 ignored. Without dots everything is ignored.

    Raises
    ------
    DataError
        Bad image or points, or restarts below 1.
    """
    roles, _ = cluster_roles(image, points, seed=seed, restarts=restarts)
    return refine_roles(roles, points)
