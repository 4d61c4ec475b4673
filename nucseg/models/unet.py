"""The U-Net on a ResNet-34 of Qu et al. (2020), which detects nuclei in stage 1 and segments them in stage 2."""

from http.client import HTTPException

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import ResNet34_Weights, resnet34

from nucseg.errors import DataError, NucsegError, UnknownNameError

#: Smallest height and width of an input, px: below it the skip at stride 16 is too small to be mirrored.
MIN_SIZE = 17


class ResNet34UNet(nn.Module):
    """U-Net with a ResNet-34 encoder, its output as large as its input (Qu et al. 2020).

    The encoder is torchvision's: ``c1`` (64 channels, stride 2) to ``c5`` (512 channels, stride 32). Each of
    ``u5`` to ``u8`` doubles the size by a transposed convolution, appends the skip of that size, mirrored at its
    bottom and right edges where it is smaller, and applies two convolution units (3x3 convolution with bias, ReLU,
    batch normalization, in this order, and dropout of whole channels). ``out`` doubles the size once more; what
    reaches beyond the input is cut off. Initial weights come from PyTorch's global generator.

    Parameters
    ----------
    classes : int
        Channels of the output: 1 for detection (sigmoid), 2 for segmentation (softmax; 0 background, 1 nucleus).
    weights : str or None
        ``"imagenet"`` loads torchvision's ImageNet weights into the encoder, as in the article, downloading them
        on first use; None starts from random weights.
    dropout : float
        Probability of a channel to be dropped after each convolution unit of the decoder, in [0, 1).

    Raises
    ------
    UnknownNameError
        `weights` is neither ``"imagenet"`` nor None.
    DataError
        `classes` below 1 or `dropout` outside [0, 1).
    NucsegError
        The ImageNet weights cannot be loaded.

    Examples
    --------
    >>> network = ResNet34UNet(classes=2).eval()
    >>> tuple(network(torch.zeros(1, 3, 65, 48)).shape)
    (1, 2, 65, 48)
    """

    def __init__(self, classes=1, weights=None, dropout=0.1):
        super().__init__()
        if classes < 1:
            raise DataError(f"ResNet34UNet: classes must be 1 or more, got {classes}")
        if not 0 <= dropout < 1:
            raise DataError(f"ResNet34UNet: dropout must be in [0, 1), got {dropout}")
        encoder = _encoder(weights)
        self.c1 = nn.Sequential(encoder.conv1, encoder.bn1, encoder.relu)
        self.c2 = nn.Sequential(encoder.maxpool, encoder.layer1)
        self.c3 = encoder.layer2
        self.c4 = encoder.layer3
        self.c5 = encoder.layer4
        self.u5 = _UpBlock(512, 256, dropout)
        self.u6 = _UpBlock(256, 128, dropout)
        self.u7 = _UpBlock(128, 64, dropout)
        self.u8 = _UpBlock(64, 64, dropout)
        self.out = nn.ConvTranspose2d(64, classes, kernel_size=2, stride=2)

    def forward(self, images):
        """Return the logits of every pixel.

        Parameters
        ----------
        images : torch.Tensor, shape (B, 3, H, W), float
            Standardized images; H and W at least :data:`MIN_SIZE` px.

        Returns
        -------
        torch.Tensor, shape (B, classes, H, W), float

        Raises
        ------
        DataError
            Not four axes, not three channels, or too small.
        """
        c1 = self.stem(images)
        return self.out(self.u8(self.features(c1), c1))[..., : images.shape[2], : images.shape[3]]

    def stem(self, images):
        """Return the output of ``c1``, (B, 64, ceil(H / 2), ceil(W / 2)); arguments and errors as in forward."""
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < MIN_SIZE:
            raise DataError(
                f"images: expected shape (B, 3, H, W) with H and W at least {MIN_SIZE}, got {tuple(images.shape)}"
            )
        return self.c1(images)

    def features(self, c1):
        """Return the output of ``u7``, 64 channels at a quarter of the size of the images, from that of ``c1``."""
        c2 = self.c2(c1)
        c3 = self.c3(c2)
        c4 = self.c4(c3)
        return self.u7(self.u6(self.u5(self.c5(c4), c4), c3), c2)


class _UpBlock(nn.Module):
    def __init__(self, channels, skip_channels, dropout):
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2)
        self.units = nn.Sequential(
            _conv_unit(channels // 2 + skip_channels, skip_channels, dropout),
            _conv_unit(skip_channels, skip_channels, dropout),
        )

    def forward(self, features, skip):
        features = self.up(features)
        below, right = features.shape[2] - skip.shape[2], features.shape[3] - skip.shape[3]
        if below or right:
            skip = F.pad(skip, (0, right, 0, below), mode="reflect")
        return self.units(torch.cat([features, skip], dim=1))


def _conv_unit(channels_in, channels_out, dropout):
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(channels_out),
        nn.Dropout2d(dropout),
    )


def _encoder(weights):
    if weights not in (None, "imagenet"):
        raise UnknownNameError(f"weights: expected 'imagenet' or None, got {weights!r}")
    encoder = resnet34(weights=None)
    if weights == "imagenet":
        try:
            # weights_only: the file is a download, so nothing but tensors may be read from it.
            state = ResNet34_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except (OSError, HTTPException, RuntimeError) as error:
            raise NucsegError(
                f"the ImageNet weights of ResNet-34 could not be loaded from {ResNet34_Weights.IMAGENET1K_V1.url} "
                f"({error}); weights=None trains from scratch"
            ) from error
        encoder.load_state_dict(state)
    return encoder
