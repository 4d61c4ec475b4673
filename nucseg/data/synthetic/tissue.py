"""Synthetic tissue textures with a class per pixel and image-level tags."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nucseg.data.sample import Sample
from nucseg.data.stain import mix_stains
from nucseg.data.synthetic.knobs import Knobs, knob
from nucseg.data.synthetic.noise import fibers, irregular_angle, ramp, smooth_noise
from nucseg.data.synthetic.optics import expose
from nucseg.data.synthetic.stamps import stamp_grid
from nucseg.seeding import generator

#: Class names in the order of their index in the mask (that of the LUAD-HistoSeg release); 4 is white background.
TISSUE_CLASSES = ("tumor epithelium", "necrosis", "lymphocytes", "stroma")
WHITE = 4
_TE, _NEC, _LYM, _TAS = range(4)

# Which classes occur together, and how often: tumor hardly ever without stroma, as on real slides.
_COMBINATIONS = {
    (_TE,): 0.03,
    (_NEC,): 0.03,
    (_LYM,): 0.03,
    (_TAS,): 0.08,
    (_TE, _TAS): 0.22,
    (_LYM, _TAS): 0.12,
    (_TE, _LYM, _TAS): 0.14,
    (_TE, _NEC): 0.08,
    (_TE, _NEC, _TAS): 0.07,
    (_NEC, _TAS): 0.03,
    (_TE, _LYM): 0.02,
}
# Hematoxylin and eosin of lung slides scanned at low magnification: optical density in red, green, blue.
_STAINS = np.array([[0.56, 0.745, 0.35], [0.04, 0.875, 0.48]])
# Lymphocytes and stroma have larger cores.
_CORE_RELATIVE = (1.0, 1.0, 0.55 / 0.45, 0.60 / 0.45)


@dataclass(frozen=True)
class TissueConfig(Knobs):
    """Settings of :func:`render_tissue`; the defaults resemble 10x images (about 1 micrometer per pixel)."""

    size: int = knob(224, "px", 64, 2048)  # height and width of the image
    single: float = knob(0.2, "share of images", 0, 1)  # images of one class only; more makes the task easier
    core: float = knob(0.45, "share of a region", 0.05, 1)  # with the full texture of its class; the rest is ambiguous
    halo: float = knob(0.8, "share of images", 0, 1)  # bluish stroma beside tumor: a tumor cue outside the tumor
    halo_reach: float = knob(14.0, "px", 1, 60)  # how far the halo reaches
    strays: float = knob(0.6, "share", 0, 1)  # density of lone lymphocytes in stroma where lymphocytes are tagged
    strays_untagged: float = knob(0.05, "share", 0, 1)  # the same in images without the lymphocyte tag
    holes: float = knob(0.35, "share of images", 0, 1)  # with white background
    min_share: float = knob(0.04, "share of area", 0, 0.2)  # smallest area of a tagged class
    blur: float = knob(0.6, "px", 0, 4)  # standard deviation of the optical blur
    noise: float = knob(3.5, "gray levels", 0, 40)  # standard deviation of the camera noise in bright areas
    variation: float = knob(1.0, "relative", 0, 2)  # differences between patients: stain color and strength
    patient: int | None = knob(
        None, "patient", 0, 2**63
    )  # seed of all that a patient's images share; None: the image seed


def render_tissue(config=None, seed=0):
    """Render one tissue image.

    Parameters
    ----------
    config : TissueConfig, optional
        The knobs; None for the defaults.
    seed : int
        0 or more; the same seed and settings give the same image.

    Returns
    -------
    Sample
        ``mask`` holds the class per pixel (index into :data:`TISSUE_CLASSES`, 4 = white background); ``tags``
        maps every class name to whether the class occurs; ``meta`` has ``patient``, ``stain_vectors`` (2 x 3) and
        ``core`` (H x W bool: where the texture is that of the class rather than the ambiguous one).
    """
    config = TissueConfig() if config is None else config
    patient = seed if config.patient is None else config.patient
    mask, present = _regions(generator(seed, "tissue", "regions"), config)
    core = _cores(generator(seed, "tissue", "cores"), mask, config)
    stains = _texture(generator(seed, "tissue", "texture"), mask, core, config)
    vectors, strength = _stain(patient, config)
    light = mix_stains(stains * strength, vectors)
    image = expose(generator(seed, "tissue", "camera"), light, config.blur, config.noise)
    tags = {name: index in present for index, name in enumerate(TISSUE_CLASSES)}
    return Sample(
        f"synthetic-tissue-{seed}",
        image,
        mask=mask,
        tags=tags,
        group=f"patient-{patient}",
        meta={"patient": patient, "core": core, "stain_vectors": vectors},
    )


def _stain(patient, config):
    rng, v = generator(patient, "tissue", "patient"), config.variation
    vectors = _STAINS * (1 + v * rng.uniform(-0.1, 0.1, (2, 3)))
    strength = 1 + v * rng.uniform(-0.25, 0.25, 2)
    return vectors, np.maximum(strength * [1.55, 1.3], 0.1).astype(np.float32)


def _regions(rng, config):
    """Draw the classes of an image and a smooth map of where they lie."""
    combinations = list(_COMBINATIONS)
    chance = np.array([_COMBINATIONS[c] for c in combinations])
    lone = np.array([len(c) == 1 for c in combinations])
    chance = np.where(
        lone, config.single * chance / chance[lone].sum(), (1 - config.single) * chance / chance[~lone].sum()
    )
    present = combinations[rng.choice(len(combinations), p=chance)]
    shape, scale = (config.size, config.size), config.size / 224
    while True:
        fields = [smooth_noise(rng, shape, rng.uniform(18, 34) * scale) + rng.uniform(-0.35, 0.35) for _ in present]
        mask = np.array(present, np.uint8)[np.argmax(fields, axis=0)]
        if rng.random() < config.holes:
            field = smooth_noise(rng, shape, rng.uniform(8, 16) * scale)
            mask[field > np.quantile(field, 1 - rng.uniform(0.04, 0.20))] = WHITE
        if all(np.mean(mask == index) >= config.min_share for index in present):
            return mask, present


def _cores(rng, mask, config):
    """Return where each region has its full texture: the same share of every region, in blobs."""
    core = np.zeros(mask.shape, bool)
    for index in range(4):
        field = smooth_noise(rng, mask.shape, rng.uniform(11, 14))
        region = mask == index
        if region.any():
            share = min(config.core * _CORE_RELATIVE[index], 1)
            core |= region & (field >= np.quantile(field[region], 1 - share))
    return core


def _texture(rng, mask, core, config):
    """Concentrations of hematoxylin and eosin."""
    shape = mask.shape
    fine, speck, spot, patch = (smooth_noise(rng, shape, sigma) for sigma in (0.8, 1.3, 3.0, 9.0))
    angle = irregular_angle(rng, shape, config.size / 5, 0.35)
    thin, thick = fibers(rng, angle, 9, (0.7, 1.7))
    fiber = 0.7 * thin + 0.7 * thick
    cleft = ramp(-thick - 0.3 * thin, 1.5, 2.4)
    mottle = 0.4 * fine + 0.5 * speck + 0.5 * spot + 0.6 * patch
    # The ambiguous remainder first: the same for all classes but stroma, whose fibers still show faintly.
    h, e = 0.09 * (1 + 0.25 * mottle), 0.36 * (1 + 0.13 * mottle)
    e[mask == _TAS] += 0.035 * fiber[mask == _TAS]
    bases = {
        _TE: (0.27 * (1 + 0.16 * mottle), 0.34 * (1 + 0.12 * mottle)),
        _NEC: (0.06 * (1 + 0.3 * mottle), 0.60 * (1 + 0.20 * speck + 0.12 * fine + 0.08 * patch)),
        _LYM: (0.20 * (1 + 0.16 * mottle), 0.25 * (1 + 0.16 * mottle)),
        _TAS: (0.07 * (1 + 0.2 * mottle), 0.42 * (1 + 0.26 * fiber + 0.10 * mottle) * (1 - 0.9 * cleft)),
    }
    for index, (base_h, base_e) in bases.items():
        at = core & (mask == index)
        h[at], e[at] = base_h[at], base_e[at]
    _halo(rng, mask, h, e, config)
    white = mask == WHITE
    h[white], e[white] = 0.01, 0.02
    # Neighboring textures mingle over two or three pixels.
    h, e = (ndimage.gaussian_filter(field, 0.7) for field in (h, e))
    nuclei = _nuclei(rng, mask, core, angle, 1 + 0.13 * speck + 0.10 * spot, config)
    h = np.maximum(h, nuclei * (1 + 0.16 * fine + 0.20 * speck))
    return np.maximum(np.stack([h, e], axis=2), 0.004)


def _halo(rng, mask, h, e, config):
    """Make the stroma beside tumor look a little like tumor."""
    if rng.random() >= config.halo or not (mask == _TE).any():
        return
    distance = ndimage.distance_transform_edt(mask != _TE)
    near = (mask == _TAS) & (distance <= config.halo_reach)
    h[near] += 0.16 * np.exp(-distance[near] / config.halo_reach)
    e[near] *= 0.75


def _nuclei(rng, mask, core, angle, warp, config):
    """Hematoxylin of the nuclei, 0 between them."""
    h = np.zeros(mask.shape, np.float32)
    tumor, necrosis, lymphoid, stroma = (mask == index for index in range(4))
    stamp_grid(rng, h, warp, tumor & core, 10.5, (3.8, 6.0), (1.0, 1.7), (0.65, 1.05))
    stamp_grid(rng, h, warp, tumor & ~core, 18, (2.6, 3.8), (1.0, 1.3), (0.35, 0.55))
    stamp_grid(rng, h, warp, necrosis & core, 11, (0.9, 2.0), (1.0, 1.8), (0.4, 0.9), keep=0.4)
    stamp_grid(rng, h, warp, necrosis & ~core, 15, (2.0, 3.2), (1.0, 1.3), (0.2, 0.4), keep=0.6)
    stamp_grid(rng, h, warp, lymphoid & core, 8.2, (2.5, 3.5), (1.0, 1.3), (1.0, 1.4))
    stamp_grid(rng, h, warp, lymphoid & ~core, 13, (2.7, 3.4), (1.0, 1.15), (0.8, 1.1))
    stamp_grid(rng, h, warp, stroma, 20, (3.0, 3.9), (2.6, 4.6), (0.5, 0.9), angle=angle)
    keep = config.strays if lymphoid.any() else config.strays_untagged
    stamp_grid(rng, h, warp, stroma, 26, (2.6, 3.2), (1.0, 1.15), (0.9, 1.2), keep=keep)
    return h
