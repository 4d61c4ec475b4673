"""What baselines share whose networks have no padding: prediction of whole images."""

import numpy as np
from torch import nn
from torch.nn import functional as F

from nucseg.engine import predict_tiled


def predict_valid(network, pixels, preprocessing, margin, mode, tile, stride, batch=1):
    """Return what a network without padding says of every pixel of an image that is mirrored at its border.

    Parameters
    ----------
    network : torch.nn.Module
        Maps (B, 3, H, W) to (B, C, H - 2 margin, W - 2 margin).
    pixels : numpy.ndarray, shape (H, W, 3), uint8
        In the colors of the training set.
    preprocessing : nucseg.methods.preprocessing.Preprocessing
        Standardizes the image.
    margin : int
        Pixels around each output pixel that are lost, px.
    mode : {"reflect", "symmetric"}
        Whether the outermost pixel is left out of the mirror image or repeated.
    tile, stride : int
        Side of the tiles and their step, px; the overlap is at least twice the margin.
    batch : int
        Tiles at a time.

    Returns
    -------
    torch.Tensor, shape (C, H, W), float32
        On the CPU.
    """
    wide = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode=mode)
    maps = predict_tiled(
        _SameSize(network, margin), wide, mean=preprocessing.mean, std=preprocessing.std, tile=tile, stride=stride,
        batch=batch,
    )
    return maps[:, margin:-margin, margin:-margin]


class _SameSize(nn.Module):
    """A network whose output is padded to the size of its input; tiles overlap where nothing was computed."""

    def __init__(self, network, margin):
        super().__init__()
        self.network, self.margin = network, margin

    def forward(self, images):
        return F.pad(self.network(images), [self.margin] * 4)
