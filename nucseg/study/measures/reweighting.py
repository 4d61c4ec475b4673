"""What the re-weighting loss would strengthen: the weights of features at dots and elsewhere."""

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


def stem_weights(network, images, squares, start, scope="image"):
    """Return the weights that the re-weighting loss would give the stem's features (Foo et al. 2022, eq. 1).

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
    torch.Tensor, shape of the stem's output, float32
    """
    with torch.no_grad():
        logits = network(images)[1]
    begin = start_relevance(logits, squares, start)
    return feature_weights(relevance(network, images, begin, at=network.weighted, output=center_margin), scope)


def at_dots(weights, squares):
    """Return the mean of weights on the squares around dots and elsewhere.

    Parameters
    ----------
    weights : torch.Tensor, shape (B, C, ceil(H / 2), ceil(W / 2)), float
        Of the stem's features.
    squares : torch.Tensor, shape (B, H, W), int64
        1 on the squares around dots.

    Returns
    -------
    dict of str to float
        ``at_dots``, ``elsewhere`` and ``contrast``, their difference.
    """
    # The stem halves the size: a feature sees a dot if one of its four pixels does.
    near = torch.nn.functional.max_pool2d(squares[:, None].float(), 2, ceil_mode=True)[:, 0] > 0
    mean = weights.mean(1)
    inside, outside = mean[near].mean().item(), mean[~near].mean().item()
    return {"at_dots": inside, "elsewhere": outside, "contrast": inside - outside}


def measure_weights(dataset, row):
    """Train the row's fold, then yield the weights in the middle of each image."""
    runner = fabric()
    method = fitted(row, runner)
    (network,) = method.networks.values()
    for sample in dataset:
        corner = [max(0, (length - SIDE) // 2) for length in sample.labels.shape]
        images = method.standardized(sample.image)[(..., *(slice(first, first + SIDE) for first in corner))]
        dots = torch.from_numpy(box_centers(sample.labels) - corner)
        squares = center_squares([dots], tuple(images.shape[2:]), method.config.center_side, images.device)
        weights = stem_weights(network, images, squares, row.settings["start"], row.settings["scope"])
        yield sample.id, at_dots(weights, squares)
    return training_notes(method, runner)
