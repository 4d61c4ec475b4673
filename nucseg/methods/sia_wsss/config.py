"""Settings of SIA-WSSS; the article leaves much open, and what fills the gaps is marked as ours."""

from dataclasses import dataclass, field

from nucseg.engine import StainJitterConfig
from nucseg.errors import DataError, UnknownNameError
from nucseg.explain.tag_maps import POOLINGS, SCALINGS
from nucseg.losses.crop_contrast import CONTRASTS
from nucseg.losses.tokens import INHIBITIONS
from nucseg.models.tissue_vit import TOKEN, TissueViTConfig
from nucseg.models.token_graph import TokenGraphConfig
from nucseg.supervision.self_modulation import FUSIONS, LABELINGS

SOURCES = ("cosine", "attention")
POSITIONS = ("random", "uncertain")
MEANS = ("superpixels", "box")
UNFUSED = ("activation", "mean")
BACKGROUNDS = (None, "white", "white-or-weak")
OUTPUTS = ("decoder", "refined", "activation")
OPTIMIZERS = ("adam", "adamw")
SCHEDULES = ("fixed", "polynomial")


def _known(owner, **names):
    for field_name, known in names.items():
        value = getattr(owner, field_name)
        if value not in known:
            raise UnknownNameError(f"unknown {field_name} {value!r}; known: {', '.join(map(str, known))}")


def _require(owner, **holds):
    for field_name, holding in holds.items():
        if not holding:
            raise DataError(f"SIA-WSSS: {field_name} = {getattr(owner, field_name)!r} is out of range")


@dataclass(frozen=True)
class MapConfig:
    """How class activation maps are made and what counts as certain (Fan et al. 2025, sec. 2.1)."""

    pooling: str = "max"  # of places to the score of an image (ours); "average", "ranking"
    decay: float = 0.996  # of the weights by rank (Xu et al. 2024)
    scaling: str = "class"  # by the largest value of each class (sec. 2.3), or "joint" over classes (ours)
    foreground: float = 0.5  # values above it are certain; the text has 0.3 (ours, see uncertain_regions)
    background: float = 0.3  # values below it are; the text has 0.5 (ours)
    final_from: float = 0.5  # share of the training before which certainty comes from the auxiliary map (ours)

    def __post_init__(self):
        _known(self, pooling=POOLINGS, scaling=SCALINGS)
        _require(self, decay=0 < self.decay <= 1, foreground=0 < self.foreground < 1,
                 background=0 < self.background < 1, final_from=0 <= self.final_from <= 1)


@dataclass(frozen=True)
class InhibitionConfig:
    """The regularized focus mechanism (Fan et al. 2025, sec. 2.1)."""

    graph: TokenGraphConfig = field(default_factory=TokenGraphConfig)  # eq. 1
    weight: float = 0.1  # of the loss on uncertain patches, which eq. 4 lacks (ours); 0 leaves it out
    kind: str = "hinge"  # its form (ours); "opposite", "opposite-sign"
    all_present: bool = False  # whether all classes of the image are suppressed at uncertain patches (ours: one)
    inhibit_tokens: bool = False  # whether class tokens get a gradient too (ours: patches alone)
    single_class: bool = True  # whether images of one class, where no patch is wrong, are inhibited too (literal)
    attraction: float = 0.2  # weight of the loss that ties class tokens to certain patches (ours); 0 leaves it out
    temperature: float = 0.1  # of that loss (ours)
    shared_classifier: bool = True  # of patches and class tokens (ours)
    source: str = "cosine"  # what the inhibition map is made of (ours), or "attention" of class tokens to patches
    attention_blocks: int = 1  # number of last blocks whose attention is averaged (ours)

    def __post_init__(self):
        _known(self, kind=INHIBITIONS, source=SOURCES)
        _require(self, weight=self.weight >= 0, attraction=self.attraction >= 0, temperature=self.temperature > 0,
                 attention_blocks=self.attention_blocks >= 1)


@dataclass(frozen=True)
class ActivationConfig:
    """The discriminative activation module (Fan et al. 2025, sec. 2.2)."""

    kind: str = "info-nce"  # form of eq. 2 (ours); "single-token", "cosine", "literal", "literal-negated"
    crop: int = 96  # px, side of the crops (ours)
    crops: int = 4  # of each image (ours)
    position: str = "random"  # of the crops (sec. 2.2), or around an "uncertain" patch (Ru et al. 2023)
    evidence: float = 0.3  # values of activation maps above it count (ours)
    positive: float = 0.2  # share of a crop from which it shows a class (ours, after Ru et al. 2023)
    negative: float = 0.05  # share below which it does not (ours)
    channels: int = 256  # of the projections (ours)
    momentum: float | None = 0.9  # of the projection of whole images; None trains it (ours, after Ru et al. 2023)
    temperature: float = 0.5  # tau, eq. 2 (ours, after Ru et al. 2023)
    epsilon: float = 1e-4  # eq. 2 (ours, after Ru et al. 2023)

    def __post_init__(self):
        _known(self, kind=CONTRASTS, position=POSITIONS)
        _require(self, crop=self.crop >= TOKEN and self.crop % TOKEN == 0, crops=self.crops >= 1,
                 evidence=0 <= self.evidence < 1, positive=0 < self.positive <= 1,
                 negative=0 <= self.negative <= self.positive, channels=self.channels >= 1,
                 momentum=self.momentum is None or 0 <= self.momentum < 1, temperature=self.temperature > 0,
                 epsilon=self.epsilon > 0)


@dataclass(frozen=True)
class ModulationConfig:
    """The region self-modulation (Fan et al. 2025, sec. 2.3)."""

    mean: str = "superpixels"  # what values are averaged over (ours), or a "box" around each pixel
    area: float = 256.0  # px, of superpixels: as large as a patch (ours)
    compactness: float = 20.0  # of superpixels (ours)
    box: int = 3  # px, side of the box, odd (ours)
    threshold: float | None = 0.3  # of the inhibition map (ours); None for the mean of each class
    erosion: int = 7  # px, side of the square, odd (ours)
    binary: bool = True  # whether what is left counts as 1 (ours) or keeps its value
    fusion: str = "max"  # eq. 3, or "product", with which inhibition can take activation away (ours)

    def __post_init__(self):
        _known(self, mean=MEANS, fusion=FUSIONS)
        _require(self, area=self.area > 0, compactness=self.compactness > 0, box=self.box >= 1 and self.box % 2 == 1,
                 threshold=self.threshold is None or 0 <= self.threshold < 1,
                 erosion=self.erosion >= 1 and self.erosion % 2 == 1)


@dataclass(frozen=True)
class SIAWSSSConfig:
    """Settings of :class:`SIAWSSS`."""

    classes: tuple[str, ...] = ()  # in the order of their index in masks; by default as the first image is tagged
    rfm: bool = True  # regularized focus mechanism (sec. 2.1)
    dam: bool = True  # discriminative activation module (sec. 2.2)
    rsm: bool = True  # region self-modulation (sec. 2.3)
    vit: TissueViTConfig = field(default_factory=TissueViTConfig)  # sec. 2
    maps: MapConfig = field(default_factory=MapConfig)
    inhibition: InhibitionConfig = field(default_factory=InhibitionConfig)
    activation: ActivationConfig = field(default_factory=ActivationConfig)
    modulation: ModulationConfig = field(default_factory=ModulationConfig)
    auxiliary_weight: float = 1.0  # of the classification by the auxiliary map (ours)
    token_weight: float = 1.0  # of the classification by class tokens (ours)
    activation_weight: float = 0.5  # alpha_1 of eq. 4
    segmentation_weight: float = 0.5  # alpha_2 of eq. 4; 0 leaves the decoder out
    start: float = 0.1  # share of the training before which there is nothing but classification (ours)
    segmentation_start: float = 0.2  # share of the training from which the decoder learns (ours)
    decoder_channels: int = 512  # between its convolutions (ours, after Ru et al. 2023)
    dilation: int = 2  # of its convolutions, patches (ours)
    background: str | None = None  # one output more for "white" pixels, or those and "weak" ones (ours: none)
    unfused: str = "activation"  # what labels pixels without self-modulation, or the "mean" of both maps (ours)
    labeling: str = "dense"  # which pixels get a label (ours); "seeds", "certain"
    white: float | None = 200.0  # gray level above which pixels have no label (Han et al. 2022, LUAD); None: no white
    white_size: int = 50  # px, smaller white parts count as tissue (Han et al. 2022)
    output: str = "decoder"  # what is predicted (ours); or the "refined" or "activation" maps of predicted classes
    presence: float = 0.25  # probability above which a class counts as predicted (Han et al. 2022)
    gate: float | None = None  # classes of a lower probability are taken from the decoder's output (ours: none)
    patch: int = 224  # px, side of training images and of tiles in prediction (sec. 3)
    upsampling: int = 1  # factor that images are enlarged by before the transformer (ours)
    stain: StainJitterConfig | None = field(  # changes of color in training (ours)
        default_factory=lambda: StainJitterConfig(concentration_scale=0.1, concentration_shift=0.02)
    )
    epochs: int = 20  # ours
    batch: int = 16  # images, sec. 3
    optimizer: str = "adam"  # with L2 regularization (sec. 3), or "adamw"
    learning_rate: float = 1e-4  # sec. 3
    head_rate: float = 1.0  # learning rate of all but the transformer, by that of the transformer (ours)
    weight_decay: float = 5e-4  # sec. 3
    schedule: str = "fixed"  # sec. 3, or "polynomial" (ours)
    warm_up: int = 0  # steps in which the rate rises (ours: none)
    validate_every: int = 1  # epochs; the one with the best mIoU on validation images is kept (ours)
    seed: int = 0  # of all random choices

    def __post_init__(self):
        _known(self, background=BACKGROUNDS, unfused=UNFUSED, labeling=LABELINGS, output=OUTPUTS, optimizer=OPTIMIZERS,
               schedule=SCHEDULES)
        least_one = ("patch", "upsampling", "epochs", "batch", "validate_every", "decoder_channels", "dilation")
        weights = ("auxiliary_weight", "token_weight", "activation_weight", "segmentation_weight", "weight_decay",
                   "warm_up", "white_size")
        _require(self, **{name: getattr(self, name) >= 1 for name in least_one})
        _require(self, **{name: getattr(self, name) >= 0 for name in weights})
        _require(self, **{name: getattr(self, name) > 0 for name in ("learning_rate", "head_rate")})
        _require(self, **{name: 0 <= getattr(self, name) <= 1 for name in ("start", "segmentation_start")})
        _require(self, patch=self.patch % TOKEN == 0, presence=0 <= self.presence < 1,
                 gate=self.gate is None or 0 <= self.gate < 1, white=self.white is None or self.white >= 0,
                 classes=len(set(self.classes)) == len(self.classes),
                 output=self.output != "decoder" or self.segmentation_weight > 0,
                 background=self.background is None or (self.white is not None and self.segmentation_weight > 0))
        if self.dam and self.activation.crop > self.patch:
            raise DataError(f"SIA-WSSS: crops of {self.activation.crop} px do not fit in images of {self.patch} px")
