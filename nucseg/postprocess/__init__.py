"""From maps to instances."""

from nucseg.postprocess.components import components
from nucseg.postprocess.dots import points_from_map

__all__ = ["components", "points_from_map"]
