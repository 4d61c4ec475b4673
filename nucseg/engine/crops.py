"""Random crops of whole images that live on the device, with their instance maps."""

from dataclasses import dataclass

import numpy as np
import torch

from nucseg.arrays import as_image, as_label_map
from nucseg.errors import DataError


@dataclass(eq=False)
class WholeImages:
    """Images of any sizes and their instance maps, on one device.

    Parameters
    ----------
    images : list of torch.Tensor, each of shape (3, H, W), uint8
        RGB.
    labels : list of torch.Tensor, each of shape (H, W), int32
        Instance maps, 0 = background.
    names : list of str
        Ids.
    """

    images: list
    labels: list
    names: list

    def __len__(self):
        return len(self.images)


def hold_images(names, images, labels, *, least, device="cpu"):
    """Put whole images and their instance maps on a device.

    Parameters
    ----------
    names : sequence of str
        Of the images, for messages.
    images : sequence of array_like, each of shape (H, W, 3), uint8
        RGB.
    labels : sequence of array_like, each of shape (H, W), integer
        Instance maps.
    least : int
        Side of the crops that will be taken, px.
    device : torch.device or str
        Where they go.

    Returns
    -------
    WholeImages

    Raises
    ------
    DataError
        No images, an image smaller than a crop, or a map of another size than its image; names it.
    """
    held = WholeImages([], [], list(names))
    if not held.names:
        raise DataError("crops: there are no training images")
    for name, image, own in zip(held.names, images, labels, strict=True):
        image, own = as_image(image, name), as_label_map(own, f"{name}: labels")
        if min(image.shape[:2]) < least:
            size = "x".join(map(str, image.shape[:2]))
            raise DataError(f"{name}: {size} pixels are less than a crop of {least}; ask for smaller ones")
        if own.shape != image.shape[:2]:
            raise DataError(f"{name}: labels have size {own.shape}, the image {image.shape[:2]}")
        held.images.append(torch.from_numpy(image.transpose(2, 0, 1).copy()).to(device))
        held.labels.append(torch.from_numpy(own).to(device))
    return held


class RandomCrops:
    """Batches of square crops, flipped and turned by quarters, for :func:`nucseg.engine.fit`.

    In an epoch each image gives as many crops as tiles cover it, at random places; the order is random. Calling it
    with an epoch's number and a generator yields dicts: ``image`` (B, 3, s, s) float32 in [0, 1]; ``labels``
    (B, s, s) int32, instances cut by the border included; ``names``; ``epoch`` and ``step``, both from 1.

    Parameters
    ----------
    images : WholeImages
        What to cut from.
    size : int
        Side of a crop, px.
    batch : int
        Crops in a batch; the last one of an epoch may be smaller.
    turn : bool
        Whether to flip and turn them.
    most : int, optional
        Crops in an epoch, at most; all by default.
    """

    def __init__(self, images, size, batch, turn=True, most=None):
        if batch < 1 or size < 1 or (most is not None and most < 1):
            raise DataError(f"crops: expected size, batch and number of 1 or more, got {size}, {batch}, {most}")
        self.images, self.size, self.batch, self.turn = images, size, batch, turn
        owners = [i for i, own in enumerate(images.labels) for _ in range(tiles_of(tuple(own.shape), size))]
        self.owners = torch.tensor(owners)
        self.crops = len(owners) if most is None else min(most, len(owners))

    def __len__(self):
        """Batches in an epoch."""
        return -(-self.crops // self.batch)

    def __call__(self, epoch, generator):
        """Yield the batches of one epoch; all random choices come from `generator`."""
        order = self.owners[torch.randperm(len(self.owners), generator=generator)[: self.crops]]
        for step, chosen in enumerate(order.split(self.batch), start=1):
            # The same number of draws for each crop, whether it is turned or not.
            draws = torch.rand(len(chosen), 4, generator=generator, dtype=torch.float64).tolist()
            cut = [self._cut(int(owner), *values) for owner, values in zip(chosen, draws)]
            images, labels, names = zip(*cut)
            yield {"image": torch.stack(images).float().div_(255), "labels": torch.stack(labels),
                   "names": list(names), "epoch": epoch, "step": step}

    def _cut(self, owner, down, right, quarters, flip):
        labels = self.images.labels[owner]
        row, column = (int(draw * (length - self.size + 1)) for draw, length in zip((down, right), labels.shape))
        window = (..., slice(row, row + self.size), slice(column, column + self.size))
        parts = [self.images.images[owner][window], labels[window]]
        if self.turn:
            parts = [torch.rot90(part, int(4 * quarters), dims=(-2, -1)) for part in parts]
            parts = [part.flip(-1) if flip < 0.5 else part for part in parts]
        return *parts, f"{self.images.names[owner]}@{row},{column}"


def tile_corners(length, side, step=None):
    """Return where tiles begin along one side of an image so that they cover all of it.

    Parameters
    ----------
    length : int
        Side of the image, px.
    side : int
        Side of a tile, px.
    step : int, optional
        From one tile to the next, px; `side` by default. The last tile is moved inward.

    Returns
    -------
    list of int
        One corner, 0, where the image is no longer than a tile.

    Examples
    --------
    >>> tile_corners(256, 128), tile_corners(320, 128)
    ([0, 128], [0, 128, 192])
    """
    last = max(length - side, 0)
    return [*range(0, last, side if step is None else step), last]


def tiles_of(size, side):
    """Return how many tiles of a side cover an image of a size (H, W); see :func:`tile_corners`."""
    return int(np.prod([len(tile_corners(length, side)) for length in size]))


def instance_counts(labels):
    """Return how many instances have at least one pixel in each map.

    Parameters
    ----------
    labels : torch.Tensor, shape (B, H, W), int32
        Instance maps, 0 = background.

    Returns
    -------
    torch.Tensor, shape (B,), int64
    """
    return torch.stack([(torch.unique(own) > 0).sum() for own in labels])
