"""The papers' methods, each a recipe made of the parts below it."""

from nucseg.methods.base import Method
from nucseg.methods.canonical_shape import CanonicalShape, CanonicalShapeConfig
from nucseg.methods.donuseg import DoNuSeg, DoNuSegConfig
from nucseg.methods.partial_points import DetectorConfig, PartialPoints, PartialPointsConfig, SegmenterConfig
from nucseg.methods.preprocessing import Preprocessing
from nucseg.methods.sia_wsss import SIAWSSS, SIAWSSSConfig
from nucseg.methods.split_and_expand import ReweightingConfig, SplitAndExpand, SplitAndExpandConfig

__all__ = [
    "SIAWSSS", "CanonicalShape", "CanonicalShapeConfig", "DetectorConfig", "DoNuSeg", "DoNuSegConfig", "Method",
    "PartialPoints", "PartialPointsConfig", "Preprocessing", "ReweightingConfig", "SIAWSSSConfig", "SegmenterConfig",
    "SplitAndExpand", "SplitAndExpandConfig",
]
