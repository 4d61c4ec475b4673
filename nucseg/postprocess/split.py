"""Split: objects that hold several cell centers are divided among them."""

import numpy as np
from skimage.segmentation import relabel_sequential

from nucseg.arrays import as_label_map, as_pixels
from nucseg.errors import DataError
from nucseg.postprocess import clumps
from nucseg.postprocess.centers import center_blobs
from nucseg.postprocess.maps import as_map
from nucseg.postprocess.pieces import settle_parts

_METHODS = {
    "gmm": clumps.by_mixture,
    "gmm-tied": clumps.by_tied_mixture,
    "gmm-uniform": clumps.by_uniform_mixture,
    "nearest": clumps.by_distance,
    "kmeans": clumps.by_k_means,
    "watershed-distance": clumps.by_depth,
    "watershed-center": clumps.by_center_map,
}


def split_instances(labels, center_map, *, centers=None, method="gmm", floor=0.05, min_size=10):
    """Divide each object with two or more cell centers into one nucleus per center (Foo et al. 2022, sec. 3.3).

    All pixels of such an object are clustered by a Gaussian mixture in which a pixel counts as much as its value in
    the center map. These values are nearly 0 but for a spot at each center, so covariances shrink to the spots and say
    little about nuclei; hence the floor, which is ours. ``floor=0`` is the article's weight. Of a nucleus in several
    pieces the one with the mean of its Gaussian stays (else the largest); the others, and nuclei below `min_size`, go
    to the neighbor within the object that they share most border with. The foreground stays as it is, and the order
    of the centers does not matter.

    Parameters
    ----------
    labels : array_like, shape (H, W), int
        Objects, 0 = background; each id is one object, whatever touches it.
    center_map : array_like, shape (H, W), float
        Probability of a cell center, in [0, 1].
    centers : array_like, shape (N, 2), optional
        Row and column of the centers, px; those of :func:`center_blobs` by default. A center belongs to the object of
        its pixel, and several on one pixel count once.
    method : str
        "gmm"; for comparison "gmm-tied" (one covariance for all nuclei of an object), "gmm-uniform" (all pixels weigh
        the same), "nearest" (nearest center), "kmeans" (from the centers), "watershed-distance" and
        "watershed-center" (from the centers, on the distance to the object's edge or on the center map).
    floor : float
        Least weight of a pixel in "gmm" and "gmm-tied", 0 to 1.
    min_size : int
        Smaller nuclei are merged, px; objects that are not divided stay, whatever their size.

    Returns
    -------
    numpy.ndarray, shape (H, W), int32
        Ids 1..n in order of the objects' ids, the nuclei of one object in reading order of their centers.

    Raises
    ------
    DataError
        Not a label map, another size or values of the center map, centers outside the image, an unknown method, or a
        floor outside 0 to 1.

    Examples
    --------
    >>> labels, center_map = [[5, 5, 5, 5, 5, 5, 0, 9]], [[0, 0.9, 0, 0, 0.9, 0, 0, 0]]
    >>> split_instances(labels, center_map, centers=[(0, 1), (0, 4)], min_size=1).tolist()
    [[1, 1, 1, 2, 2, 2, 0, 3]]
    """
    labels = as_label_map(labels)
    center_map = as_map(center_map, labels.shape, "center_map", 0, 1)
    if method not in _METHODS:
        raise DataError(f"split: method is one of {', '.join(_METHODS)}, got {method!r}")
    if not 0 <= floor <= 1:
        raise DataError(f"split: floor lies between 0 and 1, got {floor}")
    centers = center_blobs(center_map).points if centers is None else centers
    return _split(labels, center_map, as_pixels(centers, labels.shape, "centers"), _METHODS[method], floor, min_size)


def _split(labels, center_map, centers, cluster, floor, min_size):
    objects = relabel_sequential(labels)[0].astype(np.int32)
    centers = np.unique(centers, axis=0)
    owner = objects[tuple(centers.T)]
    centers = centers[np.argsort(owner, kind="stable")]
    counts = np.bincount(owner, minlength=objects.max() + 1)
    # An object has as many numbers as centers, at least one; the first of them stands for all of it for now.
    room = np.maximum(counts, 1)
    room[0] = 0
    numbers = (1 + np.cumsum(room) - room) * (room > 0)
    divided = np.flatnonzero((counts > 1) & (room > 0))
    if not len(divided):
        return objects
    pixels, members = _members(objects, divided)
    starts = np.cumsum(counts) - counts
    parts, places, offset = np.zeros_like(objects), [], 1
    for number, index in zip(divided, members):
        own = centers[starts[number] : starts[number] + counts[number]]
        assignment, place = cluster(pixels[index], center_map[tuple(pixels[index].T)], own, floor)
        parts[tuple(pixels[index].T)] = offset + assignment
        places.append(place)
        offset += len(own)
    owners = np.repeat(divided, counts[divided])
    parts = settle_parts(parts, owners, np.concatenate(places), min_size)
    within = np.arange(len(owners)) - np.repeat(np.cumsum(counts[divided]) - counts[divided], counts[divided])
    number_of = np.concatenate([[0], numbers[owners] + within])
    result = np.where(parts > 0, number_of[parts], numbers[objects])
    return relabel_sequential(result)[0].astype(np.int32)


def _members(objects, wanted):
    """Return the pixels of the wanted objects, (n, 2), sorted by object, and one slice of them per object."""
    is_wanted = np.zeros(objects.max() + 1, bool)
    is_wanted[wanted] = True
    flat = np.flatnonzero(is_wanted[objects])
    owner = objects.ravel()[flat]
    order = np.argsort(owner, kind="stable")
    pixels = np.stack(np.unravel_index(flat[order], objects.shape), axis=1)
    ends = np.searchsorted(owner[order], wanted, side="right")
    starts = np.searchsorted(owner[order], wanted)
    return pixels, [slice(start, end) for start, end in zip(starts, ends)]
