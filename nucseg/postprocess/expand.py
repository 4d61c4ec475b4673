"""Expand: cell centers that lie in no nucleus grow into new ones, out of the relevance that explains them."""

import numpy as np
from scipy import ndimage
from skimage.segmentation import relabel_sequential

from nucseg.arrays import as_label_map, as_points
from nucseg.errors import DataError
from nucseg.metrics.contingency import ContingencyTable
from nucseg.postprocess.centers import Centers, center_blobs
from nucseg.postprocess.components import components
from nucseg.postprocess.maps import as_map
from nucseg.postprocess.pieces import largest_pieces
from nucseg.supervision.distance import nearest_points


def unassigned_blobs(labels, center_map, *, centers=None, rule="point"):
    """Return the cell centers that no nucleus holds, from which relevance is to start (Foo et al. 2022, sec. 3.3).

    Parameters
    ----------
    labels : array_like, shape (H, W), int
        Nuclei, 0 = background; before or after :func:`split_instances`, which keeps the foreground.
    center_map : array_like, shape (H, W), float
        Probability of a cell center, in [0, 1].
    centers : Centers, optional
        All centers of the map; those of :func:`center_blobs` by default.
    rule : str
        "point": a center is unassigned if its point lies in the background; "overlap": if all of its blob does.

    Returns
    -------
    Centers
        The unassigned ones in their order, blobs numbered anew.

    Raises
    ------
    DataError
        Not a label map, another size or values of the center map, centers of another form, or another rule.

    Examples
    --------
    >>> found = unassigned_blobs([[1, 1, 0, 0]], [[0.9, 0, 0, 0.9]], centers=Centers([[1, 0, 0, 2]], [(0, 0), (0, 3)]))
    >>> found.blobs.tolist(), found.points.tolist()
    ([[0, 0, 0, 1]], [[0.0, 3.0]])
    """
    labels = as_label_map(labels)
    center_map = as_map(center_map, labels.shape, "center_map", 0, 1)
    if rule not in ("point", "overlap"):
        raise DataError(f"unassigned blobs: rule is 'point' or 'overlap', got {rule!r}")
    blobs, points = center_blobs(center_map) if centers is None else _checked(centers, labels.shape)
    if rule == "point":
        free = labels[tuple(np.floor(points + 0.5).astype(np.int64).T)] == 0
    else:
        free = np.bincount(blobs[labels > 0], minlength=len(points) + 1)[1:] == 0
    numbers = np.concatenate([[0], np.where(free, np.cumsum(free), 0)]).astype(np.int32)
    return Centers(numbers[blobs], points[free])


def expand_centers(labels, center_map, heatmap, *, unassigned=None, normalize="blob", sigma=1.0, threshold=0.1,
                   min_size=10, reach=3.0, overlap="min", max_overlap=0.5, max_size=None):
    """Add a nucleus where relevance explains a cell center that lies in none (Foo et al. 2022, sec. 3.3).

    The heatmap is smoothed, divided by its maximum and cut at the threshold; small components go, holes are filled.
    A component is added unless it overlaps a nucleus too much; pixels they share stay with that nucleus, and of what
    is left the largest piece counts, if it reaches `min_size`. Centers whose heat meets get one nucleus together, which
    :func:`split_instances` can divide. Thresholds and the least size are published; smoothing, `normalize`, `reach`
    and the formula of the overlap, which the article leaves open, are ours.

    Parameters
    ----------
    labels : array_like, shape (H, W), int
        Nuclei, 0 = background; those of :func:`split_instances`.
    center_map : array_like, shape (H, W), float
        Probability of a cell center, in [0, 1].
    heatmap : array_like, shape (H, W), float
        Relevance of each pixel for the unassigned centers, of any scale; what is not above 0 counts for nothing.
    unassigned : Centers, optional
        The centers that the heatmap explains; those of :func:`unassigned_blobs` by default.
    normalize : str
        "blob": each pixel is divided by the maximum among the pixels with the same nearest unassigned point, so that
        a strong center does not hide a weak one. "image": all by one maximum.
    sigma : float
        Width of the Gaussian that smooths the heatmap first, px; 0 for none.
    threshold : float
        Heat above this is kept, as share of the maximum.
    min_size : int
        Components of fewer pixels are removed.
    reach : float, optional
        Components farther than this from every unassigned blob are removed, px; None keeps all.
    overlap, max_overlap : str, float
        A component is left out if its overlap with a nucleus is at least `max_overlap`: shared pixels over those of
        the smaller of the two ("min") or over those of both together ("iou").
    max_size : int, optional
        Components of more pixels are left out.

    Returns
    -------
    numpy.ndarray, shape (H, W), int32
        The given nuclei as 1..n in order of their ids, then the new ones in reading order of their
        components.

    Raises
    ------
    DataError
        Input as refused by :func:`unassigned_blobs`, a heatmap of another size or not finite, or an unknown option.
    """
    unassigned = unassigned_blobs(labels, center_map) if unassigned is None else unassigned
    labels = as_label_map(labels)
    as_map(center_map, labels.shape, "center_map", 0, 1)  # refused also where it is not needed
    blobs, points = _checked(unassigned, labels.shape)
    heatmap = as_map(heatmap, labels.shape, "heatmap")
    if normalize not in ("blob", "image") or overlap not in ("min", "iou") or not sigma >= 0:
        raise DataError(f"expand: expected normalize 'blob' or 'image', overlap 'min' or 'iou' and sigma >= 0, "
                        f"got {normalize!r}, {overlap!r} and {sigma}")
    heat = _normalized(ndimage.gaussian_filter(heatmap, sigma) if sigma else heatmap, points, normalize)
    found = _reached(components(heat > threshold, min_size=min_size, fill_holes=True), blobs, reach)
    return _added(labels, found, overlap, max_overlap, max_size or np.inf, min_size)


def _checked(centers, shape):
    """Return blobs and points of centers, checked against the size of the image and one another."""
    blobs, points = as_label_map(centers[0], "blobs"), as_points(centers[1], shape, "centers")
    if blobs.shape != shape or blobs.max() > len(points):
        raise DataError(
            f"centers: expected blobs of shape {shape}, numbered up to {len(points)}, the number of points, "
            f"got shape {blobs.shape}, numbers up to {blobs.max()}"
        )
    return blobs, points


def _normalized(heat, points, normalize):
    if not len(points):
        return np.zeros_like(heat)
    if normalize == "image":
        top = heat.max()
    else:
        _, nearest = nearest_points(points, heat.shape)
        tops = np.full(len(points), -np.inf)
        np.maximum.at(tops, nearest.ravel(), heat.ravel())
        top = tops[nearest]
    # Where nothing is above 0 nothing may be kept.
    return np.divide(heat, top, out=np.zeros_like(heat), where=top > 0)


def _reached(found, blobs, reach):
    if reach is None or not found.any():
        return found
    distance = ndimage.distance_transform_edt(blobs == 0)
    kept = np.zeros(found.max() + 1, bool)
    kept[found[distance <= reach]] = True
    return np.where(kept[found], found, 0)


def _added(labels, found, overlap, max_overlap, max_size, min_size):
    table = ContingencyTable.from_labels(labels, found)
    smaller = np.minimum(table.gt_areas[table.rows], table.pred_areas[table.cols])
    share = table.overlaps / smaller if overlap == "min" else table.jaccard
    refused = table.pred_areas > max_size
    refused[table.cols[share >= max_overlap]] = True
    is_out = np.zeros(found.max() + 1, bool)
    is_out[table.pred_ids[refused]] = True
    rest = largest_pieces(np.where((labels > 0) | is_out[found], 0, found), min_size)
    known, new = (relabel_sequential(part)[0].astype(np.int32) for part in (labels, rest))
    return np.where(new > 0, known.max() + new, known).astype(np.int32)
