"""Settings of partial points; the defaults are those of Qu et al. (2020) for the multi-organ images.

Where article and release (huiqu18/WeaklySegPartialPoints) disagree, the comment says whose value it is.
"""

from dataclasses import dataclass, field

from nucseg.engine import AugmentConfig, StainJitterConfig
from nucseg.errors import DataError, UnknownNameError

#: Ways to train the detector (Qu et al. 2020, table I).
STRATEGIES = ("Full", "GM", "ext-GM", "ST-nu", "ST-bg")


def _check_training(config, name):
    if config.epochs < 1 or config.batch < 1 or config.validate_every < 1 or not config.learning_rate > 0:
        raise DataError(
            f"{name}: expected epochs, batch and validate_every of 1 or more and a positive learning_rate, got "
            f"{config.epochs}, {config.batch}, {config.validate_every} and {config.learning_rate}"
        )


@dataclass(frozen=True)
class DetectorConfig:
    """Stage 1: a network that finds the centers of nuclei (Qu et al. 2020, sec. III)."""

    strategy: str = "ST-bg"  # one of STRATEGIES; ST-bg is the method
    rounds: int = 3  # of self-training after the first, for ST-nu and ST-bg (sec. V-B.2)
    restart: bool = True  # whether each round begins with a new network (release; the article does not say)
    r1: float = 11.0  # radius of the bump and of a match, px (sec. V-B.2; 8 for lung cancer)
    r2: float = 22.0  # outer radius of the ring of background, px (sec. V-B.2)
    sigma: float = 2.75  # width of the bump, px (r1 / 4, sec. V-B.2)
    foreground_weight: float = 10.0  # w_i of eq. 2 on nuclei
    foreground_level: float = 0.05  # mask value from which a pixel is foreground (release; article: above 0)
    background_below: float = 0.1  # probabilities below this become background (eq. 3)
    saturated_above: float = 0.7  # large regions above this become background (eq. 3)
    saturated_area: float = 200.0  # what "large" means, px (release; article: pi r1^2 = 380)
    threshold: float = 0.35  # probability from which a region is a detection (release)
    min_area: int = 12  # smaller regions are dropped, px (release)
    max_area: int = 200  # regions from this size on are dropped, px (release)
    epochs: int = 80  # of each round (sec. V-B.2)
    batch: int = 16  # patches (sec. V-B.2)
    learning_rate: float = 1e-3  # article, for multi-organ images; release: 1e-4
    betas: tuple[float, float] = (0.9, 0.99)  # of Adam (release)
    weight_decay: float = 1e-4  # release
    validate_every: int = 1  # epochs between two validations (sec. V-B.2: after every epoch)
    augment: AugmentConfig = field(default_factory=AugmentConfig)  # geometric changes (sec. V-B, release)
    stain: StainJitterConfig | None = None  # changes of color; not in the article

    def __post_init__(self):
        if self.strategy not in STRATEGIES:
            raise UnknownNameError(f"unknown strategy {self.strategy!r}; known: {', '.join(STRATEGIES)}")
        _check_training(self, "detector")
        if self.rounds < 0:
            raise DataError(f"detector: rounds must be 0 or more, got {self.rounds}")

    @property
    def extra_rounds(self):
        """Rounds after the first: 0 unless the strategy trains on its own output."""
        return self.rounds if self.strategy in ("ST-nu", "ST-bg") else 0

    @property
    def rest_is_background(self):
        """Whether pixels far from every dot are background rather than ignored."""
        return self.strategy in ("Full", "GM")


@dataclass(frozen=True)
class SegmenterConfig:
    """Stage 2: a network that segments nuclei (Qu et al. 2020, sec. IV)."""

    voronoi_share: float = 0.5  # a of eq. 6, chosen in fig. 6: 0 is cluster labels alone, 1 Voronoi labels alone
    voronoi_radius: float = 2.0  # disks of the Voronoi label, px (sec. IV-A.1)
    cluster_seed: int = 0  # of k-means, the same for every run seed (release: fixed)
    cluster_restarts: int = 10  # of k-means (release)
    exchange_roles: bool = False  # swap the two clusters without dots; a variant of our own
    epochs: int = 100  # with cross-entropy (sec. V-B.3)
    batch: int = 8  # patches (sec. V-B.3)
    learning_rate: float = 1e-4  # sec. V-B.3
    betas: tuple[float, float] = (0.9, 0.99)  # of Adam (release)
    weight_decay: float = 1e-4  # release
    crf_epochs: int = 20  # of fine-tuning with eq. 10 (sec. V-B.3); 0 leaves it out
    crf_learning_rate: float = 1e-5  # sec. V-B.3
    crf_weight: float = 0.005  # beta of eq. 10 (fig. 7, multi-organ)
    crf_gradient: float = 2.0  # factor on the gradient of eq. 10; the release's backward pass gives twice (1: article)
    sigma_xy: float = 9.0  # spatial width of eq. 8, px (fig. 7)
    sigma_rgb: float = 0.1  # color width of eq. 8, colors in [0, 1] (fig. 7)
    min_size: int = 20  # smaller components are dropped, px (release)
    validate_every: int = 1  # epochs between two validations
    checkpoint: str = "best"  # epoch that is used: the "best" on validation in the last phase, or the "last"
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(elastic=True))  # release
    stain: StainJitterConfig | None = None  # changes of color; not in the article

    def __post_init__(self):
        _check_training(self, "segmenter")
        if self.checkpoint not in ("best", "last"):
            raise UnknownNameError(f"unknown checkpoint {self.checkpoint!r}; known: best, last")
        if not 0 <= self.voronoi_share <= 1:
            raise DataError(f"segmenter: voronoi_share must be between 0 and 1, got {self.voronoi_share}")
        if self.crf_epochs < 0 or self.crf_weight < 0:
            raise DataError(
                f"segmenter: crf_epochs and crf_weight must be 0 or more, got {self.crf_epochs} and {self.crf_weight}"
            )


@dataclass(frozen=True)
class PartialPointsConfig:
    """Both stages and what they share (Qu et al. 2020)."""

    detector: DetectorConfig | None = DetectorConfig()  # None: the dots are complete, stage 1 is left out
    segmenter: SegmenterConfig = SegmenterConfig()
    keep_annotated: bool = True  # stage 2 keeps the annotator's dots beside detections (release; article: detections)
    normalization: str | None = "reinhard"  # of colors, or None (sec. V-A)
    reference: str | None = None  # id of the training image that gives its colors; see Preprocessing.learn
    patch: int = 250  # side of training patches, px (sec. V-A)
    patches_per_side: int = 4  # along each side of a training image (sec. V-A)
    weights: str | None = "imagenet"  # of the encoders (sec. V-B); None starts from random weights
    seed: int = 0  # of all random choices
