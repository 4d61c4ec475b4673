"""Windows of training images with labels, dots and pseudo boxes, and the random patches made of them."""

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch

from nucseg.arrays import as_points
from nucseg.engine import AugmentConfig, jitter_stain, sample_warp
from nucseg.engine.crops import tile_corners
from nucseg.errors import DataError
from nucseg.methods.donuseg.pseudo_boxes import box_sides, squares
from nucseg.supervision import disk_labels

#: Values of the map of the truth, which only the log of a training looks at: no truth is known, or beyond the image.
UNKNOWN, BEYOND = 2, -1


@dataclass(eq=False)
class Windows:
    """Square parts of training images, on one device.

    Parameters
    ----------
    images : torch.Tensor, shape (P, 3, w, w), uint8
        RGB.
    maps : torch.Tensor, shape (P, 2, w, w), int8
        The initial label M, and the true foreground or :data:`UNKNOWN`.
    dots : list of torch.Tensor, each of shape (N, 2), float32
        Row and column of the dots around each window, px.
    numbers : list of torch.Tensor, each of shape (N,), int64
        Place of each of these dots among the dots of all images.
    names : list of str
        ``"<image id>@<row>,<column>"`` of each corner.
    sides : torch.Tensor, shape (dots,), float32
        Side of the pseudo box of each dot of all images, px.
    """

    images: torch.Tensor
    maps: torch.Tensor
    dots: list
    numbers: list
    names: list
    sides: torch.Tensor

    def __len__(self):
        return len(self.images)


def cut_windows(images, truth, config, device):
    """Cut images into windows; initial labels and boxes come from the dots of whole images.

    Parameters
    ----------
    images : nucseg.methods.stages.Images
        Their samples have dots.
    truth : dict of str to numpy.ndarray
        True foreground (H, W) bool of images by id, for the log alone; may lack any.
    config : DoNuSegConfig
        Sizes and radii.
    device : torch.device
        Where windows go.

    Returns
    -------
    Windows

    Raises
    ------
    DataError
        An image smaller than a window; names it.
    """
    cut, sides, size = defaultdict(list), [torch.zeros(0)], config.window
    for sample, pixels in zip(images.samples, images.pixels):
        shape = pixels.shape[:2]
        if min(shape) < size:
            raise DataError(f"{sample.id}: {shape[0]}x{shape[1]} pixels are less than a window of {size}; ask for less")
        points = as_points(sample.points, shape)
        known = truth.get(sample.id)
        maps = np.stack([disk_labels(points, shape, config.r, config.d),
                         np.full(shape, UNKNOWN, np.int8) if known is None else known.astype(np.int8)])
        numbers = sum(map(len, sides)) + torch.arange(len(points))
        sides.append(torch.from_numpy(box_sides(points, shape, config)).float())
        for row in tile_corners(shape[0], size, config.stride):
            for column in tile_corners(shape[1], size, config.stride):
                part = (..., slice(row, row + size), slice(column, column + size))
                moved = points - (row, column)
                near = ((moved > -size / 2) & (moved < 1.5 * size)).all(axis=1)
                cut["images"].append(torch.from_numpy(pixels.transpose(2, 0, 1)[part].copy()))
                cut["maps"].append(torch.from_numpy(maps[part].copy()))
                cut["dots"].append(torch.from_numpy(moved[near]).float())
                cut["numbers"].append(numbers[torch.from_numpy(near)])
                cut["names"].append(f"{sample.id}@{row},{column}")
    on_device = {name: torch.stack(cut[name]).to(device) for name in ("images", "maps")}
    return Windows(**{**cut, **on_device}, sides=torch.cat(sides).to(device))


class PatchBatches:
    """Batches of turned and cropped windows, each window once per epoch, for :func:`nucseg.engine.fit`.

    Calling it with an epoch's number and a generator yields dicts: ``image`` (B, 3, s, s) float32 in [0, 1], black
    where nothing was; ``maps`` (B, 2, s, s) int8, -1 there; ``points``, ``boxes`` and ``numbers``, lists of (N, 2)
    and (N, 4) float32 and (N,) int64, of the dots inside the patch; ``names``; ``epoch``.

    Parameters
    ----------
    windows : Windows
        What to draw from.
    boxes : nucseg.methods.donuseg.pseudo_boxes.PseudoBoxes
        Sides of boxes, as they are when a batch is drawn.
    config : DoNuSegConfig
        Sizes and changes.
    """

    def __init__(self, windows, boxes, config):
        self.windows, self.boxes, self.config = windows, boxes, config
        turn = (-config.rotation, config.rotation)
        self.augment = AugmentConfig(resize=(1.0, 1.0), affine=0.0, rotation=turn, crop=config.patch)

    def __len__(self):
        """Batches in an epoch."""
        return math.ceil(len(self.windows) / self.config.batch)

    def __call__(self, epoch, generator):
        """Yield the batches of one epoch; all random choices come from `generator`."""
        order = torch.randperm(len(self.windows), generator=generator)
        for chosen in order.split(self.config.batch):
            yield {**self._batch(chosen, generator), "epoch": epoch}

    def _batch(self, chosen, generator):
        windows, device, size = self.windows, self.windows.images.device, self.config.patch
        where, numbers = chosen.to(device), chosen.tolist()
        warp = sample_warp(len(chosen), tuple(windows.images.shape[2:]), self.augment, generator, device)
        image = warp.image(windows.images[where]).div_(255)
        if self.config.stain is not None:
            image = jitter_stain(image, self.config.stain, generator)
        points, boxes, dots = [], [], []
        for number, moved in zip(numbers, warp.points([windows.dots[i] for i in numbers], margin=-math.inf)):
            inside = ((moved >= -0.5) & (moved < size - 0.5)).all(dim=1)
            points.append(moved[inside])
            dots.append(windows.numbers[number].to(device)[inside])
            boxes.append(squares(points[-1], self.boxes.sides[dots[-1]], size))
        return {"image": image, "maps": warp.labels(windows.maps[where], BEYOND), "points": points, "boxes": boxes,
                "numbers": dots, "names": [windows.names[i] for i in numbers]}
