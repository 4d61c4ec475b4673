"""The three readings of "small cells only", worked on one image."""

import numpy as np
import pytest

from nucseg.errors import DataError
from nucseg.metrics import (
    aji,
    aji_plus,
    f1_at_iou,
    object_dice,
    panoptic_quality,
    small_cells,
    small_cells_gt_driven,
    small_cells_pair_driven,
)

READINGS = (small_cells, small_cells_gt_driven, small_cells_pair_driven)


@pytest.fixture
def image():
    """Small means below 10 px here.

    Truth: A 8 px, B 20 px, C 4 px. Prediction: a 12 px on A (too large), b 15 px and b' 5 px on B (split),
    d 6 px on nothing; C is missed.
    """
    gt, pred = np.zeros((20, 20), int), np.zeros((20, 20), int)
    gt[0:2, 0:4], gt[5:9, 0:5], gt[12:14, 0:2] = 1, 2, 3
    pred[0:2, 0:6], pred[5:8, 0:5], pred[8, 0:5], pred[16:18, 0:3] = 1, 2, 3, 4
    return gt, pred


def test_literal(image):
    """A and C against b' and d: nothing overlaps."""
    table = small_cells(*image, max_area=10)
    assert (table.gt_ids.tolist(), table.pred_ids.tolist()) == ([1, 3], [3, 4])
    assert aji(table) == aji_plus(table) == object_dice(table) == 0


def test_gt_driven(image):
    """A finds a; C is missed; b' and d are small and unmatched; b is large and costs nothing."""
    table = small_cells_gt_driven(*image, max_area=10)
    assert table.pred_ids.tolist() == [1, 3, 4]
    expected = 8 / (12 + 4 + 5 + 6)
    assert aji(table) == pytest.approx(expected)
    assert aji_plus(table) == pytest.approx(expected)
    assert object_dice(table) == pytest.approx(0.5 * (8 / 12) * (16 / 20) + 0.5 * (12 / 23) * (16 / 20))
    assert panoptic_quality(table).dq == pytest.approx(1 / (1 + 0.5 * (1 + 2)))


def test_pair_driven(image):
    """b' overlaps the large B: the object Dice does not charge this pair; in AJI b' is free, so it costs."""
    table = small_cells_pair_driven(*image, max_area=10)
    assert aji(table) == pytest.approx(8 / (12 + 4 + 5 + 6))
    assert object_dice(table) == pytest.approx(0.5 * (8 / 12) * (16 / 20) + 0.5 * (12 / 18) * (16 / 20))
    assert f1_at_iou(table, thresholds=[0.5])[0] == pytest.approx(2 / (2 + 2 + 1))


def test_pair_driven_forgives_a_taken_large_instance():
    """One prediction merges a small and a large nucleus; the large pair takes part but is not charged."""
    gt, pred = np.zeros((4, 10), int), np.zeros((4, 10), int)
    gt[:2, :2], gt[:, 2:7], pred[:, 2:7] = 1, 2, 1
    assert aji(small_cells_pair_driven(gt, pred, max_area=10)) == 0  # the small one is missed: 0 / 4
    pred[:2, :2] = 1
    assert aji(small_cells_pair_driven(gt, pred, max_area=10)) == pytest.approx(4 / 24)


@pytest.mark.parametrize("reading", READINGS)
def test_threshold_is_strict(reading):
    gt = np.zeros((40, 40), int)
    gt.flat[:299], gt.flat[400:700], gt.flat[800:1101] = 1, 2, 3  # 299, 300 and 301 px
    table = reading(gt, gt)
    assert table.gt_counts.sum() == table.pred_counts.sum() == 1
    assert aji(table) == aji_plus(table) == object_dice(table) == 1
    assert panoptic_quality(table) == (1, 1, 1)


@pytest.mark.parametrize("reading", READINGS)
def test_without_a_small_truth_the_image_is_skipped(reading):
    gt, pred = np.zeros((30, 30), int), np.zeros((30, 30), int)
    gt[:20, :20], pred[25:28, 25:28] = 1, 1
    assert np.isnan([aji(reading(gt, pred)), object_dice(reading(gt, pred))]).all()


@pytest.mark.parametrize("reading", READINGS)
def test_all_small_is_no_restriction(reading, rng):
    gt, pred = rng.integers(0, 9, (20, 20)), rng.integers(0, 9, (20, 20))
    table = reading(gt, pred, max_area=1000)
    for metric in (aji, aji_plus, object_dice, panoptic_quality, f1_at_iou):
        np.testing.assert_array_equal(metric(table), metric(gt, pred))


def test_bad_area():
    with pytest.raises(DataError, match="max_area"):
        small_cells([[1]], [[1]], max_area=0)
