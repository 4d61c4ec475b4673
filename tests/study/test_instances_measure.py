"""Metrics of small and of added nuclei, on maps drawn by hand."""

import math

import numpy as np
import pytest

from nucseg.metrics import SMALL_AREA, aji, object_dice
from nucseg.study.measures.common import segmentation_metrics
from nucseg.study.measures.instances import added_metrics, instance_metrics


def erased(labels):
    """Return a label map without its instances of 300 px and more."""
    kept = labels.copy()
    for number in np.unique(labels[labels > 0]):
        if (labels == number).sum() >= 300:
            kept[labels == number] = 0
    return kept


@pytest.fixture
def maps():
    """Truth: 400 px, twice 100 px. Prediction: 324 px on the first, 80 on the second, 400 around the third."""
    gt, pred = np.zeros((60, 60), np.int32), np.zeros((60, 60), np.int32)
    gt[2:22, 2:22], gt[30:40, 2:12], gt[30:40, 40:50] = 1, 2, 3
    pred[2:20, 2:20], pred[30:40, 2:10], pred[25:45, 35:55] = 1, 2, 3
    return gt, pred


def test_small_nuclei_by_hand(maps):
    found = instance_metrics(*maps)
    # Literal: 80 px of one of two nuclei of 100. By the truth: the large prediction is the partner of the third.
    assert found["aji_small"] == pytest.approx(80 / 200) and found["aji_small_gt"] == pytest.approx(180 / 500)
    small, surrounded = 2 * 80 / 180, 2 * 100 / 500
    assert found["object_dice_small"] == pytest.approx((small / 2 + small) / 2)
    by_truth, by_prediction = (small + surrounded) / 2, (80 * small + 400 * surrounded) / 480
    assert found["object_dice_small_gt"] == pytest.approx((by_truth + by_prediction) / 2)
    assert found["aji"] == pytest.approx((324 + 80 + 100) / (400 + 100 + 400))


def test_all_sizes_are_measured_as_everywhere_else(maps):
    found, whole = instance_metrics(*maps), segmentation_metrics(*maps)
    assert {name: found[name] for name in whole} == whole
    assert found.keys() - whole.keys() == {"aji_small", "object_dice_small", "aji_small_gt", "object_dice_small_gt"}


def test_the_mean_over_images_is_that_of_maps_without_large_instances(rng):
    """Rectangles of all sizes; large means 300 px or more (Foo et al. 2022, sec. 4)."""
    assert SMALL_AREA == 300
    found, by_hand = [], []
    for _ in range(8):
        gt, pred = np.zeros((2, 120, 120), np.int32)
        for number, (row, column) in enumerate(np.ndindex(4, 4), start=1):
            for labels in (gt, pred):
                height, width = rng.integers(8, 28, 2)
                labels[30 * row + 1 : 30 * row + height, 30 * column + 1 : 30 * column + width] = number
        metrics, small = instance_metrics(gt, pred), (erased(gt), erased(pred))
        assert (small[0] != gt).any() and (small[1] != pred).any() and small[0].any()
        found.append([metrics["aji_small"], metrics["object_dice_small"]])
        by_hand.append([aji(*small), object_dice(*small)])
    assert np.mean(found, axis=0) == pytest.approx(np.mean(by_hand, axis=0))


def test_small_scores_without_a_small_nucleus_are_undefined(maps):
    gt = np.where(maps[0] == 1, 1, 0)
    found = instance_metrics(gt, maps[1])
    assert all(math.isnan(found[name]) for name in found if "small" in name) and found["aji"] > 0


def test_added_nuclei_by_hand():
    before, after, gt = np.zeros((3, 20, 30), np.int32)
    before[0:4, 0:5], before[0:4, 10:15] = 1, 2
    after[:] = before
    after[10, 0:12], after[12, 0:10], after[14, 0:8] = 3, 4, 5
    gt[10, 0:7], gt[12, 0:5], gt[0:4, 0:5] = 9, 4, 1
    # 7 of 12 px on a nucleus are more than half, 5 of 10 are not, 0 of 8 are not.
    assert added_metrics(gt, before, after) == {"added": 3, "added_area": 10, "added_true": pytest.approx(1 / 3)}
    assert added_metrics(np.ones_like(gt), before, after)["added_true"] == 1
    assert added_metrics(np.zeros_like(gt), before, after)["added_true"] == 0


def test_pixels_of_an_added_nucleus_may_lie_on_several():
    gt, after = np.zeros((2, 4, 8), np.int32)
    gt[0, 0:2], gt[0, 2:4], after[0, 0:6] = 1, 2, 1
    assert added_metrics(gt, np.zeros_like(gt), after) == {"added": 1, "added_area": 6, "added_true": 1}


def test_where_nothing_is_added_there_is_no_mean(maps):
    for labels in (maps[1], np.zeros_like(maps[1])):
        found = added_metrics(maps[0], labels, labels)
        assert found["added"] == 0 and math.isnan(found["added_area"]) and math.isnan(found["added_true"])
