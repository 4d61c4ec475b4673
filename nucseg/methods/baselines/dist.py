"""DIST: distances to the edge of each nucleus by regression, nuclei by watershed (Naylor et al. 2019)."""

import dataclasses
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from nucseg.arrays import as_image
from nucseg.engine import AugmentConfig, RandomBatches, StainJitterConfig, cut_patches, fit
from nucseg.engine import fabric as default_fabric
from nucseg.errors import DataError
from nucseg.methods.base import Method
from nucseg.methods.baselines.unpadded import predict_valid
from nucseg.methods.preprocessing import Preprocessing
from nucseg.methods.stages import (
    Images,
    fingerprint,
    load_best,
    mean_aji,
    plain,
    require_labels,
    seeded,
    weights_fingerprint,
)
from nucseg.models import MARGIN, OFFSET, SMALLEST, STEP, DistUNet
from nucseg.postprocess import dynamic_watershed
from nucseg.supervision import chessboard_distance

#: Largest distance that patches can hold, px; nuclei more than 253 px wide are flattened.
DEEPEST = 127
#: Largest side of the tiles of prediction, px; an image of 1000 px fits in one.
TILE = 1196


@dataclass(frozen=True)
class DISTConfig:
    """Settings of DIST.

    "Release" is the authors' code (PeterJackNaylor/DRFNS). Where it searches a grid by validation and the value
    chosen is not known, the comment gives the grid.
    """

    width: int = 16  # channels of the first level (release: 16 or 32)
    patch: int = 250  # side of the parts of an image that outputs are cropped from, px (release: 16 of each image)
    patches_per_side: int = 4  # along each side of a training image (release)
    epochs: int = 80  # release
    batch: int = 10  # patches (release)
    learning_rate: float = 1e-3  # of Adam, at first (release: 1e-3, 1e-4 or 1e-5)
    decay: float = 0.96  # factor on the learning rate (release)
    decay_epochs: int = 10  # after so many epochs each time (release)
    # Of convolutions (release: 5e-5 or 5e-4, added to the loss only after its gradient was taken, so without effect).
    weight_decay: float = 5e-5
    validate_every: int = 1  # epochs between two validations (release, by F1 of pixels; ours: by AJI)
    depths: tuple[float, ...] = (0, 1)  # p1 to choose from on validation, px (release)
    thresholds: tuple[float, ...] = (0.5, 1.0)  # p2 to choose from on validation, px (release)
    depth: float | None = None  # p1 of the watershed, px; None until fit has chosen it
    threshold: float | None = None  # p2 of the watershed, px; None until fit has chosen it
    whole: bool = True  # predicted distances are cut to whole pixels (release)
    lines: bool = True  # pixels that touch another nucleus become background (release as first published)
    # Flips and any rotation within a quarter (release: rotation for one patch in five, mirrored corners instead of
    # black ones). The crop is 184 px larger than the output (release: 212 px).
    augment: AugmentConfig = field(
        default_factory=lambda: AugmentConfig(resize=(1.0, 1.0), affine=0.0, rotation=(0.0, 90.0), crop=396)
    )
    # Changes of color (release: the brightness of one patch in five).
    stain: StainJitterConfig | None = field(default_factory=lambda: StainJitterConfig(probability=0.2))
    normalization: str | None = None  # of colors; release: none (in one version Vahadane's)
    reference: str | None = None  # id of the training image that gives its colors; see Preprocessing.learn
    seed: int = 0  # of all random choices

    def __post_init__(self):
        numbers = (self.epochs, self.batch, self.decay_epochs, self.validate_every)
        if min(numbers) < 1 or not self.learning_rate > 0 or not 0 < self.decay <= 1:
            raise DataError(
                "DIST: expected epochs, batch, decay_epochs and validate_every of 1 or more, a positive learning_rate "
                f"and a decay above 0 and up to 1, got {numbers}, {self.learning_rate} and {self.decay}"
            )
        if not self.depths or not self.thresholds:
            raise DataError("DIST: depths and thresholds need at least one value each")
        crop = self.augment.crop
        if crop is None or crop <= 2 * MARGIN or crop % STEP != OFFSET or crop > self.patch + 2 * MARGIN:
            raise DataError(
                f"DIST: expected a crop above {2 * MARGIN} px, {OFFSET} more than a multiple of {STEP} and at most "
                f"patch + {2 * MARGIN} = {self.patch + 2 * MARGIN}, got {crop}"
            )


class DIST(Method):
    """Deep regression of the distance map, and dynamic watershed (Naylor et al., IEEE TMI 38(2), 2019).

    Images are mirrored at their border by 92 px, the outermost pixels repeated (release), in training and prediction.
    The release predicts 996 x 996 pixels of an image of 1000; here all pixels are predicted. Channels are also divided
    by their deviation, which the batch normalization after the first convolution undoes. The depth and threshold of
    the watershed are chosen with the epoch, by AJI on the validation images, and enter ``config``.

    Parameters
    ----------
    config : DISTConfig, optional
        Settings; the published ones by default.
    """

    Config = DISTConfig

    def fit(self, train, val, *, run_dir, fabric=None, progress=True):
        """Train the regression on full masks, and choose epoch, depth and threshold on the validation images.

        Parameters
        ----------
        train, val : nucseg.data.Dataset
            Samples with label maps.
        run_dir : path-like
            Receives the folder of the training; an interrupted call goes on from there.
        fabric : lightning_fabric.Fabric, optional
            Device and precision; by default those of :func:`nucseg.engine.fabric`.
        progress : bool
            Whether to show bars.

        Returns
        -------
        DIST
            self.

        Raises
        ------
        DataError
            An image without a label map, or smaller than a patch.
        """
        config = self.config
        fabric = default_fabric() if fabric is None else fabric
        self.preprocessing = Preprocessing.learn(train, config.normalization, config.reference)
        images, held_out = Images.read(train, self.preprocessing), Images.read(val, self.preprocessing)
        require_labels([*images.samples, *held_out.samples], "DIST")
        targets = [distance_target(sample.labels) for sample in images.samples]
        network = seeded(lambda: DistUNet(config.width), config.seed, "dist")
        settings = plain({
            **dataclasses.asdict(config), "stage": "distance", "start": weights_fingerprint(network),
            "preprocessing": self.preprocessing.to_dict(), "targets": fingerprint(*images.pixels, *targets),
            "validation": fingerprint(*held_out.pixels),
        })
        folder = Path(run_dir) / f"distance-{fingerprint(settings)}"
        patches = cut_patches(
            images.names, [mirrored(pixels) for pixels in images.pixels], [mirrored(t)[None] for t in targets],
            size=config.patch + 2 * MARGIN, least=config.patches_per_side, device=fabric.device,
        )
        optimizer = _adam(network, config)
        history = fit(
            network, optimizer, DecayedBatches(RandomBatches(patches, config.batch, config.augment, config.stain),
                                               optimizer, config), self._loss,
            epochs=config.epochs, run_dir=folder, config=settings, seed=config.seed, fabric=fabric,
            validate=lambda network: max(self._scores(network, held_out).values()),
            validate_every=config.validate_every, progress=progress,
        )
        self.networks, self.histories = {"distance": load_best(folder, network)}, {"distance": history}
        scores = self._scores(self.networks["distance"], held_out)
        depth, threshold = max(scores, key=scores.get)
        self.config = dataclasses.replace(config, depth=depth, threshold=threshold)
        return self

    def _loss(self, network, batch):
        distance = network(self.preprocessing.standardize(batch["image"]))
        target = batch["maps"][..., MARGIN:-MARGIN, MARGIN:-MARGIN]
        return F.mse_loss(distance.float(), target.float())

    def _scores(self, network, held_out):
        """Return the mean AJI for each pair of depth and threshold to choose from."""
        own = self.config
        pairs = product(*([fixed] if fixed is not None else several for fixed, several in
                          ((own.depth, own.depths), (own.threshold, own.thresholds))))
        maps = [self._distance(network, pixels) for pixels in held_out.pixels]
        return {pair: mean_aji(held_out.samples, (self._nuclei(distance, *pair) for distance in maps))
                for pair in pairs}

    def _distance(self, network, pixels):
        """Return the predicted distances of a color-normalized image, (H, W) float32."""
        side = min(TILE, -(-(max(pixels.shape[:2]) + 2 * MARGIN - OFFSET) // STEP) * STEP + OFFSET)
        # Tiles begin at multiples of 16 px, so that poolings fall on the same pixels whatever the size of the tiles.
        maps = predict_valid(
            network, pixels, self.preprocessing, MARGIN, "symmetric", side, max(side - SMALLEST, STEP)
        )
        return maps[0].clamp(min=0).numpy()

    def _nuclei(self, distance, depth, threshold):
        return dynamic_watershed(distance, depth, threshold, self.config.whole, self.config.lines)

    def predict_maps(self, image):
        """Return ``{"distance": px}``, (H, W) float32, negative ones set to 0, of an RGB image (H, W, 3) uint8."""
        self.require_fitted()
        return {"distance": self._distance(self.networks["distance"], self.preprocessing.colors(as_image(image)))}

    def predict(self, image):
        """Return the instance map, (H, W) int32, of an RGB image (H, W, 3) uint8."""
        return self._nuclei(self.predict_maps(image)["distance"], self.config.depth, self.config.threshold)

    def build_networks(self, names):
        """Return untrained networks for :meth:`load`; the only name is ``"distance"``."""
        return {name: DistUNet(self.config.width) for name in names}


class DecayedBatches:
    """Batches of another source that set the learning rate of an epoch before they begin.

    The rate follows from the number of the epoch alone, so a training that was interrupted goes on with the same.

    Parameters
    ----------
    batches : callable
        ``batches(epoch, generator)``, see :func:`nucseg.engine.fit`.
    optimizer : torch.optim.Optimizer
        All of its parameters get one rate.
    config : DISTConfig
        Its ``learning_rate`` is multiplied by ``decay`` after every ``decay_epochs``.
    """

    def __init__(self, batches, optimizer, config):
        self.batches, self.optimizer, self.config = batches, optimizer, config

    def __call__(self, epoch, generator):
        """Set the learning rate and return the batches of one epoch, counted from 1."""
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * config.decay ** ((epoch - 1) // config.decay_epochs)
        return self.batches(epoch, generator)


def distance_target(labels):
    """Return the distances that the network learns, (H, W) int8, px, at most :data:`DEEPEST`."""
    return np.minimum(chessboard_distance(labels), DEEPEST).astype(np.int8)


def mirrored(array):
    """Return an image or map with 92 px more on each side, mirrored, the outermost pixels repeated (release)."""
    return np.pad(array, [(MARGIN, MARGIN)] * 2 + [(0, 0)] * (array.ndim - 2), mode="symmetric")


def _adam(network, config):
    """Return Adam with weight decay on the weights of convolutions only."""
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.Adam(groups, config.learning_rate)
