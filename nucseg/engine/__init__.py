"""Training and prediction: devices, precision, and images of any size."""

from nucseg.engine.augment import AugmentConfig, sample_warp
from nucseg.engine.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights
from nucseg.engine.crops import RandomCrops, WholeImages, hold_images, instance_counts
from nucseg.engine.device import choose_device, choose_precision, fabric, hardware_bfloat16
from nucseg.engine.fit import History, fit
from nucseg.engine.patches import Patches, RandomBatches, cut_patches, patch_corners
from nucseg.engine.schedules import Scheduled, clip_gradients, one_cycle_rates, warm_up_rates
from nucseg.engine.stain_jitter import StainJitterConfig, jitter_stain
from nucseg.engine.tiles import predict_tiled
from nucseg.engine.warp import Warp

__all__ = [
    "AugmentConfig", "History", "Patches", "RandomBatches", "RandomCrops", "Scheduled", "StainJitterConfig", "Warp",
    "WholeImages", "choose_device", "choose_precision", "clip_gradients", "cut_patches", "fabric", "fit",
    "hardware_bfloat16", "hold_images", "instance_counts", "jitter_stain", "load_checkpoint", "load_weights",
    "one_cycle_rates", "patch_corners", "predict_tiled", "sample_warp", "save_checkpoint", "save_weights",
    "warm_up_rates",
]
