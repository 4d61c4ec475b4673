"""Initial weights from the training images alone: a network learns to paint hidden squares, without any label.

It stands in for ImageNet weights where there are none.  Squares of an image are covered with the mean color and the
network predicts what is below them from the surroundings, which takes knowledge of nuclei and tissue (context
encoders: Pathak et al., CVPR 2016; masked image modeling with plain colors as targets: He et al., CVPR 2022, and Xie
et al., CVPR 2022).
"""

from dataclasses import asdict, dataclass, field
from functools import partial

import safetensors.torch
import torch

from nucseg.engine import AugmentConfig, StainJitterConfig, fit
from nucseg.engine import fabric as default_fabric
from nucseg.engine.patches import RandomBatches, cut_patches
from nucseg.errors import DataError
from nucseg.methods.preprocessing import Preprocessing
from nucseg.methods.stages import adam, fingerprint, plain, weights_fingerprint
from nucseg.seeding import generator as numpy_generator


@dataclass(frozen=True)
class SelfSupervisedConfig:
    """Settings of the training on hidden squares.

    None of the papers reproduced here trains this way, so all values are our choice, except where a source is named.
    """

    cell: int = 16  # side of a square that is hidden or shown, pixels; about a nucleus at 40x (as in He et al. 2022)
    share: float = 0.5  # of the squares that is hidden, above 0 and below 1; Xie et al. 2022 try 0.1 to 0.9
    epochs: int = 40  # in all; a finished run goes on with more
    passes: int = 10  # over all patches in an epoch, after which a checkpoint is written
    batch: int = 16  # patches in an optimizer step
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)  # of Adam (release of Qu et al. 2020)
    weight_decay: float = 1e-4  # release of Qu et al. 2020
    patch: int = 250  # side of training patches, pixels (Qu et al. 2020)
    patches_per_side: int = 4  # along each side of a training image (Qu et al. 2020)
    # Crop and geometric changes, those of Qu et al. (2020) for detection.
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    # Changes of color; None leaves the colors as they are.
    stain: StainJitterConfig | None = field(default_factory=StainJitterConfig)

    def __post_init__(self):
        for name in ("cell", "epochs", "passes", "batch", "patch", "patches_per_side"):
            if getattr(self, name) < 1:
                raise DataError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        if not 0 < self.share < 1:
            raise DataError(f"share: expected more than 0 and less than 1, got {self.share}")
        if not 0 < self.learning_rate < float("inf"):
            raise DataError(f"learning_rate: expected more than 0, got {self.learning_rate}")


def hidden_squares(batch, size, config, generator, device=None):
    """Draw which pixels of each image are hidden: squares of a grid, which is placed anew for each image.

    Parameters
    ----------
    batch : int
        Number of images.
    size : tuple of int
        (H, W) of the images in pixels.
    config : SelfSupervisedConfig
        Its `cell` and `share`.
    generator : torch.Generator
        The only source of randomness.  One on the CPU gives the same squares for every device.
    device : torch.device or str, optional
        Where the result goes; by default, where the generator is.

    Returns
    -------
    torch.Tensor, shape (B, 1, H, W), bool
        True where hidden.  The grid reaches over the border; `share` of its squares is hidden, to a whole number.
    """
    options = {"generator": generator, "device": generator.device}
    rows, columns = (1 + -(-length // config.cell) for length in size)
    rank = torch.rand(batch, rows * columns, **options).argsort(dim=1).argsort(dim=1)
    cells = (rank < round(config.share * rows * columns)).reshape(batch, rows, columns).to(device)
    corner = torch.randint(config.cell, (batch, 2), **options).to(cells.device)
    row, column = (
        (torch.arange(length, device=cells.device) + corner[:, axis, None]) // config.cell
        for axis, length in enumerate(size)
    )
    return cells[torch.arange(batch, device=cells.device)[:, None, None], row[:, :, None], column[:, None, :]][:, None]


def hidden_color_error(output, colors, counted):
    """Return the squared error of predicted colors, averaged over the counted pixels of the whole batch.

    Parameters
    ----------
    output : torch.Tensor, shape (B, 3, H, W), float
        Predicted colors.
    colors : torch.Tensor, shape (B, 3, H, W), float32
        Standardized colors.
    counted : torch.Tensor, shape (B, 1, H, W), bool
        Pixels that count: hidden, and not padding.

    Returns
    -------
    torch.Tensor, shape (), float32
        In variances of the training colors: 1 for a network that always predicts the mean color, 0 at best; also 0
        where no pixel counts.

    Raises
    ------
    DataError
        An output that is not three channels of the size of the images.
    """
    if output.shape != colors.shape:
        raise DataError(f"network: expected an output of shape {tuple(colors.shape)}, got {tuple(output.shape)}")
    # The difference, not its square, is replaced: so no gradient reaches a pixel that does not count.
    error = torch.where(counted, output.float() - colors, 0)
    return (error**2).sum() / (3 * counted.sum()).clamp(min=1)


def pretrain_unet(build, images, *, mean, std, run_dir, config=None, names=None, seed=0, fabric=None, progress=True):
    """Train a network to paint hidden squares of the training images, or go on with a training interrupted.

    The final weights are in ``best.safetensors`` in `run_dir`; :func:`load_pretrained` puts them into a network for
    another task.  Everything follows from the seed, initial weights included.

    Parameters
    ----------
    build : callable
        ``build() -> torch.nn.Module`` that maps (B, 3, H, W) float32 to the same shape: the network to be initialized,
        with three channels of output, for example ``lambda: ResNet34UNet(classes=3)``.
    images : sequence of array_like, each of shape (H, W, 3), uint8
        Training images after color normalization, H and W at least ``config.patch``.
    mean, std : sequence of 3 float
        Mean and standard deviation of each channel over the training set, of values in [0, 1]; those with which the
        network is used later.
    run_dir : path-like
        Receives checkpoints and weights, see :func:`nucseg.engine.fit`.
    config : SelfSupervisedConfig, optional
        Settings; by default ``SelfSupervisedConfig()``.
    names : sequence of str, optional
        Of the images, for messages; by default their numbers.
    seed : int
        Seed of the run.
    fabric : lightning_fabric.Fabric, optional
        Device and precision; by default those of :func:`nucseg.engine.fabric`.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    History
        Its losses are those of :func:`hidden_color_error`.

    Raises
    ------
    DataError
        No images, unusable ones, another number of names than of images, a network of another output, or a checkpoint
        in `run_dir` that is damaged or of other settings or images.
    NucsegError
        The loss is not finite.
    """
    config = SelfSupervisedConfig() if config is None else config
    fabric = default_fabric() if fabric is None else fabric
    preprocessing = Preprocessing(None, tuple(map(float, mean)), tuple(map(float, std)))
    patches = _patches(images, names, config, fabric.device)
    network = _seeded_network(build, seed)
    return fit(
        network,
        adam(network, config),
        _HiddenBatches(patches, config),
        partial(_loss, preprocessing),
        epochs=config.epochs,
        run_dir=run_dir,
        config=_settings(config, preprocessing, patches, network),
        seed=seed,
        fabric=fabric,
        progress=progress,
    )


def load_pretrained(network, path, output="out"):
    """Put weights of :func:`pretrain_unet` into a network, except those of its output layer.

    Parameters
    ----------
    network : torch.nn.Module
        Of the architecture that was trained, with any number of output channels, on any device; changed in place.
    path : path-like
        Weights written by :func:`nucseg.engine.save_weights`.
    output : str
        Name of the output layer; it keeps the values it has.

    Raises
    ------
    DataError
        The file is missing or damaged, its weights do not fit the network, or the network has no such output layer;
        names the file, and the first weight at fault.
    """
    try:
        stored = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise DataError(f"{path}: no readable weights ({str(error).splitlines()[0]})") from error
    own = network.state_dict()
    kept = {name: tensor for name, tensor in own.items() if name.startswith(f"{output}.")}
    if not kept:
        raise DataError(f"network: there is no output layer {output!r} with weights")
    loaded = {name: tensor for name, tensor in stored.items() if not name.startswith(f"{output}.")}
    expected = own.keys() - kept.keys()
    for name in sorted(expected ^ loaded.keys()):
        where = "is missing from the file" if name in expected else "is not part of the network"
        raise DataError(f"{path}: these weights are of another network: {name} {where}")
    for name, tensor in loaded.items():
        if tensor.shape != own[name].shape:
            raise DataError(
                f"{path}: these weights are of another network: {name} has shape {tuple(tensor.shape)}, "
                f"expected {tuple(own[name].shape)}"
            )
    network.load_state_dict({**loaded, **kept})


class _HiddenBatches:
    """Augmented batches with what is hidden in them, several passes over the patches in an epoch."""

    def __init__(self, patches, config):
        self.config = config
        self.batches = RandomBatches(patches, config.batch, config.augment, config.stain)

    def __call__(self, epoch, generator):
        for _ in range(self.config.passes):
            for batch in self.batches(epoch, generator):
                image = batch["image"]
                hidden = hidden_squares(len(image), image.shape[2:], self.config, generator, image.device)
                # Padding is far from any color of tissue and would rule the error.
                counted = hidden & (image != 0).any(dim=1, keepdim=True)
                yield {"image": image, "hidden": hidden, "counted": counted, "names": batch["names"]}


def _loss(preprocessing, network, batch):
    colors = preprocessing.standardize(batch["image"])
    return hidden_color_error(network(colors.masked_fill(batch["hidden"], 0)), colors, batch["counted"])


def _patches(images, names, config, device):
    names = [f"image {number}" for number in range(len(images))] if names is None else names
    if len(names) != len(images):
        raise DataError(f"names: expected one for each of {len(images)} images, got {len(names)}")
    return cut_patches(names, images, size=config.patch, least=config.patches_per_side, device=device)


def _seeded_network(build, seed):
    """Return a new network whose initial weights follow from the seed alone; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(numpy_generator(seed, "self-supervised", "network").integers(2**63 - 1)))
        return build()


def _settings(config, preprocessing, patches, network):
    """Return what a checkpoint must agree in: all settings but the number of epochs, the pixels, and the start."""
    settings = plain({**asdict(config), "mean": preprocessing.mean, "std": preprocessing.std})
    del settings["epochs"]
    pixels = fingerprint(patches.images.cpu().numpy())
    return {**settings, "images": f"{len(patches)} patches, {pixels}", "start": weights_fingerprint(network)}
