"""The contingency table: counts, pooling, patches, restriction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg.errors import DataError
from nucseg.metrics import (
    ContingencyTable,
    aji,
    aji_plus,
    aji_release,
    f1_at_iou,
    object_dice,
    panoptic_quality,
)
from nucseg.metrics.assignment import max_weight_assignment

MAPS = arrays(np.int32, (7, 9), elements=st.sampled_from([0, 0, 1, 2, 5, 2**31 - 1]))


@given(MAPS, MAPS)
def test_counts_are_those_of_the_pixels(gt, pred):
    table = ContingencyTable.from_labels(gt, pred)
    assert table.pixels == 63
    assert table.gt_ids.tolist() == [i for i in np.unique(gt) if i]
    assert table.gt_areas.tolist() == [(gt == i).sum() for i in table.gt_ids]
    assert table.pred_areas.tolist() == [(pred == i).sum() for i in table.pred_ids]
    dense = np.zeros((table.n, table.m), int)
    dense[table.rows, table.cols] = table.overlaps
    expected = [[((gt == i) & (pred == j)).sum() for j in table.pred_ids] for i in table.gt_ids]
    np.testing.assert_array_equal(dense, np.reshape(expected, dense.shape))
    assert (table.overlaps > 0).all()
    assert table.overlaps.sum() == ((gt > 0) & (pred > 0)).sum()


@given(MAPS, MAPS)
def test_every_integer_type_gives_the_same_table(gt, pred):
    gt, pred = gt % 200, pred % 200
    one = ContingencyTable.from_labels(gt, pred)
    other = ContingencyTable.from_labels(gt.astype(np.uint8), np.asfortranarray(pred.astype(np.uint16)))
    np.testing.assert_array_equal(one.overlaps, other.overlaps)


@given(MAPS, MAPS, MAPS, MAPS)
def test_pooling_equals_one_wide_image(gt_1, pred_1, gt_2, pred_2):
    """Pooled tables behave as the images put side by side, with ids made different."""
    def beside(a, b):
        ids = {value: i + 1 for i, value in enumerate(np.unique(a[a > 0]))}
        left = np.vectorize(lambda v: ids.get(v, 0), otypes=[int])(a)
        more = {value: i + 1 + len(ids) for i, value in enumerate(np.unique(b[b > 0]))}
        return np.hstack([left, np.vectorize(lambda v: more.get(v, 0), otypes=[int])(b)])

    pooled = ContingencyTable.pooled([ContingencyTable.from_labels(gt_1, pred_1),
                                      ContingencyTable.from_labels(gt_2, pred_2)])
    wide = ContingencyTable.from_labels(beside(gt_1, gt_2), beside(pred_1, pred_2))
    for name in ("gt_areas", "pred_areas", "rows", "cols", "overlaps", "pixels"):
        np.testing.assert_array_equal(getattr(pooled, name), getattr(wide, name))
    for metric in (aji, aji_plus, object_dice, panoptic_quality, f1_at_iou):
        np.testing.assert_array_equal(metric(pooled), metric(wide))
    sizes = [len(np.unique(gt[gt > 0])) for gt in (gt_1, gt_2)]
    assert pooled.gt_image.tolist() == [0] * sizes[0] + [1] * sizes[1]


def test_pooled_release_charges_the_first_object_of_the_same_image():
    """A miss in the second image costs that image's first prediction (9 px), not the first one's (4 px)."""
    first = ContingencyTable.from_labels(np.ones((2, 2), int), np.ones((2, 2), int))
    gt, pred = np.zeros((5, 5), int), np.zeros((5, 5), int)
    gt[:3, :3], gt[4, 4], pred[:3, :3] = 1, 2, 1
    second = ContingencyTable.from_labels(gt, pred)
    assert aji_release(ContingencyTable.pooled([first, second])) == pytest.approx(13 / (4 + 9 + 1 + 9))
    nothing = ContingencyTable.from_labels(np.ones((1, 6), int), np.zeros((1, 6), int))
    three = ContingencyTable.pooled([first, nothing, second])
    assert aji_release(three) == pytest.approx(13 / (4 + 6 + 9 + 1 + 9))


def test_pooling_twice_equals_pooling_once(rng):
    maps = rng.integers(0, 5, (3, 2, 6, 6))
    tables = [ContingencyTable.from_labels(*pair) for pair in maps]
    once = ContingencyTable.pooled(tables)
    twice = ContingencyTable.pooled([ContingencyTable.pooled(tables[:2]), tables[2]])
    np.testing.assert_array_equal(once.gt_image, twice.gt_image)
    assert aji_release(once) == aji_release(twice)
    with pytest.raises(DataError, match="nothing to pool"):
        ContingencyTable.pooled([])


def test_patches_cover_every_pixel_once(rng):
    gt, pred = rng.integers(0, 9, (50, 70)), rng.integers(0, 9, (50, 70))
    whole, patches = ContingencyTable.from_labels(gt, pred), ContingencyTable.per_patch(gt, pred, 32)
    assert len(patches) == 2 * 3
    assert [patch.pixels for patch in patches] == [32 * 32, 32 * 32, 32 * 6, 18 * 32, 18 * 32, 18 * 6]
    for name in ("overlaps", "gt_areas", "pred_areas"):
        assert sum(getattr(patch, name).sum() for patch in patches) == getattr(whole, name).sum()
    with pytest.raises(DataError, match="got 0"):
        ContingencyTable.per_patch(gt, pred, 0)


@given(MAPS, MAPS, st.integers(0, 15), st.integers(0, 15))
def test_restriction_equals_erasing(gt, pred, bits_gt, bits_pred):
    table = ContingencyTable.from_labels(gt, pred)
    keep_gt = np.array([bits_gt >> i & 1 for i in range(table.n)], bool)
    keep_pred = np.array([bits_pred >> i & 1 for i in range(table.m)], bool)
    erased = ContingencyTable.from_labels(gt * np.isin(gt, table.gt_ids[keep_gt]),
                                          pred * np.isin(pred, table.pred_ids[keep_pred]))
    kept = table.restricted(keep_gt, keep_pred)
    for name in ("gt_ids", "pred_ids", "gt_areas", "pred_areas", "rows", "cols", "overlaps"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(erased, name))


def test_ties_go_to_the_lowest_id():
    table = ContingencyTable.from_labels([[1, 1, 1, 1]], [[9, 9, 4, 4]])
    assert table.pred_ids[table.cols[table.best_for_gt(table.jaccard)]].tolist() == [4]


def test_bad_stacks_are_named():
    for bad, message in [(np.ones((2, 3, 3), int), "int64"), (np.ones(3, bool), r"\(3,\)")]:
        with pytest.raises(DataError, match=message):
            ContingencyTable.from_masks(bad, np.ones((1, 3, 3), bool))
    with pytest.raises(DataError, match="one size"):
        ContingencyTable.from_masks(np.ones((1, 3, 3), bool), np.ones((1, 3, 4), bool))


@given(arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)),
              elements=st.sampled_from([0, 0, 0, 0.25, 0.5, 0.75, 1.0])))
def test_assignment_reaches_the_dense_optimum(weights):
    from scipy.optimize import linear_sum_assignment

    rows, cols = np.nonzero(weights)
    chosen = max_weight_assignment(rows, cols, weights[rows, cols], weights.shape)
    assert len(set(rows[chosen])) == len(set(cols[chosen])) == len(chosen)
    best = weights[linear_sum_assignment(weights, maximize=True)].sum()
    assert weights[rows[chosen], cols[chosen]].sum() == pytest.approx(best)
