"""A vision transformer with one class token for each tissue class (Xu et al. 2022), as SIA-WSSS uses it."""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from nucseg.errors import DataError, UnknownNameError
from nucseg.models.vit_weights import imagenet_vit

#: Side of the square of pixels behind one patch token.
TOKEN = 16
STEMS = ("linear", "convolutional")


@dataclass(frozen=True)
class TissueViTConfig:
    """Settings of :class:`TissueViT`; the defaults are ViT-B/16 (Dosovitskiy et al. 2020), as in Fan et al. (2025)."""

    width: int = 768  # channels of a token
    depth: int = 12  # blocks
    heads: int = 12  # of the attention
    mlp_ratio: int = 4  # hidden channels of a block's perceptron by its width
    stem: str = "linear"  # one linear map of 16 x 16 pixels, or "convolutional": four convolutions of stride 2 (ours)
    stem_channels: tuple[int, int, int] = (24, 48, 64)  # of the first three of these convolutions (ours)
    auxiliary: int = 10  # block, counted from 1, whose patch tokens give the auxiliary map: third from the end (ours)
    registers: int = 0  # tokens more, thrown away behind the last block (ours: none)
    size: int = 224  # px, side of the images that the positions are made for
    token_noise: float = 0.02  # standard deviation of what tells copies of a pretrained class token apart (ours)
    weights: str | None = "imagenet"  # of torchvision's ViT-B/16 (ours: the article does not say), or None
    initial: str | None = None  # safetensors file of an encoder of this shape to start from (ours)

    def __post_init__(self):
        if self.stem not in STEMS:
            raise UnknownNameError(f"unknown stem {self.stem!r}; known: {', '.join(STEMS)}")
        if self.weights not in (None, "imagenet"):
            raise UnknownNameError(f"weights: expected 'imagenet' or None, got {self.weights!r}")
        wrong = [name for name in ("width", "depth", "heads", "mlp_ratio") if getattr(self, name) < 1]
        wrong += [name for name in ("registers", "token_noise") if not getattr(self, name) >= 0]
        wrong += ["heads"] if not wrong and self.width % self.heads else []
        wrong += ["size"] if self.size < TOKEN or self.size % TOKEN else []
        wrong += ["auxiliary"] if not 1 <= self.auxiliary <= self.depth else []
        wrong += ["stem_channels"] if len(self.stem_channels) != 3 or min(self.stem_channels) < 1 else []
        if wrong:
            raise DataError(f"vision transformer: {wrong[0]} = {getattr(self, wrong[0])!r} is out of range")
        shape = (self.width, self.depth, self.heads, self.mlp_ratio, self.stem)
        if self.weights is not None and (shape != (768, 12, 12, 4, "linear") or self.initial is not None):
            raise DataError("vision transformer: ImageNet weights are those of ViT-B/16 and need its shape and no "
                            "other weights; weights=None starts from random ones")


#: 0.56 million weights, for small sets and small machines, trained from scratch (ours).
SMALL_VIT = TissueViTConfig(width=96, depth=4, heads=4, stem="convolutional", auxiliary=3, weights=None)


class EncodedTokens(NamedTuple):
    """What the transformer makes of B images of h x w patches of 16 px, with C classes and D channels."""

    classes: torch.Tensor  #: (B, C, D), T behind the last normalization
    patches: torch.Tensor  #: (B, D, h, w), P behind the last normalization
    auxiliary: torch.Tensor  #: (B, D, h, w), patch tokens of an earlier block, not normalized
    attention: torch.Tensor | None = None  #: (B, C, h, w), float32, mean attention of class tokens to patches


class TissueViT(nn.Module):
    """A transformer over class tokens, one for each class, and the patches of an image.

    Parameters
    ----------
    classes : int
        C, number of class tokens.
    config : TissueViTConfig, optional
        Shape and weights. Random weights come from PyTorch's global generator.

    Raises
    ------
    NucsegError
        The ImageNet weights cannot be loaded.
    """

    def __init__(self, classes, config=None):
        super().__init__()
        self.config = config = TissueViTConfig() if config is None else config
        self.classes, self.extra = classes, classes + config.registers
        grid = config.size // TOKEN
        self.stem = _linear_stem(config) if config.stem == "linear" else _convolutional_stem(config)
        self.tokens = nn.Parameter(torch.empty(self.extra, config.width))
        self.token_positions = nn.Parameter(torch.empty(self.extra, config.width))
        self.patch_positions = nn.Parameter(torch.empty(1, config.width, grid, grid))
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_ratio) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        for values in (self.tokens, self.token_positions, self.patch_positions):
            nn.init.trunc_normal_(values, std=0.02)
        if config.weights is not None:
            self.load_state_dict(imagenet_vit(self.extra, grid, config.token_noise))

    def forward(self, images, attention_blocks=0):
        """Return the tokens of images.

        Parameters
        ----------
        images : torch.Tensor, shape (B, 3, H, W), float
            Standardized; H and W are multiples of 16. Positions are made for other sizes by bicubic interpolation.
        attention_blocks : int
            Number of blocks from the end whose attention of class tokens to patches is returned, as the mean over
            them and their heads.

        Returns
        -------
        EncodedTokens

        Raises
        ------
        DataError
            Images of another size.
        """
        if images.shape[2] % TOKEN or images.shape[3] % TOKEN:
            raise DataError(f"vision transformer: expected sides that are multiples of {TOKEN} px, got "
                            f"{tuple(images.shape[2:])}")
        patches = self.stem(images)
        size = tuple(patches.shape[2:])
        patches = patches + resized_positions(self.patch_positions, size).to(patches.dtype)
        extra = (self.tokens + self.token_positions).to(patches.dtype).expand(len(images), -1, -1)
        sequence, looks, auxiliary = torch.cat([extra, patches.flatten(2).transpose(1, 2)], dim=1), [], None
        for number, block in enumerate(self.blocks, start=1):
            if number > len(self.blocks) - attention_blocks:
                looks.append(block.class_attention(sequence, self.classes)[..., self.extra :])
            sequence = block(sequence)
            if number == self.config.auxiliary:
                auxiliary = self._map(sequence, size)
        sequence = self.norm(sequence)
        attention = torch.stack(looks).mean(dim=0).unflatten(2, size) if looks else None
        return EncodedTokens(sequence[:, : self.classes], self._map(sequence, size), auxiliary, attention)

    def _map(self, sequence, size):
        return sequence[:, self.extra :].transpose(1, 2).unflatten(2, size)


class Block(nn.Module):
    """A block of a transformer: attention and a perceptron, each behind a normalization and beside a shortcut.

    Parameters
    ----------
    width, heads, mlp_ratio : int
        Channels, heads of the attention, and hidden channels of the perceptron by `width`.
    """

    def __init__(self, width, heads, mlp_ratio):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_ratio * width), nn.GELU(), nn.Linear(mlp_ratio * width, width))
        for layer in (self.qkv, self.out, self.mlp[0], self.mlp[2]):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, sequence):
        """Return a sequence (B, N, D) after attention and perceptron."""
        query, key, value = self._projected(sequence)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        sequence = sequence + self.out(mixed)
        return sequence + self.mlp(self.norm_2(sequence))

    def class_attention(self, sequence, classes):
        """Return how the first `classes` tokens attend to all, mean over heads, (B, classes, N) float32."""
        query, key, _ = self._projected(sequence)
        scores = query[:, :, :classes].float() @ key.float().transpose(2, 3) / query.shape[3] ** 0.5
        return scores.softmax(dim=3).mean(dim=1)

    def _projected(self, sequence):
        parts = self.qkv(self.norm_1(sequence)).unflatten(2, (3, self.heads, -1))
        return parts.permute(2, 0, 3, 1, 4).unbind(0)


def resized_positions(positions, size):
    """Return positions (1, D, g, g) for a grid of another size (h, w), by bicubic interpolation."""
    if tuple(positions.shape[2:]) == tuple(size):
        return positions
    return F.interpolate(positions.float(), size=size, mode="bicubic", align_corners=False)


def _linear_stem(config):
    return nn.Conv2d(3, config.width, TOKEN, stride=TOKEN)


def _convolutional_stem(config):
    """Return four convolutions of stride 2: from scratch, a linear map of whole patches learns too slowly (ours)."""
    layers, channels = [], (3, *config.stem_channels)
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(channels[-1], config.width, 3, 2, 1))
