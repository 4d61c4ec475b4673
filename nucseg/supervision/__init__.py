"""From weak annotation to training targets: dots in, label maps out.

Weak label maps are int8 (1 nucleus, 0 background, -1 ignored).  A dot stands for the pixel it lies in, the
border of the image is never an edge, and any number of dots is allowed, none included.
"""

from nucseg.supervision.annotate import annotate_dots
from nucseg.supervision.boundary import boundary_classes
from nucseg.supervision.boxes import box_iou, label_boxes, pseudo_boxes
from nucseg.supervision.chessboard import chessboard_distance
from nucseg.supervision.clusters import ClusterReport, cluster_labels, cluster_roles, refine_roles
from nucseg.supervision.confident_learning import corrected_labels, label_errors
from nucseg.supervision.disks import disk_labels
from nucseg.supervision.distance import nearest_points
from nucseg.supervision.gaussian import extended_gaussian_mask, gaussian_weights
from nucseg.supervision.points import box_centers, centroids, sample_points
from nucseg.supervision.quality import LabelQuality, label_quality
from nucseg.supervision.self_training import confident_background, merge_points
from nucseg.supervision.superpixels import dot_edge_labels, segments_for, superpixel_labels
from nucseg.supervision.tissue_regions import slic_regions, white_background
from nucseg.supervision.voronoi import voronoi_cells, voronoi_edges, voronoi_labels

__all__ = [
    "ClusterReport", "LabelQuality", "annotate_dots", "boundary_classes", "box_centers", "box_iou", "centroids",
    "chessboard_distance", "cluster_labels", "cluster_roles", "confident_background", "corrected_labels",
    "disk_labels", "dot_edge_labels", "extended_gaussian_mask", "gaussian_weights", "label_boxes", "label_errors",
    "label_quality", "merge_points", "nearest_points", "pseudo_boxes", "refine_roles", "sample_points",
    "segments_for", "slic_regions", "superpixel_labels", "voronoi_cells", "voronoi_edges", "voronoi_labels",
    "white_background",
]
