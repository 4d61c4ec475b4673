"""What the logits of a head say, whether it has two channels (no and yes, softmax) or one (yes, sigmoid)."""

import torch
from torch.nn import functional as F


def margin(logits):
    """Return the logit of yes minus that of no, (B, H, W), of logits (B, 2, H, W), or the only one of (B, 1, H, W)."""
    return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits[:, 0]


def probability(logits):
    """Return the probability of yes, (B, H, W), of logits (B, 2, H, W) or (B, 1, H, W)."""
    return torch.softmax(logits, dim=1)[:, 1] if logits.shape[1] == 2 else torch.sigmoid(logits[:, 0])


def cross_entropy(logits, targets):
    """Return the mean cross-entropy over pixels, computed in float32.

    Parameters
    ----------
    logits : torch.Tensor, shape (B, 2, H, W) or (B, 1, H, W), float
        Of a head.
    targets : torch.Tensor, shape (B, H, W), int64
        1 yes, 0 no.

    Returns
    -------
    torch.Tensor, shape (), float32
        In nats per pixel.
    """
    logits = logits.float()
    if logits.shape[1] == 2:
        return F.cross_entropy(logits, targets)
    return F.binary_cross_entropy_with_logits(logits[:, 0], targets.float())
