"""The encoder that places instances: six numbers for each (Costa et al. 2022, sec. 2.2)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from nucseg.errors import DataError, UnknownNameError
from nucseg.models.backbones import CHANNELS, dilated_resnet

#: Stride of the encoder: each cell of its map stands for so many pixels along each side.
STRIDE = 16
ANCHORS = ("cell", "bounded", "coordinates", "none")
DIAGONALS = ("exp", "softplus")
#: The raw diagonal of L is kept in this range before the exponential, so that it can neither vanish nor explode.
RAW_RANGE = (-1.0, 5.0)
#: Farthest an anchored center may move with ``anchor="bounded"``, cells.
FARTHEST = 2.0


@dataclass(frozen=True)
class EncoderConfig:
    """Settings of the encoder; what the article leaves open is marked as ours."""

    backbone: str = "resnet50"  # sec. 2.2 and fig. 1; see nucseg.models.backbones
    weights: str | None = "imagenet"  # of the backbone; the article says so of its reference only
    hidden: int | None = 256  # channels between the two 1x1 convolutions (ours); None: one convolution each for T and z
    per_cell: int = 2  # instances at each position: 2 * 8 * 8 = 128 in a patch of 128 px
    anchor: str = "cell"  # what a center is measured from (ours): cell, bounded (tanh), coordinates (CoordConv), none
    diagonal: str = "exp"  # how the diagonal of L is kept positive (ours): exp or softplus
    triangular: bool = True  # L is lower triangular (eq. 1); otherwise all four entries are free
    scale: float = 3.3  # diagonal of L before training: a nucleus of median size, radius 0.153 at 0.5 / 3.3 (ours)
    spread: float = 0.25  # distance of the instances of one cell from its middle before training, cells (ours)
    expected: float = 5.8  # instances in a patch before training, for the bias of p(z) (ours: the mean of BBBC038)
    shapes: int = 1  # canonical shapes; more than one is the further work of sec. 4


class Transforms(NamedTuple):
    """Where N instances of B images lie, in coordinates of the patch: -1 to 1, x to the right, y down."""

    linear: torch.Tensor  #: (B, N, 2, 2), L of eq. 1; larger means smaller in the image
    shift: torch.Tensor  #: (B, N, 2), t of eq. 1
    presence: torch.Tensor  #: (B, N), logit of p(z)
    mixture: torch.Tensor  #: (B, N, S), logarithm of the share of each canonical shape

    @property
    def centers(self):
        """Return the places that the canonical origin comes from, -L^-1 t, (B, N, 2)."""
        return -torch.linalg.solve(self.linear.float(), self.shift.float()[..., None])[..., 0]


class AffineEncoder(nn.Module):
    """Image patches in, affine maps and presences out.

    Parameters
    ----------
    config : EncoderConfig, optional
        Settings. Random weights come from PyTorch's global generator.
    patch : int
        Side of the square patches, px, a multiple of 16.

    Raises
    ------
    UnknownNameError
        Another backbone, other weights, another anchor or diagonal.
    DataError
        A patch that is not a multiple of 16, or a number of the config out of range.
    """

    def __init__(self, config=None, patch=128):
        super().__init__()
        config = EncoderConfig() if config is None else config
        _check(config, patch)
        self.config, self.patch = config, patch
        self.backbone = dilated_resnet(config.backbone, config.weights)
        channels = CHANNELS[config.backbone] + (2 if config.anchor == "coordinates" else 0)
        self.affine_size = 5 + (not config.triangular)
        self.shape_size = config.shapes if config.shapes > 1 else 0
        sizes = (config.per_cell * (self.affine_size + self.shape_size), config.per_cell)
        if config.hidden is None:
            self.heads = nn.ModuleList([nn.Conv2d(channels, size, 1) for size in sizes])
        else:
            self.reduce = nn.Conv2d(channels, config.hidden, 1)
            self.heads = nn.ModuleList([nn.Conv2d(config.hidden, size, 1) for size in sizes])
        self.register_buffer("cells", _cell_centers(patch // STRIDE), persistent=False)
        self._start()

    def forward(self, images):
        """Return the transforms of the instances of each patch.

        Parameters
        ----------
        images : torch.Tensor, shape (B, 3, patch, patch), float
            Standardized.

        Returns
        -------
        Transforms
            float32; N = per_cell * (patch / 16)^2, the instances of one cell next to each other.

        Raises
        ------
        DataError
            Another shape.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, self.patch, self.patch):
            raise DataError(
                f"images: expected shape (B, 3, {self.patch}, {self.patch}), got {tuple(images.shape)}"
            )
        features = self.backbone(images)
        if self.config.anchor == "coordinates":
            side = self.patch // STRIDE
            where = self.cells.T.reshape(1, 2, side, side).expand(len(images), -1, -1, -1)
            features = torch.cat([features, where.to(features.dtype)], dim=1)
        if self.config.hidden is not None:
            features = F.relu(self.reduce(features))
        affine, presence = (self._per_instance(head(features)) for head in self.heads)
        return self._transforms(affine, presence[..., 0])

    def _per_instance(self, maps):
        """(B, per_cell * K, h, w) to (B, h * w * per_cell, K), float32."""
        batch, _, height, width = maps.shape
        split = maps.float().reshape(batch, self.config.per_cell, -1, height, width)
        return split.permute(0, 3, 4, 1, 2).reshape(batch, height * width * self.config.per_cell, -1)

    def _transforms(self, raw, presence):
        diagonal = self._positive(raw[..., :2])
        lower = raw[..., 2]
        upper = torch.zeros_like(lower) if self.config.triangular else raw[..., 5]
        rows = (torch.stack([diagonal[..., 0], upper], -1), torch.stack([lower, diagonal[..., 1]], -1))
        linear = torch.stack(rows, dim=-2)
        shift = raw[..., 3:5]
        if self.config.anchor in ("cell", "bounded"):
            offset = FARTHEST * torch.tanh(shift) if self.config.anchor == "bounded" else shift
            cells = self.cells.repeat_interleave(self.config.per_cell, dim=0)
            centers = cells + offset * (2 * STRIDE / self.patch)
            # Written out: a batched matrix product would lose digits under autocast.
            shift = -(linear * centers[..., None, :]).sum(dim=-1)
        mixture = raw[..., self.affine_size :] if self.shape_size else torch.zeros_like(raw[..., :1])
        return Transforms(linear, shift, presence, torch.log_softmax(mixture, dim=-1))

    def _positive(self, raw):
        if self.config.diagonal == "softplus":
            return F.softplus(raw) + 1e-3
        return raw.clamp(*RAW_RANGE).exp()

    def _start(self):
        """Begin with every instance in its cell, of typical size, and as many of them present as is typical."""
        config, (affine, presence) = self.config, self.heads
        for head in self.heads:
            nn.init.normal_(head.weight, std=0.01)
        scale = torch.tensor(config.scale)
        raw = torch.log(torch.expm1(scale - 1e-3)) if config.diagonal == "softplus" else torch.log(scale)
        with torch.no_grad():
            bias = affine.bias.zero_().reshape(config.per_cell, -1)
            bias[:, :2] = raw
            bias[:, 3:5] = _spread(config.per_cell, config.spread)
            share = config.expected / (config.per_cell * (self.patch // STRIDE) ** 2)
            presence.bias.fill_(torch.logit(torch.tensor(share)))


def _spread(count, distance):
    """Return offsets of the instances of one cell, evenly on a circle, (count, 2); one stays in the middle."""
    if count == 1:
        return torch.zeros(1, 2)
    angles = 2 * torch.pi * torch.arange(count) / count
    return distance * torch.stack([-angles.cos(), angles.sin()], dim=1)


def _cell_centers(side):
    """Return x and y of the middles of side x side cells, row by row, (side^2, 2)."""
    axis = (2 * torch.arange(side) + 1) / side - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


def _check(config, patch):
    if patch < STRIDE or patch % STRIDE:
        raise DataError(f"patch: expected a multiple of {STRIDE} pixels, got {patch}")
    if config.anchor not in ANCHORS:
        raise UnknownNameError(f"unknown anchor {config.anchor!r}; known: {', '.join(ANCHORS)}")
    if config.diagonal not in DIAGONALS:
        raise UnknownNameError(f"unknown diagonal {config.diagonal!r}; known: {', '.join(DIAGONALS)}")
    slots = config.per_cell * (patch // STRIDE) ** 2
    if config.per_cell < 1 or config.shapes < 1 or not config.scale > 1e-3 or not 0 < config.expected < slots:
        raise DataError(
            f"encoder: per_cell {config.per_cell}, shapes {config.shapes}, scale {config.scale}, expected "
            f"{config.expected}: expected at least 1, at least 1, above 0.001, and between 0 and {slots} instances"
        )
