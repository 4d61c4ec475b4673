"""How hard an image is: contrast of its nuclei and their evenness (Qu et al., 2020, figure 9)."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage
from skimage.morphology import disk

from nucseg.arrays import as_image, as_label_map
from nucseg.errors import DataError


class NucleiContrast(NamedTuple):
    """Area-weighted means over the nuclei of an image, in gray levels (0 to 255)."""

    background_difference: float  #: mean inside a nucleus minus mean in its ring, mean of R, G and B
    absolute_difference: float  #: the same with the absolute value taken per nucleus and channel, as released
    standard_deviation: float  #: spread of the pixels inside a nucleus, mean of R, G and B


def nuclei_contrast(image, labels, ring=3):
    """Return how much nuclei differ from their surroundings and how even they are.

    Parameters
    ----------
    image : array_like, shape (H, W, 3), uint8
        The image, colour-normalized in the paper.
    labels : array_like, shape (H, W)
        Ground-truth instance map, 0 = background.
    ring : int
        Width in pixels of the ring that counts as surroundings, 3 in the paper and 5 in its release. Pixels
        of other nuclei belong to the ring; a nucleus whose ring is empty (it fills the image) is left out.

    Returns
    -------
    NucleiContrast
        NaN without nuclei.

    Raises
    ------
    DataError
        Unusable arrays, different sizes, or a ring below 1 pixel.
    """
    image, labels = as_image(image).astype(np.float64), as_label_map(labels)
    if image.shape[:2] != labels.shape:
        raise DataError(f"image and labels must have one size, got {image.shape[:2]} and {labels.shape}")
    if ring < 1:
        raise DataError(f"ring is a width in pixels, 1 or more, got {ring}")
    areas, values, element = [], [], disk(ring)
    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        around = tuple(slice(max(side.start - ring, 0), side.stop + ring) for side in box)
        inside = labels[around] == value
        outside = ndimage.binary_dilation(inside, element) & ~inside
        if outside.any():
            pixels, surroundings = image[around][inside], image[around][outside]
            difference = pixels.mean(axis=0) - surroundings.mean(axis=0)
            areas.append(len(pixels))
            values.append((difference.mean(), np.abs(difference).mean(), pixels.std(axis=0).mean()))
    if not areas:
        return NucleiContrast(*(float("nan"),) * 3)
    return NucleiContrast(*(float(mean) for mean in np.average(values, axis=0, weights=areas)))
