"""Training patches that live on the device, and the random batches made of them."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from nucseg.arrays import as_image, as_points
from nucseg.engine.augment import sample_warp
from nucseg.engine.stain_jitter import jitter_stain
from nucseg.errors import DataError


def patch_corners(length, size=250, least=4):
    """Return where patches begin along one side of an image so that they cover it evenly.

    Qu et al. (2020) cut 4 x 4 patches of 250 px from each training image; their release places them
    ``size - ceil((4 * size - length) / 3)`` apart.

    Parameters
    ----------
    length : int
        Side of the image, px.
    size : int
        Side of a patch, px.
    least : int
        Number of patches along the side; more are taken where these would leave gaps, and one where the image has
        the size of a patch.

    Returns
    -------
    list of int

    Raises
    ------
    DataError
        An image smaller than a patch, or a size or number below 1.

    Examples
    --------
    >>> patch_corners(1000), patch_corners(512)
    ([0, 250, 500, 750], [0, 87, 174, 261])
    """
    if size < 1 or least < 1 or length < size:
        raise DataError(f"patches: expected at least 1 of 1 to {length} pixels, got {least} of {size} pixels")
    if length == size:
        return [0]
    count = max(least, math.ceil(length / size))
    stride = size - math.ceil((count * size - length) / (count - 1))
    return [stride * i for i in range(count)]


@dataclass(eq=False)
class Patches:
    """Patches of training images, with their label maps and dots, on one device.

    Parameters
    ----------
    images : torch.Tensor, shape (P, 3, h, w), uint8
        RGB.
    maps : torch.Tensor, shape (P, K, h, w), int8
        K label maps of each patch; K may be 0.
    points : list of torch.Tensor, each of shape (N, 2), float32
        Row and column of the dots in each patch, px.
    names : list of str
        ``"<image id>@<row>,<column>"`` of each patch's corner.
    """

    images: torch.Tensor
    maps: torch.Tensor
    points: list
    names: list

    def __len__(self):
        return len(self.images)


def cut_patches(names, images, maps=None, points=None, *, size=250, least=4, device="cpu"):
    """Cut whole images into patches and put them on a device.

    Parameters
    ----------
    names : sequence of str
        Of the images, for messages.
    images : sequence of array_like, each of shape (H, W, 3), uint8
        Whole images, of any sizes not below `size`.
    maps : sequence of array_like, each of shape (K, H, W), int8, optional
        Label maps of each image, the same K for all.
    points : sequence of array_like, each of shape (N, 2), optional
        Row and column of the dots of each image, px. Dots beyond the border of a patch, but less than half
        its side away, stay with it too, since a warp may bring their surroundings in.
    size : int
        Side of a patch, px.
    least : int
        Number of patches along each side of an image; see :func:`patch_corners`.
    device : torch.device or str
        Where the patches go.

    Returns
    -------
    Patches

    Raises
    ------
    DataError
        No images, an image smaller than a patch, or label maps of another size than their image; names it.
    """
    cut = {"images": [], "maps": [], "points": [], "names": []}
    for index, name in enumerate(names):
        image = as_image(images[index], name)
        height, width = image.shape[:2]
        if min(height, width) < size:
            raise DataError(f"{name}: {height}x{width} pixels are less than a patch of {size}; ask for smaller ones")
        own = np.zeros((0, height, width), np.int8) if maps is None else np.asarray(maps[index], np.int8)
        if own.ndim != 3 or own.shape[1:] != (height, width):
            raise DataError(f"{name}: label maps of shape {own.shape} for an image of {height}x{width} pixels")
        dots = as_points(() if points is None else points[index], (height, width), f"{name}: points")
        for row in patch_corners(height, size, least):
            for column in patch_corners(width, size, least):
                window = (..., slice(row, row + size), slice(column, column + size))
                moved = dots - (row, column)
                near = ((moved > -size / 2) & (moved < 1.5 * size)).all(axis=1)
                cut["images"].append(image.transpose(2, 0, 1)[window])
                cut["maps"].append(own[window])
                cut["points"].append(torch.from_numpy(moved[near]).float())
                cut["names"].append(f"{name}@{row},{column}")
    if not cut["images"]:
        raise DataError("patches: there are no training images")
    stacked = {key: torch.from_numpy(np.stack(cut[key])).to(device) for key in ("images", "maps")}
    return Patches(**stacked, points=cut["points"], names=cut["names"])


class RandomBatches:
    """Augmented batches of patches, each patch once per epoch, for :func:`nucseg.engine.fit`.

    Calling it with an epoch's number and a generator yields dicts: ``image`` (B, 3, h, w) float32 in [0, 1],
    black where nothing was; ``maps`` (B, K, h, w) int8; ``points``, a list of (N, 2) float32 tensors on the
    device, dots outside the crop included; ``names``.

    Parameters
    ----------
    patches : Patches
        What to draw from.
    batch : int
        Patches in a batch; the last one of an epoch may be smaller.
    augment : nucseg.engine.AugmentConfig
        Geometric changes.
    stain : nucseg.engine.StainJitterConfig, optional
        Changes of color; none if not given.
    outside : int
        Value of the label maps where nothing was; 0 makes the black surroundings background (release of
        Qu et al. 2020).
    """

    def __init__(self, patches, batch, augment, stain=None, outside=0):
        if batch < 1:
            raise DataError(f"batch: expected 1 patch or more, got {batch}")
        self.patches, self.batch, self.augment = patches, batch, augment
        self.stain, self.outside = stain, outside

    def __call__(self, epoch, generator):
        """Yield the batches of one epoch; all random choices come from `generator`."""
        order = torch.randperm(len(self.patches), generator=generator)
        for chosen in order.split(self.batch):
            yield self._batch(chosen, generator)

    def _batch(self, chosen, generator):
        patches, device = self.patches, self.patches.images.device
        where = chosen.to(device)
        warp = sample_warp(len(chosen), tuple(patches.images.shape[2:]), self.augment, generator, device)
        image = warp.image(patches.images[where]).div_(255)
        if self.stain is not None:
            image = jitter_stain(image, self.stain, generator)
        return {
            "image": image,
            "maps": warp.labels(patches.maps[where], self.outside),
            "points": warp.points([patches.points[i] for i in chosen.tolist()], margin=-math.inf),
            "names": [patches.names[i] for i in chosen.tolist()],
        }
