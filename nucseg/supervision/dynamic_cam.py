"""Dynamic selection of class activation maps as labels (Wang et al. 2024, sec. 2.2), on the device of the network.

Maps become label candidates; the candidate most like the initial label M, disks around dots and far background, is
the dynamic label P of an image.
"""

from dataclasses import dataclass

import torch

from nucseg.errors import DataError, UnknownNameError

SCOPES = ("image", "batch")
_SIGNED = (torch.int8, torch.int16, torch.int32, torch.int64)


@dataclass(frozen=True)
class Selection:
    """The label that was chosen for each of B images, and what to log about it.

    Parameters
    ----------
    block : torch.Tensor, shape (B,), int64
        Index of the block whose map was chosen; -1 where none was eligible.
    alpha : torch.Tensor, shape (B,), float32
        alpha_P, how well the label agrees with M, 0 to 1; 0 where no block was eligible.
    label : torch.Tensor, shape (B, H, W), int8
        P: 1 nucleus, 0 background, -1 ignored; ignored everywhere where no block was eligible.
    foreground_recall : torch.Tensor, shape (B,), float32
        Share of the nucleus pixels of M that are nucleus in P; NaN without such pixels.
    ignored : torch.Tensor, shape (B,), float32
        Share of the image that P ignores.
    """

    block: torch.Tensor
    alpha: torch.Tensor
    label: torch.Tensor
    foreground_recall: torch.Tensor
    ignored: torch.Tensor


def binarize(cam, theta=0.8):
    """Return the label candidate C of a class activation map (Wang et al. 2024, eq. 3).

    Parameters
    ----------
    cam : torch.Tensor, any shape, float
        Class activation map in [0, 1].
    theta : float
        Values above it are nucleus, values of at most 1 - theta background; 0.5 to below 1 (0.8 in the article).

    Returns
    -------
    torch.Tensor, shape of `cam`, int8
        1 nucleus, 0 background, -1 ignored.

    Raises
    ------
    DataError
        A map that is not float, or another theta.

    Examples
    --------
    >>> binarize(torch.tensor([0.9, 0.5, 0.1])).tolist()
    [1, -1, 0]
    """
    if not cam.is_floating_point():
        raise DataError(f"class activation map: expected floats, got {cam.dtype}")
    if not 0.5 <= theta < 1:
        raise DataError(f"class activation map: expected 0.5 <= theta < 1, got {theta}")
    labels = torch.full(cam.shape, -1, dtype=torch.int8, device=cam.device)
    return labels.masked_fill(cam <= 1 - theta, 0).masked_fill(cam > theta, 1)


def agreement(candidate, initial, balanced=False, defined_in_both=False):
    """Return the similarity alpha of label candidates and the initial label (Wang et al. 2024, eq. 4).

    The share of the labeled pixels of M where C says the same. What C ignores counts as disagreement, by default; the
    article does not say. As most of M is background, a candidate of nothing but background gets the share of
    background, often above 0.9. Balanced, it gets 0.5: the share is taken in each class of M by itself and averaged.

    Parameters
    ----------
    candidate : torch.Tensor, shape (..., H, W), signed integer
        C: 1 nucleus, 0 background, -1 ignored.
    initial : torch.Tensor, shape (..., H, W), signed integer
        M, with the same values; its axes before the last two must fit those of `candidate` by broadcasting.
    balanced : bool
        Whether to average the recalls of the two classes; a class that M lacks is left out.
    defined_in_both : bool
        Whether what C ignores is left out, too, instead of counted as disagreement.

    Returns
    -------
    torch.Tensor, shape (...), float32
        0 to 1; 0 where no pixel is counted. A class of M that C ignores altogether has recall 0.

    Raises
    ------
    DataError
        Shapes that do not belong together, or labels that are not signed integers.

    Examples
    --------
    >>> initial, background = torch.tensor([[1, 0, 0, 0, -1]]), torch.zeros(1, 5, dtype=torch.int8)
    >>> agreement(background, initial).item(), agreement(background, initial, balanced=True).item()
    (0.75, 0.5)
    """
    candidate, initial = _broadcast(candidate, initial)
    hits, counts, present = [], [], []
    for value in (1, 0):
        members = initial == value
        hits.append((members & (candidate == value)).sum(dim=(-2, -1)))
        counts.append((members & (candidate >= 0) if defined_in_both else members).sum(dim=(-2, -1)))
        present.append(members.any(dim=-1).any(dim=-1))
    hits, counts, present = torch.stack(hits), torch.stack(counts), torch.stack(present)
    if balanced:
        return _share(hits, counts).sum(dim=0) / present.sum(dim=0).clamp(min=1)
    return _share(hits.sum(dim=0), counts.sum(dim=0))


def select(cams, initial, theta=0.8, balanced=False, defined_in_both=False, least_recall=0.0, scope="image"):
    """Return, image by image, the block whose map agrees best with the initial label, and the label it gives.

    Of equal blocks, the first is taken; a map that is 0 everywhere is no candidate (Wang et al. 2024, sec. 2.2).

    Parameters
    ----------
    cams : torch.Tensor, shape (B, blocks, H, W), float
        Class activation maps in [0, 1], as from :func:`nucseg.explain.block_cams`; one block makes its choice fixed.
    initial : torch.Tensor, shape (B, H, W), signed integer
        M: 1 nucleus, 0 background, -1 ignored.
    theta, balanced, defined_in_both
        See :func:`binarize` and :func:`agreement`.
    least_recall : float
        Least share of the nucleus pixels of M, if there are any, that a candidate calls nucleus; 0 to 1.
    scope : {"image", "batch"}
        Whether each image has its own block, or all that of the largest mean alpha (0 where it is no candidate).

    Returns
    -------
    Selection
        Without gradient. Where no block is a candidate: block -1, alpha 0, and a label that ignores every pixel.

    Raises
    ------
    DataError, UnknownNameError
        Shapes that do not belong together, no blocks, maps that are not float, labels that are not signed integers,
        or a `theta`, `least_recall` or `scope` out of range.

    Examples
    --------
    >>> chosen = select(torch.tensor([[[[0.0, 0.0, 0.0]], [[1.0, 0.1, 0.5]]]]), torch.tensor([[[1, 0, 0]]]))
    >>> chosen.block.item(), round(chosen.alpha.item(), 4), chosen.label.tolist()
    (1, 0.6667, [[[1, 0, -1]]])
    """
    if cams.ndim != 4 or not cams.shape[1] or initial.shape != (cams.shape[0], *cams.shape[2:]):
        raise DataError(
            "CAM selection: expected cams (B, blocks, H, W) with at least one block and initial (B, H, W), "
            f"got {tuple(cams.shape)} and {tuple(initial.shape)}"
        )
    if not 0 <= least_recall <= 1:
        raise DataError(f"CAM selection: expected 0 <= least_recall <= 1, got {least_recall}")
    if scope not in SCOPES:
        raise UnknownNameError(f"CAM selection: unknown scope {scope!r}; known: {', '.join(SCOPES)}")
    candidates = binarize(cams.detach(), theta)
    alphas = agreement(candidates, initial[:, None], balanced, defined_in_both)
    # The recall of an image without nuclei is NaN, which is not below anything.
    eligible = cams.detach().amax(dim=(2, 3)).gt(0) & ~(_foreground_recall(candidates, initial[:, None]) < least_recall)
    best = _best(alphas, eligible, scope)
    images = torch.arange(len(cams), device=cams.device)
    found = eligible[images, best]
    label = candidates[images, best].where(found[:, None, None], -1)
    return Selection(
        block=best.where(found, -1),
        alpha=alphas[images, best].where(found, 0),
        label=label,
        foreground_recall=_foreground_recall(label, initial),
        ignored=(label == -1).float().mean(dim=(1, 2)),
    )


def _best(alphas, eligible, scope):
    """Return the block of each image, (B,), from alphas and candidates (B, blocks)."""
    if scope == "image":
        return alphas.where(eligible, -1).argmax(dim=1)
    return alphas.where(eligible, 0).mean(dim=0).argmax().expand(len(alphas))


def _foreground_recall(label, initial):
    nuclei = initial == 1
    found, total = (nuclei & (label == 1)).sum(dim=(-2, -1)), nuclei.sum(dim=(-2, -1))
    return _share(found, total, of_none=torch.nan)


def _share(part, whole, of_none=0.0):
    return torch.where(whole > 0, part / whole.clamp(min=1), of_none)


def _broadcast(candidate, initial):
    for name, labels in (("candidate", candidate), ("initial", initial)):
        if labels.dtype not in _SIGNED:
            raise DataError(f"agreement: {name} must hold signed integers, got {labels.dtype}")
    shapes = tuple(candidate.shape), tuple(initial.shape)
    if candidate.ndim < 2 or initial.ndim < 2 or shapes[0][-2:] != shapes[1][-2:]:
        raise DataError(f"agreement: candidate and initial must be maps of one size, got {shapes[0]} and {shapes[1]}")
    try:
        return torch.broadcast_tensors(candidate, initial)
    except RuntimeError:
        raise DataError(f"agreement: candidate {shapes[0]} and initial {shapes[1]} do not belong together") from None
