"""Training targets and loss of canonical shape (Costa et al. 2022, sec. 2.3)."""

import warnings

import numpy as np
import torch

from nucseg.engine.crops import instance_counts
from nucseg.errors import DataError
from nucseg.losses.shapes import count_loss, log_cross_entropy, size_loss, smooth_dice, upsampled_log_likelihood


def shape_loss(network, batch, preprocessing, config):
    """Return L_BCE + L_Dice + alpha L_cnt of a batch (Costa et al. 2022, sec. 2.3).

    Parameters
    ----------
    network : nucseg.models.CanonicalShapeNet
        In training.
    batch : dict
        Of :class:`nucseg.engine.RandomCrops`.
    preprocessing : nucseg.methods.preprocessing.Preprocessing
        Standardizes the images.
    config : CanonicalShapeConfig
        Patch, grid, weights of the parts.

    Returns
    -------
    torch.Tensor, shape (), float
    """
    mask = batch["labels"] > 0
    coarse, transforms = network(preprocessing.standardize(batch["image"]), config.grid)
    with torch.autocast(coarse.device.type, enabled=False):
        log_prob = upsampled_log_likelihood(coarse, config.patch, config.interpolated)
        total = log_cross_entropy(log_prob, mask) + smooth_dice(log_prob.exp(), mask)
        if config.count_weight:
            rise = min(1.0, batch["epoch"] / max(config.count_warmup, 1))
            total = total + rise * config.count_weight * count_loss(transforms.presence, _counts(batch, transforms))
        if config.size_weight:
            prior = size_loss(transforms.linear, transforms.presence, config.size_scale)
            total = total + config.size_weight * prior
    return total


def _counts(batch, transforms):
    """Return how many instances each patch has, no more than the encoder can place."""
    counts, slots = instance_counts(batch["labels"]), transforms.presence.shape[1]
    if (counts > slots).any():
        worst = int(counts.argmax())
        warnings.warn(f"{batch['names'][worst]}: {int(counts[worst])} nuclei, but only {slots} can be placed in a "
                      "patch; use smaller patches or more instances per cell", stacklevel=2)
    return counts.clamp(max=slots)


def instance_maps(samples):
    """Return an instance map for each sample, and the id of the first one whose nuclei are not told apart, or None.

    Parameters
    ----------
    samples : sequence of nucseg.data.Sample
        With label maps or class masks; 1 and above are foreground.

    Raises
    ------
    DataError
        A sample with neither; names it.
    """
    targets = []
    for sample in samples:
        if sample.labels is None and sample.mask is None:
            raise DataError(f"{sample.id}: canonical shape needs a label map or a binary mask")
        targets.append(sample.labels if sample.labels is not None else (sample.mask > 0).astype(np.int32))
    return targets, next((sample.id for sample in samples if sample.labels is None), None)
