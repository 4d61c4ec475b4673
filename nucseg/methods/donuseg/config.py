"""Settings of DoNuSeg; the article leaves much open, and what fills the gaps is marked as ours."""

from dataclasses import dataclass, field, replace

from nucseg.engine import StainJitterConfig
from nucseg.engine.schedules import SCHEDULES
from nucseg.errors import DataError, UnknownNameError
from nucseg.explain.cam import KINDS
from nucseg.losses import FCOSLossConfig
from nucseg.models import FCOSConfig
from nucseg.models.donuseg import CONTRAST_FEATURES
from nucseg.postprocess.boxes_and_mask import OUTSIDE, RULES
from nucseg.supervision.dynamic_cam import SCOPES

SCORES = ("occupied", "all")


@dataclass(frozen=True)
class SelectionConfig:
    """How class activation maps become the dynamic label (Wang et al. 2024, sec. 2.2)."""

    kind: str = "grad-cam"  # or "layer-cam"; the article gives no formula (ours)
    constant_statistics: bool = True  # of batch norms, where gradients make maps; else they have mean 0 there (ours)
    quantile: float = 1.0  # of a map that becomes 1; 1: its largest value (ours)
    score: str = "occupied"  # what maps explain: predicted dots where there are dots, or everywhere: "all" (ours)
    blocks: tuple[int, ...] = (0, 1, 2, 3)  # encoder blocks to choose from, 0 for C2; one makes the choice fixed
    theta: float = 0.8  # eq. 3
    balanced: bool = False  # mean of both classes' recalls instead of eq. 4 (ours)
    defined_in_both: bool = False  # whether eq. 4 leaves out what the candidate ignores (open in the article)
    scope: str = "image"  # whether each image has a block of its own, or a batch one for all: "batch" (ours)
    least_recall: float = 0.0  # a block that finds less of the disks is no candidate (ours)
    first_epoch: int = 1  # dynamic label and contrast begin with this epoch (ours)

    def __post_init__(self):
        for name, known in (("kind", KINDS), ("score", SCORES), ("scope", SCOPES)):
            if getattr(self, name) not in known:
                raise UnknownNameError(f"selection: unknown {name} {getattr(self, name)!r}; known: {', '.join(known)}")
        if not 0 < self.quantile <= 1:
            raise DataError(f"selection: expected a quantile above 0 and at most 1, got {self.quantile}")
        if not self.blocks or not set(self.blocks) <= {0, 1, 2, 3} or self.first_epoch < 1:
            raise DataError("selection: expected blocks out of 0 to 3 and a first epoch of 1 or more, got "
                            f"{self.blocks}, {self.first_epoch}")


@dataclass(frozen=True)
class ContrastConfig:
    """What is contrasted with what (Wang et al. 2024, sec. 2.3)."""

    features: str = "sum"  # all encoder blocks at stride 4 (ours), or "last": C5 alone
    channels: int = 128  # of the projector (ours)
    temperature: float = 1.0  # tau, eq. 7
    detach_anchors: bool = True  # anchors are called ground truth, so they get no gradient (ours)
    scope: str = "image"  # anchors and features of each image by itself, or of the whole "batch" (ours)
    mean: bool = False  # over dissimilar features in eq. 7, instead of their sum (ours)
    interpolate: bool = True  # features at image size (sec. 2.3), or labels at stride 4 (ours, cheaper)

    def __post_init__(self):
        for name, known in (("features", CONTRAST_FEATURES), ("scope", SCOPES)):
            if getattr(self, name) not in known:
                raise UnknownNameError(f"contrast: unknown {name} {getattr(self, name)!r}; known: {', '.join(known)}")
        if self.channels < 1 or not self.temperature > 0:
            raise DataError(f"contrast: expected channels and a temperature above 0, got {self.channels}, "
                            f"{self.temperature}")


@dataclass(frozen=True)
class DoNuSegConfig:
    """Settings of :class:`DoNuSeg`."""

    network: FCOSConfig = field(default_factory=FCOSConfig)  # sec. 2.1
    detection: FCOSLossConfig = field(default_factory=FCOSLossConfig)  # sec. 2.1
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    loc_weight: float = 1.0  # of the localization head, 1 in eq. 2
    dcs_weight: float = 0.5  # w1 of eq. 2; 0 leaves the dynamic label out
    ccl_weight: float = 2.0  # w2 of eq. 2; 0 leaves the contrast out
    r: float = 4.0  # px, radius of the disks of the initial label (sec. 3.2)
    d: float = 20.0  # px, farther from all dots is background (sec. 3.2)
    box_ratio: float = 1.0  # side of a pseudo box by the spacing of dots (literal)
    box_sides: tuple[float, float] = (8.0, 50.0)  # px, least and largest side of a pseudo box (ours)
    refine_above: float | None = None  # score of a predicted box that resizes a pseudo box (ours: never)
    deep_supervision: bool = False  # whether the losses of the mask are those of each level (ours)
    most_dots: int | None = 4  # in a cell of the localization head; more count as so many (ours)
    dot_sigma: float = 4.0  # px, of the dots in the map of the head "positions" (ours)
    normalization: str | None = None  # of colors: none or "reinhard" (ours)
    patch: int = 256  # px, sec. 3.1
    stride: int = 128  # px between windows of training images, sec. 3.1
    window: int = 320  # px, cut from training images before they are turned and cropped to a patch (ours)
    rotation: float = 180.0  # degrees, largest turn in training; the article says "rotation" (ours)
    stain: StainJitterConfig | None = None  # changes of color in training (none in the article)
    epochs: int = 40  # sec. 3.1
    batch: int = 8  # patches, sec. 3.1
    learning_rate: float = 0.01  # sec. 3.1
    momentum: float = 0.9  # sec. 3.1
    weight_decay: float = 5e-4  # sec. 3.1
    warm_up: int = 200  # steps (ours)
    schedule: str = "cosine"  # or "steps" (ours)
    gradient_norm: float = 10.0  # upper bound (ours)
    validate_every: int = 1  # epochs; the one with the best AJI on validation images is kept (ours)
    thresholds: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5)  # of box scores, to choose from in validation (ours)
    score_threshold: float | None = None  # of box scores; None until one is chosen
    overlap: float = 0.5  # IoU above which the worse of two boxes goes (ours)
    mask_threshold: float = 0.5  # of the likelihood of nucleus (ours)
    rule: str = "nearest"  # how boxes share the mask: nearest, claim or watershed (ours)
    outside: str = "discard"  # mask outside all boxes: discard, or components (ours)
    min_size: int = 10  # px, smaller instances are dropped (ours)
    seed: int = 0  # of all random choices

    def __post_init__(self):
        for name, known in (("schedule", SCHEDULES), ("rule", RULES), ("outside", OUTSIDE)):
            if getattr(self, name) not in known:
                raise UnknownNameError(f"unknown {name} {getattr(self, name)!r}; known: {', '.join(known)}")
        wrong = [name for name in ("patch", "stride", "epochs", "batch", "validate_every") if getattr(self, name) < 1]
        wrong += [name for name in ("loc_weight", "dcs_weight", "ccl_weight", "warm_up", "weight_decay", "rotation",
                                    "min_size") if not getattr(self, name) >= 0]
        wrong += [name for name in ("learning_rate", "gradient_norm", "box_ratio") if not getattr(self, name) > 0]
        wrong += ["window"] if self.window < self.patch or self.patch % 4 else []
        wrong += ["refine_above"] if self.refine_above is not None and not 0 <= self.refine_above < 1 else []
        wrong += ["r"] if not 0 <= self.r <= self.d else []
        wrong += ["thresholds"] if not self.thresholds or min(self.thresholds) < 0 or max(self.thresholds) >= 1 else []
        if wrong:
            raise DataError(f"DoNuSeg: {wrong[0]} = {getattr(self, wrong[0])!r} is out of range")

    @property
    def uses_maps(self):
        """Whether class activation maps are needed at all."""
        return self.dcs_weight > 0 or self.ccl_weight > 0


def with_robust_maps(config):
    """Return settings with which activation maps become labels that find nuclei, where the article is silent (ours).

    The head to be explained learns a map of the dots on P3, with a loss about as large as that of counts; the brightest
    hundredth of an activation map is 1, not its largest value alone; and both classes of the initial label count alike
    in the score of agreement, unlike in eq. 4.

    Parameters
    ----------
    config : DoNuSegConfig
        Keeps all other settings.

    Returns
    -------
    DoNuSegConfig

    Examples
    --------
    >>> with_robust_maps(DoNuSegConfig()).selection.quantile
    0.99
    """
    network = replace(config.network, localization="positions", localized="P3")
    selection = replace(config.selection, quantile=0.99, balanced=True)
    return replace(config, network=network, selection=selection, loc_weight=10.0)
