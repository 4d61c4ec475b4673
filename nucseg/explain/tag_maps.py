"""Class activation maps of a multi-label classifier: scores of images, scaled maps, certain and uncertain parts."""

from typing import NamedTuple

import torch

from nucseg.errors import DataError, UnknownNameError

POOLINGS = ("max", "average", "ranking")
SCALINGS = ("class", "joint")
FOREGROUND, BACKGROUND, UNCERTAIN = 1, 0, -1


def pool_maps(maps, pooling="max", decay=0.996):
    """Return the score of an image for each class from a map of the class.

    Parameters
    ----------
    maps : torch.Tensor, shape (B, C, h, w), float
        Logits of places.
    pooling : {"max", "average", "ranking"}
        The highest one, the mean, or the mean by rank (Xu et al. 2024): the k-th highest has a weight
        ``decay ** (k - 1)``.
    decay : float
        Of the weights by rank, in (0, 1]; 1 is the mean.

    Returns
    -------
    torch.Tensor, shape (B, C), dtype of `maps`

    Raises
    ------
    UnknownNameError
        Another pooling.
    DataError
        Not four axes, or a decay out of range.

    Examples
    --------
    >>> maps = torch.tensor([[[[4.0, 0.0], [2.0, -2.0]]]])
    >>> [round(pool_maps(maps, pooling, decay=0.5).item(), 3) for pooling in POOLINGS]
    [4.0, 1.0, 2.533]
    """
    if pooling not in POOLINGS:
        raise UnknownNameError(f"unknown pooling {pooling!r}; known: {', '.join(POOLINGS)}")
    if maps.ndim != 4 or not 0 < decay <= 1:
        raise DataError(f"pooling: expected maps (B, C, h, w) and a decay in (0, 1], got {tuple(maps.shape)}, {decay}")
    flat = maps.flatten(2)
    if pooling == "max":
        return flat.amax(dim=2)
    if pooling == "average":
        return flat.mean(dim=2)
    weights = decay ** torch.arange(flat.shape[2], device=maps.device, dtype=maps.dtype)
    return (flat.sort(dim=2, descending=True).values * weights).sum(dim=2) / weights.sum()


def scaled_maps(maps, present, scaling="class"):
    """Return the maps of the classes that are present, scaled to [0, 1] (Fan et al. 2025, sec. 2.3: ReLU and maximum).

    Nothing is subtracted, unlike in maps of objects: a tissue may fill the whole image (ours).

    Parameters
    ----------
    maps : torch.Tensor, shape (B, C, h, w), float
        Of any range.
    present : torch.Tensor, shape (B, C), bool or float
        1 for classes of the image; the maps of others become 0.
    scaling : {"class", "joint"}
        Positive values by the largest one of the class; or the range over all classes of the image stretched to
        [0, 1] (Han et al. 2022).

    Returns
    -------
    torch.Tensor, shape (B, C, h, w), float32 (float64 for such maps)
        A map without a positive value is 0.

    Raises
    ------
    UnknownNameError
        Another scaling.
    DataError
        Shapes that do not belong together.

    Examples
    --------
    >>> scaled_maps(torch.tensor([[[[2.0, -1.0, 4.0]], [[1.0, 1.0, 1.0]]]]), torch.tensor([[1, 0]]))[0].tolist()
    [[[0.5, 0.0, 1.0]], [[0.0, 0.0, 0.0]]]
    """
    if scaling not in SCALINGS:
        raise UnknownNameError(f"unknown scaling {scaling!r}; known: {', '.join(SCALINGS)}")
    if maps.ndim != 4 or present.shape != maps.shape[:2]:
        raise DataError(f"scaled maps: expected maps (B, C, h, w) and present (B, C), got {tuple(maps.shape)}, "
                        f"{tuple(present.shape)}")
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    if scaling == "joint":
        maps = maps - maps.amin(dim=(1, 2, 3), keepdim=True)
        highest = maps.amax(dim=(1, 2, 3), keepdim=True)
    else:
        maps = maps.relu()
        highest = maps.amax(dim=(2, 3), keepdim=True)
    # Below the normal numbers a quotient may exceed 1.
    clear = highest > torch.finfo(maps.dtype).tiny
    return torch.where(clear, maps / torch.where(clear, highest, 1), 0) * present.to(maps)[..., None, None]


class Regions(NamedTuple):
    """How certain each place of B images is of its class."""

    kind: torch.Tensor  #: (B, h, w), int8, 1 foreground, 0 background, -1 uncertain
    index: torch.Tensor  #: (B, h, w), int64, class with the highest value

    @property
    def uncertain(self):
        """The class of uncertain places, -1 elsewhere: M' of Fan et al. (2025), shape (B, h, w), int64."""
        return torch.where(self.kind == UNCERTAIN, self.index, -1)


def uncertain_regions(maps, foreground=0.5, background=0.3):
    """Return foreground, background and what lies between (Fan et al. 2025, sec. 2.1).

    The article calls values above lambda_1 foreground, below lambda_2 background and others uncertain, with
    lambda_1 = 0.3 < lambda_2 = 0.5; then no value is uncertain. By default the two change places (ours); the literal
    text is ``foreground=0.3, background=0.5``, where a value that is both counts as foreground.

    Parameters
    ----------
    maps : torch.Tensor, shape (B, C, h, w), float
        From :func:`scaled_maps`.
    foreground, background : float
        Values above the one, below the other.

    Returns
    -------
    Regions
        A partition; background means that evidence is weak, not that there is no tissue.

    Raises
    ------
    DataError
        Not four axes, or thresholds outside [0, 1].

    Examples
    --------
    >>> maps = torch.tensor([[[[0.6, 0.1, 0.2]], [[0.0, 0.4, 0.1]]]])
    >>> found = uncertain_regions(maps)
    >>> found.kind.tolist(), found.uncertain.tolist()
    ([[[1, -1, 0]]], [[[-1, 1, -1]]])
    """
    if maps.ndim != 4 or not (0 <= foreground <= 1 and 0 <= background <= 1):
        raise DataError(f"regions: expected maps (B, C, h, w) and thresholds in [0, 1], got {tuple(maps.shape)}, "
                        f"{foreground}, {background}")
    value, index = maps.max(dim=1)
    kind = torch.full_like(index, UNCERTAIN, dtype=torch.int8)
    kind[value < background] = BACKGROUND
    kind[value > foreground] = FOREGROUND
    return Regions(kind, index)
