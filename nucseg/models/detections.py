"""Boxes from what a network says at every location of a feature pyramid (Tian et al. 2019, FCOS)."""

from typing import NamedTuple

import torch
from torchvision.ops import nms

from nucseg.errors import DataError

#: Pixels between neighboring locations on the levels P2 to P5.
STRIDES = (4, 8, 16, 32)


class DenseBoxes(NamedTuple):
    """One box for each of L locations of B images, level by level and row by row."""

    logits: torch.Tensor  #: (B, L), that the location belongs to a nucleus
    distances: torch.Tensor  #: (B, L, 4), to the top, left, bottom and right edge, px, not negative
    centerness: torch.Tensor  #: (B, L), logit
    shapes: tuple[tuple[int, int], ...]  #: rows and columns of each level, the finest first


class Detections(NamedTuple):
    """Boxes of one image, the best first."""

    boxes: torch.Tensor  #: (N, 4), top, left, bottom, right edge in pixel coordinates
    scores: torch.Tensor  #: (N,), 0 to 1


def level_locations(shapes, strides=STRIDES):
    """Return the pixel coordinates of the locations of a pyramid: the middles of the cells of its levels.

    The middle of pixel 0 is 0, as everywhere in this package, so a cell of s pixels that begins with it has its middle
    at (s - 1) / 2. The release of FCOS, which counts edges, has s / 2 for the same place.

    Parameters
    ----------
    shapes : sequence of tuple of int
        Rows and columns of each level.
    strides : sequence of int
        Pixels between neighboring locations of each level.

    Returns
    -------
    locations : torch.Tensor, shape (L, 2), float32
        Row and column, px, level by level and row by row.
    spacing : torch.Tensor, shape (L,), float32
        The stride of each location's level, px.

    Raises
    ------
    DataError
        Not one stride for each level.

    Examples
    --------
    >>> locations, spacing = level_locations([(1, 2), (1, 1)], (4, 8))
    >>> locations.tolist(), spacing.tolist()
    ([[1.5, 1.5], [1.5, 5.5], [3.5, 3.5]], [4.0, 4.0, 8.0])
    """
    if len(shapes) != len(strides):
        raise DataError(f"pyramid: expected {len(strides)} levels for strides {tuple(strides)}, got {len(shapes)}")
    locations = [
        stride * (torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float() + 0.5) - 0.5
        for (rows, columns), stride in zip(shapes, strides)
    ]
    spacing = [torch.full((len(level),), float(stride)) for level, stride in zip(locations, strides)]
    return torch.cat(locations), torch.cat(spacing)


def boxes_at(locations, distances):
    """Return the boxes whose edges lie at given distances from locations.

    Parameters
    ----------
    locations : torch.Tensor, shape (L, 2), float
        Row and column, px.
    distances : torch.Tensor, shape (..., L, 4), float
        To the top, left, bottom and right edge, px.

    Returns
    -------
    torch.Tensor, shape (..., L, 4), float
        Top, left, bottom, right edge in pixel coordinates.
    """
    return torch.cat([locations - distances[..., :2], locations + distances[..., 2:]], dim=-1)


def suppress(boxes, scores, iou=0.5, most=None):
    """Return the boxes of an image that no better one covers: greedy non-maximum suppression.

    Parameters
    ----------
    boxes : torch.Tensor, shape (N, 4), float
        Top, left, bottom, right edge, px.
    scores : torch.Tensor, shape (N,), float
        Of equal scores the first one wins.
    iou : float
        A box goes if its intersection over union with a better one that stays is above this, 0 to 1.
    most : int, optional
        Most boxes that stay; None for no limit.

    Returns
    -------
    Detections
        float32.

    Raises
    ------
    DataError
        Shapes that do not fit, or an overlap or limit out of range.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise DataError(
            f"suppression: expected boxes (N, 4) and scores (N,), got {tuple(boxes.shape)} and {tuple(scores.shape)}"
        )
    if not 0 <= iou <= 1 or (most is not None and most < 1):
        raise DataError(f"suppression: expected an overlap of 0 to 1 and a limit of 1 or more, got {iou}, {most}")
    boxes, scores = boxes.float(), scores.float()
    # Rows for columns changes no overlap, so the order of the edges may be the one of this package.
    kept = nms(boxes, scores, iou)[:most]
    return Detections(boxes[kept], scores[kept])


def decode_boxes(found, threshold=0.2, iou=0.5, most=1000, strides=STRIDES):
    """Return the detected boxes of each image.

    The score of a location is sqrt(class * centerness), both as likelihoods. Boxes may reach beyond the image.

    Parameters
    ----------
    found : DenseBoxes
        Of B images.
    threshold : float
        Boxes of at most this score are dropped, 0 to 1; to be chosen on validation images.
    iou : float
        See :func:`suppress`; 0.6 in FCOS, where objects lie less densely.
    most : int, optional
        Most boxes of an image, the best ones; None for no limit. FCOS stops at 100, but a patch may hold more nuclei.
    strides : sequence of int
        Of the levels.

    Returns
    -------
    list of Detections
        One for each image.

    Raises
    ------
    DataError
        Shapes that do not fit one another, or a threshold, overlap or limit out of range.
    """
    if not 0 <= threshold <= 1:
        raise DataError(f"detections: expected a threshold of 0 to 1, got {threshold}")
    locations, _ = level_locations(found.shapes, strides)
    check_dense(found, len(locations))
    boxes = boxes_at(locations.to(found.distances.device), found.distances.float())
    scores = (torch.sigmoid(found.logits.float()) * torch.sigmoid(found.centerness.float())).sqrt()
    return [suppress(own[high], score[high], iou, most) for own, score, high in zip(boxes, scores, scores > threshold)]


def check_dense(found, count):
    """Raise a DataError unless boxes of B images at `count` locations each have the shapes that they say they have.

    Parameters
    ----------
    found : DenseBoxes
        To be checked.
    count : int
        Locations of its levels.

    Raises
    ------
    DataError
        The shapes differ.
    """
    batch = len(found.logits)
    if not (
        found.logits.shape == found.centerness.shape == (batch, count) and found.distances.shape == (batch, count, 4)
    ):
        raise DataError(
            f"dense boxes: expected logits and centerness (B, {count}) and distances (B, {count}, 4), got "
            f"{tuple(found.logits.shape)}, {tuple(found.centerness.shape)}, {tuple(found.distances.shape)}"
        )
