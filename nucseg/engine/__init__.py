"""Training and prediction: devices, precision, and images of any size."""

from nucseg.engine.augment import AugmentConfig, sample_warp
from nucseg.engine.device import choose_device, choose_precision, fabric, hardware_bfloat16
from nucseg.engine.tiles import predict_tiled
from nucseg.engine.warp import Warp

__all__ = [
    "AugmentConfig",
    "Warp",
    "choose_device",
    "choose_precision",
    "fabric",
    "hardware_bfloat16",
    "predict_tiled",
    "sample_warp",
]
