"""Networks: images in, logits or features out."""

from nucseg.models.unet import MIN_SIZE, ResNet34UNet

__all__ = ["MIN_SIZE", "ResNet34UNet"]
