"""Color normalization: give an image the color statistics of another."""

import warnings
from dataclasses import dataclass

import numpy as np
from skimage.color import lab2rgb, rgb2lab

from nucseg.arrays import as_image

#: The image whose colors the multi-organ images are given (named in the readme of huiqu18/FullNet-varCE).
MONUSEG_REFERENCE = "TCGA-G9-6356-01Z-00-DX1"


@dataclass(frozen=True)
class ColorStatistics:
    """Mean and standard deviation of an image's Lab channels.

    Parameters
    ----------
    mean, std : tuple of float
        Of L (0 to 100), a and b (about -128 to 127), over all pixels.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def color_statistics(image):
    """Return the Lab statistics of a whole image.

    Parameters
    ----------
    image : array_like, shape (H, W, 3), uint8
        sRGB pixels.

    Returns
    -------
    ColorStatistics

    Raises
    ------
    DataError
        Not an image.
    """
    return _statistics(rgb2lab(as_image(image)))


def _statistics(lab):
    mean, std = lab.mean(axis=(0, 1)), lab.std(axis=(0, 1))
    return ColorStatistics(tuple(map(float, mean)), tuple(map(float, std)))


def reinhard_normalize(image, reference):
    """Return an image with the color statistics of a reference (Reinhard et al. 2001, in Lab).

    Each Lab channel is shifted and scaled over the whole image, ``(x - mean) * reference std / std +
    reference mean``, cut to its range and turned back to RGB. Qu et al. 2020 normalize this way; their
    release does so with Lab channels rounded to 8 bits, here they are not rounded. A channel without
    variation is shifted only.

    Parameters
    ----------
    image : array_like, shape (H, W, 3), uint8
        sRGB pixels.
    reference : ColorStatistics or array_like, shape (H, W, 3), uint8
        Where the statistics come from: another image, or what :func:`color_statistics` returned for it.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8

    Raises
    ------
    DataError
        Either is not an image.
    """
    lab = rgb2lab(as_image(image))
    source = _statistics(lab)
    target = reference if isinstance(reference, ColorStatistics) else color_statistics(reference)
    # A flat channel has a standard deviation of rounding noise; one 8-bit step in one pixel gives far more.
    scale = [t / s if s > 1e-6 else 1.0 for s, t in zip(source.std, target.std)]
    lab = (lab - source.mean) * scale + target.mean
    lab = np.clip(lab, [0, -128, -128], [100, 127, 127])
    with warnings.catch_warnings():
        # Lab values outside the RGB cube are cut, which is what clipping means.
        warnings.filterwarnings("ignore", "Conversion from CIE-LAB", UserWarning)
        return np.round(np.clip(lab2rgb(lab), 0, 1) * 255).astype(np.uint8)
