"""Relevance of an image of any size, computed tile by tile around the places that are explained."""

from itertools import product

import torch

from nucseg.errors import DataError
from nucseg.explain.lrp import relevance

#: Tiles start at multiples of this many pixels, so that strides and pooling fall as in the whole image.
GRID = 32


def tiled_relevance(network, image, start, *, tile=448, margin=64, rules=None, output=None):
    """Return the relevance of every pixel of one image, in memory that does not grow with the image.

    A side of at most `tile` is taken whole, so a small image takes one pass. Otherwise the image is divided into cores
    of ``tile - 2 * margin``; each core with relevance to hand down is explained in a tile `margin` wider to all sides,
    and the results are added. Equals one pass over the whole image, but for what a pixel sees beyond its tile.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode; see :func:`relevance`. Strides up to 32.
    image : torch.Tensor, shape (channels, H, W), float
        What the network takes, without the axis of the batch.
    start : torch.Tensor, shape (H, W), float
        Relevance of each pixel's margin; see :func:`relevance`.
    tile : int
        Side of a tile, pixels, a multiple of 32; bounds the memory: 1 GiB at 448 for the U-Net of Qu et al.
    margin : int
        What a tile sees around its core, pixels, a multiple of 32, less than half of `tile`.
    rules : LRPRules, optional
        By default ``LRPRules()``.
    output : callable, optional
        See :func:`relevance`.

    Returns
    -------
    torch.Tensor, shape and dtype of `image`
        Without gradient.

    Raises
    ------
    DataError
        A network in training mode, such a tile or margin, shapes that do not fit, or what :func:`relevance` refuses.

    Examples
    --------
    >>> network = torch.nn.Conv2d(3, 1, 3, padding=1).eval()
    >>> start = torch.zeros(70, 200)
    >>> start[60, 150] = 1
    >>> spread = tiled_relevance(network, torch.ones(3, 70, 200), start, tile=96, margin=32)
    >>> spread.nonzero()[:, 1:].amin(0).tolist(), spread.nonzero()[:, 1:].amax(0).tolist()
    ([59, 149], [61, 151])
    """
    _check(network, image, start, tile, margin)
    total = torch.zeros_like(image)
    for (top, bottom), (left, right) in product(*(_cores(side, tile, margin) for side in start.shape)):
        if not start[top:bottom, left:right].any():
            continue
        window = tuple(slice(max(0, low - margin), high + margin) for low, high in ((top, bottom), (left, right)))
        inside = torch.zeros_like(start)
        inside[top:bottom, left:right] = start[top:bottom, left:right]
        part = relevance(network, image[(None, ..., *window)], inside[(None, *window)], rules=rules, output=output)
        total[(..., *window)] += part[0]
    return total


def _check(network, image, start, tile, margin):
    if any(part.training for part in network.modules()):
        raise DataError("network: expected evaluation mode, because a tile would be normalized by itself")
    if tile % GRID or margin % GRID or not 0 <= 2 * margin < tile:
        raise DataError(f"tile, margin: expected multiples of {GRID}, 0 <= 2 * margin < tile, got {tile}, {margin}")
    if image.ndim != 3 or start.shape != image.shape[1:]:
        raise DataError(
            f"image, start: expected (channels, H, W) and (H, W), got {tuple(image.shape)} and {tuple(start.shape)}"
        )


def _cores(side, tile, margin):
    """Return (first pixel, first pixel beyond) of each core along one axis."""
    core = side if side <= tile else tile - 2 * margin
    return [(low, min(low + core, side)) for low in range(0, side, core)]
