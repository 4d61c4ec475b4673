"""The systems that the papers compare with."""

from nucseg.methods.baselines.cnn3 import CNN3, CNN3Config
from nucseg.methods.baselines.deeplab import DeepLabV3, DeepLabV3Config
from nucseg.methods.baselines.dist import DIST, DISTConfig
from nucseg.methods.baselines.fully_supervised import FullySupervised, FullySupervisedConfig
from nucseg.methods.baselines.mask_rcnn import MaskRCNN, MaskRCNNConfig
from nucseg.methods.baselines.maskga import MaskGA, MaskGAConfig

__all__ = [
    "CNN3", "DIST", "CNN3Config", "DISTConfig", "DeepLabV3", "DeepLabV3Config", "FullySupervised",
    "FullySupervisedConfig", "MaskGA", "MaskGAConfig", "MaskRCNN", "MaskRCNNConfig",
]
