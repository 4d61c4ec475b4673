"""From what the network says to maps of classes: activation A, inhibition I, and both refined (Fan et al. 2025)."""

from functools import partial

import torch
from torch.nn import functional as F

from nucseg.explain.tag_maps import pool_maps, scaled_maps
from nucseg.losses.tokens import token_cosines
from nucseg.supervision.self_modulation import box_mean, modulate, region_mean


def class_scores(maps, config):
    """Return the logits of an image, (B, C), from maps of classes (B, C, h, w)."""
    return pool_maps(maps.float(), config.maps.pooling, config.maps.decay)


def raw_inhibition(found, config):
    """Return what the inhibition map is made of, (B, C, h, w) float32: cosines or attention."""
    if config.inhibition.source == "attention":
        return found.attention
    return token_cosines(found.tokens, found.patches)


def enlarged(maps, size):
    """Return maps (B, C, h, w) at another size, bilinearly."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def refine(activation, inhibition, regions, config):
    """Return the maps of :func:`nucseg.supervision.self_modulation.modulate`.

    Parameters
    ----------
    activation, inhibition : torch.Tensor, shape (B, C, H, W), float32
        A and I, 0 to 1.
    regions : torch.Tensor, shape (B, H, W), integer, or None
        Superpixels, unless the mean is that of a box.
    config : SIAWSSSConfig
        Choices.

    Returns
    -------
    nucseg.supervision.self_modulation.Modulated
    """
    own = config.modulation
    mean = partial(box_mean, size=own.box) if own.mean == "box" else partial(region_mean, regions=regions)
    return modulate(activation, inhibition, mean, threshold=own.threshold, erosion=own.erosion, binary=own.binary,
                    fusion=own.fusion)


def fused(activation, inhibition, regions, config):
    """Return the maps that label pixels: eq. 3, or what stands for it without region self-modulation."""
    if config.rsm:
        return refine(activation, inhibition, regions, config).result
    return activation if config.unfused == "activation" else (activation + inhibition) / 2


def grids(found, present, config):
    """Return A and I at the places of patches, each (B, C, h, w) float32, without gradient."""
    with torch.no_grad():
        activation = scaled_maps(found.activation, present, config.maps.scaling)
        return activation, scaled_maps(raw_inhibition(found, config), present)
