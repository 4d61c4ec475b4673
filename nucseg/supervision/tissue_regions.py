"""What a tissue image is made of: white background, and superpixels that share a class (Han et al. 2022)."""

import numpy as np
from scipy import ndimage
from skimage.segmentation import slic

from nucseg.arrays import as_image
from nucseg.errors import DataError

#: Weights of red, green and blue in luma (ITU-R BT.601).
_LUMA = np.array([0.299, 0.587, 0.114])


def white_background(image, threshold=200.0, min_size=50):
    """Return where a tissue image is white (release of Han et al. 2022, ChuHan89/WSSS-Tissue).

    Parameters
    ----------
    image : array_like, shape (H, W, 3), uint8
        The image.
    threshold : float
        Luma above it is white, gray levels.
    min_size : int
        Smaller parts, connected by edges, are not white, px.

    Returns
    -------
    numpy.ndarray, shape (H, W), bool

    Raises
    ------
    DataError
        Not an image, or a negative threshold or size.

    Examples
    --------
    >>> image = np.full((4, 4, 3), 90, np.uint8)
    >>> image[:, 2:], image[0, 0] = 250, 250
    >>> white_background(image, min_size=2).astype(int)[0].tolist()
    [0, 0, 1, 1]
    """
    if not threshold >= 0 or min_size < 0:
        raise DataError(f"white background: expected a threshold and size of 0 or more, got {threshold}, {min_size}")
    white = as_image(image) @ _LUMA > threshold
    parts, count = ndimage.label(white)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    return white & (sizes[parts] >= min_size)


def slic_regions(image, area=256.0, compactness=20.0):
    """Return superpixels of an image (SLIC, Achanta et al. 2012).

    Parameters
    ----------
    image : array_like, shape (H, W, 3), uint8
        The image.
    area : float
        About how large each should be, px.
    compactness : float
        Weight of nearness against color in Lab, no unit; the higher, the squarer.

    Returns
    -------
    numpy.ndarray, shape (H, W), int32
        Ids from 0, without gaps.

    Raises
    ------
    DataError
        Not an image, or an area or compactness that is not positive.

    Examples
    --------
    >>> image = np.zeros((8, 16, 3), np.uint8)
    >>> image[:, 8:] = 200
    >>> slic_regions(image, area=64)[0].tolist()
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    """
    image = as_image(image)
    if not area > 0 or not compactness > 0:
        raise DataError(f"superpixels: expected an area and a compactness above 0, got {area}, {compactness}")
    count = max(1, round(image.shape[0] * image.shape[1] / area))
    parts = slic(image, n_segments=count, compactness=compactness, start_label=0, channel_axis=-1)
    return np.unique(parts, return_inverse=True)[1].reshape(parts.shape).astype(np.int32)
