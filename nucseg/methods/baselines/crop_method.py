"""What the references of Costa et al. (2022) share: random crops, one learning-rate cycle, tiles with own areas."""

from abc import abstractmethod
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from nucseg.arrays import as_image
from nucseg.data.exposure import stretch_contrast, stretched
from nucseg.engine import OneCycle, RandomCrops, choose_precision, clip_gradients, fit, hold_images
from nucseg.engine import fabric as default_fabric
from nucseg.errors import DataError
from nucseg.methods.base import Method
from nucseg.methods.canonical_shape.tiles import Tile, cut
from nucseg.methods.preprocessing import Preprocessing
from nucseg.methods.stages import Images, fingerprint, plain, seeded, weights_fingerprint


@dataclass(frozen=True)
class CropConfig:
    """Settings of training on crops and of prediction in tiles; "ours" marks what Costa et al. do not say."""

    backbone: str = "resnet50"  # or resnet34, resnet18; theirs for canonical shape (sec. 2.1)
    weights: str | None = "imagenet"  # of the backbone; None starts from random weights
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


class CropMethod(Method):
    """A method that trains one network on crops of whole images and keeps its last epoch.

    A subclass names its network and the settings that only prediction depends on, and implements :meth:`targets`,
    :meth:`untrained`, :meth:`loss` and :meth:`nucleus_map`.

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
    def untrained(self, weights):
        """Return a network for training; its backbone has the weights of a name, or random ones where it is None."""

    @abstractmethod
    def loss(self, network, batch):
        """Return the loss of a batch of :class:`nucseg.engine.RandomCrops`, a scalar tensor."""

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
        network = seeded(lambda: self.untrained(config.weights), config.seed, self.network_name)
        settings = plain({
            **{name: value for name, value in asdict(config).items() if name not in self.prediction_settings},
            "start": weights_fingerprint(network), "preprocessing": self.preprocessing.to_dict(),
            "targets": fingerprint(*images.pixels, *labels), "validation": fingerprint(*held_out.pixels, *truth),
        })
        learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(learned, config.learning_rate, momentum=config.momentum,
                                    weight_decay=config.weight_decay, nesterov=True)
        clip_gradients(optimizer, config.gradient_norm)
        held = hold_images(images.names, images.pixels, labels, least=config.patch, device=runner.device)
        crops = RandomCrops(held, config.patch, config.batch, config.turn, config.crops)
        history = fit(
            network, optimizer, OneCycle(crops, optimizer, config.learning_rate, config.epochs), self.loss,
            epochs=config.epochs, run_dir=Path(run_dir) / f"{self.network_name}-{fingerprint(settings)}",
            config=settings, seed=config.seed, fabric=runner, validate_every=config.validate_every, progress=progress,
            validate=lambda network: pooled_dice(
                (self.nucleus_map(network, pixels) > 0.5 for pixels in held_out.pixels), truth),
        )
        self.networks, self.histories = {self.network_name: network.eval()}, {self.network_name: history}
        return self

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
        return {name: self.untrained(None) for name in names}


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


def covering_tiles(size, patch, margin):
    """Return tiles that cover an image evenly, up to its last pixel.

    Parameters
    ----------
    size : tuple of int
        (H, W) of the image, px; sides below a patch count as one.
    patch : int
        Side of the tiles, px.
    margin : int
        Neighbors share at least twice as many pixels, px.

    Returns
    -------
    list of nucseg.methods.canonical_shape.tiles.Tile
        Row by row; each owns what is nearer to its middle than to those of its neighbors.
    """
    axes = []
    for length in size:
        last = max(length - patch, 0)
        steps = -(-last // (patch - 2 * margin))
        corners = [last * i // max(steps, 1) for i in range(steps + 1)]
        middles = [(a + patch + b) // 2 for a, b in pairwise(corners)]
        axes.append(list(zip(corners, [-np.inf, *middles], [*middles, np.inf])))
    return [Tile(*zip(row, column)) for row, column in product(*axes)]


def predict_patches(network, pixels, parts, patch, preprocessing, batch=16):
    """Yield what a network returns for each tile of an image, on its device.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode; maps images (B, 3, s, s) to a tensor or list with one item for each.
    pixels : numpy.ndarray, shape (H, W, 3), uint8
        The image, prepared as in training.
    parts : sequence of nucseg.methods.canonical_shape.tiles.Tile
        Its tiles.
    patch : int
        Side of the tiles, px.
    preprocessing : nucseg.methods.preprocessing.Preprocessing
        Standardizes the image.
    batch : int
        Tiles at a time.

    Yields
    ------
    object
        One item of the network's output.
    """
    device = next(network.parameters()).device
    half = choose_precision(device) == "bf16-mixed"
    for start in range(0, len(parts), batch):
        several = np.stack([cut(pixels, tile, patch) for tile in parts[start : start + batch]])
        images = torch.from_numpy(several).permute(0, 3, 1, 2).to(device).float().div_(255)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            found = network(preprocessing.standardize(images).to(memory_format=torch.channels_last))
        yield from found
