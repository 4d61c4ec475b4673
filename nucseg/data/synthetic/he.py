"""Synthetic hematoxylin and eosin images of nuclei with an exact instance map."""

from dataclasses import dataclass

import numpy as np

from nucseg.data.sample import Sample
from nucseg.data.stain import mix_stains
from nucseg.data.synthetic.architecture import draw_architecture
from nucseg.data.synthetic.chromatin import Grain, concentration, draw_chromatin
from nucseg.data.synthetic.ground import draw_ground
from nucseg.data.synthetic.knobs import Knobs, knob
from nucseg.data.synthetic.optics import expose
from nucseg.data.synthetic.population import populate
from nucseg.data.synthetic.shapes import patch_window
from nucseg.data.synthetic.style import draw_style
from nucseg.seeding import generator


@dataclass(frozen=True)
class HEConfig(Knobs):
    """Settings of :func:`render_he`; the defaults resemble 40x images (about 0.25 micrometers per pixel)."""

    size: int = knob(512, "px", 64, 4096)  # height and width of the image
    nuclei: int = knob(150, "nuclei", 0, 20000)  # in the image; fewer only where no room is left
    touching: float = knob(0.28, "share of nuclei", 0, 1)  # nuclei that touch another nucleus
    clumping: float = knob(0.4, "share of contacts", 0, 1)  # contacts that enlarge a clump instead of making a pair
    overlap: int = knob(2, "px", 0, 8)  # how far a touching nucleus is pushed behind its neighbor
    gap: int = knob(2, "px", 1, 3)  # least background between nuclei that do not touch
    radius: float = knob(11.5, "px", 4, 30)  # mean radius of epithelial nuclei
    pleomorphism: float = knob(0.17, "relative", 0, 0.5)  # spread of nuclear radii within an image
    roughness: float = knob(0.07, "relative", 0, 0.2)  # irregularity of contours, share of the radius
    lymphocytes: float = knob(0.22, "share of nuclei", 0, 1)  # small, round, dark
    fibroblasts: float = knob(0.18, "share of nuclei", 0, 1)  # elongated, along stroma fibers
    epithelium: float = knob(0.5, "share of area", 0, 1)  # nests and glands; the rest is stroma
    glands: float = knob(0.4, "share of epithelium", 0, 1)  # with a lumen; the rest is solid
    vessels: float = knob(0.8, "vessels", 0, 20)  # expected number of small vessels with red blood cells
    hematoxylin: float = knob(1.0, "relative", 0.2, 3)  # strength of the nuclear stain
    eosin: float = knob(1.0, "relative", 0.2, 3)  # strength of the counterstain
    chromatin: float = knob(1.0, "relative", 0, 2)  # strength of granules, rims and nucleoli
    ghosts: float = knob(0.06, "share of nuclei", 0, 1)  # blurred nuclei of another focal plane, not in the truth
    blur: float = knob(0.7, "px", 0, 6)  # standard deviation of the optical blur
    noise: float = knob(3.0, "gray levels", 0, 40)  # standard deviation of the camera noise in bright areas
    variation: float = knob(1.0, "relative", 0, 2)  # differences between patients: stain, grade, architecture
    patient: int | None = knob(
        None, "patient", 0, 2**63
    )  # seed of all that a patient's images share; None: the image seed


def render_he(config=None, seed=0):
    """Render one H&E image.

    Light passes a layer of hematoxylin and eosin (Beer-Lambert law, :func:`nucseg.data.stain.mix_stains`);
    their concentrations come from the tissue architecture and from each nucleus.

    Parameters
    ----------
    config : HEConfig, optional
        The knobs; None for the defaults.
    seed : int
        0 or more; the same seed and settings give the same image.

    Returns
    -------
    Sample
        ``labels`` holds ids 1..n, each one connected; ``meta`` has ``kinds`` (tuple of str: the kind of nucleus
        1, 2, ...), ``stain_vectors`` (3 x 3: hematoxylin, eosin, blood), ``glass`` (intensity of an empty
        pixel) and ``patient``.
    """
    config = HEConfig() if config is None else config
    patient = seed if config.patient is None else config.patient
    style = draw_style(patient, config)
    shape = (config.size, config.size)
    scene = draw_architecture(
        generator(seed, "he", "architecture"),
        shape,
        style.epithelium,
        style.glands,
        config.vessels,
        style.nest,
        style.waviness,
        style.looseness,
    )
    layout = populate(generator(seed, "he", "layout"), scene, style, config)
    stains = draw_ground(generator(seed, "he", "ground"), scene, style, layout.labels)
    rng = generator(seed, "he", "nuclei")
    grain = Grain(rng, shape)
    _ghosts(rng, stains, layout, grain, style, round(config.ghosts * config.nuclei))
    _nuclei(rng, stains, layout, grain, style)
    light = mix_stains(stains, style.vectors, 1.0) * style.glass
    image = expose(generator(seed, "he", "camera"), light, config.blur, config.noise)
    meta = {
        "kinds": tuple(nucleus.kind for nucleus in layout.nuclei),
        "stain_vectors": style.vectors,
        "glass": style.glass,
        "patient": patient,
    }
    return Sample(f"synthetic-he-{seed}", image, layout.labels, group=f"patient-{patient}", meta=meta)


def _nuclei(rng, stains, layout, grain, style):
    """Draw the nuclei front to back: one that lies behind shows only faintly through the one in front."""
    covered = np.zeros(layout.labels.shape, np.float32)
    for nucleus in layout.nuclei:
        look = draw_chromatin(rng, nucleus.kind, style)
        amount, cover, window = _patch(rng, look, nucleus.outline, nucleus.row, nucleus.column, grain)
        view = covered[window]
        shown = cover * (1 - 0.75 * view)
        under = stains[window]
        under[..., 0] = under[..., 0] * (1 - 0.6 * shown) + style.hematoxylin * amount * shown
        under[..., 1] *= 1 - style.eosin_loss * shown
        np.maximum(view, cover, out=view)


def _ghosts(rng, stains, layout, grain, style, count):
    """Draw faint blurred nuclei where there is no labeled one."""
    height, width = layout.labels.shape
    for _ in range(count if layout.nuclei else 0):
        model = layout.nuclei[rng.integers(len(layout.nuclei))]
        row, column = int(rng.integers(height)), int(rng.integers(width))
        if layout.labels[max(row - 8, 0) : row + 9, max(column - 8, 0) : column + 9].any():
            continue
        if stains[row, column, 1] < 0.12 * style.eosin:
            continue
        look = draw_chromatin(rng, model.kind, style)
        amount, cover, window = _patch(rng, look, model.outline, row, column, grain, extra=2.5)
        stains[window][..., 0] += rng.uniform(0.15, 0.4) * style.hematoxylin * cover * np.minimum(amount, 1)


def _patch(rng, look, outline, row, column, grain, extra=0.0):
    """Concentration, cover and window of one nucleus, cut at the image border."""
    depth, radius = outline.depth()
    window, part = patch_window(row, column, depth.shape[0] // 2, grain.fine.shape)
    if extra:
        look = type(look)(look.amount, 0.0, 0.3 * look.grain, look.softness + extra, 0)
    return (*concentration(rng, look, depth[part], radius[part], grain, window), window)
