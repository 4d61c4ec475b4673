"""Networks with a second head that finds the centers of nuclei (Foo et al. 2022).

Each is called with standardized images and, if wanted, weights of its stem's output, which is named by ``weighted``;
the first two things that it returns are the logits of nucleus and of center.
"""

import copy

from nucseg.errors import DataError
from nucseg.models.maskga import MaskGANet, MaskGASegmentation
from nucseg.models.unet import ResNet34UNet


class TwoHeadUNet(ResNet34UNet):
    """A :class:`ResNet34UNet` whose last decoder block and output layer exist twice (Foo et al. 2022, sec. 4).

    The article copies the last two layers for a branch that finds cell centers. Here ``center_u8`` and ``center_out``
    begin as copies of ``u8`` and ``out`` and read the same features: the output of ``u7`` and the skip ``c1``. Each
    head gives two channels, 0 for no and 1 for yes. Initial weights come from PyTorch's global generator.

    Parameters
    ----------
    weights : str or None
        Of the encoder; see :class:`ResNet34UNet`.
    dropout : float
        See :class:`ResNet34UNet`.

    Examples
    --------
    >>> from torch import zeros
    >>> nucleus, center = TwoHeadUNet().eval()(zeros(1, 3, 65, 48))
    >>> tuple(nucleus.shape), tuple(center.shape)
    ((1, 2, 65, 48), (1, 2, 65, 48))
    """

    #: Name of the layer whose output can be weighted.
    weighted = "c1"

    def __init__(self, weights=None, dropout=0.1):
        super().__init__(classes=2, weights=weights, dropout=dropout)
        self.center_u8 = copy.deepcopy(self.u8)
        self.center_out = copy.deepcopy(self.out)

    def forward(self, images, stem_weights=None):
        """Return the logits of both heads.

        Parameters
        ----------
        images : torch.Tensor, shape (B, 3, H, W), float
            Standardized images; H and W at least :data:`nucseg.models.unet.MIN_SIZE` px.
        stem_weights : torch.Tensor, shape (B, 64, ceil(H / 2), ceil(W / 2)), float, optional
            Factors on the output of the stem, ``c1``, wherever it is read: by the pooling and by both heads.

        Returns
        -------
        nucleus, center : torch.Tensor, shape (B, 2, H, W), float

        Raises
        ------
        DataError
            Not four axes, not three channels, too small, or factors of another shape than the stem's output.
        """
        c1 = _weigh(self.stem(images), stem_weights)
        features = self.features(c1)
        height, width = images.shape[2:]
        nucleus = self.out(self.u8(features, c1))[..., :height, :width]
        return nucleus, self.center_out(self.center_u8(features, c1))[..., :height, :width]


class TwoHeadMaskGA(MaskGASegmentation):
    """A :class:`MaskGASegmentation` whose last two convolutions exist twice (Foo et al. 2022, sec. 4).

    ``center_head`` begins as a copy of ``head`` and reads the same features, those of the aggregation at full size.
    Each head gives one channel, the logit of yes.

    Parameters
    ----------
    width, channels : int
        See :class:`MaskGASegmentation`.

    Examples
    --------
    >>> from torch import zeros
    >>> nucleus, center = TwoHeadMaskGA(width=2, channels=8).eval()(zeros(1, 3, 65, 48))
    >>> tuple(nucleus.shape), tuple(center.shape)
    ((1, 1, 65, 48), (1, 1, 65, 48))
    """

    #: Name of the layer whose output can be weighted.
    weighted = "stem"

    def __init__(self, width=32, channels=128):
        super().__init__(width, channels)
        self.center_head = copy.deepcopy(self.head)

    def forward(self, images, stem_weights=None):
        """Return the logits of both heads.

        Parameters
        ----------
        images : torch.Tensor, shape (B, 3, H, W), float
            Standardized images; H and W at least :data:`nucseg.models.maskga.MIN_SIZE` px.
        stem_weights : torch.Tensor, shape (B, width, ceil(H / 2), ceil(W / 2)), float, optional
            Factors on the output of the stem, which only the pooling reads.

        Returns
        -------
        nucleus, center : torch.Tensor, shape (B, 1, H, W), float32

        Raises
        ------
        DataError
            Not four axes, not three channels, too small, or factors of another shape than the stem's output.
        """
        stem = _weigh(self.stem_features(images), stem_weights)
        features = self.pixel_features(stem, images.shape)
        return self.head(features), self.center_head(features)


class TwoHeadMaskGANet(MaskGANet):
    """A :class:`TwoHeadMaskGA` as ``segmentation``, and the attention net that it is trained with, which has one head.

    Parameters
    ----------
    width, channels, attention
        See :class:`nucseg.models.MaskGANet`.

    Examples
    --------
    >>> from torch import zeros
    >>> network = TwoHeadMaskGANet(width=2, channels=8).eval()
    >>> [tuple(part.shape) for part in network(zeros(1, 3, 32, 32), labels=zeros(1, 32, 32))]
    [(1, 1, 32, 32), (1, 1, 32, 32), (1, 32, 32)]
    """

    #: Name of the layer whose output can be weighted.
    weighted = f"segmentation.{TwoHeadMaskGA.weighted}"
    _Segmentation = TwoHeadMaskGA

    def forward(self, images, stem_weights=None, labels=None):
        """Return the logits of both heads, and how certain the labels are.

        Parameters
        ----------
        images, stem_weights : torch.Tensor
            See :meth:`TwoHeadMaskGA.forward`.
        labels : torch.Tensor, shape (B, H, W), any real dtype, optional
            The label that training compares with, 1 nucleus and 0 background; the attention net runs if it is given.

        Returns
        -------
        nucleus, center : torch.Tensor, shape (B, 1, H, W), float32
        attended : torch.Tensor, shape (B, H, W), float32, or None
            In [0, 1]; None without labels or without an attention net.
        """
        attended = None if labels is None else self.attend(images, labels)
        return *self.segmentation(images, stem_weights), attended


def _weigh(stem, weights):
    if weights is None:
        return stem
    if weights.shape != stem.shape:
        raise DataError(f"stem_weights: expected shape {tuple(stem.shape)}, got {tuple(weights.shape)}")
    return stem * weights
