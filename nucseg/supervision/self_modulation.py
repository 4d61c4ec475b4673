"""Region self-modulation of class maps (Fan et al. 2025, sec. 2.3), and the label of pixels that follows from them."""

from typing import NamedTuple

import torch
from torch.nn import functional as F

from nucseg.errors import DataError, UnknownNameError
from nucseg.explain.tag_maps import scaled_maps

FUSIONS = ("max", "product")
LABELINGS = ("dense", "seeds", "certain")


class Modulated(NamedTuple):
    """Maps of B images and C classes, each of shape (B, C, H, W), float32."""

    regional: torch.Tensor  #: A': activation averaged over regions and scaled
    inhibition: torch.Tensor  #: I': inhibition averaged over regions and scaled
    confident: torch.Tensor  #: I'_h: what is left of it after threshold and erosion
    result: torch.Tensor  #: eq. 3


def region_mean(maps, regions):
    """Return maps with the mean of its region at each pixel.

    Parameters
    ----------
    maps : torch.Tensor, shape (B, C, H, W), float
        Values.
    regions : torch.Tensor, shape (B, H, W), integer
        Region of each pixel, from 0; gaps are allowed.

    Returns
    -------
    torch.Tensor, shape (B, C, H, W), dtype of `maps`

    Raises
    ------
    DataError
        Shapes that do not belong together, or a negative region.
    """
    if maps.ndim != 4 or regions.shape != (len(maps), *maps.shape[2:]):
        raise DataError(f"region mean: expected maps (B, C, H, W) and regions (B, H, W), got {tuple(maps.shape)}, "
                        f"{tuple(regions.shape)}")
    if regions.numel() == 0 or regions.min() < 0:
        raise DataError("region mean: expected regions of 0 or more")
    places = regions.flatten(1)[:, None].long()
    totals = maps.new_zeros(len(maps), maps.shape[1] + 1, int(regions.max()) + 1)
    values = torch.cat([maps.flatten(2), torch.ones_like(maps[:, :1]).flatten(2)], dim=1)
    totals.scatter_add_(2, places.expand_as(values), values)
    means = totals[:, :-1] / totals[:, -1:].clamp(min=1)
    return means.gather(2, places.expand(-1, maps.shape[1], -1)).reshape(maps.shape)


def box_mean(maps, size):
    """Return the mean of maps (B, C, H, W) over a square of an odd `size` around each pixel, cut at the border."""
    return F.avg_pool2d(maps, size, stride=1, padding=size // 2, count_include_pad=False)


def erode(mask, size):
    """Return a mask eroded by a square.

    Parameters
    ----------
    mask : torch.Tensor, shape (B, C, H, W), bool
        What to erode; beyond the border it goes on, so that the border is not eaten.
    size : int
        Side of the square, odd, px; 1 changes nothing.

    Returns
    -------
    torch.Tensor, shape (B, C, H, W), bool

    Raises
    ------
    DataError
        An even or negative size.
    """
    if size < 1 or size % 2 == 0:
        raise DataError(f"erosion: expected an odd size, got {size}")
    # Pooling pads with minus infinity, which never wins: outside counts as part of the mask.
    return F.max_pool2d((~mask).float(), size, stride=1, padding=size // 2) == 0


def modulate(activation, inhibition, mean, *, threshold=0.3, erosion=7, binary=True, fusion="max"):
    """Return the activation map refined by its regions and the inhibition map (Fan et al. 2025, eq. 3).

    ``result = max(A, I'_h A')`` with A' and I' the scaled means over regions; I'_h is what exceeds a threshold in I',
    eroded. It is nowhere below A: here inhibition can only bar what regions add.

    Parameters
    ----------
    activation, inhibition : torch.Tensor, shape (B, C, H, W), float32
        A and I, in [0, 1].
    mean : callable
        Averages maps (B, C, H, W) over regions; see :func:`region_mean` and :func:`box_mean`.
    threshold : float or None
        Of I', 0 to 1; None for the mean of each class over the image, taken from I itself (ours).
    erosion : int
        Side of the square, odd, px.
    binary : bool
        Whether I'_h is 1 where something is left (ours), or keeps the values of I'.
    fusion : {"max", "product"}
        Eq. 3, or ``max(I' A, I'_h A')``, which can also take activation away (ours).

    Returns
    -------
    Modulated

    Raises
    ------
    UnknownNameError
        Another fusion.
    DataError
        Two shapes, or an even size of the erosion.
    """
    if fusion not in FUSIONS:
        raise UnknownNameError(f"unknown fusion {fusion!r}; known: {', '.join(FUSIONS)}")
    if activation.shape != inhibition.shape or activation.ndim != 4:
        raise DataError(f"self-modulation: expected two maps (B, C, H, W), got {tuple(activation.shape)}, "
                        f"{tuple(inhibition.shape)}")
    regional, pooled = _scaled(mean(activation)), _scaled(mean(inhibition))
    own_mean = threshold is None
    left = erode(inhibition > inhibition.mean(dim=(2, 3), keepdim=True) if own_mean else pooled > threshold, erosion)
    confident = left.to(pooled.dtype) if binary else torch.where(left, pooled, 0)
    kept = activation if fusion == "max" else pooled * activation
    return Modulated(regional, pooled, confident, torch.maximum(kept, confident * regional))


def pixel_labels(maps, present, ignored, labeling="dense", foreground=0.5, background=0.3):
    """Return the label of each pixel: the class of the highest map among those of the image.

    Parameters
    ----------
    maps : torch.Tensor, shape (B, C, H, W), float
        0 to 1.
    present : torch.Tensor, shape (B, C), bool
        Classes of each image.
    ignored : torch.Tensor, shape (B, H, W), bool
        Pixels without a label: white background, beyond the image.
    labeling : {"dense", "seeds", "certain"}
        Which pixels get a label in images of several classes: all, as in Han et al. 2022; those above `foreground`; or
        those that are not between `background` and `foreground`. In images of one class, all.
    foreground, background : float
        Thresholds.

    Returns
    -------
    torch.Tensor, shape (B, H, W), int64
        -1 for none; an image without classes has none.

    Raises
    ------
    UnknownNameError
        Another labeling.
    DataError
        Shapes that do not belong together.
    """
    if labeling not in LABELINGS:
        raise UnknownNameError(f"unknown labeling {labeling!r}; known: {', '.join(LABELINGS)}")
    if maps.ndim != 4 or present.shape != maps.shape[:2] or ignored.shape != (len(maps), *maps.shape[2:]):
        raise DataError(f"labels: expected maps (B, C, H, W), present (B, C), ignored (B, H, W), got "
                        f"{tuple(maps.shape)}, {tuple(present.shape)}, {tuple(ignored.shape)}")
    present = present.bool()
    # Absent classes lose also where all maps are 0.
    value, label = torch.where(present[..., None, None], maps, -1).max(dim=1)
    labeled = present.any(dim=1)[:, None, None] & ~ignored
    if labeling != "dense":
        certain = value > foreground
        if labeling == "certain":
            certain = certain | (value < background)
        labeled = labeled & (certain | (present.sum(dim=1) == 1)[:, None, None])
    return torch.where(labeled, label, -1)


def _scaled(maps):
    return scaled_maps(maps, torch.ones(maps.shape[:2], device=maps.device))
