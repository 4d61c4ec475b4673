"""Metrics of nuclei of all sizes and of small ones, and of those that Expand adds."""

import numpy as np

from nucseg.metrics import ContingencyTable, aji, object_dice, small_cells, small_cells_gt_driven
from nucseg.study.measures.common import segmentation_metrics


def instance_metrics(gt, pred):
    """Return the metrics of nuclei of all sizes and of small ones, as a dict of float (Foo et al. 2022, table 1)."""
    table = ContingencyTable.from_labels(gt, pred)
    literal, driven = small_cells(table), small_cells_gt_driven(table)
    return {
        **segmentation_metrics(gt, pred), "aji_small": aji(literal), "object_dice_small": object_dice(literal),
        "aji_small_gt": aji(driven), "object_dice_small_gt": object_dice(driven),
    }


def added_metrics(gt, before, after):
    """Return how many nuclei Expand added, their mean area in px, and the share of them that lies on nuclei."""
    numbers, areas = np.unique(after[after > before.max()], return_counts=True)
    on_nuclei = np.bincount(after[gt > 0], minlength=after.max() + 1)[numbers]
    nothing = not len(numbers)
    return {
        "added": len(numbers), "added_area": np.nan if nothing else areas.mean(),
        "added_true": np.nan if nothing else (2 * on_nuclei > areas).mean(),
    }
