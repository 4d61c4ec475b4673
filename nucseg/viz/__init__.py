"""Figures: one palette and style, overlays of label maps, panels, pictures of what was found and missed."""

from nucseg.viz.classes import class_colors
from nucseg.viz.flow import show_flow
from nucseg.viz.matches import show_detections, show_matches
from nucseg.viz.overlays import (
    crop,
    crop_points,
    fill,
    instance_colors,
    outline,
    outline_mask,
    weak_label_image,
)
from nucseg.viz.panels import show_panels
from nucseg.viz.style import CYCLE, PAGE_WIDTH, PALETTE, rgb, use_style

__all__ = [
    "CYCLE",
    "PAGE_WIDTH",
    "PALETTE",
    "class_colors",
    "crop",
    "crop_points",
    "fill",
    "instance_colors",
    "outline",
    "outline_mask",
    "rgb",
    "show_detections",
    "show_flow",
    "show_matches",
    "show_panels",
    "use_style",
    "weak_label_image",
]
