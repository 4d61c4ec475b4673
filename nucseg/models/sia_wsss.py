"""The network of SIA-WSSS: tokens, maps of classes, regularized class tokens, a decoder (Fan et al. 2025, fig. 1)."""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from nucseg.models.tissue_vit import TissueViT
from nucseg.models.token_graph import TokenGraph


class SIAOutput(NamedTuple):
    """What the network says of B images with h x w patches, C classes and D channels."""

    patches: torch.Tensor  #: (B, D, h, w), P
    tokens: torch.Tensor  #: (B, C, D), Q, or T where there is no graph
    activation: torch.Tensor  #: (B, C, h, w), class activation maps before any normalization
    auxiliary: torch.Tensor  #: (B, C, h, w), the same of an earlier block
    token_scores: torch.Tensor  #: (B, C), logits of class tokens
    attention: torch.Tensor | None = None  #: (B, C, h, w), float32, of class tokens to patches
    projection: torch.Tensor | None = None  #: (B, C, E), class tokens of whole images, projected
    segmentation: torch.Tensor | None = None  #: (B, K, h, w), logits of the decoder


class LargeFOV(nn.Sequential):
    """A decoder of two dilated convolutions and one of 1x1 px (Chen et al. 2018, LargeFOV).

    Parameters
    ----------
    width, channels, outputs : int
        Of the patch tokens, between the convolutions, and of the result.
    dilation : int
        In patches.
    """

    def __init__(self, width, channels, outputs, dilation):
        super().__init__(
            nn.Conv2d(width, channels, 3, padding=dilation, dilation=dilation), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation), nn.ReLU(),
            nn.Conv2d(channels, outputs, 1),
        )


class TokenProjector(nn.Module):
    """Linear projections of class tokens: P_f of crops and P_c of whole images (Fan et al. 2025, sec. 2.2).

    Parameters
    ----------
    width, channels : int
        Of the tokens and of the projections.
    momentum : float, optional
        P_c follows P_f as a moving average with this momentum and gets no gradient; without it, both learn.
    """

    def __init__(self, width, channels, momentum=0.9):
        super().__init__()
        self.momentum = momentum
        self.fine, self.coarse = nn.Linear(width, channels), nn.Linear(width, channels)
        if momentum is not None:
            self.coarse.load_state_dict(self.fine.state_dict())
            self.coarse.requires_grad_(False)

    def forward(self, tokens):
        """Return the projection of the class tokens of whole images; in training, the average moves first."""
        if self.momentum is None:
            return self.coarse(tokens)
        if self.training:
            with torch.no_grad():
                for average, current in zip(self.coarse.parameters(), self.fine.parameters()):
                    average.lerp_(current, 1 - self.momentum)
        return self.coarse(tokens.detach())


class SIANet(nn.Module):
    """Tokens, maps and decoder in one forward pass.

    Parameters
    ----------
    classes : int
        C.
    vit : nucseg.models.TissueViTConfig
        Of the encoder. Random weights come from PyTorch's global generator.
    graph : nucseg.models.TokenGraphConfig, optional
        Of the graph of tokens; without it, Q is T.
    shared_classifier : bool
        Whether logits of class tokens come from the classifier of the patches or from one of their own.
    projector : tuple of (int, float or None), optional
        Channels and momentum of the :class:`TokenProjector`; none without.
    decoder : tuple of (int, int, int), optional
        Channels, outputs and dilation of :class:`LargeFOV`; none without.
    attention_blocks : int
        Of how many blocks the attention of class tokens is returned.
    upsampling : int
        Images are enlarged by this factor first.
    """

    def __init__(self, classes, vit, graph=None, shared_classifier=True, projector=None, decoder=None,
                 attention_blocks=0, upsampling=1):
        super().__init__()
        self.attention_blocks, self.upsampling = attention_blocks, upsampling
        self.encoder, width = TissueViT(classes, vit), vit.width
        self.classifier, self.auxiliary = (nn.Conv2d(width, classes, 1, bias=False) for _ in range(2))
        self.token_classifier = None if shared_classifier else nn.Conv2d(width, classes, 1, bias=False)
        self.graph = None if graph is None else TokenGraph(width, graph)
        self.projector = None if projector is None else TokenProjector(width, *projector)
        self.decoder = None if decoder is None else LargeFOV(width, *decoder)

    def forward(self, images, crops=False):
        """Return what the network says of images.

        Parameters
        ----------
        images : torch.Tensor, shape (B, 3, H, W), float32
            Standardized; H and W are multiples of 16.
        crops : bool
            Whether these are crops, of which only the projected class tokens are wanted.

        Returns
        -------
        SIAOutput or torch.Tensor
            Of crops, the projections (B, C, E).
        """
        if self.upsampling > 1:
            images = F.interpolate(images, scale_factor=self.upsampling, mode="bilinear", align_corners=False)
        if crops:
            return self.projector.fine(self.encoder(images).classes)
        found = self.encoder(images, self.attention_blocks)
        tokens, patches = found.classes, found.patches
        if self.graph is not None:
            tokens, flat = self.graph(tokens, patches.flatten(2).transpose(1, 2))
            patches = flat.transpose(1, 2).reshape(patches.shape)
        own = self.classifier if self.token_classifier is None else self.token_classifier
        return SIAOutput(
            patches, tokens, self.classifier(found.patches), self.auxiliary(found.auxiliary),
            (tokens * own.weight[:, :, 0, 0].to(tokens.dtype)).sum(dim=2), found.attention,
            None if self.projector is None else self.projector(found.classes),
            None if self.decoder is None else self.decoder(patches),
        )
