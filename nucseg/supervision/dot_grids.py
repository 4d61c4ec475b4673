"""Dots of a batch as regression targets of a localization head (Wang et al. 2024, sec. 2.1), on the device."""

import torch
from torch.nn import functional as F

from nucseg.errors import DataError


def dot_counts(points, shape, grid, most=4):
    """Return how many dots lie in each cell of a grid over each image.

    The article trains a head "to localize the dots" without saying what it predicts; this is our reading of it.

    Parameters
    ----------
    points : sequence of torch.Tensor, each of shape (N, 2)
        Row and column of the dots of each image, px; those outside the image are not counted.
    shape : tuple of int
        (H, W) of the images, px.
    grid : int
        Cells along each side.
    most : int, optional
        Larger counts become this; None for no limit.

    Returns
    -------
    torch.Tensor, shape (B, grid, grid), float32

    Raises
    ------
    DataError
        No images, or a grid or limit below 1.

    Examples
    --------
    >>> dot_counts([torch.tensor([[0.0, 0.0], [1.0, 1.0], [3.0, 0.0]])], (4, 4), 2).tolist()
    [[[2.0, 0.0], [1.0, 0.0]]]
    """
    if not len(points) or grid < 1 or (most is not None and most < 1):
        raise DataError(
            f"dot counts: expected images, a grid and a limit of 1 or more, got {len(points)}, {grid}, {most}"
        )
    counts = torch.zeros(len(points), grid * grid, device=points[0].device)
    size = torch.tensor(shape, device=counts.device)
    for own, dots in zip(counts, points):
        # A pixel reaches half a pixel to every side of its center, so the image begins at -1/2.
        cells = torch.floor((dots.float() + 0.5) * grid / size).long()
        cells = cells[((cells >= 0) & (cells < grid)).all(dim=1)]
        own += torch.bincount(cells[:, 0] * grid + cells[:, 1], minlength=grid * grid)
    return counts.clamp(min=0, max=most).reshape(-1, grid, grid)


def dot_density(points, shape, cells, sigma=4.0):
    """Return a Gaussian at every dot, averaged over the cells of a coarser grid.

    Parameters
    ----------
    points : sequence of torch.Tensor, each of shape (N, 2)
        Row and column of the dots of each image, px.
    shape : tuple of int
        (H, W) of the images, px.
    cells : tuple of int
        Rows and columns of the grid.
    sigma : float
        Width of the Gaussians, px; their height is 1, beyond three widths they are 0, and they add up.

    Returns
    -------
    torch.Tensor, shape (B, rows, columns), float32

    Raises
    ------
    DataError
        No images, or a width that is not above 0.
    """
    if not len(points) or not sigma > 0:
        raise DataError(f"dot density: expected images and a width above 0, got {len(points)} and {sigma}")
    maps = []
    for dots in points:
        along = [
            torch.arange(length, dtype=torch.float32, device=dots.device) - dots[:, axis, None].float()
            for axis, length in enumerate(shape)
        ]
        bumps = [torch.exp(-(part**2) / (2 * sigma**2)) * (part.abs() <= 3 * sigma) for part in along]
        maps.append(bumps[0].T @ bumps[1])
    return F.adaptive_avg_pool2d(torch.stack(maps)[:, None], cells)[:, 0]
