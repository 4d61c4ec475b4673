"""Whole images by overlapping tiles: an averaged mask, and boxes from the middles of tiles (our reading)."""

from typing import NamedTuple

import numpy as np
import torch
from skimage.segmentation import relabel_sequential

from nucseg.methods.tiling import over_tiles, tiles
from nucseg.models import decode_boxes, suppress
from nucseg.postprocess import assemble


class Stitched(NamedTuple):
    """What the network says of a whole image."""

    prob: np.ndarray  #: (H, W) float32, likelihood of nucleus
    boxes: np.ndarray  #: (N, 4) float32, top, left, bottom, right edge, px, the best first
    scores: np.ndarray  #: (N,) float32, 0 to 1


def stitch(network, pixels, preprocessing, config, lowest):
    """Return the mask and the boxes of an image.

    Tiles are patches that overlap by half. The likelihood of a pixel is the mean over its tiles; a box counts in the
    tile that owns its center; then boxes are suppressed all together.

    Parameters
    ----------
    network : nucseg.models.donuseg.DoNuSegNet
        In evaluation mode.
    pixels : numpy.ndarray, shape (H, W, 3), uint8
        The image, in the colors of the training set.
    preprocessing : nucseg.methods.preprocessing.Preprocessing
        Standardizes the image.
    config : DoNuSegConfig
        Sizes and overlap.
    lowest : float
        Boxes of at most this score are left out, 0 to 1.

    Returns
    -------
    Stitched
    """
    size, patch = pixels.shape[:2], config.patch
    parts, device = tiles(size, patch, patch // 4), next(network.parameters()).device
    total, count, boxes, scores = np.zeros(size, np.float32), np.zeros(size, np.float32), [], []
    numbered = iter(parts)
    for found in over_tiles(network, pixels, parts, patch, preprocessing, device, config.batch):
        probs = found.mask.float().sigmoid().cpu().numpy()
        each = decode_boxes(found.boxes, lowest, config.overlap, most=None)
        for prob, detections in zip(probs, each):
            tile = next(numbered)
            (row, column), window = tile.corner, tuple(slice(c, c + patch) for c in tile.corner)
            inside = total[window].shape
            total[window] += prob[: inside[0], : inside[1]]
            count[window] += 1
            own = detections.boxes.cpu() + torch.tensor([row, column, row, column])
            kept = torch.from_numpy(tile.owns(((own[:, :2] + own[:, 2:]) / 2).numpy()))
            boxes.append(own[kept])
            scores.append(detections.scores.cpu()[kept])
    kept = suppress(torch.cat(boxes), torch.cat(scores), config.overlap)
    return Stitched(total / count, kept.boxes.numpy(), kept.scores.numpy())


def instances(stitched, threshold, config):
    """Return the instance map, (H, W) int32, ids without gaps, of a stitched image from its boxes above a score."""
    chosen = stitched.scores > threshold
    labels = assemble(
        stitched.prob, stitched.boxes[chosen], stitched.scores[chosen], min_size=config.min_size,
        outside=config.outside, rule=config.rule, threshold=config.mask_threshold,
    )
    return relabel_sequential(labels)[0].astype(np.int32)
