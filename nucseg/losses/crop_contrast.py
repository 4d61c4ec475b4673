"""Class tokens of crops beside those of whole images (Fan et al. 2025, sec. 2.2)."""

from typing import NamedTuple

import torch
from torch.nn import functional as F

from nucseg.errors import DataError, UnknownNameError

CONTRASTS = ("info-nce", "single-token", "cosine", "literal", "literal-negated")


class TokenContrast(NamedTuple):
    """The loss, and what it was made of."""

    loss: torch.Tensor  #: (), float32
    pairs: torch.Tensor  #: (), int64, number of positive pairs, N of eq. 2


def token_contrast(whole, crops, shares, present, kind="info-nce", temperature=0.5, epsilon=1e-4, positive=0.2,
                   negative=0.05):
    """Return how far class tokens of crops are from those of their image (Fan et al. 2025, eq. 2).

    The equation as printed, ``mean log(e^z / (e^z + epsilon))`` with z the cosine by the temperature, has neither the
    minus sign of a loss nor negatives, and is almost 0 for any z. By default, and ours, this is an InfoNCE for each
    class: ``-log(e^z / (e^z + sum of e^z over negatives + epsilon))``, the mean over all pairs of the token of a
    present class with that of a crop which shows the class. Negatives are tokens of the class in crops of images
    without it and in own crops that do not show it, and tokens of the other classes in the crop of the pair.

    Parameters
    ----------
    whole : torch.Tensor, shape (B, C, E), float
        Projected class tokens of images; scaled to unit length here.
    crops : torch.Tensor, shape (B, K, C, E), float
        The same of K crops of each image.
    shares : torch.Tensor, shape (B, K, C), float
        How much of a crop is activated for a class, 0 to 1.
    present : torch.Tensor, shape (B, C), bool
        Classes of each image.
    kind : {"info-nce", "single-token", "cosine", "literal", "literal-negated"}
        The loss above; the same with one token for a view, the mean over the classes of the image, and as negatives
        the crops of images without a common class and own crops without any class (after Ru et al. 2023); ``1 - cos``
        of the pairs; the equation as printed; or its negative.
    temperature : float
        tau, above 0 (ours, after Ru et al. 2023).
    epsilon : float
        A small positive number (ours, after Ru et al. 2023).
    positive, negative : float
        A crop shows a class from the one share on, and does not below the other (ours).

    Returns
    -------
    TokenContrast
        The loss is 0 where there is no pair.

    Raises
    ------
    UnknownNameError
        Another kind.
    DataError
        Shapes that do not belong together, a temperature or epsilon that is not above 0.
    """
    if kind not in CONTRASTS:
        raise UnknownNameError(f"unknown contrast {kind!r}; known: {', '.join(CONTRASTS)}")
    _check(whole, crops, shares, present, temperature, epsilon)
    precise, present = torch.promote_types(whole.dtype, torch.float32), present.bool()
    whole, crops = whole.to(precise), crops.to(precise)
    lacks = ~present.T[:, :, None]  # (C, images of crops, 1): the image does not have the class
    if kind == "single-token":
        whole, crops, shares, present, lacks = _one_token(whole, crops, shares, present)
    whole, crops = F.normalize(whole, dim=2), F.normalize(crops, dim=3)
    pairs = present[:, None] & (shares >= positive)
    each = _terms(whole, crops, shares < negative, lacks, kind, temperature, epsilon)
    count = pairs.sum()
    return TokenContrast(torch.where(pairs, each, 0).sum() / count.clamp(min=1), count)


def _terms(whole, crops, hidden, lacks, kind, temperature, epsilon):
    """Return the loss of each pair, (B, K, C), whether it is positive or not."""
    cosines = torch.einsum("bce,bkce->bkc", whole, crops)
    if kind == "cosine":
        return 1 - cosines
    scores, small = cosines / temperature, torch.tensor(epsilon, dtype=whole.dtype, device=whole.device).log()
    if kind in ("literal", "literal-negated"):
        return (1 if kind == "literal" else -1) * F.logsigmoid(scores - small)
    others = _negatives(whole, crops, hidden, lacks, kind, temperature)
    return F.softplus(torch.logaddexp(others, small) - scores)


def _one_token(whole, crops, shares, present):
    """Return the arguments, and which images lack the classes of which, for one token in place of all."""
    weights = present.to(whole)
    share = weights / weights.sum(dim=1, keepdim=True).clamp(min=1)
    whole = (whole * share[..., None]).sum(dim=1, keepdim=True)
    crops = (crops * share[:, None, :, None]).sum(dim=2, keepdim=True)
    # An image lacks what another shows if they have no class in common; one without any has no token.
    present = present.any(dim=1, keepdim=True)
    lacks = (weights @ weights.T == 0) & present.T
    return whole, crops, shares.amax(dim=2, keepdim=True), present, lacks[:, :, None]


def _negatives(whole, crops, hidden, lacks, kind, temperature):
    """Return the logarithm of the sum of exp(z) over the negatives of each pair, (B, K, C)."""
    scores = torch.einsum("bce,dkce->bcdk", whole, crops) / temperature  # d: image that the crop is of
    strange = (lacks[:, None] if kind == "single-token" else lacks).expand_as(scores)
    own = torch.eye(len(whole), dtype=torch.bool, device=whole.device)[:, None, :, None]
    chosen = torch.where(own, hidden.permute(2, 0, 1)[None], strange)
    apart = torch.where(chosen, scores, -torch.inf).flatten(2).logsumexp(dim=2)[:, None]
    between = torch.einsum("bce,bkfe->bkcf", whole, crops) / temperature
    same = torch.eye(whole.shape[1], dtype=torch.bool, device=whole.device)
    beside = between.masked_fill(same, -torch.inf).logsumexp(dim=3)
    return torch.logaddexp(apart, beside)


def _check(whole, crops, shares, present, temperature, epsilon):
    batch, classes = whole.shape[:2]
    fits = whole.ndim == 3 and crops.ndim == 4 and crops.shape[::2] == (batch, classes)
    fits = fits and crops.shape[3] == whole.shape[2] and shares.shape == crops.shape[:3]
    if not fits or present.shape != (batch, classes):
        shapes = [tuple(part.shape) for part in (whole, crops, shares, present)]
        raise DataError("token contrast: expected whole (B, C, E), crops (B, K, C, E), shares (B, K, C), present "
                        "(B, C), got {}, {}, {}, {}".format(*shapes))
    if not temperature > 0 or not epsilon > 0:
        raise DataError(f"token contrast: expected a temperature and epsilon above 0, got {temperature}, {epsilon}")
