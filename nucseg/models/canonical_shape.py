"""Canonical shape and encoder together: a patch in, the likelihood of foreground out (Costa et al. 2022, eq. 1, 2)."""

import torch
from torch import nn
from torch.nn import functional as F

from nucseg.errors import DataError
from nucseg.models.affine_encoder import AffineEncoder
from nucseg.models.implicit_shape import ShapeFamily

#: Places times instances that are looked at together, which bounds the memory.
CHUNK = 1 << 16


class CanonicalShapeNet(nn.Module):
    """Encoder and canonical shape, trained as one.

    Parameters
    ----------
    config : nucseg.models.affine_encoder.EncoderConfig, optional
        Of the encoder, and the number of shapes.
    kind : {"random", "disk", "fixed"}
        Of the shapes; see :class:`nucseg.models.implicit_shape.ShapeFamily`.
    patch : int
        Side of the patches, px.
    """

    def __init__(self, config=None, kind="random", patch=128):
        super().__init__()
        self.encoder = AffineEncoder(config, patch)
        self.shape = ShapeFamily(self.encoder.config.shapes, kind)

    def forward(self, images, grid):
        """Return the log-likelihood of foreground on a grid, and the transforms.

        Parameters
        ----------
        images : torch.Tensor, shape (B, 3, patch, patch), float
            Standardized.
        grid : int
            Places along each side of the patch; they lie in the middles of grid x grid cells.

        Returns
        -------
        torch.Tensor, shape (B, grid, grid), float32
            log p(y | I) of eq. 2, at most 0.
        nucseg.models.affine_encoder.Transforms
            Of all instances, present or not.
        """
        transforms = self.encoder(images)
        return combined(self.shape, transforms, grid_places(grid, images.device)), transforms


def grid_places(grid, device=None):
    """Return x and y of the middles of grid x grid cells that fill -1 to 1, shape (grid, grid, 2).

    Raises
    ------
    DataError
        A grid below 1.
    """
    if grid < 1:
        raise DataError(f"grid: expected 1 place or more along a side, got {grid}")
    axis = (2 * torch.arange(grid, device=device) + 1) / grid - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], dim=-1)


def transformed(transforms, places):
    """Return the canonical coordinates L x + t (eq. 1) of places for each instance.

    Parameters
    ----------
    transforms : Transforms
        Of B images and N instances.
    places : torch.Tensor, shape (P, 2) or (B, N, P, 2), float
        x and y in the patch.

    Returns
    -------
    x, y : torch.Tensor, each of shape (B, N, P), float
    """
    x, y = places.unbind(-1)
    # Written out, because matrix products lose digits under autocast.
    (a, b), (c, d) = ([transforms.linear[..., i, j, None] for j in range(2)] for i in range(2))
    down, right = transforms.shift[..., 1, None], transforms.shift[..., 0, None]
    return a * x + b * y + right, c * x + d * y + down


def log_likelihood(shape, transforms, places):
    """Return log p(s_i) + log p(z_i) of each instance at places, (B, N, P); arguments as of :func:`transformed`."""
    with torch.autocast(places.device.type, enabled=False):
        log_shape = shape(*transformed(transforms, places), transforms.mixture[..., None, :])
        return log_shape + F.logsigmoid(transforms.presence)[..., None]


def winners(shape, transforms, places):
    """Return which instance is the likeliest at each place, the first one among equals.

    Parameters
    ----------
    shape : ShapeFamily
        The canonical shapes.
    transforms : Transforms
        Of B images and N instances.
    places : torch.Tensor, shape (P, 2), float
        x and y in the patch.

    Returns
    -------
    torch.Tensor, shape (B, P), int64
    """
    batch, count = transforms.presence.shape
    step = max(1, CHUNK // (batch * len(places)))
    best = places.new_full((batch, len(places)), -torch.inf)
    winner = torch.zeros_like(best, dtype=torch.int64)
    with torch.no_grad():
        for start in range(0, count, step):
            part = type(transforms)(*(field[:, start : start + step] for field in transforms))
            value, index = log_likelihood(shape, part, places).max(dim=1)
            better = value > best
            best = torch.where(better, value, best)
            winner = torch.where(better, index + start, winner)
    return winner


def combined(shape, transforms, places):
    """Return log p(y | I), the likelihood of the likeliest instance at each place (Costa et al. 2022, eq. 2).

    The maximum sends gradients to the winner alone. So the winners are found first, without gradients and in
    chunks, and only their likelihood is computed again with them: the same numbers and the same gradients as from the
    maximum over all, in a fraction of its memory.

    Parameters
    ----------
    shape : ShapeFamily
        The canonical shapes.
    transforms : Transforms
        Of B images and N instances.
    places : torch.Tensor, shape (g, h, 2), float
        x and y in the patch.

    Returns
    -------
    torch.Tensor, shape (B, g, h), float32
    """
    flat = places.reshape(-1, 2)
    winner = winners(shape, transforms, flat)
    # Each place becomes an "instance" of its own with one place: the winner's transform there.
    chosen = type(transforms)(*(_gather(field, winner) for field in transforms))
    own = flat[None, :, None].expand(len(winner), -1, -1, -1)
    return log_likelihood(shape, chosen, own)[..., 0].reshape(len(winner), *places.shape[:2])


def _gather(field, index):
    """Return field[b, index[b, p]] for a field (B, N, ...), as (B, P, ...)."""
    extra = field.shape[2:]
    return field.gather(1, index.reshape(*index.shape, *(1,) * len(extra)).expand(*index.shape, *extra))
