"""What the images of one patient share: stain, nuclear grade, tissue architecture."""

from dataclasses import dataclass

import numpy as np

from nucseg.seeding import generator

# Typical hematoxylin, eosin and red blood cells in scanned slides: unit vectors of optical density (red, green,
# blue). Scanner colors differ from the classical vectors, eosin above all: it takes more blue.
TYPICAL_STAINS = np.array([[0.62, 0.69, 0.37], [0.11, 0.82, 0.55], [0.10, 0.77, 0.63]])


@dataclass(frozen=True)
class Style:
    """One patient's settings; see :class:`HEConfig` for those of the same name.

    Parameters
    ----------
    vectors : numpy.ndarray, shape (3, 3)
        Unit vectors of optical density of hematoxylin, eosin and blood.
    glass : numpy.ndarray, shape (3,)
        Intensity of an empty pixel.
    hematoxylin, eosin : float
        Concentration factors.
    eosin_loss : float
        Share of the eosin that a nucleus displaces, 0 to 1.
    scale : float
        Factor on nuclear radii.
    vesicular : float
        Mean paleness of epithelial nuclei, 0 to 1.
    chromatin, roughness, epithelium, glands : float
        As in the configuration, varied.
    lymphocytes, fibroblasts : float
        Shares of nuclei, varied; at most 1 together.
    basophilia, ground : float
        Hematoxylin in the cytoplasm and in the stroma.
    membranes, vacuoles, halos : float
        Strength of cell borders, share of foamy cells, strength of the clear rim around nuclei.
    secretion : float
        Eosin in gland lumens.
    nest, waviness, looseness : float
        See :func:`draw_architecture`.
    """

    vectors: np.ndarray
    glass: np.ndarray
    hematoxylin: float
    eosin: float
    eosin_loss: float
    scale: float
    vesicular: float
    chromatin: float
    roughness: float
    epithelium: float
    glands: float
    lymphocytes: float
    fibroblasts: float
    basophilia: float
    ground: float
    membranes: float
    vacuoles: float
    halos: float
    secretion: float
    nest: float
    waviness: float
    looseness: float


def draw_style(patient, config):
    """Return the style of a patient.

    Parameters
    ----------
    patient : int
        Seed of the patient.
    config : HEConfig
        Means of the settings and the strength of the variation.

    Returns
    -------
    Style
    """
    rng, v = generator(patient, "he", "patient"), config.variation

    def factor(spread):
        return float(np.exp(v * spread * np.clip(rng.standard_normal(), -2, 2)))

    def share(mean, spread):
        return float(np.clip(mean + (v * spread * rng.uniform(-1, 1) if 0 < mean < 1 else 0), 0, 1))

    vectors = TYPICAL_STAINS + v * rng.standard_normal((3, 3)) * [
        [0.03, 0.025, 0.025],
        [0.05, 0.04, 0.06],
        [0.02, 0.02, 0.02],
    ]
    vectors = np.maximum(vectors, 0.02)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    overall = factor(0.38)
    lymphocytes, fibroblasts = config.lymphocytes * factor(0.5), config.fibroblasts * factor(0.35)
    if lymphocytes + fibroblasts > 1:
        total = lymphocytes + fibroblasts
        lymphocytes, fibroblasts = lymphocytes / total, fibroblasts / total
    return Style(
        vectors=vectors,
        glass=243 + v * rng.uniform(-6, 4) + v * rng.uniform(-2, 2, 3),
        hematoxylin=config.hematoxylin * overall * factor(0.18),
        eosin=config.eosin * overall * factor(0.22),
        eosin_loss=share(0.15, 0.15),
        scale=factor(0.16),
        vesicular=share(0.5, 0.4),
        chromatin=config.chromatin * factor(0.2),
        roughness=config.roughness * factor(0.3),
        epithelium=share(config.epithelium, 0.2),
        glands=share(config.glands, 0.45),
        lymphocytes=lymphocytes,
        fibroblasts=fibroblasts,
        basophilia=0.40 * factor(0.4),
        ground=0.20 * factor(0.4),
        membranes=0.35 * factor(0.8),
        vacuoles=share(0.25, 0.35),
        halos=share(0.25, 0.25),
        secretion=share(0.08, 0.14),
        nest=30 * factor(0.25),
        waviness=0.35 * factor(0.4),
        looseness=1.0 * factor(0.5),
    )
