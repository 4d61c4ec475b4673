"""Windows of training images with labels, dots and pseudo boxes, and the random patches made of them."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from nucseg.arrays import as_points
from nucseg.engine import AugmentConfig, jitter_stain, sample_warp
from nucseg.engine.crops import tile_corners
from nucseg.errors import DataError
from nucseg.supervision import disk_labels, pseudo_boxes

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
    sides : list of torch.Tensor, each of shape (N,), float32
        Side of the pseudo box of each dot, px.
    names : list of str
        ``"<image id>@<row>,<column>"`` of each corner.
    """

    images: torch.Tensor
    maps: torch.Tensor
    dots: list
    sides: list
    names: list

    def __len__(self):
        return len(self.images)


def box_sides(points, shape, config):
    """Return the side of the pseudo box of each dot before it was clipped at the image, (N,) float64, px."""
    smallest, largest = config.box_sides
    boxes = pseudo_boxes(points, shape, config.box_ratio, smallest, largest)
    # Boxes are squares around their dots, and of one that is clipped an edge farther away tells its half.
    return 2 * np.hstack([points - boxes[:, :2], boxes[:, 2:] - points]).max(axis=1, initial=0)


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
    cut, size = Windows([], [], [], [], []), config.window
    for sample, pixels in zip(images.samples, images.pixels):
        shape = pixels.shape[:2]
        if min(shape) < size:
            raise DataError(f"{sample.id}: {shape[0]}x{shape[1]} pixels are less than a window of {size}; ask for less")
        points = as_points(sample.points, shape)
        known = truth.get(sample.id)
        maps = np.stack([disk_labels(points, shape, config.r, config.d),
                         np.full(shape, UNKNOWN, np.int8) if known is None else known.astype(np.int8)])
        sides = box_sides(points, shape, config)
        for row in tile_corners(shape[0], size, config.stride):
            for column in tile_corners(shape[1], size, config.stride):
                part = (..., slice(row, row + size), slice(column, column + size))
                moved = points - (row, column)
                near = ((moved > -size / 2) & (moved < 1.5 * size)).all(axis=1)
                cut.images.append(torch.from_numpy(pixels.transpose(2, 0, 1)[part].copy()))
                cut.maps.append(torch.from_numpy(maps[part].copy()))
                cut.dots.append(torch.from_numpy(moved[near]).float())
                cut.sides.append(torch.from_numpy(sides[near]).float())
                cut.names.append(f"{sample.id}@{row},{column}")
    return replace(cut, images=torch.stack(cut.images).to(device), maps=torch.stack(cut.maps).to(device))


class PatchBatches:
    """Batches of turned and cropped windows, each window once per epoch, for :func:`nucseg.engine.fit`.

    Calling it with an epoch's number and a generator yields dicts: ``image`` (B, 3, s, s) float32 in [0, 1], black
    where nothing was; ``maps`` (B, 2, s, s) int8, -1 there; ``points`` and ``boxes``, lists of (N, 2) and (N, 4)
    float32, of the dots inside the patch; ``names``; ``epoch``.

    Parameters
    ----------
    windows : Windows
        What to draw from.
    config : DoNuSegConfig
        Sizes and changes.
    """

    def __init__(self, windows, config):
        self.windows, self.config = windows, config
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
        points, boxes = [], []
        for number, moved in zip(numbers, warp.points([windows.dots[i] for i in numbers], margin=-math.inf)):
            inside = ((moved >= -0.5) & (moved < size - 0.5)).all(dim=1)
            points.append(moved[inside])
            boxes.append(squares(moved[inside], windows.sides[number].to(device)[inside], size))
        return {"image": image, "maps": warp.labels(windows.maps[where], BEYOND), "points": points, "boxes": boxes,
                "names": [windows.names[i] for i in numbers]}


def squares(points, sides, size):
    """Return the squares around dots (N, 2) with sides (N,), clipped at a patch of `size` px, (N, 4)."""
    half = sides[:, None] / 2
    return torch.cat([points - half, points + half], dim=1).clamp(-0.5, size - 0.5)
