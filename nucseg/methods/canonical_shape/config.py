"""Settings of canonical shape; the defaults are those of Costa et al. (2022), and ours where the article is silent."""

from dataclasses import dataclass, field

from nucseg.errors import UnknownNameError
from nucseg.methods.crop_method import CropConfig
from nucseg.models.affine_encoder import EncoderConfig
from nucseg.postprocess.masks import ORDERS

#: What an untrained shape is, or a disk that is not learned.
SHAPES = ("random", "disk", "fixed")


@dataclass(frozen=True)
class CanonicalShapeConfig(CropConfig):
    """Settings of :class:`CanonicalShape`; "ours" marks what the article does not say.

    Those of training on crops are the fields of :class:`nucseg.methods.crop_method.CropConfig`.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    # Untrained shape (ours): from random weights it takes hundreds of steps to get an edge; "fixed" stays a disk.
    shape: str = "disk"
    grid: int = 32  # places along a side in training (sec. 3.2)
    test_grid: int = 128  # places along a side in prediction (table 1: 32 or 128)
    interpolated: str = "probability"  # what is interpolated from the coarse grid (ours): probability or log
    count_weight: float = 1e-2  # alpha of the count loss (sec. 2.3); 0 for the article's "Ours"
    count_warmup: int = 0  # epochs over which alpha rises (ours)
    size_weight: float = 0.0  # weight of a prior on the size, further work of sec. 4 (ours)
    size_scale: float = 3.3  # diagonal of L that the prior asks for, see EncoderConfig.scale (ours)
    presence: float = 0.5  # p(z) above which an instance is kept (ours)
    merge: bool = True  # the article's "+P" (sec. 2.3)
    overlap: float = 0.5  # share of a mask inside a bigger one from which they are merged (sec. 2.3)
    order: str = "leader"  # in which pairs are merged (ours); see nucseg.postprocess.containment_groups

    def __post_init__(self):
        for name, known in (("shape", SHAPES), ("order", ORDERS), ("interpolated", ("probability", "log"))):
            if getattr(self, name) not in known:
                raise UnknownNameError(f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")
        super().__post_init__()
        wrong = [name for name in ("grid", "test_grid") if getattr(self, name) < 1 or self.patch % getattr(self, name)]
        wrong += [name for name in ("count_weight", "count_warmup", "size_weight") if not getattr(self, name) >= 0]
        wrong += [name for name in ("presence", "overlap") if not 0 < getattr(self, name) <= 1]
        wrong += ["size_scale"] if not self.size_scale > 0 else []
        self._require(not wrong, *wrong[:1])
