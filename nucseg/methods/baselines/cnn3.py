"""CNN3: every pixel classified by the patch around it, nuclei grown to their boundary (Kumar et al. 2017)."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from nucseg.arrays import as_image
from nucseg.engine import fabric as default_fabric
from nucseg.engine import fit
from nucseg.errors import DataError
from nucseg.methods.base import Method
from nucseg.methods.baselines.pixel_patches import BalancedBatches, PixelPatches
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
from nucseg.models import PATCH, CNN3Network
from nucseg.postprocess import grow_to_boundary
from nucseg.supervision import boundary_classes

#: Names of the classes, in the order of the network's channels.
CLASSES = ("outside", "inside", "boundary")
#: Side of the tiles of prediction, px; the 1024 channels of the dense layers are what fills memory.
TILE = 178


@dataclass(frozen=True)
class CNN3Config:
    """Settings of CNN3.

    "Release" is the authors' code (neerajkumarvaid/Nuclei_Segmentation and its source, sanuj/nuclei-net).
    """

    both_sides: bool = True  # boundary: the outermost pixel of a nucleus and the one around it (release), or the first
    patches_per_class: int = 10_000  # in an epoch (release: a set of this size, drawn once; ours: drawn anew)
    turns: bool = True  # patches in any of the eight positions of a square (release of an early version: turns)
    dropout: tuple[float, ...] = (0.1, 0.2, 0.25, 0.5, 0.5)  # before three convolutions, two dense layers (release)
    epochs: int = 2000  # release: at most
    batch: int = 256  # patches (release)
    learning_rate: float = 0.01  # constant (release)
    momentum: float = 0.6  # of stochastic gradient descent (release)
    max_norm: float = 1.0  # of the weights of a neuron, enforced after each step (release)
    validate_every: int = 20  # epochs between two validations (ours; release: after every epoch, by accuracy)
    seed_threshold: float = 0.5  # probability of inside above which a pixel is part of a seed (release)
    min_size: int = 20  # smaller seeds are dropped, px (ours)
    normalization: str | None = "reinhard"  # of colors, or None (article: another normalization, Vahadane's)
    reference: str | None = None  # id of the training image that gives its colors; see Preprocessing.learn
    seed: int = 0  # of all random choices

    def __post_init__(self):
        numbers = (self.patches_per_class, self.epochs, self.batch, self.validate_every)
        if min(numbers) < 1 or not self.learning_rate > 0 or not self.max_norm > 0:
            raise DataError(
                "CNN3: expected patches_per_class, epochs, batch and validate_every of 1 or more and a positive "
                f"learning_rate and max_norm, got {numbers}, {self.learning_rate} and {self.max_norm}"
            )


class CNN3(Method):
    """Patch classifier with a class for the boundary, and region growing (Kumar et al., IEEE TMI 36(7), 2017).

    A whole image is classified at once, with the same result as patch by patch (:class:`nucseg.models.CNN3Network`).
    The border of an image is mirrored (release).

    Parameters
    ----------
    config : CNN3Config, optional
        Settings; the published ones by default.
    """

    Config = CNN3Config

    def fit(self, train, val, *, run_dir, fabric=None, progress=True):
        """Train the classifier on full masks, and keep the epoch of the highest AJI on the validation images.

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
        CNN3
            self.

        Raises
        ------
        DataError
            An image without a label map, or a class that no pixel has.
        """
        config = self.config
        fabric = default_fabric() if fabric is None else fabric
        self.preprocessing = Preprocessing.learn(train, config.normalization, config.reference)
        images, held_out = Images.read(train, self.preprocessing), Images.read(val, self.preprocessing)
        require_labels([*images.samples, *held_out.samples], "CNN3")
        targets = [boundary_classes(sample.labels, config.both_sides) for sample in images.samples]
        network = seeded(lambda: CNN3Network(dropout=config.dropout), config.seed, "cnn3")
        settings = plain({
            **dataclasses.asdict(config), "stage": "patches", "start": weights_fingerprint(network),
            "preprocessing": self.preprocessing.to_dict(), "targets": fingerprint(*images.pixels, *targets),
            "validation": fingerprint(*held_out.pixels),
        })
        folder = Path(run_dir) / f"patches-{fingerprint(settings)}"
        patches = PixelPatches.of(images.names, images.pixels, targets, PATCH, len(CLASSES), fabric.device)
        optimizer = torch.optim.SGD(network.parameters(), config.learning_rate, config.momentum)
        optimizer.register_step_post_hook(lambda *_: network.limit_norms(config.max_norm))
        history = fit(
            network, optimizer, BalancedBatches(patches, config.patches_per_class, config.batch, config.turns),
            self._loss, epochs=config.epochs, run_dir=folder, config=settings, seed=config.seed, fabric=fabric,
            validate=lambda network: mean_aji(held_out.samples, (self._nuclei(network, p) for p in held_out.pixels)),
            validate_every=config.validate_every, progress=progress,
        )
        self.networks, self.histories = {"classifier": load_best(folder, network)}, {"patches": history}
        return self

    def _loss(self, network, batch):
        logits = network(self.preprocessing.standardize(batch["image"]))
        return F.cross_entropy(logits.float().flatten(1), batch["target"])

    def _probabilities(self, network, pixels):
        """Return the probability of each class, (3, H, W) float32, of a color-normalized image."""
        margin = PATCH // 2
        side = min(TILE, max(pixels.shape[:2]) + 2 * margin)
        logits = predict_valid(
            network, pixels, self.preprocessing, margin, "reflect", side, side - 2 * margin, batch=2
        )
        return torch.softmax(logits, dim=0).numpy()

    def _nuclei(self, network, pixels):
        """Return the instance map of a color-normalized image."""
        _, inside, boundary = self._probabilities(network, pixels)
        return grow_to_boundary(inside, boundary, self.config.seed_threshold, self.config.min_size)

    def predict_maps(self, image):
        """Return the probability of ``outside``, ``inside`` and ``boundary``, each (H, W) float32, of an RGB image."""
        self.require_fitted()
        pixels = self.preprocessing.colors(as_image(image))
        return dict(zip(CLASSES, self._probabilities(self.networks["classifier"], pixels)))

    def predict(self, image):
        """Return the instance map, (H, W) int32, of an RGB image (H, W, 3) uint8."""
        self.require_fitted()
        return self._nuclei(self.networks["classifier"], self.preprocessing.colors(as_image(image)))

    def build_networks(self, names):
        """Return untrained networks for :meth:`load`; the only name is ``"classifier"``."""
        return {name: CNN3Network(dropout=self.config.dropout) for name in names}
