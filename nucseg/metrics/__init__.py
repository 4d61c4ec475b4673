"""Metrics of instances, points, pixels and semantic classes; each variant under its own name.

Object metrics take ``(gt, pred)`` label maps or one :class:`ContingencyTable` that several of them share.
A metric of an image with nothing to find and nothing found is undefined (NaN); :func:`mean_over_units` leaves
such images out and counts them.
"""

from nucseg.metrics.aggregate import Interval, UnitMean, bootstrap_interval, mean_over_units
from nucseg.metrics.contingency import ContingencyTable, as_table
from nucseg.metrics.detection import DetectionScores, detection_scores, detection_scores_greedy
from nucseg.metrics.f1 import (
    TEN_THRESHOLDS,
    MatchCounts,
    f1_at_iou,
    f1_of_masks,
    match_counts,
    match_counts_greedy,
)
from nucseg.metrics.jaccard import aji, aji_plus, aji_release
from nucseg.metrics.localization import LocalizationScores, localization_scores
from nucseg.metrics.object_dice import object_dice, object_dice_half, object_dice_half_both
from nucseg.metrics.panoptic import PanopticQuality, panoptic_quality, sq_matched
from nucseg.metrics.pixels import PixelScores, SmoothedScores, pixel_scores, pixel_scores_smoothed
from nucseg.metrics.semantic import SemanticScores, semantic_scores
from nucseg.metrics.significance import PairedTest, holm, paired_t_test
from nucseg.metrics.small_cells import (
    SMALL_AREA,
    small_cells,
    small_cells_gt_driven,
    small_cells_pair_driven,
)

__all__ = [
    "SMALL_AREA", "TEN_THRESHOLDS", "ContingencyTable", "DetectionScores", "Interval", "LocalizationScores",
    "MatchCounts", "PairedTest", "PanopticQuality", "PixelScores", "SemanticScores", "SmoothedScores", "UnitMean",
    "aji", "aji_plus", "aji_release", "as_table", "bootstrap_interval", "detection_scores", "detection_scores_greedy",
    "f1_at_iou", "f1_of_masks", "holm", "localization_scores", "match_counts", "match_counts_greedy",
    "mean_over_units", "object_dice", "object_dice_half", "object_dice_half_both", "paired_t_test",
    "panoptic_quality", "pixel_scores", "pixel_scores_smoothed", "semantic_scores", "small_cells",
    "small_cells_gt_driven", "small_cells_pair_driven", "sq_matched",
]
