"""From maps to instances."""

from nucseg.postprocess.boxes_and_mask import assemble
from nucseg.postprocess.centers import Centers, center_blobs, center_peaks
from nucseg.postprocess.components import components
from nucseg.postprocess.dots import points_from_map
from nucseg.postprocess.dynamic_watershed import dynamic_watershed
from nucseg.postprocess.expand import expand_centers, unassigned_blobs
from nucseg.postprocess.masks import InstanceMasks, containment_groups, merge_contained
from nucseg.postprocess.mixture import Mixture, fit_mixture
from nucseg.postprocess.region_growing import grow_to_boundary
from nucseg.postprocess.split import split_instances

__all__ = [
    "Centers", "InstanceMasks", "Mixture", "assemble", "center_blobs", "center_peaks", "components",
    "containment_groups", "dynamic_watershed", "expand_centers", "fit_mixture", "grow_to_boundary", "merge_contained",
    "points_from_map", "split_instances", "unassigned_blobs",
]
