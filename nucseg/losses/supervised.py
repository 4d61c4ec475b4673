"""Losses against labels that leave pixels out: cross-entropy and the weighted squared error."""

import torch
from torch.nn import functional as F

from nucseg.errors import DataError

_IGNORED = -1


def masked_cross_entropy(logits, labels):
    """Return the cross-entropy averaged over the labeled pixels of the whole batch (Qu et al. 2020, eq. 5).

    Parameters
    ----------
    logits : torch.Tensor, shape (B, C, H, W), float
        Network output before the softmax; C at least 2.
    labels : torch.Tensor, shape (B, H, W), signed integer
        Class of each pixel, 0 to C - 1, or -1 for ignored.

    Returns
    -------
    torch.Tensor, shape (), float
        In nats per pixel; 0, with zero gradient, where every pixel is ignored.

    Raises
    ------
    DataError
        Shapes that do not belong together, fewer than two classes, or labels that are not signed integers.

    Examples
    --------
    >>> logits = torch.zeros(1, 2, 1, 3)
    >>> round(masked_cross_entropy(logits, torch.tensor([[[0, 1, -1]]])).item(), 4)
    0.6931
    """
    if logits.ndim != 4 or logits.shape[1] < 2 or labels.shape != (logits.shape[0], *logits.shape[2:]):
        raise DataError(
            "cross-entropy: expected logits (B, C, H, W) with C >= 2 and labels (B, H, W), "
            f"got {tuple(logits.shape)} and {tuple(labels.shape)}"
        )
    if labels.dtype not in (torch.int8, torch.int16, torch.int32, torch.int64):
        raise DataError(f"cross-entropy: labels must be signed integers, got {labels.dtype}")
    total = F.cross_entropy(logits, labels.long(), ignore_index=_IGNORED, reduction="sum")
    return total / (labels != _IGNORED).sum().clamp(min=1)


def weighted_mse(prob, mask, weights):
    """Return the weighted squared error averaged over the labeled pixels of the whole batch (Qu et al. 2020, eq. 2).

    The weighted errors are summed and divided by the number of pixels that are not ignored, not by the sum of
    their weights.

    Parameters
    ----------
    prob : torch.Tensor, shape (B, H, W) or (B, 1, H, W), float
        Predicted probability of a nuclear center, in [0, 1].
    mask : torch.Tensor, the shape of `prob`, float
        Extended Gaussian mask in [0, 1]; negative values are ignored.
    weights : torch.Tensor, the shape of `prob`, float
        Weight of each pixel, 0 or more.

    Returns
    -------
    torch.Tensor, shape (), float
        0, with zero gradient, where every pixel is ignored.

    Raises
    ------
    DataError
        The three shapes differ.

    Examples
    --------
    >>> prob, mask = torch.tensor([[[0.5, 0.5, 0.9]]]), torch.tensor([[[1.0, 0.0, -1.0]]])
    >>> weighted_mse(prob, mask, torch.tensor([[[10.0, 1.0, 1.0]]])).item()
    1.375
    """
    if not prob.shape == mask.shape == weights.shape:
        raise DataError(
            "weighted squared error: prob, mask and weights must have one shape, "
            f"got {tuple(prob.shape)}, {tuple(mask.shape)} and {tuple(weights.shape)}"
        )
    valid = mask >= 0
    # The difference, not the product, is replaced: so no gradient reaches an ignored pixel.
    error = torch.where(valid, prob - mask, 0)
    return (weights * error**2).sum() / valid.sum().clamp(min=1)
