"""What a network of canonical shapes says of the tiles of an image."""

import numpy as np
import torch

from nucseg.losses.shapes import upsampled_log_likelihood
from nucseg.methods.tiling import over_tiles
from nucseg.models.canonical_shape import combined, grid_places


def transforms_of(network, pixels, parts, preprocessing):
    """Yield the transforms of the instances of each tile, on the device of the network.

    Parameters
    ----------
    network : nucseg.models.CanonicalShapeNet
        In evaluation mode.
    pixels : numpy.ndarray, shape (H, W, 3), uint8
        The image, prepared as in training.
    parts : sequence of nucseg.methods.tiling.Tile
        Its tiles.
    preprocessing : nucseg.methods.preprocessing.Preprocessing
        Standardizes the image.

    Yields
    ------
    nucseg.models.Transforms
        Of one tile.
    """
    encoder = network.encoder
    for several in over_tiles(encoder, pixels, parts, encoder.patch, preprocessing, encoder.cells.device):
        for index in range(len(several.presence)):
            yield type(several)(*(field[index : index + 1] for field in several))


def likelihood_map(network, pixels, parts, preprocessing, grid):
    """Return p(y) of every pixel of an image, each from the tile that owns it, (H, W) float32.

    Arguments are those of :func:`transforms_of`; the shapes are sampled on `grid` places along each side of a tile and
    their likelihood interpolated.
    """
    whole = np.zeros(pixels.shape[:2], np.float32)
    for tile, transforms in zip(parts, transforms_of(network, pixels, parts, preprocessing)):
        inside, own = tile.own_window(whole.shape)
        whole[inside] = tile_likelihood(network, transforms, grid)[own]
    return whole


def tile_likelihood(network, transforms, grid):
    """Return p(y) of every pixel of a tile, (patch, patch) float32; arguments as of :func:`likelihood_map`."""
    with torch.inference_mode():
        coarse = combined(network.shape, transforms, grid_places(grid, network.encoder.cells.device))
        return upsampled_log_likelihood(coarse, network.encoder.patch)[0].exp().cpu().numpy()
