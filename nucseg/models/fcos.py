"""A feature pyramid with heads for boxes, for the mask and for the dots (Wang et al. 2024, DoNuSeg, sec. 2.1)."""

import math
from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import FeaturePyramidNetwork

from nucseg.errors import DataError, UnknownNameError
from nucseg.explain.batch_norm import with_constant_batch_norm
from nucseg.models.backbones import CHANNELS, residual_network
from nucseg.models.detections import STRIDES, DenseBoxes

DISTANCES = ("exp", "relu")
LOCALIZATIONS = ("occupancy", "positions")
#: Features that the localization head may get, and their stride, px.
LOCALIZED = {"C5": 32, "P3": 8}
#: Groups of each group normalization (Tian et al. 2019).
GROUPS = 32
#: Share of the channels of the last block in the blocks C2 to C5 of a residual network.
_SHARES = (8, 4, 2, 1)
#: Most of scale * x before the exponential: distances of 400 strides, beyond any image, and far from infinity.
_LARGEST = 6.0


@dataclass(frozen=True)
class FCOSConfig:
    """Settings of the pyramid and its heads; what the article leaves open is marked as ours.

    Raises
    ------
    UnknownNameError
        Other distances, another localization, or other features for it.
    DataError
        A number out of range.
    """

    backbone: str = "resnet50"  # sec. 2.1: resnet18, resnet34 or resnet50
    weights: str | None = "imagenet"  # of the backbone (ours); None: from scratch
    channels: int = 256  # of every level of the pyramid, and of the towers of the detection head
    tower: int = 4  # 3x3 convolutions in front of the class and in front of the box (FCOS)
    distance: str = "exp"  # stride * exp(scale * x) or stride * relu(scale * x) for the distances (ours: exp)
    prior: float = 0.01  # likelihood of a nucleus before training, for the bias -log 99 of the class (FCOS)
    mask_channels: int = 128  # of the segmentation head (ours)
    mask_convolutions: int = 4  # of the segmentation head, sec. 2.1; the last one is 1x1 (ours)
    mask_levels: int = 4  # finest levels that give the mask; 1: P2 alone (ours)
    localization: str = "occupancy"  # the dots as counts in a grid, or as a map by 1x1 convolutions: "positions" (ours)
    localized: str = "C5"  # features of the localization head: "the encoder output" (sec. 2.1), or P3, finer (ours)
    pooled: int = 8  # occupancy: rows and columns of C5 after pooling (ours)
    reduced: int = 64  # occupancy: channels after the 1x1 convolution in front of the dense layers (ours)
    hidden: int = 512  # units between the three dense layers of sec. 2.1, or channels between 1x1 convolutions (ours)
    grid: int = 16  # occupancy: rows and columns of cells with a count each; 16 px in a patch of 256 px (ours)

    def __post_init__(self):
        if self.distance not in DISTANCES:
            raise UnknownNameError(f"unknown distance {self.distance!r}; known: {', '.join(DISTANCES)}")
        if self.localization not in LOCALIZATIONS:
            raise UnknownNameError(f"unknown localization {self.localization!r}; known: {', '.join(LOCALIZATIONS)}")
        if self.localized not in LOCALIZED:
            raise UnknownNameError(f"unknown features {self.localized!r} to localize dots in; known: "
                                   f"{', '.join(LOCALIZED)}")
        for name in ("channels", "mask_channels"):
            value = getattr(self, name)
            if value < GROUPS or value % GROUPS:
                raise DataError(f"{name}: expected a multiple of {GROUPS}, got {value}")
        for name in ("tower", "mask_convolutions", "pooled", "reduced", "hidden", "grid"):
            if getattr(self, name) < 1:
                raise DataError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        if not 1 <= self.mask_levels <= len(STRIDES):
            raise DataError(f"mask_levels: expected 1 to {len(STRIDES)}, got {self.mask_levels}")
        if not 0 < self.prior < 1:
            raise DataError(f"prior: expected a likelihood between 0 and 1, got {self.prior}")


class Pyramid(NamedTuple):
    """Features of images of H x W px at strides 4, 8, 16 and 32."""

    blocks: tuple[torch.Tensor, ...]  #: C2 to C5, (B, C, h, w): what the last ReLU of each encoder block returns
    levels: tuple[torch.Tensor, ...]  #: P2 to P5, (B, channels, h, w)


class NucleusFPN(nn.Module):
    """A residual network as encoder and a feature pyramid as decoder (Lin et al. 2017).

    Parameters
    ----------
    config : FCOSConfig, optional
        Settings. Random weights come from PyTorch's global generator.

    Attributes
    ----------
    block_channels : tuple of int
        Channels of C2 to C5.

    Raises
    ------
    UnknownNameError
        Another backbone or other weights.
    NucsegError
        The ImageNet weights cannot be loaded.
    """

    def __init__(self, config=None):
        super().__init__()
        config = FCOSConfig() if config is None else config
        network = with_constant_batch_norm(residual_network(config.backbone, config.weights))
        self.stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        self.blocks = nn.ModuleList([network.layer1, network.layer2, network.layer3, network.layer4])
        self.block_channels = tuple(CHANNELS[config.backbone] // share for share in _SHARES)
        self.pyramid = FeaturePyramidNetwork(list(self.block_channels), config.channels)

    def forward(self, images):
        """Return the features of images.

        Parameters
        ----------
        images : torch.Tensor, shape (B, 3, H, W), float
            Standardized.

        Returns
        -------
        Pyramid
            A level of stride s has ceil(H / s) rows and ceil(W / s) columns.

        Raises
        ------
        DataError
            Another shape.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise DataError(f"images: expected shape (B, 3, H, W), got {tuple(images.shape)}")
        features, blocks = self.stem(images), []
        for block in self.blocks:
            features = block(features)
            blocks.append(features)
        levels = self.pyramid(OrderedDict((str(number), block) for number, block in enumerate(blocks)))
        return Pyramid(tuple(blocks), tuple(levels.values()))


class FCOSHead(nn.Module):
    """Class, distances to the edges and centerness at every location, with the same weights on all levels.

    As in Tian et al. (2019), with one scale for the distances of each level and, as in their later release and in
    torchvision, centerness beside the distances rather than beside the class.

    Parameters
    ----------
    config : FCOSConfig, optional
        Settings. Random weights come from PyTorch's global generator.
    """

    def __init__(self, config=None):
        super().__init__()
        config = FCOSConfig() if config is None else config
        self.distance = config.distance
        widths = [config.channels] * (config.tower + 1)
        self.class_tower, self.box_tower = _convolutions(widths), _convolutions(widths)
        self.logit, self.distances, self.centerness = (
            nn.Conv2d(config.channels, size, 3, padding=1) for size in (1, 4, 1)
        )
        self.scales = nn.Parameter(torch.ones(len(STRIDES)))
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.normal_(part.weight, std=0.01)
                nn.init.zeros_(part.bias)
        # Nearly all locations are background; without this their sum would drown the nuclei at the start.
        nn.init.constant_(self.logit.bias, -math.log((1 - config.prior) / config.prior))

    def forward(self, levels):
        """Return one box for each location.

        Parameters
        ----------
        levels : sequence of torch.Tensor, shape (B, channels, h, w), float
            P2 to P5.

        Returns
        -------
        DenseBoxes
            float32.

        Raises
        ------
        DataError
            Not four levels.
        """
        if len(levels) != len(STRIDES):
            raise DataError(f"pyramid: expected {len(STRIDES)} levels, got {len(levels)}")
        logits, distances, centerness = [], [], []
        for level, scale, stride in zip(levels, self.scales, STRIDES):
            box_features = self.box_tower(level)
            logits.append(_by_location(self.logit(self.class_tower(level)))[..., 0])
            centerness.append(_by_location(self.centerness(box_features))[..., 0])
            raw = scale * _by_location(self.distances(box_features))
            positive = raw.clamp(max=_LARGEST).exp() if self.distance == "exp" else F.relu(raw)
            distances.append(stride * positive)
        shapes = tuple(tuple(level.shape[-2:]) for level in levels)
        return DenseBoxes(torch.cat(logits, 1), torch.cat(distances, 1), torch.cat(centerness, 1), shapes)


class SegmentationHead(nn.Module):
    """Logits of each pixel: four convolutions on every level, their results interpolated.

    Wang et al. (2024, sec. 2.1) share the head over levels, but say neither what it contains nor how levels are
    brought together; :class:`nucseg.models.donuseg.DoNuSegNet` averages them.

    Parameters
    ----------
    config : FCOSConfig, optional
        Settings. Random weights come from PyTorch's global generator.
    """

    def __init__(self, config=None):
        super().__init__()
        config = FCOSConfig() if config is None else config
        widths = [config.channels] + [config.mask_channels] * (config.mask_convolutions - 1)
        self.layers = nn.Sequential(_convolutions(widths), nn.Conv2d(widths[-1], 1, 1))

    def forward(self, levels, size):
        """Return the logits of each of the given levels.

        Parameters
        ----------
        levels : sequence of torch.Tensor, shape (B, channels, h, w), float
            P2 to P5, or fewer of them.
        size : tuple of int
            (H, W) of the images, px.

        Returns
        -------
        torch.Tensor, shape (B, levels, H, W), float32
            Logits of a nucleus.

        Raises
        ------
        DataError
            No level.
        """
        if not levels:
            raise DataError("pyramid: the segmentation head needs at least one level")
        maps = [
            F.interpolate(self.layers(level).float(), size=tuple(size), mode="bilinear", align_corners=False)
            for level in levels
        ]
        return torch.cat(maps, dim=1)


class OccupancyHead(nn.Module):
    """How many dots lie in each cell of a grid over the image: three dense layers on the pooled last encoder block.

    Pooling to 8 x 8 keeps positions, which pooling to one value would discard (ours; Wang et al. 2024, sec. 2.1, say
    only that there are three fully connected layers).

    Parameters
    ----------
    channels : int
        Of the encoder block.
    config : FCOSConfig, optional
        Settings. Random weights come from PyTorch's global generator.
    """

    def __init__(self, channels, config=None):
        super().__init__()
        config = FCOSConfig() if config is None else config
        self.grid = config.grid
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(config.pooled), nn.Conv2d(channels, config.reduced, 1), nn.Flatten(),
            nn.Linear(config.reduced * config.pooled**2, config.hidden), nn.ReLU(),
            nn.Linear(config.hidden, config.hidden), nn.ReLU(),
            nn.Linear(config.hidden, config.grid**2),
        )

    def forward(self, features):
        """Return the counts (B, grid, grid) float32, not bounded, of encoder features (B, channels, h, w)."""
        return self.layers(features).float().reshape(len(features), self.grid, self.grid)


class PositionHead(nn.Module):
    """How much each location is a dot: the three fully connected layers as 1x1 convolutions (ours).

    Parameters
    ----------
    channels : int
        Of the encoder block, or of the level of the pyramid.
    config : FCOSConfig, optional
        Settings. Random weights come from PyTorch's global generator.
    """

    def __init__(self, channels, config=None):
        super().__init__()
        config = FCOSConfig() if config is None else config
        self.layers = nn.Sequential(
            nn.Conv2d(channels, config.hidden, 1), nn.ReLU(), nn.Conv2d(config.hidden, config.hidden, 1), nn.ReLU(),
            nn.Conv2d(config.hidden, 1, 1),
        )

    def forward(self, features):
        """Return a map (B, h, w) float32, not bounded, of features (B, channels, h, w)."""
        return self.layers(features).float()[:, 0]


def localization_head(block_channels, config=None):
    """Return the localization head that a config names.

    Parameters
    ----------
    block_channels : sequence of int
        Of the encoder blocks, of which it may get the last; levels of the pyramid have those of the config.
    config : FCOSConfig, optional
        Settings. Random weights come from PyTorch's global generator.

    Returns
    -------
    OccupancyHead or PositionHead
    """
    config = FCOSConfig() if config is None else config
    channels = block_channels[-1] if config.localized == "C5" else config.channels
    return (PositionHead if config.localization == "positions" else OccupancyHead)(channels, config)


def _convolutions(widths):
    """Return 3x3 convolutions from each width to the next, each followed by group normalization and ReLU."""
    layers = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(GROUPS, after), nn.ReLU()]
    return nn.Sequential(*layers)


def _by_location(maps):
    """(B, K, h, w) to (B, h * w, K), float32: bfloat16 would keep three digits of a distance."""
    return maps.float().flatten(2).transpose(1, 2)
