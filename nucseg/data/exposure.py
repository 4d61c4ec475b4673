"""Contrast of single images: exposures of fluorescence differ by an order of magnitude."""

from dataclasses import replace

import numpy as np

from nucseg.arrays import as_image
from nucseg.data.sample import Dataset


def stretch_contrast(image, low=1.0, high=99.0):
    """Return an image whose 1st and 99th percentile of all values lie at 0 and 255.

    The channels share both percentiles, so that hues stay as they are. An image of a single value is returned as it is.

    Parameters
    ----------
    image : array_like, shape (H, W, 3), uint8
        RGB; see :func:`nucseg.arrays.as_image` for what else is taken.
    low, high : float
        Percentiles, 0 to 100.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8
    """
    image = as_image(image)
    dark, bright = np.percentile(image, (low, high))
    if not bright > dark:
        return image
    scaled = (image.astype(np.float32) - dark) * (255 / (bright - dark))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def stretched(dataset):
    """Return a dataset whose images are passed through :func:`stretch_contrast` when they are read."""
    def read(name):
        sample = dataset[name]
        return replace(sample, image=stretch_contrast(sample.image))

    return Dataset(dataset.name, dataset.ids, read, dataset.groups, dataset.checksum)
