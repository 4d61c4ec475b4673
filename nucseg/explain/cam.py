"""Class activation maps: where feature maps speak for a score (Selvaraju et al. 2017, Jiang et al. 2021)."""

import torch
from torch.nn import functional as F

from nucseg.errors import DataError, UnknownNameError
from nucseg.explain.batch_norm import constant_statistics

KINDS = ("grad-cam", "layer-cam")


def class_activation_map(activations, gradients, kind="grad-cam"):
    """Return where a feature map speaks for a score.

    Grad-CAM (Selvaraju et al. 2017, ICCV, eq. 1 and 2) weights each channel by the mean of its gradient over the
    image; LayerCAM (Jiang et al. 2021, IEEE TIP 30) weights each value by its own gradient where that is positive.

    Parameters
    ----------
    activations : torch.Tensor, shape (B, C, H, W), float
        A, output of a layer.
    gradients : torch.Tensor, shape of `activations`, float
        G, derivative of the score by the activations.
    kind : {"grad-cam", "layer-cam"}
        ``relu(sum_k mean(G_k) A_k)`` or ``relu(sum_k relu(G_k) A_k)``.

    Returns
    -------
    torch.Tensor, shape (B, H, W), float32 (float64 for such activations)
        At least 0, in the unit of the score.

    Raises
    ------
    UnknownNameError
        Another kind.
    DataError
        Two shapes, or not four axes.

    Examples
    --------
    >>> activations = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
    >>> class_activation_map(activations, torch.tensor([[[[2.0, 0.0]], [[-1.0, -1.0]]]]))
    tensor([[[0., 2.]]])
    """
    if kind not in KINDS:
        raise UnknownNameError(f"class activation map: expected one of {', '.join(KINDS)}, got {kind!r}")
    if activations.ndim != 4 or gradients.shape != activations.shape:
        raise DataError(
            "class activation map: expected activations and gradients of one shape (B, C, H, W), "
            f"got {tuple(activations.shape)} and {tuple(gradients.shape)}"
        )
    precise = torch.promote_types(activations.dtype, torch.float32)
    activations, gradients = activations.to(precise), gradients.to(precise)
    weights = gradients.mean(dim=(2, 3), keepdim=True) if kind == "grad-cam" else gradients.relu()
    return (weights * activations).sum(dim=1).relu()


def block_cams(score, activations, kind="grad-cam", size=None, constant=True, quantile=1.0):
    """Return the class activation maps of several blocks of a network, each scaled to [0, 1] (Wang et al. 2024).

    One backward pass from the score to the activations; the graph stays for the backward pass of the losses, and no
    parameter gets a gradient. To be called in the forward pass that makes the activations: under Lightning Fabric in
    bfloat16, a wrapped network returns copies, which the score does not come from. Wang et al. (2024, sec. 2.2) give
    no formula for their maps.

    Parameters
    ----------
    score : torch.Tensor, shape () or (B,), float
        What to explain: of each image, or summed over them.
    activations : sequence of torch.Tensor, each of shape (B, C, h, w), float
        Outputs of the blocks, on the way to the score; C, h and w may differ.
    kind : {"grad-cam", "layer-cam"}
        See :func:`class_activation_map`.
    size : tuple of int, optional
        (H, W) of the maps, reached by bilinear interpolation; by default that of the first activations.
    constant : bool
        Whether the statistics of batch norms in training mode count as constants, where the network was made
        :func:`nucseg.explain.batch_norm.with_constant_batch_norm`. Otherwise gradients in front of a batch norm have
        mean 0 over the batch, which leaves little to the mean gradients of Grad-CAM.
    quantile : float
        Which quantile of a map becomes 1, as everything above it does; above 0, at most 1: the largest value. Where a
        few places stand far above all others, the largest value says little of the rest.

    Returns
    -------
    torch.Tensor, shape (B, blocks, H, W), float32 (float64 for such activations)
        Without gradient. The least value of each map is 0 and the quantile 1, but where both are one value, the map
        is 0 everywhere: nothing, or nothing in particular, speaks for the score.

    Raises
    ------
    UnknownNameError
        Another kind.
    DataError
        No activations, other shapes, a score that does not come from all the activations with gradients enabled, or a
        quantile out of range.

    Examples
    --------
    >>> activations = torch.tensor([[[[1.0, 2.0, 5.0]]]], requires_grad=True)
    >>> block_cams(3 * activations.sum(), [activations])
    tensor([[[[0.0000, 0.2500, 1.0000]]]])
    """
    activations = list(activations)
    _check(score, activations, quantile)
    size = tuple(activations[0].shape[2:] if size is None else size)
    with constant_statistics(constant):
        gradients = torch.autograd.grad(score.sum(), activations, retain_graph=True, allow_unused=True)
    maps = []
    for place, (values, slopes) in enumerate(zip(activations, gradients)):
        if slopes is None:
            raise DataError(f"block CAMs: the score does not come from activations {place}")
        cam = class_activation_map(values.detach(), slopes, kind)
        maps.append(F.interpolate(cam[:, None], size=size, mode="bilinear", align_corners=False)[:, 0])
    return _scaled(torch.stack(maps, dim=1), quantile)


def _scaled(maps, quantile):
    """Stretch each map (..., H, W) so that its least value is 0 and a quantile 1; one without contrast becomes 0."""
    lowest, highest = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    if quantile < 1:
        # Image by image: PyTorch takes no quantiles of more than 16 million values at once.
        highest = torch.stack([own.flatten(-2).quantile(quantile, dim=-1) for own in maps])[..., None, None]
    contrast = highest - lowest
    # A range below the normal numbers may count as 0 in a division.
    clear = contrast > torch.finfo(maps.dtype).tiny
    return torch.where(clear, (maps - lowest) / torch.where(clear, contrast, 1), 0).clamp(max=1)


def _check(score, activations, quantile):
    if not 0 < quantile <= 1:
        raise DataError(f"block CAMs: expected a quantile above 0 and at most 1, got {quantile}")
    if not activations:
        raise DataError("block CAMs: there are no activations")
    for place, values in enumerate(activations):
        if values.ndim != 4 or len(values) != len(activations[0]):
            raise DataError(f"block CAMs: expected (B, C, h, w), got {tuple(values.shape)} for activations {place}")
        if not values.requires_grad:
            raise DataError(f"block CAMs: activations {place} were made without gradients")
    if score.shape not in ((), activations[0].shape[:1]):
        raise DataError(f"block CAMs: expected a score () or ({len(activations[0])},), got {tuple(score.shape)}")
    if not score.requires_grad:
        raise DataError("block CAMs: the score was made without gradients")
