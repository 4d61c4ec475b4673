"""Losses of MaskGA-Net: labels that an attention net may excuse, and where it may not (Guo et al. 2021).

Both average within each image first and over images then, as the authors' release does (RuoyuGuo/MaskGA_Net).
"""

import torch

from nucseg.errors import DataError

#: Probabilities are kept this far from 0 and 1 (release).
CLOSEST = 1e-7
#: Values of the labels of :func:`nucseg.supervision.dot_edge_labels`.
DOT, EDGE = 1, 2


def product_cross_entropy(prob, attention, labels):
    """Return the cross-entropy of the product of probability and attention (Guo et al. 2021).

    Where the label is background, either of the two may go to 0; where it is nucleus, both must be 1.

    Parameters
    ----------
    prob : torch.Tensor, shape (B, H, W), float
        Probability of nucleus, in [0, 1].
    attention : torch.Tensor, the shape of `prob`, float, or None
        How certain the label is, in [0, 1]; None stands for 1 everywhere.
    labels : torch.Tensor, the shape of `prob`, integer
        1 nucleus, 0 background; no pixel is ignored.

    Returns
    -------
    torch.Tensor, shape (), float32
        In nats per pixel.

    Raises
    ------
    DataError
        The shapes differ.

    Examples
    --------
    >>> prob, attention = torch.tensor([[[0.8, 0.8]]]), torch.tensor([[[1.0, 0.625]]])
    >>> round(product_cross_entropy(prob, attention, torch.tensor([[[1, 0]]])).item(), 4)  # -(ln 0.8 + ln 0.5) / 2
    0.4581
    """
    if prob.shape != labels.shape or (attention is not None and attention.shape != prob.shape):
        shapes = [None if part is None else tuple(part.shape) for part in (prob, attention, labels)]
        raise DataError(
            "product cross-entropy: prob, attention and labels must have one shape, got {}, {} and {}".format(*shapes)
        )
    product = prob.float() if attention is None else prob.float() * attention.float()
    product = product.clamp(CLOSEST, 1 - CLOSEST)
    return -torch.where(labels > 0, product, 1 - product).log().mean()


def partial_l1(attention, labels, dot_weight=1.0, edge_weight=0.4):
    """Return how far attention is from 1 on dots and edges, whose labels are certain (Guo et al. 2021).

    The means over an image's dots and over its edges are weighed and added; all other pixels are free. As released,
    attention is pulled to 1 on edges too, which forbids nuclei there together with the background of the superpixel
    label.

    Parameters
    ----------
    attention : torch.Tensor, shape (B, H, W), float
        In [0, 1].
    labels : torch.Tensor, the shape of `attention`, integer
        1 dot, 2 edge, 0 neither; see :func:`nucseg.supervision.dot_edge_labels`.
    dot_weight, edge_weight : float
        Weight of each mean.

    Returns
    -------
    torch.Tensor, shape (), float32
        From 0 to ``dot_weight + edge_weight``; what an image lacks adds 0.

    Raises
    ------
    DataError
        The shapes differ.

    Examples
    --------
    >>> attention, labels = torch.tensor([[[0.5, 0.9, 0.7, 0.0]]]), torch.tensor([[[1, 2, 2, 0]]])
    >>> round(partial_l1(attention, labels).item(), 4)  # 0.5 + 0.4 * (0.1 + 0.3) / 2
    0.58
    """
    if attention.shape != labels.shape:
        raise DataError(
            f"partial L1: attention and labels must have one shape, got {tuple(attention.shape)} and "
            f"{tuple(labels.shape)}"
        )
    missing = (1 - attention.float()).abs()
    total = 0
    for value, weight in ((DOT, dot_weight), (EDGE, edge_weight)):
        where = (labels == value).float()
        total = total + weight * (missing * where).sum((1, 2)) / where.sum((1, 2)).clamp(min=1)
    return total.mean()
