"""Pseudo boxes of all training dots, which a confident network may resize while it trains (Wang et al. 2021)."""

import numpy as np
import torch
from torch import nn

from nucseg.models.detections import STRIDES
from nucseg.supervision import pseudo_boxes


def box_sides(points, shape, config):
    """Return the side of the pseudo box of each dot before it was clipped at the image, (N,) float64, px."""
    smallest, largest = config.box_sides
    boxes = pseudo_boxes(points, shape, config.box_ratio, smallest, largest)
    # Boxes are squares around their dots, and of one that is clipped an edge farther away tells its half.
    return 2 * np.hstack([points - boxes[:, :2], boxes[:, 2:] - points]).max(axis=1, initial=0)


def squares(points, sides, size):
    """Return the squares around dots (N, 2) with sides (N,), clipped at a patch of `size` px, (N, 4)."""
    half = sides[:, None] / 2
    return torch.cat([points - half, points + half], dim=1).clamp(-0.5, size - 0.5)


class PseudoBoxes(nn.Module):
    """Side and confidence of the pseudo box of every training dot, as buffers that checkpoints hold.

    Parameters
    ----------
    sides : torch.Tensor, shape (N,), float32
        First sides, px.
    confidence : float
        First confidence of all, 0 to 1: only a box with a higher score replaces one (0.6 in the release of Wang et
        al. 2021).
    limits : tuple of float
        Least and largest side, px.
    """

    def __init__(self, sides, confidence=0.6, limits=(8.0, 50.0)):
        super().__init__()
        self.limits = limits
        self.register_buffer("sides", sides.clone())
        self.register_buffer("confidence", torch.full_like(sides, confidence))

    @torch.no_grad()
    def refine(self, found, points, numbers):
        """Give dots the size of the box that the network predicts at their place, where it is more confident than ever.

        The new side is the mean of the height and width of the predicted box, within the limits (ours).

        Parameters
        ----------
        found : nucseg.models.DenseBoxes
            Of B patches.
        points : list of torch.Tensor, each of shape (N, 2)
            Row and column of the dots of each patch, px.
        numbers : list of torch.Tensor, each of shape (N,), int64
            Their places among all dots.
        """
        for image, (dots, which) in enumerate(zip(points, numbers)):
            at = _locations(dots, found.shapes)
            score = (found.logits[image, at].sigmoid() * found.centerness[image, at].sigmoid()).sqrt()
            score, level = score.max(dim=1)
            sides = found.distances[image, at[torch.arange(len(at), device=at.device), level]].sum(dim=1) / 2
            better = score > self.confidence[which]
            self.confidence[which[better]] = score[better].to(self.confidence)
            self.sides[which[better]] = sides[better].clamp(*self.limits).to(self.sides)


def _locations(dots, shapes):
    """Return the place, among all locations of a pyramid, of the cell of each level that holds a dot, (N, levels)."""
    places, first = [], 0
    for (rows, columns), stride in zip(shapes, STRIDES):
        cell = ((dots + 0.5) / stride).floor().long()
        row, column = cell[:, 0].clamp(0, rows - 1), cell[:, 1].clamp(0, columns - 1)
        places.append(first + row * columns + column)
        first += rows * columns
    return torch.stack(places, dim=1)
