"""Training of both heads together, around partial points (Foo et al. 2022, sec. 3)."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nucseg.engine import RandomBatches, cut_patches, fit
from nucseg.losses import masked_cross_entropy
from nucseg.methods.baselines.maskga_stages import whole_maps
from nucseg.methods.partial_points.segmenter import instances, weak_labels
from nucseg.methods.split_and_expand.heads import probability
from nucseg.methods.split_and_expand.reweighting import TwoPasses, center_loss
from nucseg.methods.stages import (
    adam,
    fingerprint,
    load_best,
    logits_of,
    mean_aji,
    plain,
    require_labels,
    weights_fingerprint,
)
from nucseg.models import TwoHeadMaskGA
from nucseg.postprocess import center_blobs, split_instances
from nucseg.supervision.centers import center_squares

#: Settings that training does not depend on; what validation depends on stays.
AFTER_TRAINING = ("heat_threshold", "overlap", "seed")


class Stacked(nn.Module):
    """Both heads of a network as one output, as tiled prediction wants it."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        """Return the logits of nucleus and center, (B, 2 or 4, H, W)."""
        return torch.cat(self.network(images), dim=1)


def two_maps(network, pixels, preprocessing):
    """Return the probabilities of nucleus and of center at each pixel of a color-normalized image, (H, W) float32."""
    answer = whole_maps if isinstance(network, TwoHeadMaskGA) else logits_of
    logits = answer(Stacked(network), pixels, preprocessing)[None]
    return tuple(probability(part)[0].numpy() for part in logits.chunk(2, dim=1))


def center_targets(batch, side):
    """Return the targets of the center head for a batch, (B, h, w) int64; black surroundings hold no centers."""
    images = batch["image"]
    squares = center_squares(batch["points"], tuple(images.shape[2:]), side, images.device)
    return squares.masked_fill_((images == 0).all(dim=1), 0)


def two_head_loss(preprocessing, config):
    """Return the loss of both heads, ``loss(network, batch)`` (Foo et al. 2022, eq. 2).

    Parameters
    ----------
    preprocessing : nucseg.methods.preprocessing.Preprocessing
        Standardizes the images.
    config : SplitAndExpandConfig
        Weights and re-weighting.

    Returns
    -------
    callable
        Takes batches whose ``maps`` are the Voronoi and the cluster label, and whose ``points`` are the dots. Base
        and center head weigh the same, which the article leaves open.
    """
    share = config.base.segmenter.voronoi_share

    def loss(network, batch):
        targets = center_targets(batch, config.center_side)
        passes = TwoPasses(network, preprocessing.standardize(batch["image"]))
        nucleus = passes.first[0].float()
        total = sum(part * masked_cross_entropy(nucleus, batch["maps"][:, k])
                    for k, part in enumerate((share, 1 - share)) if part)
        return total + center_loss(passes, targets, config)

    return loss


def train_two_heads(train, val, preprocessing, config, network, *, run_dir, fabric, progress=True):
    """Train a network with two heads, its epoch chosen by the AJI of Split on the validation images.

    Parameters
    ----------
    train, val : nucseg.methods.stages.Images
        Training images with dots; validation images with label maps.
    preprocessing : nucseg.methods.preprocessing.Preprocessing
        Of the training set.
    config : SplitAndExpandConfig
        All settings; its base is a PartialPointsConfig.
    network : nucseg.models.TwoHeadUNet
        Not trained yet.
    run_dir : path-like
        Receives a folder named by everything that the training depends on.
    fabric : lightning_fabric.Fabric
        Device and precision.
    progress : bool
        Whether to show bars.

    Returns
    -------
    network : nucseg.models.TwoHeadUNet
        At its best epoch, in evaluation mode.
    history : nucseg.engine.History
    """
    base, own = config.base, config.base.segmenter
    require_labels(val.samples, "a validation image")
    points = [sample.points for sample in train.samples]
    labels = [weak_labels(pixels, dots, own) for pixels, dots in zip(train.pixels, points)]
    patches = cut_patches(train.names, train.pixels, labels, points, size=base.patch, least=base.patches_per_side,
                          device=fabric.device)
    settings = plain({
        **{name: value for name, value in dataclasses.asdict(config).items() if name not in AFTER_TRAINING},
        "stage": "two heads", "start": weights_fingerprint(network), "preprocessing": preprocessing.to_dict(),
        "targets": fingerprint(*train.pixels, *labels, *points), "validation": val.fingerprint(),
    })
    folder = Path(run_dir) / f"two-heads-{fingerprint(settings, config.seed)}"
    history = fit(
        network, adam(network, own), RandomBatches(patches, own.batch, own.augment, own.stain),
        two_head_loss(preprocessing, config), epochs=own.epochs, run_dir=folder, config=settings, seed=config.seed,
        fabric=fabric, validate=split_score(val, preprocessing, config), validate_every=own.validate_every,
        progress=progress,
    )
    return load_best(folder, network), history


def split_score(val, preprocessing, config):
    """Return ``score(network)``: mean AJI of Split over validation images with label maps."""

    def score(network):
        return mean_aji(val.samples, (split(*two_maps(network, p, preprocessing), config)[1] for p in val.pixels))

    return score


def split(nucleus, center, config):
    """Return the base's objects, the objects after Split, and the groups of center pixels.

    Parameters
    ----------
    nucleus, center : numpy.ndarray, shape (H, W), float32
        Probabilities in [0, 1].
    config : SplitAndExpandConfig
        Thresholds.

    Returns
    -------
    baseline, divided : numpy.ndarray, shape (H, W), int32
        With the same foreground.
    blobs : nucseg.postprocess.Centers
        See :func:`nucseg.postprocess.center_blobs`.
    """
    baseline = instances(nucleus, config.min_size)
    blobs = center_blobs(np.clip(center, 0, 1), config.center_threshold, config.center_min_size)
    divided = split_instances(
        baseline, np.clip(center, 0, 1), centers=blobs.points, floor=config.floor, min_size=config.min_size
    )
    return baseline, divided, blobs
