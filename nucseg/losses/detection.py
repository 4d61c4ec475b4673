"""Targets and losses of a dense detector without anchors, with sizes that fit nuclei (Tian et al. 2019, FCOS)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from nucseg.errors import DataError
from nucseg.models.detections import STRIDES, boxes_at, check_dense, level_locations


@dataclass(frozen=True)
class FCOSLossConfig:
    """Which locations learn which box, and how; FCOS unless marked as ours.

    With these limits a box reaches at most two strides from a location of any level but the last, so that those more
    than 1.5 strides from its center lie outside it anyway, and a nucleus of 25 px has about three locations. Limits of
    (32, 64, 128), torchvision's rule of eight strides, give it about nine, nearly all of them on the finest level.
    """

    limits: tuple[float, ...] = (8, 16, 32)  # px, largest distance to an edge on each level but the last (ours)
    radius: float | None = 1.5  # strides from the center of a box within which it is learned; None: all inside it
    alpha: float = 0.25  # focal loss: weight of nuclei against background
    gamma: float = 2.0  # focal loss: how much certain locations count less


class FCOSTargets(NamedTuple):
    """What each of L locations of an image should say."""

    matched: torch.Tensor  #: (L,), int64, number of the box that it should give, -1 for background
    distances: torch.Tensor  #: (L, 4), float32, to the top, left, bottom and right edge of it, px; 0 for background
    centerness: torch.Tensor  #: (L,), float32, 1 in the middle of the box, 0 at its edges and for background


class FCOSLosses(NamedTuple):
    """The three terms of the loss of Tian et al. (2019), each divided by the number of positive locations."""

    classification: torch.Tensor  #: (), focal loss over all locations
    box: torch.Tensor  #: (), 1 - generalized IoU over positive locations, 0 to 2
    centerness: torch.Tensor  #: (), cross-entropy over positive locations, nats; at least the entropy of the targets

    @property
    def total(self):
        """Return the sum of the three, of which none has a weight."""
        return self.classification + self.box + self.centerness


def fcos_targets(boxes, shapes, config=None, strides=STRIDES):
    """Return which box each location of a pyramid should give.

    A location may give a box that it lies inside of, if it is less than `radius` strides of its level away from the
    center of the box along rows and along columns, and if the largest of its distances to the four edges lies in
    the range of its level: above the limit of the level before, and at most its own. Of several such boxes it gives the
    smallest, of equally small ones the first.

    Parameters
    ----------
    boxes : torch.Tensor, shape (N, 4), float
        Top, left, bottom, right edge in pixel coordinates, as :func:`nucseg.supervision.pseudo_boxes` gives them. A
        box without area is given by no location.
    shapes : sequence of tuple of int
        Rows and columns of each level of the pyramid.
    config : FCOSLossConfig, optional
        Settings.
    strides : sequence of int
        Pixels between neighboring locations of each level.

    Returns
    -------
    FCOSTargets
        On the device of the boxes.

    Raises
    ------
    DataError
        Not boxes of finite edges in this order, or limits that do not rise or do not fit the levels.
    """
    config = FCOSLossConfig() if config is None else config
    _check_boxes(boxes)
    lower, upper = _ranges(config, shapes)
    locations, spacing = (each.to(boxes.device) for each in level_locations(shapes, strides))
    boxes = boxes.float()
    distances = _distances(locations[:, None], boxes)  # (L, N, 4)
    largest = distances.amax(dim=2)
    claims = (distances > 0).all(dim=2)
    claims &= (largest > lower.to(boxes.device)[:, None]) & (largest <= upper.to(boxes.device)[:, None])
    if config.radius is not None:
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        offset = (locations[:, None] - centers).abs().amax(dim=2)
        claims &= offset < config.radius * spacing[:, None]
    matched = _smallest(claims, (boxes[:, 2:] - boxes[:, :2]).prod(dim=1))
    positive = (matched >= 0).float()[:, None]
    # Background takes the last row, which belongs to no box.
    own = torch.cat([boxes, boxes.new_zeros(1, 4)])[matched]
    own = _distances(locations, own) * positive
    return FCOSTargets(matched, own, _centerness(own))


def fcos_loss(found, boxes, config=None, strides=STRIDES):
    """Return the losses of dense boxes of a batch of images.

    Focal loss at all locations, 1 - generalized IoU and cross-entropy of centerness at positive ones, all three divided
    by the positive locations of the batch, or by 1 if there are none. As in torchvision, the second is not
    weighted by centerness.

    Parameters
    ----------
    found : DenseBoxes
        Of B images.
    boxes : sequence of torch.Tensor, shape (N, 4), float
        Boxes of each image (see :func:`fcos_targets`); N may differ and may be 0.
    config : FCOSLossConfig, optional
        Settings.
    strides : sequence of int
        Pixels between neighboring locations of each level.

    Returns
    -------
    FCOSLosses
        float32, finite and with a gradient also for images without boxes.

    Raises
    ------
    DataError
        Not one set of boxes for each image, shapes that do not fit one another, or as :func:`fcos_targets`.
    """
    config = FCOSLossConfig() if config is None else config
    locations, _ = level_locations(found.shapes, strides)
    check_dense(found, len(locations))
    if len(boxes) != len(found.logits):
        raise DataError(f"detection loss: got {len(found.logits)} images and boxes of {len(boxes)}")
    device = found.logits.device
    targets = [fcos_targets(own.to(device), found.shapes, config, strides) for own in boxes]
    distances, centerness = (torch.stack([each[part] for each in targets]) for part in (1, 2))
    positive = torch.stack([each.matched for each in targets]) >= 0
    count = positive.sum().clamp(min=1)
    locations = locations.to(device)
    classification = sigmoid_focal_loss(
        found.logits.float(), positive.float(), alpha=config.alpha, gamma=config.gamma, reduction="sum"
    )
    predicted, true = (boxes_at(locations, each.float())[positive] for each in (found.distances, distances))
    box = generalized_box_iou_loss(predicted, true, reduction="sum")
    middle = F.binary_cross_entropy_with_logits(
        found.centerness.float()[positive], centerness[positive], reduction="sum"
    )
    return FCOSLosses(classification / count, box / count, middle / count)


def _distances(locations, boxes):
    """Return the distances to the top, left, bottom and right edges, negative outside, (..., 4)."""
    return torch.cat([locations - boxes[..., :2], boxes[..., 2:] - locations], dim=-1)


def _smallest(claims, areas):
    """Return the smallest of the boxes that claim each location, -1 where none does, (L,) int64."""
    order = torch.argsort(areas, stable=True)
    none = len(areas)
    rank = torch.arange(none, device=areas.device).expand(len(claims), none)
    # Ranks instead of areas: a smallest value is the same on every device, a place of one of several need not be.
    first = F.pad(torch.where(claims[:, order], rank, none), (0, 1), value=none).amin(dim=1)
    return F.pad(order, (0, 1), value=-1)[first]


def _centerness(distances):
    """Return sqrt(min(t, b) / max(t, b) * min(l, r) / max(l, r)), 0 where all are 0 (Tian et al. 2019, eq. 3)."""
    before, after = distances[:, :2], distances[:, 2:]
    share = torch.minimum(before, after) / torch.maximum(before, after).clamp(min=1e-6)
    return share.prod(dim=1).sqrt()


def _ranges(config, shapes):
    """Return the bounds of the largest distance of each location of each level, two tensors (L,)."""
    bounds = torch.tensor([0.0, *config.limits, float("inf")])
    if len(bounds) != len(shapes) + 1 or not (bounds.diff() > 0).all():
        raise DataError(f"limits: expected {len(shapes) - 1} rising ones for {len(shapes)} levels, got {config.limits}")
    counts = torch.tensor([rows * columns for rows, columns in shapes])
    return bounds[:-1].repeat_interleave(counts), bounds[1:].repeat_interleave(counts)


def _check_boxes(boxes):
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise DataError(f"boxes: expected shape (N, 4), got {tuple(boxes.shape)}")
    bad = ~torch.isfinite(boxes).all(dim=1) | (boxes[:, :2] > boxes[:, 2:]).any(dim=1)
    if bad.any():
        first = int(bad.nonzero()[0, 0])
        raise DataError(
            f"boxes: expected finite top, left, bottom, right edges in this order; number {first} is "
            f"{boxes[first].tolist()}"
        )
