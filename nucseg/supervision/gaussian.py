"""The extended Gaussian mask: what a few dots say about where nuclei are and are not."""

import numpy as np

from nucseg.errors import DataError
from nucseg.supervision.distance import nearest_points


def extended_gaussian_mask(points, shape, r1, r2, sigma):
    """Return the detection target around annotated dots (Qu et al. 2020, eq. 1).

    With D the distance to the nearest dot: ``exp(-D^2 / (2 sigma^2))`` for D < r1, 0 for r1 <= D < r2, and -1
    (ignored) elsewhere. Where two bumps meet the higher value counts, because D is the smaller distance. The
    equation leaves D = r1 open; here it is background, the value the bump has faded to.

    Parameters
    ----------
    points : array_like, shape (N, 2)
        Row and column of the annotated dots, px.
    shape : tuple of int
        (H, W) of the image.
    r1 : float
        Radius of the bump, px; the article takes the mean nuclear radius of the validation images.
    r2 : float
        Outer radius of the ring taken as background, px; 2 r1 in the article.
    sigma : float
        Width of the bump, px; r1 / 4 in the article.

    Returns
    -------
    numpy.ndarray, shape (H, W), float32
        Values in [0, 1], or -1 for ignored. Without dots everything is ignored.

    Raises
    ------
    DataError
        Bad points, or radii that are not 0 < r1 <= r2, or a sigma that is not positive.
    """
    if not (0 < r1 <= r2 and sigma > 0):
        raise DataError(f"Gaussian mask: expected 0 < r1 <= r2, sigma > 0, got {r1}, {r2} and {sigma}")
    distance, _ = nearest_points(points, shape)
    mask = np.where(distance < r2, 0.0, -1.0)
    near = distance < r1
    mask[near] = np.exp(-(distance[near] ** 2) / (2 * sigma**2))
    return mask.astype(np.float32)


def gaussian_weights(mask, foreground=10.0, threshold=0.05):
    """Return the weight of every pixel in the detection loss (Qu et al. 2020, w_i of eq. 2).

    Parameters
    ----------
    mask : array_like, shape (H, W), float
        Output of :func:`extended_gaussian_mask`.
    foreground : float
        Weight of foreground pixels; background pixels weigh 1.
    threshold : float
        Foreground is ``mask >= threshold``. The authors' release cuts its bumps at 0.05; the article counts
        every pixel above 0, which is ``threshold=numpy.nextafter(0, 1)``.

    Returns
    -------
    numpy.ndarray, shape (H, W), float32
        `foreground`, 1, or 0 where the mask is ignored.
    """
    mask = np.asarray(mask)
    weights = np.where(mask >= max(threshold, np.nextafter(0, 1)), foreground, 1.0)
    return np.where(mask < 0, 0.0, weights).astype(np.float32)
