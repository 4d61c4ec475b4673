"""Settings of split and expand; the defaults are those of Foo et al. (2022) where the article gives a value."""

from dataclasses import dataclass, field, fields

from nucseg.engine import AugmentConfig
from nucseg.errors import DataError, UnknownNameError
from nucseg.methods.base import config_from_dict
from nucseg.methods.baselines.maskga import MaskGAConfig
from nucseg.methods.partial_points.config import PartialPointsConfig, SegmenterConfig

#: Settings of the methods that this one works around.
BASES = (PartialPointsConfig, MaskGAConfig)
#: What relevance starts from in the re-weighting loss; see :func:`nucseg.methods.split_and_expand.start_relevance`.
STARTS = ("margin", "probability", "dots")


def base_config():
    """Return the base of the article's "Weakly": all dots, Voronoi and cluster labels, no dense CRF."""
    # Epochs and learning rate are published (sec. 4); the article does not mention the dense CRF.
    return PartialPointsConfig(
        detector=None, segmenter=SegmenterConfig(epochs=150, learning_rate=1e-3, crf_epochs=0)
    )


def maskga_base_config():
    """Return the base of the article's "MaskGA": both of its stages, with the augmentation of the article."""
    # Epochs, learning rate and what is augmented are published (sec. 4), the ranges are those of the other base.
    return MaskGAConfig(epochs=150, learning_rate=1e-3, augment=AugmentConfig(crop=None))


@dataclass(frozen=True)
class ReweightingConfig:
    """The feature re-weighting loss (Foo et al. 2022, sec. 3.2, eq. 1)."""

    weight: float = 0.5  # a_FRW of eq. 2 (sec. 4)
    start: str = "probability"  # one of STARTS; the article does not say (our choice)
    scope: str = "image"  # where the largest relevance is sought: "image" or "position" (our choice)

    def __post_init__(self):
        if self.start not in STARTS:
            raise UnknownNameError(f"unknown start {self.start!r}; known: {', '.join(STARTS)}")
        if not self.weight > 0:
            raise DataError(f"reweighting: expected a positive weight, got {self.weight}; None leaves it out")


@dataclass(frozen=True)
class SplitAndExpandConfig:
    """The base, the center head, and what is done with both at test time (Foo et al. 2022)."""

    # One of BASES: the segmentation head, its labels and loss. A dict of its fields, as from JSON, becomes one.
    base: object = field(default_factory=base_config)
    center_side: int = 3  # of the squares that the center head learns, px (sec. 3.1)
    center_weight: float = 0.5  # a_P of eq. 2; counts as 1 without re-weighting (sec. 4)
    reweighting: ReweightingConfig | None = field(default_factory=ReweightingConfig)
    min_size: int = 10  # smaller objects are dropped, px (sec. 4)
    center_threshold: float = 0.05  # probability from which pixels belong to a center (sec. 4)
    center_min_size: int = 10  # smaller groups of such pixels are dropped, px (sec. 4)
    floor: float = 0.05  # least weight of a pixel in the mixture of Split (our choice; article: 0)
    heat_threshold: float = 0.1  # relevance, by its largest near the center, from which pixels belong to it (sec. 4)
    overlap: float = 0.5  # share of the smaller of two objects from which a new one is dropped (sec. 4)
    seed: int = 0  # of all random choices

    def __post_init__(self):
        if isinstance(self.base, dict):
            object.__setattr__(self, "base", _base_from_dict(self.base))
        if not isinstance(self.base, BASES):
            names = " or a ".join(kind.__name__ for kind in BASES)
            raise DataError(f"split and expand: expected a {names} as base, got {self.base!r}")


def _base_from_dict(values):
    """Return the settings of a base from their dict: those of the method that has all of its fields."""
    fitting = [kind for kind in BASES if set(values) <= {own.name for own in fields(kind)}]
    if len(fitting) != 1:
        raise DataError(f"split and expand: a base with the settings {', '.join(values)} is none of those known")
    return config_from_dict(fitting[0], values)
