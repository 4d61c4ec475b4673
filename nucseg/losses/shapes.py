"""Losses of canonical shapes: cross-entropy from log-likelihoods, smooth Dice, and the count (Costa et al. 2022)."""

import math

import torch
from torch.nn import functional as F

from nucseg.errors import DataError

#: Likelihoods are kept this far from 0 and 1 before a logarithm.
MARGIN = 1e-6


def log1mexp(value):
    """Return log(1 - exp(value)), without loss of digits, for values below 0.

    Parameters
    ----------
    value : torch.Tensor, any shape, float
        Log-likelihoods; those above -1e-6 are taken as -1e-6.

    Returns
    -------
    torch.Tensor, shape of `value`, float

    Examples
    --------
    >>> torch.allclose(log1mexp(torch.tensor([0.25]).log()), torch.tensor([0.75]).log())
    True
    """
    value = value.clamp(max=-MARGIN)
    near = value > -math.log(2)
    # Each branch sees only values that it can take, or its gradient would be NaN even where the other is chosen.
    small, large = torch.where(near, value, -1.0), torch.where(near, -1.0, value)
    return torch.where(near, torch.log(-torch.expm1(small)), torch.log1p(-torch.exp(large)))


def log_cross_entropy(log_prob, mask):
    """Return the binary cross-entropy of log-likelihoods, averaged over pixels (Costa et al. 2022, sec. 2.3).

    Parameters
    ----------
    log_prob : torch.Tensor, shape (B, H, W), float
        log p(y), at most 0.
    mask : torch.Tensor, shape (B, H, W), bool or float
        Foreground, 0 or 1.

    Returns
    -------
    torch.Tensor, shape (), float
        In nats per pixel.

    Raises
    ------
    DataError
        The shapes differ.
    """
    _same(log_prob, mask, "cross-entropy")
    mask = mask.to(log_prob.dtype)
    return -(mask * log_prob + (1 - mask) * log1mexp(log_prob)).mean()


def smooth_dice(prob, mask, smooth=1.0):
    """Return 1 - (2 sum p y + 1) / (sum p + sum y + 1) of each image, averaged (Costa et al. 2022, sec. 2.3).

    Parameters
    ----------
    prob : torch.Tensor, shape (B, H, W), float
        Likelihood of foreground, 0 to 1.
    mask : torch.Tensor, shape (B, H, W), bool or float
        Foreground, 0 or 1.
    smooth : float
        Added above and below, so that an empty mask has a loss; the article does not give it.

    Returns
    -------
    torch.Tensor, shape (), float
        0 to 1.

    Raises
    ------
    DataError
        The shapes differ.
    """
    _same(prob, mask, "Dice loss")
    mask = mask.to(prob.dtype)
    both, total = (prob * mask).sum(dim=(1, 2)), (prob + mask).sum(dim=(1, 2))
    return (1 - (2 * both + smooth) / (total + smooth)).mean()


def count_loss(presence, counts):
    """Return the squared difference of expected and true number of instances, averaged (Costa et al. 2022, eq. 3).

    Parameters
    ----------
    presence : torch.Tensor, shape (B, N), float
        Logits of p(z).
    counts : torch.Tensor, shape (B,), integer or float
        Instances with at least one pixel in each patch.

    Returns
    -------
    torch.Tensor, shape (), float
        In instances squared.

    Raises
    ------
    DataError
        Not one count for each image.
    """
    if presence.ndim != 2 or counts.shape != presence.shape[:1]:
        raise DataError(
            f"count loss: expected presence (B, N) and counts (B,), got {tuple(presence.shape)} and "
            f"{tuple(counts.shape)}"
        )
    return (torch.sigmoid(presence).sum(dim=1) - counts.to(presence.dtype)).square().mean()


def size_loss(linear, presence, scale):
    """Return how far the sizes of instances lie from a typical one: a prior (further work of Costa et al., sec. 4).

    The mean of (log det L - log scale^2)^2 over instances, weighted by p(z), which gets no gradient from here.

    Parameters
    ----------
    linear : torch.Tensor, shape (B, N, 2, 2), float
        Linear parts of the transforms.
    presence : torch.Tensor, shape (B, N), float
        Logits of p(z).
    scale : float
        Diagonal of L of an instance of typical area.

    Returns
    -------
    torch.Tensor, shape (), float

    Raises
    ------
    DataError
        A scale that is not above 0.
    """
    if not scale > 0:
        raise DataError(f"size prior: expected a scale above 0, got {scale}")
    determinant = linear[..., 0, 0] * linear[..., 1, 1] - linear[..., 0, 1] * linear[..., 1, 0]
    error = (determinant.abs().clamp(min=MARGIN).log() - 2 * math.log(scale)).square()
    weight = torch.sigmoid(presence.detach())
    return (weight * error).sum() / weight.sum()


def upsampled_log_likelihood(log_prob, size, domain="probability"):
    """Return log-likelihoods on a finer grid, by bilinear interpolation.

    Parameters
    ----------
    log_prob : torch.Tensor, shape (B, g, g), float
        log p(y) in the middles of g x g cells.
    size : int
        Pixels along each side of the result; equal to g, nothing changes.
    domain : {"probability", "log"}
        Whether probabilities or their logarithms are interpolated; the article does not say.

    Returns
    -------
    torch.Tensor, shape (B, size, size), float

    Raises
    ------
    DataError
        Another domain.
    """
    if domain not in ("probability", "log"):
        raise DataError(f"interpolated is 'probability' or 'log', got {domain!r}")
    if log_prob.shape[-1] == size:
        return log_prob
    values = log_prob if domain == "log" else log_prob.exp()
    fine = F.interpolate(values[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]
    return fine if domain == "log" else fine.clamp(MARGIN, 1 - MARGIN).log()


def _same(values, mask, what):
    if values.ndim != 3 or values.shape != mask.shape:
        raise DataError(f"{what}: expected two of one shape (B, H, W), got {tuple(values.shape)}, {tuple(mask.shape)}")
