"""MaskGA-Net: superpixels as noisy masks, attention to what is certain, then corrected labels (Guo et al. 2021)."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from nucseg.arrays import as_image
from nucseg.engine import AugmentConfig, RandomBatches, StainJitterConfig, cut_patches, fit, predict_tiled
from nucseg.engine import fabric as default_fabric
from nucseg.errors import DataError, UnknownNameError
from nucseg.losses import partial_l1, product_cross_entropy
from nucseg.methods.base import Method
from nucseg.methods.baselines.plateau import PlateauBatches
from nucseg.methods.partial_points.segmenter import instances
from nucseg.methods.preprocessing import Preprocessing
from nucseg.methods.stages import (
    Images,
    fingerprint,
    load_best,
    mean_aji,
    plain,
    require_labels,
    seeded,
    stage_seed,
    weights_fingerprint,
)
from nucseg.models import MaskGANet, MaskGASegmentation
from nucseg.models.maskga import MIN_SIZE
from nucseg.supervision import box_centers, corrected_labels, dot_edge_labels, superpixel_labels

#: What is trained: the segmentation net alone, or also the attention net.
MODES = ("segmentation", "attention")
#: What chooses an epoch: the loss on the labels of the validation images' dots, or the AJI on their masks.
SELECTIONS = ("loss", "aji")
#: Largest side of the tiles of prediction, px; the gates weigh channels by what is in a tile.
TILE = 1024
#: Settings that a stage does not depend on, or only through its labels.
_OUTSIDE = ("corrections", "superpixel_area", "compactness")


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
        fabric = default_fabric() if fabric is None else fabric
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
        labels, checks = self._first_labels(images), self._first_labels(held_out)
        for stage in ("superpixels", *(f"corrected-{number + 1}" for number in range(config.corrections))):
            if self.networks:
                labels, checks = self._corrected(images, labels), self._corrected(held_out, checks)
            self.labels[stage] = labels
            self._train(stage, images, labels, held_out, checks, run_dir, fabric, progress)
        return self

    def _first_labels(self, images):
        """Return the labels of stage 1 for each image, (2, H, W) int8."""
        area, labels = self.config.superpixel_area, []
        for pixels, sample in zip(images.pixels, images.samples):
            dots, size = _dots(sample), pixels.shape[:2]
            segments = None if area is None else max(1, round(size[0] * size[1] / area))
            superpixels = superpixel_labels(pixels, dots, segments, self.config.compactness)
            labels.append(np.stack([superpixels, dot_edge_labels(dots, size)]))
        return labels

    def _corrected(self, images, labels):
        """Return labels with those turned around that the segmentation net contradicts, image by image."""
        maps = (self._probability(self.networks["segmenter"], pixels) for pixels in images.pixels)
        return [np.stack([corrected_labels(own[0], prob), own[1]]) for own, prob in zip(labels, maps)]

    def _train(self, stage, images, labels, held_out, checks, run_dir, fabric, progress):
        """Train both networks from scratch on one set of labels and keep the segmentation net of the best epoch."""
        config = self.config
        side = min(min(pixels.shape[:2]) for pixels in images.pixels) if config.patch is None else config.patch
        augment = dataclasses.replace(config.augment, crop=self._crop(side))
        network = seeded(
            lambda: MaskGANet(config.width, config.channels, config.mode == "attention"), config.seed, "maskga", stage
        )
        settings = plain({
            **{name: value for name, value in dataclasses.asdict(config).items() if name not in _OUTSIDE},
            "stage": stage, "start": weights_fingerprint(network), "preprocessing": self.preprocessing.to_dict(),
            "targets": fingerprint(*images.pixels, *labels),
            "validation": [held_out.fingerprint(), fingerprint(*checks)],
        })
        folder = Path(run_dir) / f"{stage}-{fingerprint(settings)}"
        patches = cut_patches(
            images.names, images.pixels, labels, size=side, least=config.patches_per_side, device=fabric.device
        )
        optimizer = torch.optim.Adam(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        batches = PlateauBatches(
            _Copies(RandomBatches(patches, config.batch, augment, config.stain), config.copies),
            optimizer, fabric, config.rate_factor, config.patience,
        )

        def validate(network):
            loss = self._validation_loss(network, held_out.pixels, checks)
            batches.step(loss)
            if config.select == "loss":
                return -loss
            maps = (self._probability(network.segmentation, pixels) for pixels in held_out.pixels)
            return mean_aji(held_out.samples, (instances(prob, config.min_size) for prob in maps))

        self.histories[stage] = fit(
            network, optimizer, batches, self._loss, epochs=config.epochs, run_dir=folder, config=settings,
            seed=stage_seed(config.seed, "maskga", stage), fabric=fabric, validate=validate,
            validate_every=config.validate_every, progress=progress,
        )
        self.networks = {"segmenter": load_best(folder, network).segmentation}

    def _crop(self, side):
        """Return the side of the crops from patches of a side, px."""
        crop = self.config.augment.crop
        crop = round(side * (1 - 2 * self.config.shift)) if crop is None else crop
        if crop < MIN_SIZE:
            raise DataError(f"MaskGA: expected crops of {MIN_SIZE} px or more, got {crop} px of patches of {side} px")
        return crop

    def _loss(self, network, batch):
        config = self.config
        target, marks = batch["maps"].unbind(1)
        segmented, attended = network(self.preprocessing.standardize(batch["image"]), target)
        loss = config.segmentation_weight * product_cross_entropy(segmented, attended, target)
        if attended is not None:
            loss = loss + config.attention_weight * partial_l1(attended, marks, config.dot_weight, config.edge_weight)
        return loss

    def _validation_loss(self, network, pixels, labels):
        """Return the mean loss over whole validation images."""
        device = next(network.parameters()).device
        losses = []
        for image, maps in zip(pixels, labels):
            image = torch.from_numpy(image.transpose(2, 0, 1).copy())[None].to(device)
            batch = {"image": image.float().div_(255), "maps": torch.from_numpy(maps)[None].to(device)}
            losses.append(self._loss(network, batch).item())
        return float(np.mean(losses))

    def _probability(self, network, pixels):
        """Return the probability of nucleus at each pixel of a color-normalized image, (H, W) float32."""
        # Square images up to 1024 px are one tile, as in training.
        tile = max(MIN_SIZE, min(TILE, *pixels.shape[:2]))
        maps = predict_tiled(
            network, pixels, mean=self.preprocessing.mean, std=self.preprocessing.std, tile=tile,
            stride=tile - tile // 4, batch=1,
        )
        return maps[0].numpy()

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


class _Copies:
    """All batches of another source several times in an epoch."""

    def __init__(self, batches, copies):
        self.batches, self.copies = batches, copies

    def __call__(self, epoch, generator):
        for _ in range(self.copies):
            yield from self.batches(epoch, generator)


def _dots(sample):
    """Return the dots of a sample, or of its masks where it has none."""
    if sample.points is not None:
        return sample.points
    if sample.labels is None:
        raise DataError(f"{sample.id}: a validation image of MaskGA needs points or a label map")
    return box_centers(sample.labels)
