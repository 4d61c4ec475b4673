"""Pixel-level and semantic scores against counts of pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg.errors import DataError
from nucseg.metrics import (
    ContingencyTable,
    SemanticScores,
    pixel_scores,
    pixel_scores_smoothed,
    semantic_scores,
    small_cells_pair_driven,
)

MASKS = arrays(bool, (5, 6))
CLASSES = arrays(np.uint8, (5, 6), elements=st.sampled_from([0, 1, 2, 3, 4, 255]))


@given(MASKS, MASKS)
def test_pixel_scores_count_pixels(gt, pred):
    tp, fp, fn = (gt & pred).sum(), (~gt & pred).sum(), (gt & ~pred).sum()
    scores = pixel_scores(gt, pred)
    assert scores.accuracy == pytest.approx((gt == pred).mean())
    if not (gt | pred).any():
        assert np.isnan(scores[1:]).all()
        return
    assert scores.precision == pytest.approx(tp / pred.sum() if pred.any() else 0)
    assert scores.recall == pytest.approx(tp / gt.sum() if gt.any() else 0)
    assert scores.f1 == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert scores.f1 == pytest.approx(2 * scores.iou / (1 + scores.iou))
    smoothed = pixel_scores_smoothed(gt, pred)
    assert smoothed.iou == pytest.approx((tp + 1) / (tp + fp + fn + 1))
    assert smoothed.dice == pytest.approx((2 * tp + 1) / (2 * tp + fp + fn + 1))


def test_instances_do_not_matter_to_pixels(rng):
    gt, pred = rng.integers(0, 6, (20, 20)), rng.integers(0, 6, (20, 20))
    assert pixel_scores(gt, pred) == pixel_scores(gt > 0, pred > 0)


def test_empty_image_scores_one_only_with_smoothing():
    empty = np.zeros((4, 4), int)
    assert pixel_scores_smoothed(empty, empty) == (1, 1)
    assert np.isnan(pixel_scores(empty, empty).f1)


def test_means_break_the_identity_of_dice_and_iou():
    """0.5 and 1.0 of IoU average to 0.75; the Dice of 0.75 is 0.857, the mean Dice 0.833."""
    scores = [pixel_scores([[1, 1]], [[1, 0]]), pixel_scores([[1, 1]], [[1, 1]])]
    iou, f1 = np.mean([s.iou for s in scores]), np.mean([s.f1 for s in scores])
    assert (iou, f1) == (0.75, pytest.approx(5 / 6))
    pooled = pixel_scores(ContingencyTable.pooled([ContingencyTable.from_labels([[1, 1]], [[1, 0]]),
                                                   ContingencyTable.from_labels([[1, 1]], [[1, 1]])]))
    assert pooled.f1 == pytest.approx(2 * pooled.iou / (1 + pooled.iou)) == pytest.approx(6 / 7)


def test_pixels_of_a_part_are_refused():
    table = small_cells_pair_driven([[1, 1, 0, 2]], [[1, 1, 0, 2]], max_area=2)
    with pytest.raises(DataError, match="whole table"):
        pixel_scores(table)


@given(CLASSES, CLASSES)
def test_semantic_scores_count_pixels(gt, pred):
    scores, scored = semantic_scores(gt, pred, classes=4), gt < 4
    assert scores.confusion.sum() == scored.sum()
    for c in range(4):
        a, b = (gt == c) & scored, (pred == c) & scored
        if not (a | b).any():
            assert np.isnan([scores.iou[c], scores.dice[c], scores.precision[c], scores.recall[c]]).all()
            continue
        assert scores.iou[c] == pytest.approx((a & b).sum() / (a | b).sum())
        assert scores.dice[c] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
        assert scores.precision[c] == pytest.approx((a & b).sum() / b.sum() if b.any() else 0)
        assert scores.recall[c] == pytest.approx((a & b).sum() / a.sum() if a.any() else 0)
    if scored.any():
        assert scores.pixel_accuracy == pytest.approx((gt == pred)[scored].mean())
        m_iou, m_dice = scores.mean_iou, scores.mean_dice
        assert m_iou - 1e-12 <= m_dice <= 2 * m_iou / (1 + m_iou) + 1e-12
        p, r = scores.mean_precision, scores.mean_recall
        assert m_dice <= (2 * p * r / (p + r) if p + r else 0) + 1e-12
    else:
        assert np.isnan([scores.pixel_accuracy, scores.mean_iou, scores.frequency_weighted_iou]).all()


def test_four_classes_by_hand():
    """Truth: 4, 2, 2, 0 pixels of classes 0 to 3 and two unlabeled ones; one prediction is a background."""
    gt = np.array([[0, 0, 0, 0, 1, 1, 2, 2, 4, 4]])
    pred = np.array([[0, 0, 0, 1, 1, 1, 2, 4, 0, 3]])
    scores = semantic_scores(gt, pred)
    assert scores.confusion.tolist() == [[3, 1, 0, 0, 0], [0, 2, 0, 0, 0], [0, 0, 1, 0, 1], [0, 0, 0, 0, 0]]
    np.testing.assert_allclose(scores.iou, [3 / 4, 2 / 3, 1 / 2, np.nan])
    np.testing.assert_allclose(scores.precision, [1, 2 / 3, 1, np.nan])
    np.testing.assert_allclose(scores.recall, [3 / 4, 1, 1 / 2, np.nan])
    assert scores.mean_iou == pytest.approx((3 / 4 + 2 / 3 + 1 / 2) / 3)
    assert scores.frequency_weighted_iou == pytest.approx(0.5 * 3 / 4 + 0.25 * 2 / 3 + 0.25 / 2)
    assert scores.pixel_accuracy == 6 / 8


def test_semantic_pooling_adds_pixels(rng):
    gt, pred = rng.integers(0, 6, (2, 10, 10)), rng.integers(0, 6, (2, 10, 10))
    pooled = SemanticScores.pooled([semantic_scores(a, b) for a, b in zip(gt, pred)])
    np.testing.assert_array_equal(pooled.confusion, semantic_scores(np.hstack(gt), np.hstack(pred)).confusion)
    with pytest.raises(DataError, match="cannot pool"):
        SemanticScores.pooled([semantic_scores(gt[0], pred[0], 4), semantic_scores(gt[0], pred[0], 5)])
    with pytest.raises(DataError, match="cannot pool"):
        SemanticScores.pooled([])


def test_bad_class_maps():
    with pytest.raises(DataError, match="class"):
        semantic_scores([[0]], [[0]], classes=0)
    with pytest.raises(DataError, match="float64"):
        semantic_scores([[0.0]], [[0]])
