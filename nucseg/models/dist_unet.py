"""The U-Net without padding that predicts distances in DIST (Naylor et al. 2019)."""

import torch
from torch import nn

from nucseg.errors import DataError

#: Pixels by which the output is smaller than the input, on each side.
MARGIN = 92
#: Inputs are this many pixels more than a multiple of STEP, so that every pooling divides evenly.
OFFSET, STEP = 12, 16
#: Side of the smallest input, px; its output has 4.
SMALLEST = 2 * MARGIN + 4


class DistUNet(nn.Module):
    """Classic U-Net, no padding, batch normalization, one linear output (Naylor et al., IEEE TMI 38(2), 2019).

    Five levels of two 3 x 3 convolutions, each followed by batch normalization and ReLU; 2 x 2 max-pooling on the way
    down, 2 x 2 transposed convolution with ReLU on the way up, where the central part of the skip comes first.
    Layers and initial weights (normal, cut at two deviations of ``1 / sqrt(taps * channels)``) follow the authors'
    release (PeterJackNaylor/DRFNS). Initial weights come from PyTorch's global generator.

    Parameters
    ----------
    width : int
        Channels of the first level; each level below has twice as many. 16 or 32 in the release.
    channels : int
        Channels of the output.

    Raises
    ------
    DataError
        A width or number of channels below 1.

    Examples
    --------
    >>> network = DistUNet(width=4).eval()
    >>> tuple(network(torch.zeros(1, 3, 396, 204)).shape)
    (1, 1, 212, 20)
    """

    def __init__(self, width=16, channels=1):
        super().__init__()
        if width < 1 or channels < 1:
            raise DataError(f"DistUNet: expected width and channels of 1 or more, got {width} and {channels}")
        widths = [width * 2**level for level in range(5)]
        self.down = nn.ModuleList(_units(before, after) for before, after in zip([3, *widths], widths))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(2 * wide, wide, 2, stride=2), nn.ReLU()) for wide in reversed(widths[:-1])
        )
        self.merge = nn.ModuleList(_units(2 * wide, wide) for wide in reversed(widths[:-1]))
        self.out = nn.Conv2d(width, channels, 1)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                deviation = module.weight[0].numel() ** -0.5
                nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
                if module.bias is not None:
                    nn.init.constant_(module.bias, 0.1)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, images):
        """Return the distance at every pixel that the network sees the whole surroundings of.

        Parameters
        ----------
        images : torch.Tensor, shape (B, 3, H, W), float
            Standardized images; H and W at least :data:`SMALLEST` px and 12 px more than a multiple of 16.

        Returns
        -------
        torch.Tensor, shape (B, channels, H - 184, W - 184), float32

        Raises
        ------
        DataError
            Another size.
        """
        fits = images.ndim == 4 and images.shape[1] == 3
        if not fits or any(side < SMALLEST or side % STEP != OFFSET for side in images.shape[2:]):
            raise DataError(
                f"images: expected shape (B, 3, H, W) with H and W at least {SMALLEST} and {OFFSET} more than a "
                f"multiple of {STEP}, got {tuple(images.shape)}"
            )
        features, skips = self.down[0](images), []
        for units in self.down[1:]:
            skips.append(features)
            features = units(self.pool(features))
        for up, merge in zip(self.up, self.merge):
            features = up(features)
            features = merge(torch.cat([_center(skips.pop(), features), features], dim=1))
        # Whole pixels are what counts, and bfloat16 has only eight digits for them.
        with torch.autocast(features.device.type, enabled=False):
            return self.out(features.float())


def _units(before, after):
    """Return two units of 3 x 3 convolution, batch normalization (whose shift is the bias) and ReLU."""
    layers = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def _center(skip, features):
    """Return the central part of a skip, of the size of the features."""
    top, left = ((a - b) // 2 for a, b in zip(skip.shape[2:], features.shape[2:]))
    return skip[..., top : top + features.shape[2], left : left + features.shape[3]]
