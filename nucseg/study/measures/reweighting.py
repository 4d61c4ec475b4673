"""What the re-weighting loss would strengthen: the weights of features at dots and elsewhere."""

import numpy as np
import torch

from nucseg.engine import fabric
from nucseg.explain import feature_weights, relevance
from nucseg.methods.split_and_expand.reweighting import center_margin, start_relevance
from nucseg.study.measures.common import training_notes
from nucseg.study.measures.split_and_expand import fitted
from nucseg.supervision import box_centers
from nucseg.supervision.centers import center_squares

#: Side of the windows in the middle of each image, as large as the crops of training, px.
SIDE = 224


def weights_at_dots(network, images, squares, start, scope):
    """Return the mean weight of the stem's features on the squares around dots and elsewhere (Foo et al. 2022, eq. 1).

    Parameters
    ----------
    network : torch.nn.Module
        With a center head, in evaluation mode.
    images : torch.Tensor, shape (B, 3, H, W), float32
        Standardized.
    squares : torch.Tensor, shape (B, H, W), int64
        1 on the squares around dots.
    start, scope : str
        See :class:`nucseg.methods.split_and_expand.ReweightingConfig`.

    Returns
    -------
    dict of str to float
        ``at_dots``, ``elsewhere`` and ``contrast``, their difference.
    """
    with torch.no_grad():
        logits = network(images)[1]
    begin = start_relevance(logits, squares, start)
    found = relevance(network, images, begin, at=network.weighted, output=center_margin)
    weights = feature_weights(found, scope).mean(1)
    # The stem halves the size: a feature sees a dot if one of its four pixels does.
    near = torch.nn.functional.max_pool2d(squares[:, None].float(), 2, ceil_mode=True)[:, 0] > 0
    at_dots, elsewhere = weights[near].mean().item(), weights[~near].mean().item()
    return {"at_dots": at_dots, "elsewhere": elsewhere, "contrast": at_dots - elsewhere}


def measure_weights(dataset, row):
    """Train the row's fold, then yield the weights in the middle of each image."""
    runner = fabric()
    method = fitted(row, runner)
    (network,) = method.networks.values()
    device = next(network.parameters()).device
    for sample in dataset:
        corner = [max(0, (length - SIDE) // 2) for length in sample.labels.shape]
        window = tuple(slice(first, first + SIDE) for first in corner)
        pixels = method.preprocessing.colors(sample.image)[window].transpose(2, 0, 1).astype(np.float32) / 255
        images = method.preprocessing.standardize(torch.from_numpy(pixels).to(device)[None])
        dots = torch.from_numpy(box_centers(sample.labels) - corner)
        squares = center_squares([dots], tuple(images.shape[2:]), method.config.center_side, device)
        yield sample.id, weights_at_dots(network, images, squares, row.settings["start"], row.settings["scope"])
    return training_notes(method, runner)
