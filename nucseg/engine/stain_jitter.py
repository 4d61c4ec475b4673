"""Random stain strength and exposure for batches of H&E images that live on the device."""

from dataclasses import dataclass

import numpy as np
import torch

from nucseg.data.stain import HEMATOXYLIN_EOSIN
from nucseg.errors import DataError

#: Added to intensities (0 to 255) before the logarithm, as in :func:`nucseg.data.stain.optical_density`.
OFFSET = 0.5
#: Smallest intensity (0 to 1) of a pixel that is not padding: exactly black would make it padding.
DARKEST = 1e-6


@dataclass(frozen=True)
class StainJitterConfig:
    """Ranges of a random change of the stains; each image of a batch draws its own.

    The form of the change, a factor and a shift for each stain in optical density, is that of Tellez et al. (IEEE TMI
    37(9), 2018, and Medical Image Analysis 58, 2019), who jitter hematoxylin, eosin and the residual alike, and
    precede it by brightness and contrast.  All values here are our choice.
    """

    concentration_scale: float = 0.25  # s: each concentration is multiplied by U(1 - s, 1 + s), no unit (our choice)
    concentration_shift: float = 0.05  # t: U(-t, t) is added to each, optical density, natural logarithm (our choice)
    brightness: float = 0.03  # b: U(-b, b) is added to all intensities, which span 0 to 1 (our choice)
    contrast: float = 0.05  # c: distances from middle gray, 0.5, are multiplied by U(1 - c, 1 + c) (our choice)
    probability: float = 1.0  # that an image is changed at all (our choice)

    def __post_init__(self):
        for name in ("concentration_scale", "contrast"):
            if not 0 <= getattr(self, name) < 1:
                raise DataError(f"{name}: expected 0 or more and less than 1, got {getattr(self, name)}")
        for name in ("brightness", "probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(f"{name}: expected a number from 0 to 1, got {getattr(self, name)}")
        if not 0 <= self.concentration_shift < float("inf"):
            raise DataError(f"concentration_shift: expected 0 or more, got {self.concentration_shift}")


def jitter_stain(images, config, generator):
    """Return images with each stain made randomly stronger or weaker, and the exposure varied.

    Optical densities are split into hematoxylin, eosin and the residual at right angles to both, with the fixed stain
    vectors of Ruifrok and Johnston (2001); then brightness and contrast follow.  The same number of values is drawn
    whatever the ranges, so closing one range leaves the other parts as they were.

    Parameters
    ----------
    images : torch.Tensor, shape (B, 3, H, W), float32
        Red, green and blue in [0, 1], on any device; not changed.  Exactly black pixels are padding and stay so; no
        other pixel becomes exactly black.
    config : StainJitterConfig
        What may happen to them.
    generator : torch.Generator
        The only source of randomness.  One on the CPU gives the same changes on every device.

    Returns
    -------
    torch.Tensor, shape (B, 3, H, W), float32
        In [0, 1], on the device of the images.

    Raises
    ------
    DataError
        Another shape or dtype.

    Examples
    --------
    >>> images = torch.full((2, 3, 8, 8), 0.7)
    >>> jitter_stain(images, StainJitterConfig(), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 8, 8])
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.float32:
        raise DataError(f"images: expected float32 of shape (B, 3, H, W), got {images.dtype} {tuple(images.shape)}")
    matrix, shift, gain, offset = (part.to(images.device) for part in _changes(len(images), config, generator))
    density = ((255 * images + OFFSET) * (1 / (255 + OFFSET))).log_().neg_()
    # Written out, because matrix products lose digits under autocast and in TensorFloat-32.
    mixed = shift
    for channel in range(3):
        mixed = torch.addcmul(mixed, matrix[:, :, channel, None, None], density[:, channel : channel + 1])
    light = mixed.neg_().exp_()
    light = torch.addcmul(offset, light, gain).clamp_(DARKEST, 1)
    return light.mul_((images != 0).any(dim=1, keepdim=True))


def _changes(batch, config, generator):
    """Return what happens to each image: a matrix and a shift of its densities, a gain and an offset of its light."""
    stains = np.vstack([HEMATOXYLIN_EOSIN, np.cross(*HEMATOXYLIN_EOSIN)])
    stains = torch.from_numpy(stains / np.linalg.norm(stains, axis=1, keepdims=True)).to(generator.device)
    draws = torch.rand(batch, 9, generator=generator, dtype=torch.float64, device=generator.device)
    active = (draws[:, :1] < config.probability).double()
    spread = active * (2 * draws[:, 1:] - 1)
    scale = 1 + config.concentration_scale * spread[:, :3]
    matrix = stains.T @ (scale[:, :, None] * torch.linalg.inv(stains.T))
    shift = config.concentration_shift * spread[:, 3:6] @ stains
    contrast, brightness = 1 + config.contrast * spread[:, 6], config.brightness * spread[:, 7]
    # Back to intensities, I = ((255 + OFFSET) light - OFFSET) / 255, then contrast and brightness, in one step.
    gain = contrast * (255 + OFFSET) / 255
    offset = contrast * (-OFFSET / 255 - 0.5) + 0.5 + brightness
    parts = matrix, shift[:, :, None, None], gain[:, None, None, None], offset[:, None, None, None]
    return [part.float() for part in parts]
