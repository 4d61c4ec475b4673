"""What lies under and between the nuclei of an H&E image: cytoplasm, stroma, secretions, red blood cells."""

import numpy as np
from scipy import ndimage

from nucseg.data.synthetic.noise import ramp, smooth_noise
from nucseg.data.synthetic.shapes import patch_window


def draw_ground(rng, scene, style, labels):
    """Return the stains of a scene without its nuclei.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    scene : Architecture
        The tissue.
    style : Style
        The patient.
    labels : numpy.ndarray, shape (H, W), int32
        Instance map: each epithelial cell has the cytoplasm nearest to its nucleus.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), float32
        Concentrations of hematoxylin, eosin and blood, above 0.
    """
    shape = labels.shape
    noise = {sigma: smooth_noise(rng, shape, sigma) for sigma in (0.9, 2.0, 5.0, 12.0, 45.0)}
    far, (rows, columns) = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    far, owner = far.astype(np.float32), labels[rows, columns]
    near = np.exp(-far / 8)
    cell_h, cell_e = _cytoplasm(rng, style, noise, far, owner, near)
    stroma_h, stroma_e = _stroma(style, scene, noise, near)
    inside = ramp(scene.depth + 1.5 * noise[2.0], -1.5, 1.5)
    # No nucleus is bare: a rim of cytoplasm bulges into whatever is empty beside it.
    tissue = 1 - np.clip(scene.open, 0, 1) * ramp(far + noise[2.0], 2.0, 6.0)
    mixed_h = (stroma_h + (cell_h - stroma_h) * inside) * tissue
    mixed_e = (stroma_e + (cell_e - stroma_e) * inside) * tissue * (1 + 0.12 * noise[45.0])
    # Fixation draws a pale seam around many nuclei, and glands hold a thin, uneven secretion.
    halo = style.halos * np.exp(-(((far - 1.8) / 1.3) ** 2)) * ramp(noise[12.0], -0.6, 0.6)
    fluid = scene.lumen * style.secretion * ramp(noise[45.0] + 0.5 * noise[12.0] + 0.3 * noise[2.0], -0.4, 0.8)
    out = np.zeros((*shape, 3), np.float32)
    out[..., 0] = style.hematoxylin * np.maximum(mixed_h * (1 - halo) + 0.05 * fluid, 0.008)
    out[..., 1] = style.eosin * np.maximum(mixed_e * (1 - halo) + fluid * (1 + 0.15 * noise[0.9]), 0.012)
    _blood(rng, out, scene)
    return out


def _cytoplasm(rng, style, noise, far, owner, near):
    """Hematoxylin and eosin of epithelial cells: each its own shade, with membranes and foam."""
    shades = rng.standard_normal((3, int(owner.max()) + 1)).astype(np.float32)
    # Far from any nucleus there is no cell to have a shade of its own.
    reach = ramp(-far, -26, -14)
    shade, bluish, foamy = (ndimage.gaussian_filter(column[owner] * reach, 1.3) for column in shades)
    border = np.zeros(owner.shape, np.float32)
    border[:, :-1] += owner[:, :-1] != owner[:, 1:]
    border[:-1] += owner[:-1] != owner[1:]
    border = ndimage.gaussian_filter(np.minimum(border, 1) * ramp(-far, -24, -12), 0.7) * style.membranes
    border *= 1 + 0.5 * noise[5.0]
    mottle = 0.07 * noise[0.9] + 0.13 * noise[2.0] + 0.12 * noise[5.0] + 0.13 * noise[12.0]
    e = 0.40 * (1 + mottle + 0.10 * shade) + 0.45 * border
    h = style.basophilia * (1 + 1.2 * mottle + 0.15 * bluish) * (0.75 + 0.5 * near) + 0.15 * border
    # In foamy cells the cytoplasm between nucleus and membrane is washed out by fat or mucus.
    full = 1.4 - 2.6 * style.vacuoles
    foam = ramp(foamy, full, full + 0.8) * ramp(far, 1.0, 5.0) * (0.55 + 0.45 * ramp(noise[2.0], -0.3, 0.9))
    keep = 1 - 0.8 * foam * (1 - np.clip(1.6 * border, 0, 1))
    return h * keep, e * keep


def _stroma(style, scene, noise, near):
    """Hematoxylin and eosin of fibers, with bluish ground substance around cells and in patches."""
    # Fibrils are thin dark lines between paler bundles.
    fibril = ramp(scene.fine + 0.4 * noise[2.0], 0.5, 2.0)
    fiber = 0.13 * scene.fine + 0.15 * scene.coarse + 0.36 * fibril - 0.06
    e = 0.37 * (1 + fiber + 0.09 * noise[12.0] + 0.09 * noise[0.9] + 0.10 * noise[2.0])
    loose = ramp(noise[45.0] + 0.4 * noise[12.0], 0.2, 1.4)
    e = e * (1 - 0.45 * loose * (1 + 0.4 * noise[2.0] + 0.5 * scene.fine))
    h = style.ground * (1 + 0.2 * scene.coarse + 0.2 * noise[2.0] + 0.15 * fibril) + 0.05 * loose
    return h + 0.12 * near * np.minimum(scene.foci, 2) / 2, e


def _blood(rng, stains, scene):
    """Red blood cells: disks, paler in the middle, in the vessels."""
    rows, columns = np.nonzero(scene.vessel > 0.8)
    for _ in range(len(rows) // 60):
        pick = rng.integers(len(rows))
        radius, strength = rng.uniform(4.2, 6.2), rng.uniform(0.35, 0.7)
        window, part = patch_window(rows[pick], columns[pick], 9, scene.vessel.shape)
        span = np.arange(-9, 10, dtype=np.float32)
        rho = np.hypot(span[:, None], span[None, :])[part] / radius
        disk = strength * ramp(-rho, -1.1, -0.85) * (0.7 + 0.3 * rho)
        view = stains[window]
        view[..., 2] = np.maximum(view[..., 2], disk)
