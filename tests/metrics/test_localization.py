"""Coverage and false share against counts, and what mean scores of classes can be at all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg.errors import DataError
from nucseg.metrics import LocalizationScores, SemanticScores, localization_scores, semantic_scores

GT = arrays(np.uint8, (5, 6), elements=st.sampled_from([0, 1, 2, 4]))
MAPS = arrays(np.float32, (3, 5, 6), elements=st.floats(0, 1, width=16))
CLASSES = arrays(np.uint8, (5, 6), elements=st.integers(0, 4))


@given(GT, MAPS, GT, MAPS)
def test_shares_are_those_of_counts(gt, maps, other_gt, other_maps):
    both = [localization_scores(gt, maps), localization_scores(other_gt, other_maps)]
    pooled = LocalizationScores.pooled(both)
    gts, stacked = np.concatenate([gt, other_gt]), np.concatenate([maps, other_maps], axis=1)
    for c in range(3):
        active, own = (stacked[c] > 0.5) & (gts < 3), gts == c
        if own.any():
            assert pooled.coverage[c] == pytest.approx(active[own].mean())
        else:
            assert np.isnan(pooled.coverage[c])
        if active.any():
            assert pooled.false_share[c] == pytest.approx((~own)[active].mean())
        else:
            assert np.isnan(pooled.false_share[c])
    if np.isin(gts, (0, 1, 2)).any():
        assert pooled.mean_coverage == pytest.approx(np.nanmean(pooled.coverage))


def test_a_map_that_is_the_class_is_perfect():
    gt = np.array([[0, 0, 1, 1, 4]])
    scores = localization_scores(gt, [gt == 0, gt == 1])
    assert scores.mean_coverage == 1 and scores.mean_false_share == 0
    everywhere = localization_scores(gt, np.ones((2, 1, 5)))
    assert everywhere.mean_coverage == 1 and everywhere.mean_false_share == 0.5
    nothing = localization_scores(gt, np.zeros((2, 1, 5)))
    assert nothing.mean_coverage == 0 and np.isnan(nothing.mean_false_share)


def test_bad_input():
    for gt, maps in (([0, 1], np.ones((1, 1, 2))), ([[0, 1]], np.ones((1, 2, 2))), ([[0, 1]], np.ones((0, 1, 2))),
                     ([[0.5, 1]], np.ones((1, 1, 2))), ([[-1, 1]], np.ones((1, 1, 2)))):
        with pytest.raises(DataError, match="localization"):
            localization_scores(gt, maps)
    with pytest.raises(DataError, match="cannot pool"):
        LocalizationScores.pooled([])


@given(st.lists(st.tuples(CLASSES, CLASSES), min_size=1, max_size=3))
def test_identities_of_mean_scores(pairs):
    """Dice is a concave function of IoU, and of precision and recall together; so are bounds on their means."""
    scores = SemanticScores.pooled(semantic_scores(gt, pred, classes=4) for gt, pred in pairs)
    assert scores.confusion.sum() == sum((gt < 4).sum() for gt, _ in pairs), "white pixels are not scored"
    if not scores.confusion.sum():
        return
    dice, iou = scores.mean_dice, scores.mean_iou
    known = ~np.isnan(scores.iou)
    np.testing.assert_allclose(scores.dice[known], 2 * scores.iou[known] / (1 + scores.iou[known]))
    assert iou - 1e-12 <= dice <= 2 * iou / (1 + iou) + 1e-12
    precision, recall = scores.mean_precision, scores.mean_recall
    if precision + recall:
        assert dice <= 2 * precision * recall / (precision + recall) + 1e-12
