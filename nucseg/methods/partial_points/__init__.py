"""Partial points (Qu et al., IEEE TMI 39(11), 2020): detect with a few dots, then segment with all."""

from nucseg.methods.partial_points.config import STRATEGIES, DetectorConfig, PartialPointsConfig, SegmenterConfig
from nucseg.methods.partial_points.detector import train_detector
from nucseg.methods.partial_points.method import PartialPoints
from nucseg.methods.partial_points.segmenter import train_segmenter, weak_labels

__all__ = [
    "STRATEGIES", "DetectorConfig", "PartialPoints", "PartialPointsConfig", "SegmenterConfig", "train_detector",
    "train_segmenter", "weak_labels",
]
