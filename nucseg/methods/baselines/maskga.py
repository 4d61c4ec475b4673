"""MaskGA-Net: superpixels as noisy masks, attention to what is certain, then corrected labels (Guo et al. 2021)."""

import dataclasses
from dataclasses import dataclass, field

from nucseg.arrays import as_image
from nucseg.engine import AugmentConfig, StainJitterConfig
from nucseg.engine import fabric as default_fabric
from nucseg.errors import DataError, UnknownNameError
from nucseg.methods.base import Method
from nucseg.methods.baselines.maskga_stages import Recipe, maskga_loss, train_in_stages, whole_maps
from nucseg.methods.partial_points.segmenter import instances
from nucseg.methods.preprocessing import Preprocessing
from nucseg.methods.stages import Images, mean_aji, require_labels
from nucseg.models import MaskGANet, MaskGASegmentation

#: What is trained: the segmentation net alone, or also the attention net.
MODES = ("segmentation", "attention")
#: What chooses an epoch: the loss on the labels of the validation images' dots, or the AJI on their masks.
SELECTIONS = ("loss", "aji")
#: Settings that a stage does not depend on, or only through its labels.
OUTSIDE = ("corrections", "superpixel_area", "compactness")


@dataclass(frozen=True)
class MaskGAConfig:
    """Settings of MaskGA-Net.

    "Release" is the authors' code (RuoyuGuo/MaskGA_Net), with the values that it runs with unless told otherwise.
    """

    mode: str = "attention"  # one of MODES; "attention" is the method, "segmentation" the release's ablation
    corrections: int = 1  # how often labels are corrected and training begins anew (release); 0: stage 1 alone
    superpixel_area: float | None = None  # px^2; None takes the release's numbers of superpixels (segments_for)
    compactness: float = 30.0  # of superpixels, no unit (release)
    width: int = 32  # channels of the stem of both networks (release)
    channels: int = 128  # of the aggregation of both networks (release)
    segmentation_weight: float = 0.8  # of the cross-entropy (release)
    attention_weight: float = 1.0  # of the partial L1 (release)
    dot_weight: float = 1.0  # of dots in the partial L1 (release)
    edge_weight: float = 0.4  # of edges in the partial L1 (release)
    patch: int | None = None  # side of training patches, px; None: that of the smallest image, so whole ones (release)
    patches_per_side: int = 1  # along each side of a training image; more where these would leave gaps
    copies: int = 4  # of each patch in an epoch (release: drawn once, before training; ours: drawn anew)
    # Part of the side by which a patch moves at most, each way (release: black comes in; ours: the rim is cut off).
    shift: float = 0.1
    epochs: int = 60  # of each stage (release)
    batch: int = 2  # patches (release)
    learning_rate: float = 1e-3  # of Adam, at first (release)
    weight_decay: float = 5e-4  # release
    rate_factor: float = 0.5  # on the learning rate when the validation loss stalls (release)
    patience: int = 4  # validations without a lower loss that are borne (release)
    validate_every: int = 1  # epochs between two validations (release)
    select: str = "loss"  # one of SELECTIONS (release: loss); the learning rate follows the loss in any case
    min_size: int = 20  # smaller components are dropped, px (ours, as in partial points; the release has none)
    # Flips alone; with crop=None the crop follows from the shift. The release also blurs, sigma 0 to 4 px.
    augment: AugmentConfig = field(
        default_factory=lambda: AugmentConfig(resize=(1.0, 1.0), affine=0.0, rotation=(0.0, 0.0), crop=None)
    )
    # Changes of color (release: hue and saturation by up to 10 of 255).
    stain: StainJitterConfig | None = field(default_factory=StainJitterConfig)
    normalization: str | None = None  # of colors (release: none)
    reference: str | None = None  # id of the training image that gives its colors; see Preprocessing.learn
    seed: int = 0  # of all random choices

    def __post_init__(self):
        if self.mode not in MODES:
            raise UnknownNameError(f"unknown mode {self.mode!r}; known: {', '.join(MODES)}")
        if self.select not in SELECTIONS:
            raise UnknownNameError(f"unknown select {self.select!r}; known: {', '.join(SELECTIONS)}")
        numbers = (self.copies, self.epochs, self.batch, self.validate_every)
        if min(numbers) < 1 or not self.learning_rate > 0 or not 0 < self.rate_factor < 1:
            raise DataError(
                "MaskGA: expected copies, epochs, batch and validate_every of 1 or more, a positive learning_rate and "
                f"a rate_factor between 0 and 1, got {numbers}, {self.learning_rate} and {self.rate_factor}"
            )
        if min(self.corrections, self.patience, self.min_size) < 0 or not 0 <= self.shift < 0.5:
            raise DataError(
                "MaskGA: expected corrections, patience and min_size of 0 or more and a shift from 0 to below 0.5, got "
                f"{self.corrections}, {self.patience}, {self.min_size} and {self.shift}"
            )
        if self.superpixel_area is not None and not self.superpixel_area > 0:
            raise DataError(f"MaskGA: expected a positive superpixel_area or None, got {self.superpixel_area}")


class MaskGA(Method):
    """Segmentation from dots with noisy labels (Guo, Pagnucco and Song, MICCAI 2021).

    Stage 1 trains on superpixels that hold a dot, times the output of an attention net that is held to 1 on dots and
    on the edges between their cells. Then confident learning turns around labels that the segmentation net
    contradicts, in training and validation images, and both networks are trained anew on the corrected labels. Only
    the segmentation net is used afterward. Its connected components above 0.5 are the nuclei, cleaned as in partial
    points; the release has no nuclei. Colors are centered and scaled by those of the training set (release: divided
    by 255), which the normalization after the first convolution undoes, but for the border of the image.

    Fitting also fills ``labels``: for each stage the label maps of each training image, (2, H, W) int8, of which the
    first is 1 on nuclei and 0 on background, the second 2 on edges, 1 on dots and 0 elsewhere.

    Parameters
    ----------
    config : MaskGAConfig, optional
        Settings; the published ones by default.
    """

    Config = MaskGAConfig

    def __init__(self, config=None):
        super().__init__(config)
        self.labels: dict = {}  # stage to label maps (2, H, W) int8 of the training images; not saved

    def fit(self, train, val, *, run_dir, fabric=None, progress=True):
        """Train on superpixels, correct the labels, and train anew.

        Parameters
        ----------
        train : nucseg.data.Dataset
            Samples with ``points``; see :func:`nucseg.supervision.annotate_dots`.
        val : nucseg.data.Dataset
            Samples with points, or with label maps, whose boxes' centers are the dots then. Choosing by AJI needs
            label maps.
        run_dir : path-like
            Receives a folder for each stage, named by everything that the stage depends on; a stage that is there
            already is not trained again.
        fabric : lightning_fabric.Fabric, optional
            Device and precision; by default those of :func:`nucseg.engine.fabric`.
        progress : bool
            Whether to show bars.

        Returns
        -------
        MaskGA
            self. Scores in ``histories`` are validation losses with their sign reversed, or AJI.

        Raises
        ------
        DataError
            A training image without points, no dots at all, a validation image without what is needed of it, or an
            image smaller than a patch.
        NucsegError
            A loss that is not finite; a damaged checkpoint.
        """
        config = self.config
        for sample in train:
            if sample.points is None:
                raise DataError(f"{sample.id}: a training image needs points; see nucseg.supervision.annotate_dots")
        self.networks, self.histories, self.labels = {}, {}, {}
        self.preprocessing = Preprocessing.learn(train, config.normalization, config.reference)
        images, held_out = Images.read(train, self.preprocessing), Images.read(val, self.preprocessing)
        if not any(len(sample.points) for sample in images.samples):
            raise DataError("MaskGA: none of the training images has a dot")
        if config.select == "aji":
            require_labels(held_out.samples, "choosing an epoch of MaskGA by AJI")
        network, self.histories, self.labels = train_in_stages(
            images, held_out, self.preprocessing, config, self._recipe(held_out), run_dir=run_dir,
            fabric=default_fabric() if fabric is None else fabric, progress=progress,
        )
        self.networks = {"segmenter": network}
        return self

    def _recipe(self, held_out):
        """Return what is trained and how an epoch is judged."""
        config = self.config

        def score(network, loss):
            if config.select == "loss":
                return -loss
            maps = (self._probability(network, pixels) for pixels in held_out.pixels)
            return mean_aji(held_out.samples, (instances(prob, config.min_size) for prob in maps))

        settings = dataclasses.asdict(config)
        return Recipe(
            name="maskga", seed=config.seed,
            settings={name: value for name, value in settings.items() if name not in OUTSIDE},
            build=lambda: MaskGANet(config.width, config.channels, config.mode == "attention"),
            loss=self._loss, check=self._loss, nucleus=self._probability, score=score,
        )

    def _loss(self, network, batch):
        answers = network(self.preprocessing.standardize(batch["image"]), batch["maps"][:, 0])
        return maskga_loss(*answers, batch["maps"], self.config)

    def _probability(self, network, pixels):
        """Return the probability of nucleus at each pixel of a color-normalized image, (H, W) float32."""
        return whole_maps(network, pixels, self.preprocessing)[0].numpy()

    def predict_maps(self, image):
        """Return ``{"nucleus": probability}``, (H, W) float32, of an RGB image (H, W, 3) uint8."""
        self.require_fitted()
        return {"nucleus": self._probability(self.networks["segmenter"], self.preprocessing.colors(as_image(image)))}

    def predict(self, image):
        """Return the instance map, (H, W) int32, of an RGB image (H, W, 3) uint8."""
        return instances(self.predict_maps(image)["nucleus"], self.config.min_size)

    def build_networks(self, names):
        """Return untrained networks for :meth:`load`; the only name is ``"segmenter"``."""
        return {name: MaskGASegmentation(self.config.width, self.config.channels) for name in names}
