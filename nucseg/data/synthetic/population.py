"""Who lives where: epithelial cells in nests and around lumens, fibroblasts along fibers, lymphocytes in foci."""

import numpy as np

from nucseg.data.synthetic.layout import Layout, draw_position
from nucseg.data.synthetic.noise import ramp
from nucseg.data.synthetic.shapes import draw_outline

_STRIDE = 4
_TRIES = 60


def populate(rng, scene, style, config):
    """Place the nuclei of one scene.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    scene : Architecture
        The tissue.
    style : Style
        The patient.
    config : HEConfig
        ``nuclei``, ``touching``, ``clumping``, ``overlap``, ``gap``, ``radius`` and ``pleomorphism`` are used.

    Returns
    -------
    Layout
    """
    layout = Layout(scene.depth.shape, config.gap)
    weights = {kind: np.cumsum(w.ravel(), dtype=np.float64) for kind, w in _weights(scene).items()}
    width = -(-scene.depth.shape[1] // _STRIDE)
    slope = np.gradient(scene.depth[::_STRIDE, ::_STRIDE])
    for kind in _kinds(rng, style, config.nuclei):
        for attempt in range(_TRIES):
            # Where its own place is full, a nucleus goes wherever there is tissue.
            cumulative = weights[kind if attempt < _TRIES // 2 else "any"]
            row, column = draw_position(rng, cumulative, width, _STRIDE)
            row, column = min(row, config.size - 1), min(column, config.size - 1)
            outline = _outline(rng, kind, scene, slope, row, column, style, config)
            if layout.place(rng, kind, outline, row, column, config):
                break
    return layout


def _kinds(rng, style, count):
    """A shuffled list of kinds in the patient's proportions."""
    lymphocytes, fibroblasts = round(style.lymphocytes * count), round(style.fibroblasts * count)
    fibroblasts = min(fibroblasts, count - lymphocytes)
    kinds = ["lymphocyte"] * lymphocytes + ["fibroblast"] * fibroblasts
    kinds += ["epithelial"] * (count - len(kinds))
    return [kinds[i] for i in rng.permutation(count)]


def _weights(scene):
    """Density of each kind on the coarse grid; never all zero."""
    depth, lumen, glandular, empty, foci = (
        field[::_STRIDE, ::_STRIDE] for field in (scene.depth, scene.lumen, scene.glandular, scene.open, scene.foci)
    )
    tissue = ramp(-empty, -0.5, 0)
    ring = ramp(depth, 3, 8) * ramp(-depth, -24, -15)
    solid = ramp(depth, 4, 9)
    epithelial = (glandular * ring + (1 - glandular) * solid) * ramp(-lumen, -0.3, 0)
    stroma = ramp(-depth, 4, 9) * tissue
    fields = {
        "epithelial": epithelial,
        "fibroblast": stroma,
        "lymphocyte": stroma * foci**2 + 0.06 * epithelial,
        "any": tissue,
    }
    return {kind: field + 1e-6 for kind, field in fields.items()}


def _outline(rng, kind, scene, slope, row, column, style, config):
    """A random outline for one kind at one place."""
    size = config.radius * style.scale * np.exp(config.pleomorphism * np.clip(rng.standard_normal(), -2.5, 2.5))
    if kind == "lymphocyte":
        size = 0.6 * config.radius * np.exp(0.6 * config.pleomorphism * np.clip(rng.standard_normal(), -2, 2))
        stretch = rng.uniform(1, 1.25)
        return draw_outline(rng, size * stretch**0.5, size / stretch**0.5, rng.uniform(0, np.pi), 0.9 * style.roughness)
    if kind == "fibroblast":
        stretch = rng.uniform(1.8, 4.2)
        angle = scene.angle[row, column] + 0.2 * rng.standard_normal()
        size = 0.78 * size
        return draw_outline(rng, size * stretch**0.5, size / stretch**0.5, angle, style.roughness, bend=0.3)
    glandular = scene.glandular[row, column]
    down, right = (float(axis[row // _STRIDE, column // _STRIDE]) for axis in slope)
    # Columnar cells stand on the border of the gland, and so do their nuclei.
    upright = glandular > 0.5 and rng.random() < 0.8
    angle = np.arctan2(down, right) + 0.25 * rng.standard_normal() if upright else rng.uniform(0, np.pi)
    stretch = 1.1 + rng.gamma(2.0, 0.14) + (0.2 if upright else 0)
    return draw_outline(rng, size * stretch**0.5, size / stretch**0.5, angle, style.roughness, bend=0.08)
