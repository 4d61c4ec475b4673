"""Instances from a mask that does not separate them and boxes that do not outline them (Wang et al. 2024, DoNuSeg).

The article (sec. 2.1) says only that the predicted boxes distinguish instances from the semantic mask. Here are three
rules by which boxes share the foreground, the first of them ours:

* ``"nearest"``: a pixel inside at least one box goes to the box that minimizes max(|dy| / h, |dx| / w), its distance
  from the center by the sides of the box; of equal ones the higher score wins.
* ``"claim"``: from the highest score down, each box takes the largest 4-connected component of what is left inside it;
  at the end instances grow by one pixel along rows and columns into what belongs to none, also beyond the foreground
  (Zhang et al. 2022, DDTNet).
* ``"watershed"``: the foreground is flooded from the centers of the boxes, the pixels farthest from its edge first. A
  box whose center is no foreground gives no instance, and instances may reach beyond their box.

Pixels that touch at a corner are connected, except where a rule says otherwise.
"""

import numpy as np
from scipy import ndimage
from skimage.measure import label as label_equal
from skimage.segmentation import watershed

from nucseg.errors import DataError
from nucseg.postprocess.components import components

RULES = ("nearest", "claim", "watershed")
OUTSIDE = ("discard", "components")


def assemble(prob, boxes, scores, min_size=10, outside="discard", rule="nearest", threshold=0.5):
    """Return the instances of an image from its foreground and the boxes of its nuclei.

    The foreground is where `prob` is above `threshold`, holes filled and small components dropped; a rule shares it
    among the boxes. Of each instance the component that contains the center of the box stays, or else the
    largest one (of equally large ones the first in reading order), unless it is too small.

    Parameters
    ----------
    prob : array_like, shape (H, W), float
        Likelihood of a nucleus, 0 to 1.
    boxes : array_like, shape (N, 4), float
        Top, left, bottom, right edge in pixel coordinates; a pixel lies in a box if its middle does. Boxes may reach
        beyond the image; those without area give no instance.
    scores : array_like, shape (N,), float
        Of the boxes; of equal scores the first box comes first.
    min_size : int
        Smallest number of pixels of a component of the foreground and of an instance (before it grows).
    outside : {"discard", "components"}
        What becomes of foreground in no box: nothing, or its components of at least `min_size` px become instances.
    rule : {"nearest", "claim", "watershed"}
        See above.
    threshold : float
        0 to 1.

    Returns
    -------
    numpy.ndarray, shape (H, W), int32
        1 + the number of the box, so ids may have gaps; those above N lie outside all boxes; 0 = background. Each
        instance is connected.

    Raises
    ------
    DataError
        No map of likelihoods, boxes with edges that are not finite or not in this order, not one finite score for
        each box, another rule or `outside`, or a size or threshold out of range.

    Examples
    --------
    >>> assemble(np.ones((1, 7)), [(-0.5, -0.5, 0.5, 3.5), (-0.5, 1.5, 0.5, 5.5)], [0.9, 0.8], min_size=1).tolist()
    [[1, 1, 1, 2, 2, 2, 0]]
    """
    _check_settings(min_size, outside, rule, threshold)
    prob, boxes, scores = _checked(prob, boxes, scores)
    # Holes of an 8-connected foreground are 4-connected, which is what this function fills.
    mask = components(ndimage.binary_fill_holes(prob > threshold), min_size) > 0
    order = np.argsort(-scores, kind="stable")
    order = order[(boxes[order, :2] < boxes[order, 2:]).all(axis=1)]
    share = {"nearest": _nearest, "claim": _claim, "watershed": _watershed}[rule]
    labels = _one_component(share(mask, boxes, order), boxes, min_size)
    if outside == "components":
        labels += _outside(mask & (labels == 0), boxes, order, min_size)
    return _grown(labels, order + 1) if rule == "claim" else labels


def _check_settings(min_size, outside, rule, threshold):
    if rule not in RULES or outside not in OUTSIDE:
        raise DataError(
            f"assembly: expected one of {', '.join(RULES)} and of {', '.join(OUTSIDE)}, got {rule!r}, {outside!r}"
        )
    if min_size < 0 or not 0 <= threshold <= 1:
        raise DataError(f"assembly: expected a size of 0 or more, a threshold of 0 to 1, got {min_size}, {threshold}")


def _checked(prob, boxes, scores):
    prob, boxes, scores = np.asarray(prob), np.asarray(boxes), np.asarray(scores)
    # NaN fails both comparisons.
    if prob.ndim != 2 or prob.size == 0 or prob.dtype.kind not in "buif" or not ((prob >= 0) & (prob <= 1)).all():
        raise DataError(f"prob: expected a 2-D map of likelihoods in [0, 1], got {prob.shape}, {prob.dtype}")
    if boxes.size == 0:
        boxes = np.zeros((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype.kind not in "uif":
        raise DataError(f"boxes: expected numbers of shape (N, 4), got {boxes.shape}, {boxes.dtype}")
    boxes = boxes.astype(np.float64)
    bad = ~np.isfinite(boxes).all(axis=1) | (boxes[:, :2] > boxes[:, 2:]).any(axis=1)
    if bad.any():
        first = int(np.argmax(bad))
        raise DataError(
            f"boxes: expected finite top, left, bottom, right edges in this order; number {first} is "
            f"{boxes[first].tolist()}"
        )
    scores = scores.astype(np.float64) if scores.size else np.zeros(0)
    if scores.shape != boxes.shape[:1] or not np.isfinite(scores).all():
        raise DataError(f"scores: expected {len(boxes)} finite numbers, one for each box, got shape {scores.shape}")
    return prob, boxes, scores


def _windows(boxes, size):
    """Return the pixels whose middles lie in each box, as slices of rows and columns; they may be empty."""
    size = np.array(size)
    low = np.clip(np.ceil(boxes[:, :2]), 0, size).astype(int)
    high = np.clip(np.floor(boxes[:, 2:]) + 1, low, size).astype(int)
    return [
        (slice(top, bottom), slice(left, right))
        for (top, left), (bottom, right) in zip(low.tolist(), high.tolist())
    ]


def _nearest(mask, boxes, order):
    """Return 1 + the number of the box whose center is nearest by its sides, 0 outside all boxes and the mask."""
    best, labels = np.full(mask.shape, np.inf), np.zeros(mask.shape, np.int32)
    for number, (rows, columns) in zip(order.tolist(), _windows(boxes[order], mask.shape)):
        top, left, bottom, right = boxes[number]
        down = np.abs(np.arange(rows.start, rows.stop) - (top + bottom) / 2) / (bottom - top)
        along = np.abs(np.arange(columns.start, columns.stop) - (left + right) / 2) / (right - left)
        distance = np.maximum(down[:, None], along)
        # Boxes come by falling score, so that of equal distances the first stays.
        nearer = distance < best[rows, columns]
        best[rows, columns][nearer] = distance[nearer]
        labels[rows, columns][nearer] = number + 1
    return np.where(mask, labels, 0).astype(np.int32)


def _claim(mask, boxes, order):
    """Return 1 + the number of the box that took each pixel, the boxes taking in turn."""
    labels, left = np.zeros(mask.shape, np.int32), mask.copy()
    for number, window in zip(order.tolist(), _windows(boxes[order], mask.shape)):
        if not left[window].any():
            continue
        parts, _ = ndimage.label(left[window])  # by 4 neighbors
        areas = np.bincount(parts.ravel())
        areas[0] = 0
        taken = parts == np.argmax(areas)
        labels[window][taken] = number + 1
        left[window][taken] = False
    return labels


def _watershed(mask, boxes, order):
    """Return 1 + the number of the box from whose center each pixel of the mask was flooded."""
    markers = np.zeros(mask.shape, np.int32)
    centers = _center_pixels(boxes)
    inside = ((centers >= 0) & (centers < mask.shape)).all(axis=1)
    for number in order[inside[order]][::-1].tolist():  # the highest score last, which stays where centers meet
        markers[tuple(centers[number])] = number + 1
    depth = -ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return watershed(depth, markers, connectivity=2, mask=mask).astype(np.int32)


def _outside(free, boxes, order, min_size):
    """Return the components of foreground that is in no box, numbered after the boxes."""
    for window in _windows(boxes[order], free.shape):
        free[window] = False
    others = components(free, min_size)
    return np.where(others > 0, others + len(boxes), 0).astype(np.int32)


def _center_pixels(boxes):
    return np.floor((boxes[:, :2] + boxes[:, 2:]) / 2 + 0.5).astype(np.int64)


def _one_component(labels, boxes, min_size):
    """Return labels with one component for each: the one at the center of the box, or else the largest one."""
    parts = label_equal(labels, background=0, connectivity=2)
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    owners = np.zeros(len(areas), np.int64)
    owners[parts] = labels
    chosen = np.zeros(len(boxes) + 1, np.int64)
    largest_last = np.lexsort((-np.arange(len(areas)), areas))
    chosen[owners[largest_last]] = largest_last
    centers = _center_pixels(boxes)
    inside = np.flatnonzero(((centers >= 0) & (centers < labels.shape)).all(axis=1))
    middle = tuple(centers[inside].T)
    own = labels[middle] == inside + 1
    chosen[inside[own] + 1] = parts[middle][own]
    kept = np.zeros(len(areas), bool)
    kept[chosen] = areas[chosen] >= min_size
    kept[0] = False
    return np.where(kept[parts], labels, 0).astype(np.int32)


def _grown(labels, ids):
    """Return labels that grew by one pixel along rows and columns; of several the first of `ids` gets the pixel."""
    # By rank, in which instances that belong to no box come last.
    ids = np.concatenate([ids, np.setdiff1d(np.unique(labels[labels > 0]), ids)])
    none = len(ids)
    ranks = np.full(max(int(labels.max()), int(ids.max(initial=0))) + 1, none)
    ranks[ids] = np.arange(none)
    near = ndimage.minimum_filter(
        ranks[labels], footprint=ndimage.generate_binary_structure(2, 1), mode="constant", cval=none
    )
    return np.where(labels > 0, labels, np.append(ids, 0)[near]).astype(np.int32)
