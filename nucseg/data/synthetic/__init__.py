"""Synthetic images with exact truth: teaching instruments whose every knob has a unit.

They show what makes segmentation hard (touching nuclei, small dark lymphocytes, thin fibroblasts, pale nuclei, blur,
patients stained differently) and let each cause be turned up or down alone. They cannot show what annotators
disagree about, nor the diversity of organs: use them to teach, to test and to compare, not to claim accuracy.
"""

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
