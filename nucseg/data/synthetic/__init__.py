"""Synthetic images with exact truth: teaching instruments whose every knob has a unit."""

from nucseg.data.synthetic.dataset import SPLITS, synthetic_dataset, synthetic_names
from nucseg.data.synthetic.fluorescence import FluorescenceConfig, render_fluorescence
from nucseg.data.synthetic.he import HEConfig, render_he
from nucseg.data.synthetic.tissue import TISSUE_CLASSES, TissueConfig, render_tissue

__all__ = [
    "SPLITS",
    "TISSUE_CLASSES",
    "FluorescenceConfig",
    "HEConfig",
    "TissueConfig",
    "render_fluorescence",
    "render_he",
    "render_tissue",
    "synthetic_dataset",
    "synthetic_names",
]
