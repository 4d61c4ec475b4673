"""Networks: images in, logits or features out."""

from nucseg.models.affine_encoder import AffineEncoder, EncoderConfig, Transforms
from nucseg.models.canonical_shape import CanonicalShapeNet
from nucseg.models.cnn3 import PATCH, CNN3Network
from nucseg.models.dist_unet import MARGIN, OFFSET, SMALLEST, STEP, DistUNet
from nucseg.models.implicit_shape import ImplicitShape, ShapeFamily
from nucseg.models.joints import Add, Scale
from nucseg.models.maskga import MaskGAAttention, MaskGANet, MaskGASegmentation
from nucseg.models.two_heads import TwoHeadMaskGA, TwoHeadMaskGANet, TwoHeadUNet
from nucseg.models.unet import MIN_SIZE, ResNet34UNet

__all__ = [
    "MARGIN", "MIN_SIZE", "OFFSET", "PATCH", "SMALLEST", "STEP", "Add", "AffineEncoder", "CNN3Network",
    "CanonicalShapeNet", "DistUNet", "EncoderConfig", "ImplicitShape", "MaskGAAttention", "MaskGANet",
    "MaskGASegmentation", "ResNet34UNet", "Scale", "ShapeFamily", "Transforms", "TwoHeadMaskGA", "TwoHeadMaskGANet",
    "TwoHeadUNet",
]
