"""DoNuSeg (Wang et al. 2024): boxes times a mask, both from dots, with labels that change while training."""

from nucseg.methods.donuseg.config import ContrastConfig, DoNuSegConfig, SelectionConfig, with_robust_maps
from nucseg.methods.donuseg.explanation import Explanation
from nucseg.methods.donuseg.method import DoNuSeg

__all__ = ["ContrastConfig", "DoNuSeg", "DoNuSegConfig", "Explanation", "SelectionConfig", "with_robust_maps"]
