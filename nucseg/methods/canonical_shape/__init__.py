"""Canonical shape (Costa et al. 2022): one learned shape, placed by affine maps."""

from nucseg.methods.canonical_shape.config import CanonicalShapeConfig
from nucseg.methods.canonical_shape.method import CanonicalShape
from nucseg.methods.canonical_shape.shapes import PlacedShapes, render_masks

__all__ = ["CanonicalShape", "CanonicalShapeConfig", "PlacedShapes", "render_masks"]
