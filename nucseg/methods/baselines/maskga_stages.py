"""How MaskGA-Net is trained: on noisy labels, then anew on labels that it corrected (Guo et al. 2021)."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from nucseg.engine import RandomBatches, cut_patches, fit, predict_tiled
from nucseg.errors import DataError
from nucseg.losses import partial_l1, product_cross_entropy
from nucseg.methods.baselines.plateau import PlateauBatches
from nucseg.methods.stages import fingerprint, load_best, plain, seeded, stage_seed, weights_fingerprint
from nucseg.models.maskga import MIN_SIZE
from nucseg.supervision import box_centers, corrected_labels, dot_edge_labels, superpixel_labels

#: Largest side of the tiles of prediction, px; the gates weigh channels by what is in a tile.
TILE = 1024


@dataclass(frozen=True)
class Recipe:
    """What is trained in every stage, and how: the parts in which a method may differ from MaskGA-Net.

    Batches have ``image`` (B, 3, H, W), ``maps`` (B, 2, H, W) int8, which are the label and the marks of
    :func:`first_labels`, and ``points``, the dots of each image.

    Parameters
    ----------
    name : str
        Of the method, from which seeds follow.
    seed : int
        Of all random choices.
    settings : dict
        Settings of the method that a training depends on, JSON values; labels and colors are taken into account anyway.
    build : callable
        ``build() -> network``, untrained; its part ``segmentation`` is what remains after a stage.
    loss : callable
        ``loss(network, batch) -> scalar tensor`` of training.
    check : callable
        The same for a whole validation image; where its mean stalls, the learning rate falls.
    nucleus : callable
        ``nucleus(segmentation, pixels) -> (H, W)``, the probability of nucleus, which corrects labels.
    score : callable
        ``score(segmentation, mean of check) -> float``; the epoch of the highest is kept.
    folder : str
        Before the name of a stage in the name of its folder.
    """

    name: str
    seed: int
    settings: dict
    build: Callable
    loss: Callable
    check: Callable
    nucleus: Callable
    score: Callable
    folder: str = ""


def whole_maps(network, pixels, preprocessing):
    """Return what a network says of a color-normalized image, (C, H, W) float32; up to 1024 px from one square tile."""
    # The gates weigh channels by their means and maxima in a tile, which in training is the whole image.
    tile = max(MIN_SIZE, min(TILE, *pixels.shape[:2]))
    return predict_tiled(
        network, pixels, mean=preprocessing.mean, std=preprocessing.std, tile=tile, stride=tile - tile // 4, batch=1
    )


def maskga_loss(segmented, attended, maps, config):
    """Return the loss of both networks (Guo et al. 2021).

    Parameters
    ----------
    segmented : torch.Tensor, shape (B, H, W), float32
        Probability of nucleus.
    attended : torch.Tensor, shape (B, H, W), float32, or None
        How certain the labels are; None without an attention net.
    maps : torch.Tensor, shape (B, 2, H, W), int8
        Label and marks; see :func:`first_labels`.
    config : MaskGAConfig
        Weights of the terms.

    Returns
    -------
    torch.Tensor, shape (), float32
    """
    target, marks = maps.unbind(1)
    loss = config.segmentation_weight * product_cross_entropy(segmented, attended, target)
    if attended is not None:
        loss = loss + config.attention_weight * partial_l1(attended, marks, config.dot_weight, config.edge_weight)
    return loss


def dots_of(sample):
    """Return the dots of a sample, or of its masks where it has none, (N, 2) row and column, px."""
    if sample.points is not None:
        return sample.points
    if sample.labels is None:
        raise DataError(f"{sample.id}: a validation image of MaskGA needs points or a label map")
    return box_centers(sample.labels)


def first_labels(images, config):
    """Return the labels of stage 1.

    Parameters
    ----------
    images : nucseg.methods.stages.Images
        With dots or masks.
    config : MaskGAConfig
        How superpixels are made.

    Returns
    -------
    list of numpy.ndarray, each of shape (2, H, W), int8
        Label, 1 on superpixels that hold a dot and 0 elsewhere; marks, 2 on edges, 1 on dots and 0 elsewhere.
    """
    labels = []
    for pixels, sample in zip(images.pixels, images.samples):
        dots, size, area = dots_of(sample), pixels.shape[:2], config.superpixel_area
        segments = None if area is None else max(1, round(size[0] * size[1] / area))
        superpixels = superpixel_labels(pixels, dots, segments, config.compactness)
        labels.append(np.stack([superpixels, dot_edge_labels(dots, size)]))
    return labels


def turned_labels(images, labels, nucleus):
    """Return labels with those turned around that a network contradicts, image by image.

    Parameters
    ----------
    images : nucseg.methods.stages.Images
        What the labels belong to.
    labels : list of numpy.ndarray, each of shape (2, H, W), int8
        Label and marks; the marks stay.
    nucleus : callable
        ``nucleus(pixels) -> (H, W)``, probability.

    Returns
    -------
    list of numpy.ndarray, each of shape (2, H, W), int8
    """
    pairs = zip(images.pixels, labels)
    return [np.stack([corrected_labels(own[0], nucleus(pixels)), own[1]]) for pixels, own in pairs]


def train_in_stages(train, val, preprocessing, config, recipe, *, run_dir, fabric, progress=True):
    """Train on superpixels, correct the labels of training and validation images, train anew, as often as is asked for.

    Parameters
    ----------
    train, val : nucseg.methods.stages.Images
        Training images with dots; validation images with dots or masks.
    preprocessing : nucseg.methods.preprocessing.Preprocessing
        Of the training set.
    config : MaskGAConfig
        Labels, patches, optimizer and number of stages.
    recipe : Recipe
        What is trained.
    run_dir : path-like
        Receives a folder for each stage, named by everything that the stage depends on.
    fabric : lightning_fabric.Fabric
        Device and precision.
    progress : bool
        Whether to show bars.

    Returns
    -------
    segmentation : torch.nn.Module
        Of the last stage, at its best epoch, in evaluation mode.
    histories : dict of str to nucseg.engine.History
        Of each stage.
    labels : dict of str to list of numpy.ndarray
        Of the training images in each stage; see :func:`first_labels`.

    Raises
    ------
    DataError
        A validation image without dots or masks, an image smaller than a patch, or crops that are too small.
    """
    labels, checks = first_labels(train, config), first_labels(val, config)
    segmentation, histories, kept = None, {}, {}
    for stage in ("superpixels", *(f"corrected-{number + 1}" for number in range(config.corrections))):
        if segmentation is not None:
            nucleus = partial(recipe.nucleus, segmentation)
            labels, checks = turned_labels(train, labels, nucleus), turned_labels(val, checks, nucleus)
        kept[stage] = labels
        segmentation, histories[stage] = _Stage(stage, train, labels, val, checks, preprocessing, config, recipe).fit(
            Path(run_dir), fabric, progress
        )
    return segmentation, histories, kept


@dataclass(frozen=True)
class _Stage:
    """One training from scratch, on one set of labels."""

    name: str
    train: object
    labels: list
    val: object
    checks: list
    preprocessing: object
    config: object
    recipe: Recipe

    def fit(self, run_dir, fabric, progress):
        """Return the segmentation net of the best epoch, and the history."""
        config, recipe, train = self.config, self.recipe, self.train
        side = min(min(pixels.shape[:2]) for pixels in train.pixels) if config.patch is None else config.patch
        augment = dataclasses.replace(config.augment, crop=_crop(side, config))
        network = seeded(recipe.build, recipe.seed, recipe.name, self.name)
        settings = self._settings(network)
        folder = run_dir / f"{recipe.folder}{self.name}-{fingerprint(settings)}"
        patches = cut_patches(
            train.names, train.pixels, self.labels, [sample.points for sample in train.samples], size=side,
            least=config.patches_per_side, device=fabric.device,
        )
        optimizer = torch.optim.Adam(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        batches = PlateauBatches(
            _Copies(RandomBatches(patches, config.batch, augment, config.stain), config.copies),
            optimizer, fabric, config.rate_factor, config.patience,
        )

        def validate(network):
            loss = validation_loss(recipe.check, network, self.val, self.checks)
            batches.step(loss)
            return recipe.score(network.segmentation, loss)

        history = fit(
            network, optimizer, batches, recipe.loss, epochs=config.epochs, run_dir=folder, config=settings,
            seed=stage_seed(recipe.seed, recipe.name, self.name), fabric=fabric, validate=validate,
            validate_every=config.validate_every, progress=progress,
        )
        return load_best(folder, network).segmentation, history

    def _settings(self, network):
        """Return everything that the stage depends on, but the code."""
        points = (sample.points for sample in self.train.samples)
        return plain({
            **self.recipe.settings, "stage": self.name, "start": weights_fingerprint(network),
            "preprocessing": self.preprocessing.to_dict(),
            "targets": fingerprint(*self.train.pixels, *self.labels, *points),
            "validation": [self.val.fingerprint(), fingerprint(*self.checks)],
        })


def validation_loss(check, network, images, labels):
    """Return the mean of ``check(network, batch)`` over whole validation images with their labels."""
    device = next(network.parameters()).device
    losses = []
    for pixels, sample, maps in zip(images.pixels, images.samples, labels):
        image = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].to(device)
        losses.append(check(network, {
            "image": image.float().div_(255), "maps": torch.from_numpy(maps)[None].to(device),
            "points": [torch.from_numpy(np.asarray(dots_of(sample), np.float32)).to(device)],
        }).item())
    return float(np.mean(losses))


def _crop(side, config):
    """Return the side of the crops from patches of a side, px."""
    crop = config.augment.crop
    crop = round(side * (1 - 2 * config.shift)) if crop is None else crop
    if crop < MIN_SIZE:
        raise DataError(f"MaskGA: expected crops of {MIN_SIZE} px or more, got {crop} px of patches of {side} px")
    return crop


class _Copies:
    """All batches of another source several times in an epoch."""

    def __init__(self, batches, copies):
        self.batches, self.copies = batches, copies

    def __call__(self, epoch, generator):
        for _ in range(self.copies):
            yield from self.batches(epoch, generator)
