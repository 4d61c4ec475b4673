"""What class tokens and patch tokens should be to each other in SIA-WSSS (Fan et al. 2025, sec. 2.1)."""

import torch
from torch.nn import functional as F

from nucseg.errors import DataError, UnknownNameError

INHIBITIONS = ("hinge", "opposite", "opposite-sign")


def token_cosines(tokens, patches):
    """Return the cosine of each class token with each patch token.

    Parameters
    ----------
    tokens : torch.Tensor, shape (B, C, D), float
        Class tokens.
    patches : torch.Tensor, shape (B, D, h, w), float
        Patch tokens.

    Returns
    -------
    torch.Tensor, shape (B, C, h, w), float32 (float64 for such tokens)
        -1 to 1; 0 for a token of zeros.

    Raises
    ------
    DataError
        Shapes that do not belong together.

    Examples
    --------
    >>> token_cosines(torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[[3.0, 1.0]], [[0.0, -1.0]]]])).flatten()
    tensor([1.0000, 0.7071])
    """
    if tokens.ndim != 3 or patches.ndim != 4 or tokens.shape[::2] != patches.shape[:2]:
        raise DataError(f"cosines: expected tokens (B, C, D) and patches (B, D, h, w), got {tuple(tokens.shape)}, "
                        f"{tuple(patches.shape)}")
    precise = torch.promote_types(patches.dtype, torch.float32)
    with torch.autocast(patches.device.type, enabled=False):
        tokens, flat = F.normalize(tokens.to(precise), dim=2), F.normalize(patches.to(precise).flatten(2), dim=1)
        return (tokens @ flat).unflatten(2, tuple(patches.shape[2:]))


def inhibition_loss(tokens, patches, uncertain, present, kind="hinge", *, all_present=False, inhibit_tokens=False):
    """Return how similar patches of uncertain class are to the token of their class (Fan et al. 2025, sec. 2.1).

    The article calls the pair "negatively correlated" and gives no formula. Here it is not positively correlated:
    ``sum max(0, cos) / (n + 1)`` over the n uncertain patches of the batch, with a gradient for patches alone (ours).

    Parameters
    ----------
    tokens : torch.Tensor, shape (B, C, D), float
        Class tokens.
    patches : torch.Tensor, shape (B, D, h, w), float
        Patch tokens.
    uncertain : torch.Tensor, shape (B, h, w), integer
        Class of uncertain patches, -1 for others; see :class:`nucseg.explain.tag_maps.Regions`.
    present : torch.Tensor, shape (B, C), bool
        Classes of each image.
    kind : {"hinge", "opposite", "opposite-sign"}
        The formula above; ``(1 + cos) / 2`` in its place, which ends at opposite tokens; or the regularization of
        Yang et al. (2024), which pulls uncertain patches to present classes and pushes them away from absent ones:
        ``(1 - mean |cos| over present) / 2 + (mean |cos| over absent) / 2``.
    all_present : bool
        Whether the first two suppress all present classes, on average, instead of the one of the place.
    inhibit_tokens : bool
        Whether class tokens get a gradient too.

    Returns
    -------
    torch.Tensor, shape (), float32 (float64 for such tokens)
        0 or more; 0 where nothing is uncertain.

    Raises
    ------
    UnknownNameError
        Another kind.
    DataError
        Shapes that do not belong together.
    """
    if kind not in INHIBITIONS:
        raise UnknownNameError(f"unknown inhibition {kind!r}; known: {', '.join(INHIBITIONS)}")
    cosines = token_cosines(tokens if inhibit_tokens else tokens.detach(), patches)
    _check(cosines, uncertain, present)
    where = uncertain >= 0
    here = present.to(cosines)[..., None, None]
    if kind == "opposite-sign":
        each = (1 - _mean(cosines.abs(), here) + _mean(cosines.abs(), 1 - here)) / 2
    else:
        each = cosines.relu() if kind == "hinge" else (1 + cosines) / 2
        own = each.gather(1, uncertain.clamp(min=0).long()[:, None])[:, 0]
        each = _mean(each, here) if all_present else own
    return torch.where(where, each, 0).sum() / (where.sum() + 1)


def attraction_loss(tokens, patches, certain, present, temperature=0.1):
    """Return how hard certain patches are to find by the token of their class (ours, after Yang et al. 2024).

    Nothing in Fan et al. (2025) ties a class token behind the graph to the patches of its class. For a class c with
    certain patches F, this is the mean over F of ``-log softmax(cos(Q_c, P) / temperature)``, the softmax over all
    patches of the image; then the mean over all such classes of the batch. Patches get no gradient.

    Parameters
    ----------
    tokens : torch.Tensor, shape (B, C, D), float
        Class tokens.
    patches : torch.Tensor, shape (B, D, h, w), float
        Patch tokens.
    certain : torch.Tensor, shape (B, h, w), integer
        Class of certain patches, -1 for others.
    present : torch.Tensor, shape (B, C), bool
        Classes of each image.
    temperature : float
        Divides the cosines, above 0.

    Returns
    -------
    torch.Tensor, shape (), float32 (float64 for such tokens)
        In nats; 0 where nothing is certain.

    Raises
    ------
    DataError
        Shapes that do not belong together, or a temperature that is not above 0.
    """
    if not temperature > 0:
        raise DataError(f"attraction: expected a temperature above 0, got {temperature}")
    cosines = token_cosines(tokens, patches.detach())
    _check(cosines, certain, present)
    surprise = -(cosines.flatten(2) / temperature).log_softmax(dim=2)
    classes = torch.arange(cosines.shape[1], device=cosines.device)
    own = (certain.flatten(1)[:, None] == classes[:, None]) & present.bool()[..., None]
    found = own.any(dim=2)
    means = torch.where(own, surprise, 0).sum(dim=2) / own.sum(dim=2).clamp(min=1)
    return means.sum() / found.sum().clamp(min=1)


def _mean(values, weights):
    """Return the weighted mean of (B, C, h, w) over classes; 0 where all weights are 0."""
    return (values * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def _check(cosines, labels, present):
    if labels.shape != (len(cosines), *cosines.shape[2:]) or present.shape != cosines.shape[:2]:
        raise DataError(f"tokens: expected labels (B, h, w) and present (B, C) for cosines {tuple(cosines.shape)}, got "
                        f"{tuple(labels.shape)}, {tuple(present.shape)}")
