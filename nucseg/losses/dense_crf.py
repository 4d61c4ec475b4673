"""Dense CRF loss: like pixels close to each other should get the same label."""

import math

import torch
from torch.autograd.function import once_differentiable

from nucseg.errors import DataError
from nucseg.losses import crf_kernel, crf_triton

#: How far probabilities and colors may leave [0, 1] by rounding.
_SLACK = 1e-3


def dense_crf_loss(prob, image, sigma_xy, sigma_rgb, *, valid=None, radius=None):
    """Relaxed dense CRF energy of a nucleus probability map (Qu et al. 2020, eq. 7-10).

    ``loss = mean over the batch of sum_ij y_i (1 - y_j) W_ij / number of valid pixels`` with
    ``W_ij = exp(-|p_i - p_j|^2 / (2 sigma_xy^2) - |c_i - c_j|^2 / (2 sigma_rgb^2))``. Both sums run over valid
    pixels, pairs of a pixel with itself included; W is 0 where two pixels lie more than `radius` apart in
    row or column, and exact otherwise. An image without valid pixels adds 0.

    Loss and gradient come from one pass over the pairs. Single precision takes a compiled kernel: on the CPU
    one that uses as many cores as torch may, on a GPU one in Triton where that is installed. Everything else
    takes plain torch operations. Half precision is computed in single precision. The image gets no gradient,
    and there are no second derivatives.

    The authors' hand-written backward pass sends W (1 - 2 y) to the nucleus channel and its negative to the
    background channel; through the softmax this is twice the gradient of the loss as stated and returned here.
    Multiply by 2 to train as they did.

    Parameters
    ----------
    prob : (B, H, W) float tensor
        Nucleus probability y in [0, 1].
    image : (B, 3, H, W) float tensor
        Colors c in [0, 1], not standardized.
    sigma_xy : float
        Spatial width, px.
    sigma_rgb : float
        Color width, on the scale of `image`.
    valid : (B, H, W) bool tensor, optional
        Pixels that take part; by default those that are not exactly black, because black is padding.
    radius : int, optional
        Half side of the window, px; by default ``3 * sigma_xy``, rounded up.

    Returns
    -------
    () float tensor
        The loss, at least 0; its gradient reaches `prob`.

    Raises
    ------
    DataError
        If shapes or devices do not fit, values leave [0, 1], or a width or the radius is not positive.

    Examples
    --------
    Two pixels of one color and opposite labels, one pixel apart:

    >>> prob = torch.tensor([[[1.0, 0.0]]])
    >>> image = torch.full((1, 3, 1, 2), 0.5)
    >>> round(float(dense_crf_loss(prob, image, sigma_xy=1, sigma_rgb=0.1)), 4)  # exp(-1 / 2) / 2
    0.3033
    """
    _check_tensors(prob, image, valid)
    if not (0 < sigma_xy < math.inf and 0 < sigma_rgb < math.inf):
        raise DataError(f"sigma_xy and sigma_rgb must be positive, got {sigma_xy} and {sigma_rgb}")
    radius = math.ceil(3 * sigma_xy) if radius is None else radius
    if radius != int(radius) or radius < 1:
        raise DataError(f"radius must be a whole number of pixels, at least 1, got {radius}")
    valid = image.ne(0).any(dim=1) if valid is None else valid
    return _DenseCRF.apply(prob, image, valid, float(sigma_xy), float(sigma_rgb), int(radius))


def windowed_sums(prob, image, valid, sigma_xy, sigma_rgb, radius):
    """Energy and gradient of the dense CRF loss in plain torch, on any device and in any precision.

    Parameters
    ----------
    prob : (B, H, W) float tensor
        Nucleus probability y in [0, 1].
    image : (B, 3, H, W) float tensor
        Colors in [0, 1].
    valid : (B, H, W) bool tensor
        Pixels that take part.
    sigma_xy : float
        Spatial width, px.
    sigma_rgb : float
        Color width, on the scale of `image`.
    radius : int
        Half side of the window, px.

    Returns
    -------
    energy : (B,) float tensor
        ``sum_ij y_i (1 - y_j) W_ij`` of each image.
    gradient : (B, H, W) float tensor
        ``sum_j W_ij (1 - 2 y_j)``, the derivative of the energy by `prob`, 0 outside `valid`.
    """
    height, width = prob.shape[1:]
    valid = valid.to(prob.dtype)
    front, back = valid * prob, valid * (1 - prob)
    # The pairs of a pixel with itself come first, then one half of the offsets serves both pixels of a pair.
    support, contrast = front.clone(), back.clone()
    for dy in range(min(radius, height - 1) + 1):
        for dx in range(-radius if dy > 0 else 1, radius + 1):
            if abs(dx) >= width:
                continue
            rows, others = slice(0, height - dy), slice(dy, height)
            columns, partners = slice(max(0, -dx), width - max(0, dx)), slice(max(0, dx), width + min(0, dx))
            here, there = (..., rows, columns), (..., others, partners)
            weight = (image[here] - image[there]).square().sum(dim=1).mul_(-0.5 / sigma_rgb**2)
            weight = weight.sub_(0.5 * (dx * dx + dy * dy) / sigma_xy**2).exp_()
            support[here] += weight * front[there]
            support[there] += weight * front[here]
            contrast[here] += weight * back[there]
            contrast[there] += weight * back[here]
    return (front * contrast).sum(dim=(1, 2)), valid * (contrast - support)


class _DenseCRF(torch.autograd.Function):
    """The loss, with its gradient kept from the forward pass."""

    @staticmethod
    def forward(ctx, prob, image, valid, sigma_xy, sigma_rgb, radius):
        dtype = torch.float64 if prob.dtype == torch.float64 else torch.float32
        tensors = prob.detach().to(dtype), image.detach().to(dtype), valid
        if dtype == torch.float32 and crf_triton.available(prob.device):
            energy, gradient = crf_triton.windowed_sums(*tensors, sigma_xy, sigma_rgb, radius)
        elif dtype == torch.float32 and prob.device.type == "cpu":
            arrays = (tensor.numpy() for tensor in tensors)
            threads = torch.get_num_threads()
            sums = crf_kernel.windowed_sums(*arrays, sigma_xy, sigma_rgb, radius, threads)
            energy, gradient = torch.from_numpy(sums[0]).to(dtype), torch.from_numpy(sums[1])
        else:
            energy, gradient = windowed_sums(*tensors, sigma_xy, sigma_rgb, radius)
        pixels = valid.sum(dim=(1, 2)).clamp(min=1) * len(prob)
        ctx.save_for_backward((gradient / pixels[:, None, None]).to(prob.dtype))
        return (energy / pixels).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        (gradient,) = ctx.saved_tensors
        return (upstream * gradient).to(gradient.dtype), None, None, None, None, None


def _check_tensors(prob, image, valid):
    if prob.ndim != 3 or not prob.is_floating_point() or 0 in prob.shape:
        raise DataError(f"prob must be a float tensor (B, H, W), got {prob.dtype} {tuple(prob.shape)}")
    batch, height, width = prob.shape
    if tuple(image.shape) != (batch, 3, height, width) or not image.is_floating_point():
        wanted = (batch, 3, height, width)
        raise DataError(f"image must be a float tensor {wanted}, got {image.dtype} {tuple(image.shape)}")
    if valid is not None and (valid.shape != prob.shape or valid.dtype != torch.bool):
        raise DataError(f"valid must be a bool tensor {tuple(prob.shape)}, got {valid.dtype} {tuple(valid.shape)}")
    for name, tensor in (("image", image), ("valid", valid)):
        if tensor is not None and tensor.device != prob.device:
            raise DataError(f"{name} is on {tensor.device}, prob on {prob.device}")
    # All four values at once, because a GPU would stop for each of them.
    extremes = torch.stack([*prob.detach().aminmax(), *image.detach().aminmax()]).tolist()
    for name, low, high in (("prob", *extremes[:2]), ("image", *extremes[2:])):
        # Written so that NaN fails too.
        if not (low >= -_SLACK and high <= 1 + _SLACK):
            raise DataError(f"{name} must lie in [0, 1], got values from {low:.6g} to {high:.6g}")
