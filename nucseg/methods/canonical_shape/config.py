"""Settings of canonical shape; the defaults are those of Costa et al. (2022), and ours where the article is silent."""

from dataclasses import dataclass, field

from nucseg.errors import DataError, UnknownNameError
from nucseg.models.affine_encoder import EncoderConfig
from nucseg.postprocess.masks import ORDERS

#: What an untrained shape is, or a disk that is not learned.
SHAPES = ("random", "disk", "fixed")


@dataclass(frozen=True)
class CanonicalShapeConfig:
    """Settings of :class:`CanonicalShape`; "ours" marks what the article does not say."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    shape: str = "random"  # untrained shape (ours); "fixed" is a disk that is not learned
    patch: int = 128  # side of patches, px (sec. 3.1)
    grid: int = 32  # places along a side in training (sec. 3.2)
    test_grid: int = 128  # places along a side in prediction (table 1: 32 or 128)
    interpolated: str = "probability"  # what is interpolated from the coarse grid (ours): probability or log
    count_weight: float = 1e-2  # alpha of the count loss (sec. 2.3); 0 for the article's "Ours"
    count_warmup: int = 0  # epochs over which alpha rises (ours)
    size_weight: float = 0.0  # weight of a prior on the size, further work of sec. 4 (ours)
    size_scale: float = 3.3  # diagonal of L that the prior asks for, see EncoderConfig.scale (ours)
    epochs: int = 50  # sec. 2.3
    batch: int = 32  # patches (ours)
    crops: int | None = None  # crops in an epoch; by default as many as tiles cover the images (ours)
    turn: bool = True  # flips and quarter turns in training (ours)
    learning_rate: float = 1e-2  # peak of the one-cycle policy (sec. 2.3)
    momentum: float = 0.9  # Nesterov (sec. 2.3)
    weight_decay: float = 1e-4  # ours
    gradient_norm: float = 1.0  # upper bound (ours)
    validate_every: int = 5  # epochs between two looks at the validation images; the last epoch is kept (ours)
    presence: float = 0.5  # p(z) above which an instance is kept (ours)
    min_size: int = 5  # smaller masks are dropped, px (ours)
    merge: bool = True  # the article's "+P" (sec. 2.3)
    overlap: float = 0.5  # share of a mask inside a bigger one from which they are merged (sec. 2.3)
    order: str = "leader"  # in which pairs are merged (ours); see nucseg.postprocess.containment_groups
    margin: int = 16  # pixels that neighboring tiles of a whole image share beyond each one's own area, px (ours)
    seed: int = 0  # of all random choices

    def __post_init__(self):
        for name, known in (("shape", SHAPES), ("order", ORDERS), ("interpolated", ("probability", "log"))):
            if getattr(self, name) not in known:
                raise UnknownNameError(f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")
        ones = ("grid", "test_grid", "epochs", "batch", "validate_every")
        wrong = [name for name in ones if getattr(self, name) < 1]
        wrong += [name for name in ("count_weight", "count_warmup", "size_weight", "weight_decay", "min_size", "margin")
                  if not getattr(self, name) >= 0]
        wrong += [name for name in ("learning_rate", "gradient_norm", "size_scale") if not getattr(self, name) > 0]
        wrong += [name for name in ("presence", "overlap", "momentum") if not 0 < getattr(self, name) < 1.0001]
        wrong += [name for name in ("grid", "test_grid") if self.patch % max(getattr(self, name), 1)]
        if wrong or 2 * self.margin >= self.patch:
            name = wrong[0] if wrong else "margin"
            value = getattr(self, name)
            raise DataError(f"canonical shape: {name} = {value!r} is out of range (patch {self.patch} px)")
