"""What the methods of Costa et al. (2022) share: random crops, one learning-rate cycle, patches taken alone."""

from abc import abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch

from nucseg.arrays import as_image
from nucseg.data.exposure import stretch_contrast, stretched
from nucseg.engine import RandomCrops, Scheduled, clip_gradients, fit, hold_images, one_cycle_rates
from nucseg.engine import fabric as default_fabric
from nucseg.errors import DataError
from nucseg.methods.base import Method
from nucseg.methods.preprocessing import Preprocessing
from nucseg.methods.stages import Images, fingerprint, plain, seeded, weights_fingerprint
from nucseg.methods.tiling import cut, separate_patches
from nucseg.postprocess import InstanceMasks


@dataclass(frozen=True)
class CropConfig:
    """Settings of training on crops and of prediction in tiles; "ours" marks what Costa et al. do not say."""

    patch: int = 128  # side of crops and tiles, px (sec. 3.1)
    epochs: int = 50  # sec. 2.3
    batch: int = 32  # patches (ours)
    crops: int | None = None  # crops in an epoch; by default as many as tiles cover the images (ours)
    turn: bool = True  # flips and quarter turns in training (ours)
    learning_rate: float = 1e-2  # peak of the one-cycle policy (sec. 2.3)
    momentum: float = 0.9  # Nesterov (sec. 2.3)
    weight_decay: float = 1e-4  # ours
    gradient_norm: float = 1.0  # upper bound (ours)
    validate_every: int = 5  # epochs between two looks at the validation images; the last epoch is kept (ours)
    min_size: int = 5  # smaller instances are dropped, px (ours)
    margin: int = 16  # pixels that neighboring tiles of a whole image share beyond each one's own area, px (ours)
    seed: int = 0  # of all random choices

    def __post_init__(self):
        wrong = [name for name in ("patch", "epochs", "batch", "validate_every") if getattr(self, name) < 1]
        wrong += [name for name in ("weight_decay", "min_size", "margin") if not getattr(self, name) >= 0]
        wrong += [name for name in ("learning_rate", "gradient_norm") if not getattr(self, name) > 0]
        wrong += ["momentum"] if not 0 < self.momentum < 1 else []
        wrong += ["crops"] if self.crops is not None and self.crops < 1 else []
        wrong += ["margin"] if 2 * self.margin >= self.patch else []
        self._require(not wrong, *wrong[:1])

    def _require(self, holds, *names):
        """Raise DataError with the values of settings unless a condition on them holds."""
        if not holds:
            values = ", ".join(f"{name} = {getattr(self, name)!r}" for name in names)
            raise DataError(f"{type(self).__name__}: {values} is out of range (patch {self.patch} px)")


class PatchPrediction(NamedTuple):
    """What a method says of one patch."""

    corner: tuple[int, int]  #: row and column of its top left pixel in the image
    prob: np.ndarray  #: (patch, patch) float32, likelihood of foreground
    masks: InstanceMasks  #: instances, which may overlap
    expected: float  #: number of instances expected: the sum of p(z), or of instances where there is no p(z)


class CropMethod(Method):
    """A method that trains one network on crops of whole images and keeps its last epoch.

    A subclass names its network and the settings that only prediction depends on, and implements :meth:`targets`,
    :meth:`untrained`, :meth:`loss`, :meth:`nucleus_map` and :meth:`alone`.

    Parameters
    ----------
    config : CropConfig, optional
        Settings; the published ones by default.
    """

    Config = CropConfig
    network_name: ClassVar[str]
    prediction_settings: ClassVar[tuple[str, ...]] = ("min_size", "margin")

    @abstractmethod
    def targets(self, samples):
        """Return the map of each sample that training and validation need, (H, W) int, or raise DataError."""

    @abstractmethod
    def untrained(self, loading=False):
        """Return a network for training, or one that is loaded into, whose first weights do not matter."""

    @abstractmethod
    def loss(self, network, batch):
        """Return the loss of a batch of :class:`nucseg.engine.RandomCrops`, a scalar tensor."""

    @abstractmethod
    def alone(self, network, pixels):
        """Return what the network says of one patch that is an image of its own, contrast-stretched.

        Returns
        -------
        prob : numpy.ndarray, shape (patch, patch), float32
            Likelihood of foreground.
        masks : nucseg.postprocess.InstanceMasks
            Its instances.
        expected : float
            Their expected number.
        """

    @abstractmethod
    def nucleus_map(self, network, pixels):
        """Return how likely each pixel of a contrast-stretched image is foreground, (H, W) float32, 0 to 1."""

    def fit(self, train, val, *, run_dir, fabric=None, progress=True):
        """Train the network; the score of an epoch is the pooled Dice of the foreground of the validation images.

        Parameters
        ----------
        train, val : nucseg.data.Dataset
            Annotated samples; those of `train` are no smaller than a patch.
        run_dir : path-like
            Receives the folder of the training; an interrupted call goes on from there.
        fabric : lightning_fabric.Fabric, optional
            Device and precision; by default those of :func:`nucseg.engine.fabric`.
        progress : bool
            Whether to show bars.

        Returns
        -------
        CropMethod
            self, with the network of the last epoch.

        Raises
        ------
        DataError
            An image without the annotation that is needed, or smaller than a patch; names it.
        """
        config, runner = self.config, default_fabric() if fabric is None else fabric
        self.networks, self.histories = {}, {}
        train, val = stretched(train), stretched(val)
        self.preprocessing = Preprocessing.learn(train, None)
        images, held_out = (Images.read(part, self.preprocessing) for part in (train, val))
        labels, truth = self.targets(images.samples), self.targets(held_out.samples)
        network = seeded(self.untrained, config.seed, self.network_name)
        settings = plain({
            **self.training_settings(), "start": weights_fingerprint(network),
            "preprocessing": self.preprocessing.to_dict(),
            "targets": fingerprint(*images.pixels, *labels), "validation": fingerprint(*held_out.pixels, *truth),
        })
        learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(learned, config.learning_rate, momentum=config.momentum,
                                    weight_decay=config.weight_decay, nesterov=True)
        clip_gradients(optimizer, config.gradient_norm)
        held = hold_images(images.names, images.pixels, labels, least=config.patch, device=runner.device)
        crops = RandomCrops(held, config.patch, config.batch, config.turn, config.crops)
        rates = one_cycle_rates(config.learning_rate, config.epochs * len(crops))
        history = fit(
            network, optimizer, Scheduled(crops, optimizer, rates), self.loss,
            epochs=config.epochs, run_dir=Path(run_dir) / f"{self.network_name}-{fingerprint(settings)}",
            config=settings, seed=config.seed, fabric=runner, validate_every=config.validate_every, progress=progress,
            validate=lambda network: pooled_dice(
                (self.nucleus_map(network, pixels) > 0.5 for pixels in held_out.pixels), truth),
        )
        self.networks, self.histories = {self.network_name: network.eval()}, {self.network_name: history}
        return self

    def training_settings(self):
        """Return the settings that training depends on, as JSON values: rows that share them share a training."""
        every = plain(asdict(self.config))
        return {name: value for name, value in every.items() if name not in self.prediction_settings}

    def prepared(self, image):
        """Return an RGB image (H, W, 3) uint8 as the network was trained on: its contrast stretched."""
        self.require_fitted()
        return self.preprocessing.colors(stretch_contrast(as_image(image)))

    def predict_maps(self, image):
        """Return ``{"nucleus": probability}``, (H, W) float32, of an RGB image (H, W, 3) uint8."""
        pixels = self.prepared(image)
        return {"nucleus": self.nucleus_map(self.networks[self.network_name], pixels)}

    def build_networks(self, names):
        """Return untrained networks for :meth:`load`; the only name is that of the network."""
        return {name: self.untrained(loading=True) for name in names}

    def predict_patches(self, image):
        """Yield what the method says of each patch of an image taken alone, as the article evaluates it (sec. 3.1).

        Parameters
        ----------
        image : array_like, shape (H, W, 3), uint8
            The image; its contrast is stretched as a whole.

        Yields
        ------
        PatchPrediction
        """
        pixels, network, patch = self.prepared(image), self.networks[self.network_name], self.config.patch
        for tile in separate_patches(pixels.shape[:2], patch):
            yield PatchPrediction(tile.corner, *self.alone(network, cut(pixels, tile, patch)))


def pooled_dice(found, truth):
    """Return the Dice coefficient of the foreground over all pixels of several images together.

    Costa et al. (2022, table 1) print pairs of IoU and Dice that only pooled numbers can have.

    Parameters
    ----------
    found : iterable of numpy.ndarray, each of shape (H, W), bool
        Predicted foreground.
    truth : iterable of numpy.ndarray, each of shape (H, W), integer
        Foreground where above 0.

    Returns
    -------
    float
        0 to 1; 1 where there is no foreground in either.
    """
    both = total = 0
    for mask, labels in zip(found, truth, strict=True):
        both, total = both + int((mask & (labels > 0)).sum()), total + int(mask.sum()) + int((labels > 0).sum())
    return 2 * both / total if total else 1.0
