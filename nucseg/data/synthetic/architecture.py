"""The tissue under the nuclei of an H&E image: epithelial nests, gland lumens, stroma fibers, small vessels."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nucseg.data.synthetic.noise import fibers, irregular_angle, ramp, smooth_noise


@dataclass(frozen=True)
class Architecture:
    """Maps of one scene, all of shape (H, W) and float32.

    Parameters
    ----------
    depth : numpy.ndarray
        Distance in pixels to the border of the epithelium, positive inside it.
    lumen : numpy.ndarray
        0 to 1, 1 in the open middle of glands.
    glandular : numpy.ndarray
        0 to 1, 1 where the epithelium forms glands rather than solid nests.
    vessel : numpy.ndarray
        0 to 1, 1 inside vessels.
    cleft : numpy.ndarray
        0 to 1, 1 in cracks of the stroma and where nests have shrunk away from it.
    foci : numpy.ndarray
        0 or more, the density of lymphocytes relative to its mean.
    angle : numpy.ndarray
        Direction of the stroma fibers in radians.
    fine, coarse : numpy.ndarray
        Fiber textures of mean 0 and standard deviation 1.
    """

    depth: np.ndarray
    lumen: np.ndarray
    glandular: np.ndarray
    vessel: np.ndarray
    cleft: np.ndarray
    foci: np.ndarray
    angle: np.ndarray
    fine: np.ndarray
    coarse: np.ndarray

    @property
    def open(self):
        """0 to 1, 1 where there is no tissue."""
        return np.maximum(np.maximum(self.lumen, self.vessel), self.cleft)


def draw_architecture(rng, shape, epithelium, lumens, vessels, nest=30.0, waviness=0.5, looseness=1.0):
    """Return the tissue architecture of one scene.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    shape : tuple of int
        (H, W) in pixels.
    epithelium : float
        Share of the area covered by epithelium, 0 to 1.
    lumens : float
        Share of the epithelium that forms glands, 0 to 1.
    vessels : float
        Expected number of vessels.
    nest : float
        Size of epithelial nests in pixels (smoothing of the field that is cut).
    waviness : float
        Waves of the stroma fibers in radians.
    looseness : float
        Amount of cracks in the stroma, 0 to 3.

    Returns
    -------
    Architecture
    """
    depth = _epithelium_depth(rng, shape, epithelium, nest)
    glandular = ramp(smooth_noise(rng, shape, 55), *_cut(lumens))
    height = 27 + 4 * smooth_noise(rng, shape, 22) + 1.8 * smooth_noise(rng, shape, 4)
    lumen = glandular * ramp(depth - height, -1.0, 1.5)
    angle = irregular_angle(rng, shape, max(shape) / 5, waviness)
    fine, coarse = fibers(rng, angle, 15, (0.6, 1.8))
    cleft = ramp(
        -coarse + 0.35 * fine + 0.5 * smooth_noise(rng, shape, 30),
        2.5 - 0.45 * looseness,
        3.1 - 0.45 * looseness,
    )
    cleft *= ramp(-depth, 1, 5)
    seam = np.exp(-(((depth + 2.0) / 2.0) ** 2)) * ramp(smooth_noise(rng, shape, 18), 1.1 - 0.4 * looseness, 1.6)
    foci = np.exp(1.6 * smooth_noise(rng, shape, 38)).astype(np.float32)
    vessel = _vessels(rng, shape, depth, vessels)
    return Architecture(
        depth,
        lumen,
        glandular,
        vessel,
        np.maximum(cleft, 0.9 * seam),
        foci / foci.mean(),
        angle,
        fine,
        coarse,
    )


def _cut(share):
    """Thresholds at which a standard normal field rises from 0 to 1 over about `share` of the area."""
    middle = float(-np.sqrt(2) * _inverse_erf(np.clip(2 * share - 1, -0.999, 0.999)))
    return middle - 0.15, middle + 0.15


def _inverse_erf(x):
    # Winitzki's closed form; 0.002 is near enough for a share of an area.
    a, b = 0.147, np.log(1 - x * x)
    c = 2 / (np.pi * a) + b / 2
    return np.sign(x) * np.sqrt(np.sqrt(c * c - b / a) - c)


def _epithelium_depth(rng, shape, share, nest):
    """Signed distance to the border of a random region that covers `share` of the area."""
    half = tuple(-(-size // 2) for size in shape)
    field = smooth_noise(rng, half, nest / 2) + 0.06 * smooth_noise(rng, half, 4)
    if share <= 0 or share >= 1:
        return np.full(shape, 200.0 if share >= 1 else -200.0, np.float32)
    inside = field > np.quantile(field, 1 - share)
    distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    double = ndimage.zoom(2 * distance.astype(np.float32), 2, order=1)
    return double[: shape[0], : shape[1]]


def _vessels(rng, shape, depth, expected):
    """Elliptic openings in the stroma."""
    vessel = np.zeros(shape, np.float32)
    rows, columns = np.nonzero(depth[::8, ::8] < -14)
    for _ in range(rng.poisson(expected) if len(rows) else 0):
        pick = rng.integers(len(rows))
        size, stretch, turn = rng.uniform(8, 17), rng.uniform(1, 2.6), rng.uniform(0, np.pi)
        y = np.arange(shape[0], dtype=np.float32)[:, None] - 8 * rows[pick]
        x = np.arange(shape[1], dtype=np.float32)[None, :] - 8 * columns[pick]
        u, v = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
        bump = 1 - np.sqrt((u / (size * stretch)) ** 2 + (v / size) ** 2)
        vessel = np.maximum(vessel, ramp(bump * size + 0.8 * np.sin(u / 5), 0, 2))
    return vessel * ramp(-depth, 2, 6)
