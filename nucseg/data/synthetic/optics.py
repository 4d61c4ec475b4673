"""From light to pixels: optical blur, camera noise, 8 bits."""

import numpy as np
from scipy import ndimage


def expose(rng, light, blur, noise):
    """Return the image that a color camera takes of a scene.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    light : numpy.ndarray, shape (H, W, 3), float32
        Intensities, 0 to 255.
    blur : float
        Standard deviation of the optical blur in pixels.
    noise : float
        Standard deviation of the camera noise in gray levels at intensity 255; shot noise falls with the square
        root of the intensity.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8
    """
    if blur > 0:
        light = ndimage.gaussian_filter(light, (blur, blur, 0), truncate=3)
    if noise > 0:
        grains = rng.standard_normal(light.shape, dtype=np.float32)
        # Color sensors interpolate between pixels, so noise is never white; the factor restores its strength.
        grains = ndimage.gaussian_filter(grains, (0.45, 0.45, 0), truncate=3) * 1.35
        light = light + noise * np.sqrt(np.maximum(light, 8) / 255) * grains
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)
