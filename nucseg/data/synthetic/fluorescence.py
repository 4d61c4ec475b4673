"""Synthetic fluorescence images of stained nuclei with an exact instance map."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nucseg.data.sample import Sample
from nucseg.data.synthetic.chromatin import Grain
from nucseg.data.synthetic.knobs import Knobs, knob
from nucseg.data.synthetic.layout import Layout
from nucseg.data.synthetic.noise import ramp, smooth_noise
from nucseg.data.synthetic.shapes import draw_outline, patch_window
from nucseg.seeding import generator

_TRIES = 120


@dataclass(frozen=True)
class FluorescenceConfig(Knobs):
    """Settings of :func:`render_fluorescence`."""

    size: int = knob(256, "px", 64, 4096)  # height and width of the image
    nuclei: int = knob(28, "nuclei", 0, 20000)  # in the image; fewer only where no room is left
    touching: float = knob(0.2, "share of nuclei", 0, 1)  # nuclei that touch another nucleus
    clumping: float = knob(0.5, "share of contacts", 0, 1)  # contacts that enlarge a clump instead of making a pair
    overlap: int = knob(2, "px", 0, 8)  # how far a touching nucleus is pushed behind its neighbor
    gap: int = knob(1, "px", 1, 3)  # least background between nuclei that do not touch
    radius: float = knob(8.5, "px", 4, 60)  # mean radius of nuclei
    size_spread: float = knob(0.16, "relative", 0, 0.6)  # spread of radii within an image
    roughness: float = knob(0.04, "relative", 0, 0.2)  # irregularity of contours, share of the radius
    brightness: float = knob(55.0, "gray levels", 2, 250)  # mean brightness of a nucleus above the background
    brightness_spread: float = knob(0.28, "relative", 0, 1)  # between the nuclei of an image
    texture: float = knob(1.0, "relative", 0, 3)  # strength of chromatin spots and nucleoli
    condensed: float = knob(0.04, "share of nuclei", 0, 1)  # small and very bright: dividing or dying cells
    background: float = knob(6.0, "gray levels", 0, 100)  # mean brightness without nuclei
    haze: float = knob(0.12, "relative", 0, 1)  # light scattered from nuclei into their surroundings
    unevenness: float = knob(0.25, "relative", 0, 0.9)  # loss of illumination from the middle to the corners
    blur: float = knob(1.0, "px", 0, 8)  # standard deviation of the optical blur
    photons: float = knob(8.0, "photons per gray level", 0.05, 1000)  # fewer photons, more shot noise
    read_noise: float = knob(0.6, "gray levels", 0, 20)  # standard deviation of the camera's own noise
    variation: float = knob(1.0, "relative", 0, 2)  # differences between experiments: size, brightness, exposure
    patient: int | None = knob(None, "patient", 0, 2**63)  # seed of all that an experiment shares; None: the image seed


def render_fluorescence(config=None, seed=0):
    """Render one fluorescence image: bright nuclei on a dark, unevenly lit background.

    Parameters
    ----------
    config : FluorescenceConfig, optional
        The knobs; None for the defaults.
    seed : int
        0 or more; the same seed and settings give the same image.

    Returns
    -------
    Sample
        Three equal gray channels; ``labels`` holds ids 1..n, each one connected; ``meta`` has ``kinds`` (tuple of
        str, "interphase" or "condensed", of nucleus 1, 2, ...) and ``patient``.
    """
    config = FluorescenceConfig() if config is None else config
    patient = seed if config.patient is None else config.patient
    size, brightness, background, blur = _experiment(patient, config)
    layout = _populate(generator(seed, "fluorescence", "layout"), config, config.radius * size)
    light = _nuclei(generator(seed, "fluorescence", "nuclei"), layout, config, brightness)
    rng = generator(seed, "fluorescence", "camera")
    light = ndimage.gaussian_filter(light, blur) if blur > 0 else light
    light = light + config.haze * ndimage.gaussian_filter(light, 3 * config.radius * size)
    light = (light + background) * _illumination(rng, config)
    counts = rng.poisson(np.maximum(light, 0) * config.photons) / config.photons
    gray = counts + config.read_noise * rng.standard_normal(light.shape)
    gray = np.clip(np.rint(gray), 0, 255).astype(np.uint8)
    meta = {"kinds": tuple(nucleus.kind for nucleus in layout.nuclei), "patient": patient}
    return Sample(f"synthetic-fluorescence-{seed}", gray, layout.labels, group=f"patient-{patient}", meta=meta)


def _experiment(patient, config):
    """Factor on radii, brightness of nuclei and of the background, and blur of one experiment."""
    rng = generator(patient, "fluorescence", "experiment")
    spread = config.variation * np.array([0.36, 0.45, 0.45, 0.3])
    factors = np.exp(spread * np.clip(rng.standard_normal(4), -2, 2))
    settings = np.array([1, config.brightness, config.background, config.blur])
    return tuple(float(value) for value in settings * factors)


def _populate(rng, config, radius):
    layout = Layout((config.size, config.size), config.gap, min_area=12)
    # Cells grow in patches: positions follow a smooth density.
    density = np.exp(0.7 * smooth_noise(rng, layout.labels.shape, config.size / 6))
    for _ in range(config.nuclei):
        condensed = rng.random() < config.condensed
        kind = "condensed" if condensed else "interphase"
        for _ in range(_TRIES):
            row, column = rng.integers(config.size, size=2)
            if rng.random() > density[row, column] / 3:
                continue
            scale = radius * np.exp(config.size_spread * np.clip(rng.standard_normal(), -2.5, 2.5))
            scale = max(scale * (0.55 if condensed else 1), 3)
            stretch = 1 + rng.gamma(2.0, 0.14)
            turn = rng.uniform(0, np.pi)
            outline = draw_outline(rng, scale * stretch**0.5, scale / stretch**0.5, turn, config.roughness, 0.12)
            if layout.place(rng, kind, outline, row, column, config):
                break
    return layout


def _nuclei(rng, layout, config, brightness):
    """Emitted light: it adds up where nuclei overlap."""
    light = np.zeros(layout.labels.shape, np.float32)
    grain = Grain(rng, light.shape)
    for nucleus in layout.nuclei:
        depth, radius = nucleus.outline.depth()
        window, part = patch_window(nucleus.row, nucleus.column, depth.shape[0] // 2, light.shape)
        level = brightness * rng.lognormal(0, config.brightness_spread) * (2.4 if nucleus.kind == "condensed" else 1)
        # Nuclei are domes: thicker, hence brighter, in the middle.
        dome = 0.72 + 0.28 * np.sqrt(np.clip(1 - radius[part] ** 2, 0, 1))
        spots = 0.10 * grain.fine[window] + 0.16 * grain.middle[window] + 0.14 * grain.coarse[window]
        holes = (
            0.4 * ramp(grain.coarse[window] - 0.4 * grain.middle[window], -1.2, -2.2)
            if nucleus.outline.short > 7
            else 0
        )
        level = level * dome * np.maximum(1 + config.texture * (spots - holes), 0.1)
        light[window] += level * ramp(depth[part], -0.8, 0.8)
    return light


def _illumination(rng, config):
    """A lamp whose center lies near the middle of the image."""
    at = np.linspace(-1, 1, config.size, dtype=np.float32)
    row, column = rng.uniform(-0.4, 0.4, 2)
    distance = ((at[:, None] - row) ** 2 + (at[None, :] - column) ** 2) / 2
    return np.clip(1 - config.unevenness * distance, 0.05, 1)
