"""Whole images by overlapping tiles, and class maps of them (our reading: the article shows patches alone)."""

from dataclasses import dataclass

import numpy as np
import torch

from nucseg.explain.tag_maps import scaled_maps
from nucseg.methods.sia_wsss.evidence import class_scores, enlarged, raw_inhibition, refine
from nucseg.methods.tiling import over_tiles, tiles
from nucseg.supervision import slic_regions


@dataclass(frozen=True, eq=False)
class Seen:
    """What the network says of an image, tile by tile.

    Parameters
    ----------
    pixels : numpy.ndarray, shape (H, W, 3), uint8
        The image.
    corners : list of tuple of int
        Row and column where each of the T tiles begins.
    activation, inhibition : torch.Tensor, shape (T, C, h, w), float32
        Of its patches, before scaling; on the CPU.
    presence : numpy.ndarray, shape (C,), float32
        Probability of each class: the highest over tiles.
    segmentation : numpy.ndarray, shape (K, H, W), float32, optional
        Probabilities of the decoder, the mean over tiles.
    """

    pixels: np.ndarray
    corners: list
    activation: torch.Tensor
    inhibition: torch.Tensor
    presence: np.ndarray
    segmentation: np.ndarray | None


def look(network, pixels, preprocessing, config):
    """Return what a network says of an image of any size.

    Tiles are patches that overlap by half; where the image is smaller than one, its border is repeated.

    Parameters
    ----------
    network : nucseg.models.SIANet
        In evaluation mode.
    pixels : numpy.ndarray, shape (H, W, 3), uint8
        The image.
    preprocessing : nucseg.methods.preprocessing.Preprocessing
        Standardizes the image.
    config : SIAWSSSConfig
        Sizes and choices.

    Returns
    -------
    Seen
    """
    parts, device = tiles(pixels.shape[:2], config.patch, config.patch // 4), next(network.parameters()).device
    kept, probabilities = {"activation": [], "inhibition": [], "scores": []}, []
    for found in over_tiles(network, pixels, parts, config.patch, preprocessing, device, config.batch):
        kept["activation"].append(found.activation.float().cpu())
        kept["inhibition"].append(raw_inhibition(found, config).cpu())
        kept["scores"].append(class_scores(found.activation, config).cpu())
        if found.segmentation is not None:
            logits = enlarged(found.segmentation.float(), (config.patch, config.patch))
            probabilities.append(logits.softmax(dim=1).cpu())
    corners, size = [tile.corner for tile in parts], pixels.shape[:2]
    activation, inhibition, scores = (torch.cat(values) for values in kept.values())
    segmentation = place(torch.cat(probabilities), corners, size) if probabilities else None
    return Seen(pixels, corners, activation, inhibition, scores.amax(dim=0).sigmoid().numpy(), segmentation)


def place(maps, corners, size):
    """Return the mean over tiles at each pixel, (C, H, W) float32, of maps (T, C, s, s) that begin at corners."""
    total, count = np.zeros((maps.shape[1], *size), np.float32), np.zeros(size, np.float32)
    for values, (row, column) in zip(maps.numpy(), corners):
        window = (slice(row, row + values.shape[1]), slice(column, column + values.shape[2]))
        inside = count[window].shape
        total[:, *window] += values[:, : inside[0], : inside[1]]
        count[window] += 1
    return total / count


def predicted_classes(presence, config):
    """Return which classes an image has, (C,) bool: those above a probability, or the most probable one."""
    present = presence > config.presence
    present[presence.argmax()] |= not present.any()
    return present


def class_maps(seen, present, config):
    """Return A and I of the classes that are present, each (1, C, H, W) float32 in [0, 1].

    Maps are scaled over all tiles together before they are enlarged.
    """
    classes, size = torch.from_numpy(np.asarray(present))[None], seen.pixels.shape[:2]
    placed = []
    for tiled, scaling in ((seen.activation, config.maps.scaling), (seen.inhibition, "class")):
        stacked = tiled.transpose(0, 1).flatten(1, 2)[None]  # tiles one below the other, as one image
        scaled = scaled_maps(stacked, classes, scaling)[0].unflatten(1, (len(tiled), -1)).transpose(0, 1)
        placed.append(torch.from_numpy(place(enlarged(scaled, (config.patch, config.patch)), seen.corners, size))[None])
    return placed


def superpixels_of(seen, config):
    """Return the superpixels of an image, (1, H, W), or None where the mean is that of a box."""
    own = config.modulation
    if own.mean == "box":
        return None
    return torch.from_numpy(slic_regions(seen.pixels, own.area, own.compactness))[None]


def output_maps(seen, config):
    """Return the map of each output and which outputs may win.

    Parameters
    ----------
    seen : Seen
        What the network says.
    config : SIAWSSSConfig
        What to output.

    Returns
    -------
    numpy.ndarray, shape (K, H, W), float32
        0 to 1.
    numpy.ndarray, shape (K,), bool
        Outputs to choose from.
    """
    if config.output == "decoder":
        allowed = np.ones(len(seen.segmentation), bool)
        if config.gate is not None:
            classes = seen.presence >= config.gate
            classes[seen.presence.argmax()] |= not classes.any()
            allowed[: len(classes)] = classes
        return np.where(allowed[:, None, None], seen.segmentation, 0), allowed
    present = predicted_classes(seen.presence, config)
    activation, inhibition = class_maps(seen, present, config)
    if config.output == "refined":
        activation = refine(activation, inhibition, superpixels_of(seen, config), config).result
    return activation[0].numpy(), present


def semantic_map(seen, config):
    """Return the class of each pixel, (H, W) int32; the index behind the last class is background, if there is any."""
    maps, allowed = output_maps(seen, config)
    return np.where(allowed[:, None, None], maps, -1).argmax(axis=0).astype(np.int32)
