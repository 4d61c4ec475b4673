"""The extended Gaussian mask for batches that live on the device of the network."""

import torch

from nucseg.errors import DataError


def extended_gaussian_masks(points, shape, r1, r2, sigma, device=None):
    """Return the detection targets of a batch (Qu et al. 2020, eq. 1).

    The batched form of :func:`extended_gaussian_mask`, for dots that were warped together with their images:
    the mask is drawn after the warp, so that its radii never change. Dots keep their fractions of a pixel.

    Parameters
    ----------
    points : sequence of torch.Tensor, each of shape (N, 2)
        Row and column of the dots of each image, px; of any lengths, may lie outside the image.
    shape : tuple of int
        (H, W) of the images.
    r1, r2, sigma : float
        Radius of the bump, outer radius of the ring of background, and width of the bump, px.
    device : torch.device or str, optional
        Where to draw; by default, where the first points are.

    Returns
    -------
    torch.Tensor, shape (B, H, W), float32
        Values in [0, 1], or -1 for ignored. An image without dots is ignored everywhere.

    Raises
    ------
    DataError
        Radii that are not 0 < r1 <= r2, a sigma that is not positive, or no images.
    """
    if not (0 < r1 <= r2 and sigma > 0):
        raise DataError(f"Gaussian mask: expected 0 < r1 <= r2, sigma > 0, got {r1}, {r2} and {sigma}")
    if not len(points):
        raise DataError("Gaussian mask: there are no images")
    device = points[0].device if device is None else torch.device(device)
    rows, columns = (torch.arange(length, dtype=torch.float32, device=device) for length in shape)
    masks = torch.full((len(points), *shape), -1.0, device=device)
    for mask, dots in zip(masks, points):
        if len(dots):
            dots = dots.to(device, torch.float32)
            down = (dots[:, :1] - rows).square()
            right = (dots[:, 1:] - columns).square()
            squares = (down[:, :, None] + right[:, None, :]).amin(dim=0)
            bump = torch.exp(squares / (-2 * sigma**2))
            mask.copy_(torch.where(squares < r1**2, bump, torch.where(squares < r2**2, 0.0, -1.0)))
    return masks
