"""Prediction on an image of any size by overlapping tiles, of which the central parts are kept."""

from contextlib import contextmanager
from itertools import product

import numpy as np
import torch

from nucseg.arrays import as_image
from nucseg.engine.device import choose_device, choose_precision
from nucseg.errors import DataError


def predict_tiled(
    network, image, *, mean, std, tile=224, stride=144, batch=8, device=None, precision="auto", name="image"
):
    """Return what a network says about every pixel of an image, computed tile by tile.

    The defaults are those of Qu et al. (IEEE TMI 39(11), 2020) as released. Pixels are scaled to [0, 1] and
    standardized; tiles that reach over the right or bottom border are filled with zeros, which then stand
    for the mean color. Half the overlap of two neighboring tiles is cut off each (of an odd overlap, the
    larger half off the left or upper one): every pixel comes from one tile, nothing is averaged. The network
    runs in evaluation mode, without gradients; its modes are put back afterward.

    Parameters
    ----------
    network : torch.nn.Module
        Maps (B, 3, tile, tile) float32 to (B, C, tile, tile).
    image : array_like, shape (H, W, 3), uint8
        The image, of any size; see :func:`nucseg.arrays.as_image` for what else is taken.
    mean, std : sequence of 3 float
        Mean and standard deviation of each channel over the training set, of values in [0, 1].
    tile : int
        Side of a tile, pixels.
    stride : int
        Step between tiles, pixels, at most `tile`; the overlap is ``tile - stride``.
    batch : int
        Number of tiles at a time; with `tile` it bounds the memory on the device.
    device : {"auto", "cpu", "cuda"}, optional
        Where to run; the network is moved there and stays. If not given, where its first parameter lies.
    precision : {"auto", "32-true", "bf16-mixed"}
        See :func:`nucseg.engine.choose_precision`.
    name : str
        How the image is called in an error message (a file name, say).

    Returns
    -------
    torch.Tensor, shape (C, H, W), float32
        The network's output (logits, if it ends in logits), on the CPU.

    Raises
    ------
    DataError
        Not an image, a tile, stride or batch out of range, a mean or std that is not three finite numbers
        (std positive), or a network whose output is not of the size of its input.
    UnknownNameError, NucsegError
        An unknown device or precision; ``"cuda"`` without a GPU.
    """
    image = as_image(image, name)
    _check_tiling(tile, stride, batch)
    mean, std = _as_channels(mean, "mean"), _as_channels(std, "std", positive=True)
    device = _place(network, device)
    autocast = choose_precision(device, precision) == "bf16-mixed"
    with _evaluating(network), torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, autocast):
        maps = _run(network, image, mean.to(device), std.to(device), tile, stride, batch)
    return torch.from_numpy(maps)  # out here, where it becomes a tensor like any other


def _run(network, image, mean, std, tile, stride, batch):
    height, width = image.shape[:2]
    spans = list(product(_spans(height, tile, stride), _spans(width, tile, stride)))
    maps = None
    for first in range(0, len(spans), batch):
        group = spans[first : first + batch]
        tiles = _cut(image, group, tile, mean, std)
        output = network(tiles)
        _check_output(output, tiles)
        if maps is None:
            maps = np.empty((output.shape[1], height, width), np.float32)
        _write(maps, output.float().cpu().numpy(), group)
    return maps


def _spans(size, tile, stride):
    """Return (first pixel, first kept, first no longer kept) of each tile along one axis."""
    count = 1 + max(0, -((tile - size) // stride))
    cut = (tile - stride) // 2
    starts = [stride * i for i in range(count)]
    borders = [0, *(start + cut for start in starts[1:]), size]
    return list(zip(starts, borders[:-1], borders[1:]))


def _cut(image, group, tile, mean, std):
    """Return standardized tiles (B, 3, tile, tile), zero beyond the border of the image."""
    tiles = torch.zeros((len(group), 3, tile, tile), device=mean.device)
    for target, ((row, _, _), (column, _, _)) in zip(tiles, group):
        # A copy, because an image may be read-only, which a tensor cannot be.
        pixels = torch.from_numpy(image[row : row + tile, column : column + tile].copy()).to(mean.device)
        height, width = pixels.shape[:2]
        target[:, :height, :width] = (pixels.permute(2, 0, 1) / 255 - mean) / std
    return tiles


def _write(maps, outputs, group):
    for output, ((row, top, bottom), (column, left, right)) in zip(outputs, group):
        kept = output[:, top - row : bottom - row, left - column : right - column]
        maps[:, top:bottom, left:right] = kept


@contextmanager
def _evaluating(network):
    """Put every part of a network in evaluation mode, so that tiles do not meet in batch statistics."""
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _place(network, device):
    if device is None:
        first = next(network.parameters(), None)
        return torch.device("cpu") if first is None else first.device
    device = choose_device(device)
    network.to(device)
    return device


def _as_channels(values, name, positive=False):
    try:
        array = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: expected one number per channel, got {values!r}") from error
    if array.shape != (3,) or not np.isfinite(array).all() or (positive and array.min() <= 0):
        kind = "positive" if positive else "finite"
        raise DataError(f"{name}: expected three {kind} numbers, one per channel, got {values!r}")
    return torch.from_numpy(array.copy())[:, None, None]


def _check_tiling(tile, stride, batch):
    for name, value in (("tile", tile), ("stride", stride), ("batch", batch)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise DataError(f"{name}: expected a positive integer, got {value!r}")
    if stride > tile:
        raise DataError(f"stride: {stride} is more than the tile of {tile} pixels and would leave gaps")


def _check_output(output, tiles):
    shape = tuple(getattr(output, "shape", ()))
    if len(shape) != 4 or (shape[0], *shape[2:]) != (tiles.shape[0], *tiles.shape[2:]):
        raise DataError(
            f"network: expected an output of shape {(len(tiles), 'C', *tiles.shape[2:])}, got "
            f"{shape or type(output).__name__}"
        )
