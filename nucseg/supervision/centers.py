"""Targets for a head that finds the centers of nuclei: a small square on every dot."""

import torch

from nucseg.errors import DataError


def center_squares(points, shape, side=3, device=None):
    """Return a batch of maps with a square of ones on each dot and zeros elsewhere (Foo et al. 2022, sec. 3.1).

    Dots are rounded to pixels; squares reach over the border of the map, and overlapping ones stay 1.

    Parameters
    ----------
    points : sequence of torch.Tensor, each of shape (N, 2)
        Row and column of the dots of each image, px; of any lengths, may lie outside the image.
    shape : tuple of int
        (H, W) of the maps.
    side : int
        Side of the squares, px, odd; 3 in the article.
    device : torch.device or str, optional
        Where to draw; by default, where the first points are.

    Returns
    -------
    torch.Tensor, shape (B, H, W), int64
        No pixel is ignored: where there is no square, there is no center.

    Raises
    ------
    DataError
        A side that is not odd and positive, or no images.
    """
    if side < 1 or side % 2 == 0:
        raise DataError(f"center squares: expected an odd side, got {side}")
    if not len(points):
        raise DataError("center squares: there are no images")
    device = points[0].device if device is None else torch.device(device)
    reach = side // 2
    steps = torch.arange(-reach, reach + 1, device=device)
    squares = torch.zeros((len(points), *shape), dtype=torch.int64, device=device)
    for number, dots in enumerate(points):
        middle = dots.to(device).round().long()
        rows = (middle[:, 0, None, None] + steps[:, None]).expand(-1, side, side).flatten()
        columns = (middle[:, 1, None, None] + steps).expand(-1, side, side).flatten()
        inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        squares[number, rows[inside], columns[inside]] = 1
    return squares
