"""What a nucleus looks like inside: hematoxylin granules, a dark rim, pale interiors, nucleoli."""

from dataclasses import dataclass

import numpy as np

from nucseg.data.synthetic.noise import ramp, smooth_noise


@dataclass(frozen=True)
class Chromatin:
    """Appearance of one nucleus.

    Parameters
    ----------
    amount : float
        Mean hematoxylin concentration (optical density along the stain vector).
    pale : float
        0 (evenly dark) to 1 (vesicular: pale interior, dark rim).
    grain : float
        Strength of granules relative to `amount`, 0 to 1.
    softness : float
        Blur of the outline in pixels: how far the nucleus lies out of focus.
    nucleoli : int
        Number of nucleoli.
    """

    amount: float
    pale: float
    grain: float
    softness: float
    nucleoli: int


class Grain:
    """Noise fields as large as the image, from which every nucleus takes the part that it covers."""

    def __init__(self, rng, shape):
        self.fine = smooth_noise(rng, shape, 0.8)
        self.middle = smooth_noise(rng, shape, 1.6)
        self.coarse = smooth_noise(rng, shape, 3.6)


def draw_chromatin(rng, kind, style):
    """Return a random appearance for a nucleus of one kind.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    kind : str
        "epithelial", "lymphocyte" or "fibroblast".
    style : Style
        The patient's settings.

    Returns
    -------
    Chromatin
    """
    soft = float(np.clip(rng.gamma(3.0, 0.36), 0.4, 2.8))
    if kind == "lymphocyte":
        amount = 1.12 * rng.lognormal(0, 0.14)
        return Chromatin(amount, 0.15 * rng.random(), 0.30 * style.chromatin, soft, 0)
    if kind == "fibroblast":
        amount = 0.85 * rng.lognormal(0, 0.25)
        return Chromatin(amount, 0.5 * rng.random(), 0.2 * style.chromatin, soft, 0)
    pale = float(np.clip(style.vesicular + 0.25 * rng.standard_normal(), 0, 1))
    # A few shrunken, evenly dark nuclei occur in any tumor.
    if rng.random() < 0.06:
        return Chromatin(1.25 * rng.lognormal(0, 0.1), 0.1, 0.2 * style.chromatin, soft, 0)
    amount = (0.97 - 0.32 * pale) * rng.lognormal(0, 0.15)
    nucleoli = int(rng.poisson(0.3 + 1.1 * pale))
    return Chromatin(amount, pale, 0.38 * style.chromatin, soft, min(nucleoli, 3))


def concentration(rng, look, depth, radius, grain, window):
    """Return the hematoxylin and the coverage of one nucleus in its patch.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness (nucleoli).
    look : Chromatin
        Its appearance.
    depth, radius : numpy.ndarray, shape (h, w)
        Distance to the contour in pixels and relative radius, see :meth:`Outline.depth`.
    grain : Grain
        Noise fields of the image.
    window : tuple of slice
        Where the patch lies in the image.

    Returns
    -------
    amount : numpy.ndarray, shape (h, w), float32
        Concentration where fully covered.
    cover : numpy.ndarray, shape (h, w), float32
        0 to 1.
    """
    fine, middle, coarse = grain.fine[window], grain.middle[window], grain.coarse[window]
    cover = ramp(depth + 0.15 * middle, -0.6 - look.softness, 0.6 + look.softness)
    sharp = 1 / (0.5 + 0.5 * max(look.softness, 0.6))
    inner = ramp(depth, 0.3, 3.6)
    texture = look.grain * sharp * (0.45 * fine + 0.75 * middle + 0.4 * coarse)
    clumps = look.grain * sharp * 1.1 * ramp(middle + 0.5 * coarse, 0.7, 1.7)
    rim = np.exp(-(((depth - 1.1) / 1.1) ** 2)) * (1 + 0.45 * coarse)
    amount = 1 - 0.48 * look.pale * inner + (0.18 + 0.34 * look.pale) * rim * sharp
    amount = amount + texture + look.pale * clumps
    for _ in range(look.nucleoli):
        amount = amount + _nucleolus(rng, depth, radius)
    return np.maximum(look.amount * amount, 0.12).astype(np.float32), cover.astype(np.float32)


def _nucleolus(rng, depth, radius):
    """A dark spot somewhere in the inner half."""
    inner = np.flatnonzero(radius.ravel() < 0.6)
    if len(inner) == 0:
        return 0.0
    row, column = divmod(int(inner[rng.integers(len(inner))]), radius.shape[1])
    y = np.arange(radius.shape[0], dtype=np.float32)[:, None] - row
    x = np.arange(radius.shape[1], dtype=np.float32)[None, :] - column
    size = rng.uniform(1.0, 1.9)
    return rng.uniform(0.6, 1.2) * np.exp(-(x * x + y * y) / (2 * size * size)) * ramp(depth, 0, 2)
