"""The three-class patch classifier of Kumar et al. (2017), for single patches and for whole images alike."""

import torch
from torch import nn
from torch.nn import functional as F

from nucseg.errors import DataError

#: Side of the patch that decides the class of its central pixel, px.
PATCH = 51


class CNN3Network(nn.Module):
    """Classifier of a pixel by the 51 x 51 patch around it (Kumar et al., IEEE TMI 36(7), 2017).

    Layer sizes are those of the code released by the authors (neerajkumarvaid/Nuclei_Segmentation): convolutions of
    4, 5 and 6 px with 25, 50 and 80 channels, each followed by ReLU and 2 x 2 max-pooling; two dense layers of 1024
    with ReLU; three classes. Dropout precedes each of these but the last, of whole channels before a convolution.
    Nothing is padded, so a patch shrinks to 48, 24, 20, 10, 5 and 2 px. The last pooling leaves out a row and a column:
    the class depends on the first 47 rows and columns of the 51.

    On larger images every 51 x 51 window is classified at once. The dense layers become convolutions; every pooling
    steps by one pixel instead of two, and what comes after it reaches twice as far between its taps (dilation). The
    result is the same as window by window, at about a tenth of the operations.

    Parameters
    ----------
    classes : int
        Channels of the output.
    channels : tuple of int
        Channels of the three convolutions, then of the two dense layers.
    dropout : tuple of float
        Probabilities before the three convolutions and the two dense layers, each in [0, 1).

    Raises
    ------
    DataError
        Not five of each.

    Examples
    --------
    >>> network = CNN3Network().eval()
    >>> tuple(network(torch.zeros(2, 3, 51, 51)).shape), tuple(network(torch.zeros(1, 3, 60, 54)).shape)
    ((2, 3, 1, 1), (1, 3, 10, 4))
    """

    def __init__(self, classes=3, channels=(25, 50, 80, 1024, 1024), dropout=(0.1, 0.2, 0.25, 0.5, 0.5)):
        super().__init__()
        if len(channels) != 5 or len(dropout) != 5:
            raise DataError(f"CNN3Network: expected 5 channels and 5 dropouts, got {channels} and {dropout}")
        first, second, third, *dense = channels
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(3, first, 4), nn.Conv2d(first, second, 5), nn.Conv2d(second, third, 6)]
        )
        self.dense = nn.ModuleList([nn.Conv2d(third, dense[0], 2), nn.Conv2d(dense[0], dense[1], 1)])
        self.out = nn.Conv2d(dense[1], classes, 1)
        kinds = [nn.Dropout2d] * 3 + [nn.Dropout] * 2
        self.dropouts = nn.ModuleList([kind(probability) for kind, probability in zip(kinds, dropout)])

    def forward(self, images):
        """Return the logits of the central pixel of every 51 x 51 window.

        Parameters
        ----------
        images : torch.Tensor, shape (B, 3, H, W), float
            Standardized images; H and W at least :data:`PATCH` px.

        Returns
        -------
        torch.Tensor, shape (B, classes, H - 50, W - 50), float

        Raises
        ------
        DataError
            Not four axes, not three channels, or too small.
        """
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < PATCH:
            raise DataError(
                f"images: expected shape (B, 3, H, W) with H and W at least {PATCH}, got {tuple(images.shape)}"
            )
        height, width = (side - PATCH + 1 for side in images.shape[2:])
        single = height == width == 1  # one window: steps of two pixels compute the same with less work
        reach, features = 1, images
        for dropout, layer in zip(self.dropouts, self.convolutions):
            features = F.relu(F.conv2d(dropout(features), layer.weight, layer.bias, dilation=reach))
            features = F.max_pool2d(features, 2, stride=2 if single else 1, dilation=reach)
            reach = reach if single else 2 * reach
        # What is left beyond these comes from windows of 47 px that reach over the last 51.
        features = features[..., : height + reach, : width + reach]
        for dropout, layer in zip(self.dropouts[3:], self.dense):
            features = F.relu(F.conv2d(dropout(features), layer.weight, layer.bias, dilation=reach))
            reach = 1
        return self.out(features)

    @torch.no_grad()
    def limit_norms(self, largest):
        """Scale down the weights of each neuron to a largest Euclidean norm; biases are not counted.

        Parameters
        ----------
        largest : float
            The norm; 1 in the authors' code.
        """
        for layer in (*self.convolutions, *self.dense, self.out):
            layer.weight.copy_(torch.renorm(layer.weight, 2, 0, largest))
