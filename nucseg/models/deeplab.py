"""DeepLabV3 for one class: a dilated residual network, atrous spatial pyramid pooling, one logit (Chen et al. 2017)."""

from torch import nn
from torch.nn import functional as F
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

from nucseg.models.backbones import CHANNELS, dilated_resnet


class DeepLabNet(nn.Module):
    """Images in, one logit for each pixel out.

    The encoder ends at stride 16, its features pass torchvision's head, and the logits are interpolated bilinearly.

    Parameters
    ----------
    backbone : {"resnet50", "resnet34", "resnet18"}
        Encoder; see :func:`nucseg.models.backbones.dilated_resnet`.
    weights : {"imagenet", None}
        Of the encoder.
    rates : sequence of int
        Dilation of each branch of the pyramid, in pixels of the feature map.

    Raises
    ------
    UnknownNameError
        Another backbone or other weights.
    NucsegError
        The ImageNet weights cannot be loaded.
    """

    def __init__(self, backbone="resnet50", weights="imagenet", rates=(6, 12, 18)):
        super().__init__()
        self.encoder = dilated_resnet(backbone, weights)
        self.head = DeepLabHead(CHANNELS[backbone], 1, rates)
        pooling = self.head[0].convs[-1]
        pooling[2] = PooledBatchNorm(pooling[2].num_features)

    def forward(self, images):
        """Return logits (B, H, W) float32 of standardized images (B, 3, H, W)."""
        coarse = self.head(self.encoder(images)).float()
        return F.interpolate(coarse, size=images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


class PooledBatchNorm(nn.BatchNorm2d):
    """Batch normalization behind global pooling, which takes the running statistics for a batch of one image.

    Such a batch has a single value for each channel, so nothing to normalize by; PyTorch's own refuses it. It occurs
    as the last batch of an epoch.
    """

    def forward(self, features):
        """Return normalized features of the same shape."""
        if self.training and features.numel() == features.shape[1]:
            return F.batch_norm(features, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(features)
