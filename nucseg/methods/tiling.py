"""Whole images as overlapping patches, each of which answers for its own area."""

from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import torch

from nucseg.engine import choose_precision
from nucseg.engine.crops import tile_corners


@dataclass(frozen=True)
class Tile:
    """A patch of an image.

    Parameters
    ----------
    corner : tuple of int
        Row and column of its top left pixel.
    first, end : tuple of float
        Row and column where its own area begins and ends; the own areas of all tiles fill the plane.
    """

    corner: tuple[int, int]
    first: tuple[float, float]
    end: tuple[float, float]

    def owns(self, centers):
        """Return which of the places (N, 2), rows and columns, lie in the own area, (N,) bool."""
        return ((centers >= self.first) & (centers < self.end)).all(axis=1)

    def own_window(self, size):
        """Return the slices of the own area in an image of a size (H, W), and in the patch."""
        first, end = np.clip(self.first, 0, size).astype(int), np.clip(self.end, 0, size).astype(int)
        inside = tuple(slice(a, b) for a, b in zip(first, end))
        return inside, tuple(slice(a - c, b - c) for a, b, c in zip(first, end, self.corner))


def tiles(size, patch, margin):
    """Return tiles that cover an image evenly, up to its last pixel.

    Parameters
    ----------
    size : tuple of int
        (H, W) of the image, px; sides below a patch count as one.
    patch : int
        Side of the tiles, px.
    margin : int
        Neighbors share at least twice as many pixels, px.

    Returns
    -------
    list of Tile
        Row by row; each owns what is nearer to its middle than to those of its neighbors.
    """
    axes = []
    for length in size:
        last = max(length - patch, 0)
        steps = -(-last // (patch - 2 * margin))
        corners = [last * i // max(steps, 1) for i in range(steps + 1)]
        middles = [(a + patch + b) // 2 for a, b in pairwise(corners)]
        axes.append(list(zip(corners, [-np.inf, *middles], [*middles, np.inf])))
    return [Tile(*zip(row, column)) for row, column in product(*axes)]


def separate_patches(size, patch):
    """Return the tiles that cover an image, each of which answers for all of its pixels, as in the article (sec. 3.1).

    Arguments are those of :func:`tiles`; only the last of a row or column shares pixels with its neighbor.
    """
    axes = [tile_corners(length, patch) for length in size]
    return [Tile(corner, (-np.inf, -np.inf), (np.inf, np.inf)) for corner in product(*axes)]


def cut(pixels, tile, patch):
    """Return a tile of an image (H, W, 3) uint8; what lies beyond it repeats its border."""
    part = pixels[tile.corner[0] : tile.corner[0] + patch, tile.corner[1] : tile.corner[1] + patch]
    missing = [(0, patch - length) for length in part.shape[:2]]
    return np.pad(part, (*missing, (0, 0)), mode="edge")


def over_tiles(network, pixels, parts, patch, preprocessing, device, batch=16):
    """Yield what a network returns for several tiles of an image at a time.

    Parameters
    ----------
    network : callable
        Takes standardized images (B, 3, s, s) float32; called without gradients, in the precision of the device.
    pixels : numpy.ndarray, shape (H, W, 3), uint8
        The image, prepared as in training.
    parts : sequence of Tile
        Its tiles.
    patch : int
        Side of the tiles, px.
    preprocessing : nucseg.methods.preprocessing.Preprocessing
        Standardizes the image.
    device : torch.device
        Where the network is.
    batch : int
        Tiles at a time.

    Yields
    ------
    object
        The network's output for a batch.
    """
    half = choose_precision(device) == "bf16-mixed"
    for start in range(0, len(parts), batch):
        several = np.stack([cut(pixels, tile, patch) for tile in parts[start : start + batch]])
        images = torch.from_numpy(several).permute(0, 3, 1, 2).to(device).float().div_(255)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            yield network(preprocessing.standardize(images).to(memory_format=torch.channels_last))
