"""Stains as light absorption: optical density, stain colors, and how much of each stain a pixel holds.

In transmitted light a stain layer of concentration c lets the share exp(-c v) of each color pass, v being the
color of the stain as absorption in red, green and blue (Beer-Lambert law). Optical densities therefore add,
and a pixel's density is a mixture of a few stain vectors (Ruifrok and Johnston 2001).
"""

import numpy as np

from nucseg.arrays import as_image
from nucseg.errors import DataError

#: Intensity of unstained glass (0 to 255): slides are exposed to a little below white.
GLASS = 245.0

#: Hematoxylin and eosin as unit vectors of optical density in red, green and blue (Ruifrok and Johnston 2001,
#: as rounded there before normalization: 0.65 0.70 0.29 and 0.07 0.99 0.11).
HEMATOXYLIN_EOSIN = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]])
HEMATOXYLIN_EOSIN /= np.linalg.norm(HEMATOXYLIN_EOSIN, axis=1, keepdims=True)


def optical_density(image, glass=GLASS):
    """Return how strongly each pixel absorbs red, green and blue light.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        Light microscopy, white background.
    glass : float
        Intensity of an empty pixel, 1 to 255.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), float32
        ``-ln((I + 0.5) / (glass + 0.5))``, natural logarithm, 0 where the pixel is as bright as glass or brighter.

    Raises
    ------
    DataError
        `glass` outside 1 to 255.
    """
    if not 1 <= glass <= 255:
        raise DataError(f"glass must be an intensity from 1 to 255, got {glass}")
    table = np.maximum(np.log((glass + 0.5) / (np.arange(256) + 0.5)), 0).astype(np.float32)
    return table[as_image(image)]


def stain_vectors(image, threshold=0.15, percentile=1.0, glass=GLASS):
    """Estimate the colors of hematoxylin and eosin in one image (Macenko et al. 2009).

    The optical densities of tissue pixels lie near a plane, spanned by the two main directions of their
    distribution; in that plane the two stains are the extreme directions.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        Hematoxylin and eosin stained tissue.
    threshold : float
        Optical density (natural logarithm) below which, in any color but blue, a pixel counts as empty glass.
    percentile : float
        Share of pixels, in percent, ignored at each end of the range of directions; 0 to 50 (exclusive).
    glass : float
        Intensity of an empty pixel, 1 to 255.

    Returns
    -------
    numpy.ndarray, shape (2, 3), float64
        Unit vectors of optical density (red, green, blue), hematoxylin first; no entry is negative.

    Raises
    ------
    DataError
        Fewer than 100 stained pixels, or all of one color, so that no two stains can be told apart.
    """
    if not 0 <= percentile < 50:
        raise DataError(f"percentile must lie in [0, 50), got {percentile}")
    density = optical_density(image, glass).reshape(-1, 3).astype(np.float64)
    # Eosin hardly absorbs red or blue; only green tells stained from empty for both stains.
    tissue = density[density[:, 1] > threshold]
    if len(tissue) < 100:
        raise DataError(f"image: only {len(tissue)} stained pixels, 100 are needed to estimate stain colors")
    values, axes = np.linalg.eigh(np.cov(tissue, rowvar=False))
    if values[2] < 1e-6:
        raise DataError("image: all stained pixels have one color, two stains cannot be told apart")
    plane = axes[:, [2, 1]]
    plane = plane * np.where(plane.sum(axis=0) < 0, -1, 1)
    along, across = (tissue @ plane).T
    low, high = np.percentile(np.arctan2(across, along), [percentile, 100 - percentile])
    pair = np.array([[np.cos(a), np.sin(a)] for a in (low, high)]) @ plane.T
    pair = np.maximum(pair * np.where(pair.sum(axis=1, keepdims=True) < 0, -1, 1), 0)
    pair /= np.linalg.norm(pair, axis=1, keepdims=True)
    # Hematoxylin is blue, so it takes more of the red light.
    return pair[np.argsort(-pair[:, 0])]


def separate_stains(image, vectors=HEMATOXYLIN_EOSIN, glass=GLASS):
    """Return how much of each stain every pixel holds (color deconvolution, Ruifrok and Johnston 2001).

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        Stained tissue.
    vectors : numpy.ndarray, shape (2, 3)
        Optical density of each stain at concentration 1 (rows).
    glass : float
        Intensity of an empty pixel, 1 to 255.

    Returns
    -------
    numpy.ndarray, shape (H, W, 2), float32
        Concentrations (optical density along each vector) by least squares, negative values set to 0.

    Raises
    ------
    DataError
        `vectors` of another shape, or two vectors of the same direction.
    """
    vectors = _checked_vectors(vectors)
    return np.maximum(optical_density(image, glass) @ np.linalg.pinv(vectors).astype(np.float32), 0)


def mix_stains(concentrations, vectors=HEMATOXYLIN_EOSIN, glass=GLASS):
    """Return the light that passes stained tissue: the reverse of :func:`separate_stains`.

    Parameters
    ----------
    concentrations : numpy.ndarray, shape (H, W, k)
        Amount of each of k stains, 0 or more.
    vectors : numpy.ndarray, shape (k, 3)
        Optical density of each stain at concentration 1 (rows); more than two are allowed here.
    glass : float
        Intensity of an empty pixel, 1 to 255.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), float32
        Intensities 0 to `glass`, not rounded (see Macenko et al. 2009, eq. 1).

    Raises
    ------
    DataError
        `concentrations` or `vectors` of another shape.
    """
    concentrations, vectors = np.asarray(concentrations, np.float32), np.asarray(vectors, np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != 3:
        raise DataError(f"vectors: expected rows of red, green and blue, got shape {vectors.shape}")
    if concentrations.ndim != 3 or concentrations.shape[2] != len(vectors):
        raise DataError(f"concentrations: expected shape (H, W, {len(vectors)}), got {concentrations.shape}")
    density = concentrations @ vectors
    return np.float32(glass) * np.exp(-density)


def vector_angle(first, second):
    """Return the angle between two stain vectors in degrees, 0 to 180."""
    first, second = np.asarray(first, float), np.asarray(second, float)
    cosine = first @ second / (np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _checked_vectors(vectors):
    vectors = np.asarray(vectors, np.float64)
    if vectors.shape != (2, 3) or not np.isfinite(vectors).all():
        raise DataError(f"vectors: expected two finite rows (red, green, blue), got shape {vectors.shape}")
    if np.linalg.matrix_rank(vectors, tol=1e-6) < 2:
        raise DataError("vectors: the two stains have the same color and cannot be told apart")
    return vectors
