"""From maps to instances."""

from nucseg.postprocess.components import components
from nucseg.postprocess.dots import points_from_map
from nucseg.postprocess.dynamic_watershed import dynamic_watershed
from nucseg.postprocess.region_growing import grow_to_boundary

__all__ = ["components", "dynamic_watershed", "grow_to_boundary", "points_from_map"]
