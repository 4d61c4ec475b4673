"""The network of DoNuSeg: a pyramid, its heads, and features for the contrast (Wang et al. 2024, fig. 3)."""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from nucseg.errors import UnknownNameError
from nucseg.explain.cam import block_cams
from nucseg.models.detections import DenseBoxes
from nucseg.models.fcos import FCOSConfig, FCOSHead, NucleusFPN, SegmentationHead, localization_head

CONTRAST_FEATURES = ("sum", "last")


class DoNuSegOutput(NamedTuple):
    """What the network says of B images of H x W px; None for what was not asked for."""

    boxes: DenseBoxes  #: one box for each location
    mask: torch.Tensor  #: (B, H, W), float32, logits of nucleus: the mean over levels
    level_masks: torch.Tensor | None = None  #: (B, levels, H, W), float32, logits of nucleus
    dots: torch.Tensor | None = None  #: (B, rows, columns), float32, prediction of the localization head
    cams: torch.Tensor | None = None  #: (B, blocks, H, W), float32, 0 to 1, without gradient
    features: torch.Tensor | None = None  #: (B, D, h, w), for the contrast, at stride 4, or 32 with "last"


class Projector(nn.Module):
    """g of Wang et al. (2024, sec. 2.3): four convolutions and a perceptron of three layers at each location.

    Which encoder features go in, the article does not say.

    Parameters
    ----------
    block_channels : sequence of int
        Channels of the four encoder blocks.
    channels : int
        Of all layers and of the result.
    features : {"sum", "last"}
        All four blocks, brought to `channels` by 1x1 convolutions and added at the resolution of the first (ours), or
        the last block alone.

    Raises
    ------
    UnknownNameError
        Other features.
    """

    def __init__(self, block_channels, channels=128, features="sum"):
        super().__init__()
        if features not in CONTRAST_FEATURES:
            raise UnknownNameError(f"unknown features {features!r}; known: {', '.join(CONTRAST_FEATURES)}")
        self.entries = nn.ModuleList(
            nn.Conv2d(width, channels, 1) for width in (block_channels if features == "sum" else block_channels[-1:])
        )
        layers = []
        for size in (3, 3, 3, 3, 1, 1, 1):
            layers += [nn.Conv2d(channels, channels, size, padding=size // 2), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, blocks):
        """Return features (B, channels, h, w) of encoder blocks C2 to C5."""
        blocks = blocks[-len(self.entries):]
        size = blocks[0].shape[2:]
        parts = [
            F.interpolate(entry(block), size=size, mode="bilinear", align_corners=False)
            for entry, block in zip(self.entries, blocks)
        ]
        return self.layers(torch.stack(parts).sum(dim=0))


class DoNuSegNet(nn.Module):
    """Boxes, a mask and, in training, dots, class activation maps and features, in one forward pass.

    Parameters
    ----------
    config : FCOSConfig, optional
        Of the pyramid and the heads. Random weights come from PyTorch's global generator.
    contrast : tuple of (int, str), optional
        Channels and features of the :class:`Projector`; none without.
    """

    def __init__(self, config=None, contrast=None):
        super().__init__()
        config = FCOSConfig() if config is None else config
        self.encoder = NucleusFPN(config)
        self.detector, self.segmenter = FCOSHead(config), SegmentationHead(config)
        self.localized = config.localized
        self.localizer = localization_head(self.encoder.block_channels, config)
        self.mask_levels = config.mask_levels
        self.projector = None if contrast is None else Projector(self.encoder.block_channels, *contrast)

    def forward(self, images, learn=False, scored=None, blocks=(0, 1, 2, 3), kind="grad-cam", constant=True,
                quantile=1.0):
        """Return the output for images.

        Parameters
        ----------
        images : torch.Tensor, shape (B, 3, H, W), float32
            Standardized.
        learn : bool
            Whether to add what only training needs: predicted dots and features.
        scored : torch.Tensor, shape (B, rows, columns), float32, optional
            Weights of the predictions of the localization head in the score whose gradient makes class activation
            maps; without them there are no maps.
        blocks : sequence of int
            Encoder blocks that get a map, 0 for C2 to 3 for C5.
        kind : {"grad-cam", "layer-cam"}
            See :func:`nucseg.explain.block_cams`.
        constant, quantile
            See there.

        Returns
        -------
        DoNuSegOutput
        """
        pyramid, size = self.encoder(images), tuple(images.shape[2:])
        boxes, masks = self.detector(pyramid.levels), self.segmenter(pyramid.levels[: self.mask_levels], size)
        mask = masks.mean(dim=1)
        if not learn:
            return DoNuSegOutput(boxes, mask)
        dots, cams = self.localizer(pyramid.blocks[-1] if self.localized == "C5" else pyramid.levels[1]), None
        if scored is not None:
            score = (scored * dots).sum(dim=(1, 2))
            cams = block_cams(score, [pyramid.blocks[block] for block in blocks], kind, size, constant, quantile)
        features = None if self.projector is None else self.projector(pyramid.blocks)
        return DoNuSegOutput(boxes, mask, masks, dots, cams, features)
