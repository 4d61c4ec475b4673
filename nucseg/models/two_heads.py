"""The U-Net of Qu et al. (2020) with a second head that finds the centers of nuclei (Foo et al. 2022)."""

import copy

from nucseg.errors import DataError
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
        c1 = self.stem(images)
        if stem_weights is not None:
            if stem_weights.shape != c1.shape:
                raise DataError(f"stem_weights: expected shape {tuple(c1.shape)}, got {tuple(stem_weights.shape)}")
            c1 = c1 * stem_weights
        features = self.features(c1)
        height, width = images.shape[2:]
        nucleus = self.out(self.u8(features, c1))[..., :height, :width]
        return nucleus, self.center_out(self.center_u8(features, c1))[..., :height, :width]
