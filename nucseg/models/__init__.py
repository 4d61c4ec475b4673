"""Networks: images in, logits or features out."""

from nucseg.models.affine_encoder import AffineEncoder, EncoderConfig, Transforms
from nucseg.models.canonical_shape import CanonicalShapeNet
from nucseg.models.cnn3 import PATCH, CNN3Network
from nucseg.models.detections import DenseBoxes, Detections, decode_boxes, level_locations, suppress
from nucseg.models.dist_unet import MARGIN, OFFSET, SMALLEST, STEP, DistUNet
from nucseg.models.fcos import (
    FCOSConfig,
    FCOSHead,
    NucleusFPN,
    OccupancyHead,
    PositionHead,
    Pyramid,
    SegmentationHead,
    localization_head,
)
from nucseg.models.implicit_shape import ImplicitShape, ShapeFamily
from nucseg.models.joints import Add, Scale
from nucseg.models.maskga import MaskGAAttention, MaskGANet, MaskGASegmentation
from nucseg.models.sia_wsss import SIANet, SIAOutput
from nucseg.models.tissue_vit import SMALL_VIT, TissueViT, TissueViTConfig
from nucseg.models.token_graph import TokenGraph, TokenGraphConfig, neighbor_messages
from nucseg.models.two_heads import TwoHeadMaskGA, TwoHeadMaskGANet, TwoHeadUNet
from nucseg.models.unet import MIN_SIZE, ResNet34UNet

__all__ = [
    "MARGIN", "MIN_SIZE", "OFFSET", "PATCH", "SMALLEST", "SMALL_VIT", "STEP", "Add", "AffineEncoder", "CNN3Network",
    "CanonicalShapeNet", "DenseBoxes", "Detections", "DistUNet", "EncoderConfig", "FCOSConfig", "FCOSHead",
    "ImplicitShape", "MaskGAAttention", "MaskGANet", "MaskGASegmentation", "NucleusFPN", "OccupancyHead",
    "PositionHead", "Pyramid", "ResNet34UNet", "SIANet", "SIAOutput", "Scale", "SegmentationHead", "ShapeFamily",
    "TissueViT", "TissueViTConfig", "TokenGraph", "TokenGraphConfig", "Transforms", "TwoHeadMaskGA",
    "TwoHeadMaskGANet", "TwoHeadUNet", "decode_boxes", "level_locations", "localization_head", "neighbor_messages",
    "suppress",
]
