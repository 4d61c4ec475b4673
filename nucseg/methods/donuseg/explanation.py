"""What the class activation maps of each block say of a patch, and which of them becomes its label."""

from dataclasses import dataclass

import numpy as np
import torch

from nucseg.arrays import as_points
from nucseg.methods.donuseg.training import choose, dot_targets, scored
from nucseg.supervision import disk_labels
from nucseg.supervision.dynamic_cam import agreement, binarize


@dataclass(frozen=True, eq=False)
class Explanation:
    """Maps, label candidates and the dynamic label of one image (Wang et al. 2024, sec. 2.2).

    Parameters
    ----------
    cams : numpy.ndarray, shape (blocks, H, W), float32
        0 to 1.
    candidates : numpy.ndarray, shape (blocks, H, W), int8
        C of eq. 3: 1 nucleus, 0 background, -1 ignored.
    alphas : numpy.ndarray, shape (blocks,), float32
        Similarity of each to the initial label, eq. 4.
    initial, label : numpy.ndarray, shape (H, W), int8
        M and P, with the same values.
    block : int
        Place of the chosen map, -1 where none is a candidate.
    """

    cams: np.ndarray
    candidates: np.ndarray
    alphas: np.ndarray
    initial: np.ndarray
    label: np.ndarray
    block: int


def explain(network, image, points, config):
    """Return the explanation of one standardized image.

    Parameters
    ----------
    network : nucseg.models.donuseg.DoNuSegNet
        In evaluation mode, in which running statistics stand in for those of a batch.
    image : torch.Tensor, shape (3, H, W), float32
        Standardized, on the device of the network.
    points : array_like, shape (N, 2)
        Row and column of its dots, px.
    config : DoNuSegConfig
        Choices.

    Returns
    -------
    Explanation
    """
    size, device = tuple(image.shape[1:]), image.device
    points = as_points(points, size)
    target = dot_targets([torch.from_numpy(points).float().to(device)], size, config)
    with torch.enable_grad():
        found = network(image[None], learn=True, scored=scored(target, config), blocks=config.selection.blocks,
                        kind=config.selection.kind, quantile=config.selection.quantile)
    initial = torch.from_numpy(disk_labels(points, size, config.r, config.d)).to(device)
    selection, candidates = choose(found.cams, initial[None], config), binarize(found.cams[0], config.selection.theta)
    alphas = agreement(candidates, initial, config.selection.balanced, config.selection.defined_in_both)
    arrays = (found.cams[0], candidates, alphas, initial, selection.label[0])
    return Explanation(*(array.cpu().numpy() for array in arrays), int(selection.block[0]))
