"""Training and prediction: devices, precision, and images of any size."""

from nucseg.engine.device import choose_device, choose_precision, fabric, hardware_bfloat16
from nucseg.engine.tiles import predict_tiled

__all__ = ["choose_device", "choose_precision", "fabric", "hardware_bfloat16", "predict_tiled"]
