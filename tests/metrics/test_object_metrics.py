"""AJI, object Dice, panoptic quality and F1 against slow, obvious implementations and hand-worked numbers."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg.errors import DataError
from nucseg.metrics import (
    ContingencyTable,
    aji,
    aji_plus,
    aji_release,
    f1_at_iou,
    f1_of_masks,
    match_counts,
    match_counts_greedy,
    object_dice,
    object_dice_half,
    object_dice_half_both,
    panoptic_quality,
    pixel_scores,
    small_cells,
    sq_matched,
)

IDS = (0, 0, 1, 2, 3, 7, 900_000)  # with gaps, and background twice as likely


@st.composite
def pairs(draw, side=6):
    """Two small label maps of one size: noise, or blocks; at most five instances each."""
    shape = draw(st.tuples(st.integers(1, side), st.integers(1, side)))
    maps = [draw(arrays(np.int32, shape, elements=st.sampled_from(IDS))) for _ in range(2)]
    if draw(st.booleans()):
        maps = [np.kron(a, np.ones((2, 3), np.int32)) for a in maps]
    return maps


# ---- the obvious implementations: one mask per instance, loops over all pairs ------------------------


def masks_of(labels):
    return [labels == value for value in np.unique(labels) if value]


def iou_of(a, b):
    return (a & b).sum() / (a | b).sum()


def slow_aji(gt, pred, release):
    truths, found = masks_of(gt), masks_of(pred)
    if not truths and not found:
        return np.nan
    intersection, union, used = 0, 0, set()
    for truth in truths:
        scores = [iou_of(truth, other) for other in found]
        if scores and (release or max(scores) > 0):
            best = scores.index(max(scores))
            used.add(best)
            intersection += (truth & found[best]).sum()
            union += (truth | found[best]).sum()
        else:
            union += truth.sum()
    union += sum(other.sum() for j, other in enumerate(found) if j not in used)
    return intersection / union


def matchings(n, m):
    """Every one-to-one matching of n rows to m columns, as lists of pairs."""
    for size in range(min(n, m) + 1):
        for rows in itertools.combinations(range(n), size):
            for cols in itertools.permutations(range(m), size):
                yield list(zip(rows, cols))


def slow_aji_plus_values(gt, pred):
    """The AJI+ of every matching whose sum of IoU is largest; ties may give several values."""
    truths, found = masks_of(gt), masks_of(pred)
    scores = np.array([[iou_of(a, b) for b in found] for a in truths]).reshape(len(truths), len(found))
    options = [[p for p in matching if scores[p] > 0] for matching in matchings(len(truths), len(found))]
    totals = [sum(scores[p] for p in matching) for matching in options]
    values = []
    for matching, total in zip(options, totals):
        if total >= max(totals) - 1e-12:
            inside = sum((truths[i] & found[j]).sum() for i, j in matching)
            union = sum((truths[i] | found[j]).sum() for i, j in matching)
            union += sum(a.sum() for i, a in enumerate(truths) if i not in {p[0] for p in matching})
            union += sum(b.sum() for j, b in enumerate(found) if j not in {p[1] for p in matching})
            values.append(inside / union)
    return values


def slow_object_dice(gt, pred, accept):
    def half(own, other):
        total = sum(mask.sum() for mask in own)
        value = 0.0
        for mask in own:
            shared = [(mask & candidate).sum() for candidate in other]
            if shared and max(shared) > 0:
                partner = other[shared.index(max(shared))]
                if accept(max(shared) / mask.sum(), max(shared) / partner.sum()):
                    value += mask.sum() / total * 2 * max(shared) / (mask.sum() + partner.sum())
        return value

    truths, found = masks_of(gt), masks_of(pred)
    return 0.5 * half(truths, found) + 0.5 * half(found, truths) if truths or found else np.nan


def slow_f1(gt, pred, threshold):
    truths, found = masks_of(gt), masks_of(pred)
    if not truths and not found:
        return np.nan
    allowed = [[iou_of(a, b) >= threshold - 1e-9 for b in found] for a in truths]
    tp = max(sum(allowed[i][j] for i, j in matching) for matching in matchings(len(truths), len(found)))
    return 2 * tp / (len(truths) + len(found))


@given(pairs())
def test_aji_equals_the_loop(maps):
    np.testing.assert_allclose(aji(*maps), slow_aji(*maps, release=False), rtol=1e-12)
    np.testing.assert_allclose(aji_release(*maps), slow_aji(*maps, release=True), rtol=1e-12)


@given(pairs(side=4))
def test_aji_plus_equals_the_best_of_all_matchings(maps):
    if not maps[0].any() and not maps[1].any():
        assert np.isnan(aji_plus(*maps))
        return
    assert np.isclose(aji_plus(*maps), slow_aji_plus_values(*maps), rtol=1e-12).any()


@given(pairs())
def test_object_dice_equals_the_loop(maps):
    for metric, accept in [
        (object_dice, lambda own, other: True),
        (object_dice_half, lambda own, other: own > 0.5),
        (object_dice_half_both, lambda own, other: own > 0.5 and other > 0.5),
    ]:
        np.testing.assert_allclose(metric(*maps), slow_object_dice(*maps, accept), rtol=1e-12)


@given(pairs(side=4))
def test_f1_equals_the_best_of_all_matchings(maps):
    thresholds = (0.1, 0.25, 1 / 3, 0.5, 0.7, 1.0)
    expected = [slow_f1(*maps, t) for t in thresholds]
    np.testing.assert_allclose(f1_at_iou(*maps, thresholds=thresholds), expected, rtol=1e-12)


@given(pairs())
def test_panoptic_quality_equals_the_loop(maps):
    truths, found = masks_of(maps[0]), masks_of(maps[1])
    hits = [v for v in (iou_of(a, b) for a in truths for b in found) if v > 0.5]
    dq, sq, pq = panoptic_quality(*maps)
    if not truths and not found:
        assert np.isnan([dq, sq, pq]).all()
        return
    np.testing.assert_allclose(dq, len(hits) / ((len(truths) + len(found)) / 2))
    np.testing.assert_allclose(sq, np.mean(hits) if hits else 0)
    np.testing.assert_allclose(pq, dq * sq)
    np.testing.assert_allclose(sq_matched(*maps), np.mean(hits) if hits else np.nan)


METRICS = {
    "aji": aji, "aji_plus": aji_plus, "aji_release": aji_release, "object_dice": object_dice,
    "object_dice_half": object_dice_half, "object_dice_half_both": object_dice_half_both,
    "pq": lambda *maps: panoptic_quality(*maps).pq, "f1": lambda *maps: f1_at_iou(*maps).mean(),
    "pixel_f1": lambda *maps: pixel_scores(*maps).f1,
}  # fmt: skip


@pytest.mark.parametrize("name", METRICS)
@given(maps=pairs())
@example(maps=[np.zeros((2, 2), np.int32)] * 2)
def test_what_holds_for_every_metric(name, maps):
    metric, (gt, pred) = METRICS[name], maps
    if not gt.any() and not pred.any():
        assert np.isnan(metric(gt, pred))
        return
    value = metric(gt, pred)
    assert 0 <= value <= 1
    assert metric(ContingencyTable.from_labels(gt, pred)) == value
    if gt.any():
        assert metric(gt, gt) == pytest.approx(1)
        assert metric(gt, np.zeros_like(gt)) == 0
        assert metric(np.zeros_like(gt), gt) == 0


@given(pairs(side=8))
def test_order_between_metrics(maps):
    """One more pair never hurts: the 50 % rules only remove pairs; greedy matching never finds more."""
    if not maps[0].any() and not maps[1].any():
        return
    table = ContingencyTable.from_labels(*maps)
    assert object_dice(table) >= object_dice_half(table) >= object_dice_half_both(table)
    assert (match_counts(table).tp >= match_counts_greedy(table).tp).all()
    assert (np.diff(match_counts(table).tp) <= 0).all()
    dq, _, pq = panoptic_quality(table)
    assert pq <= dq


def test_permuted_ids_change_nothing(rng):
    def cells(points):  # nearest-point cells of irregular sizes, so that no two scores tie
        grid = np.stack(np.mgrid[:80, :80], axis=-1).reshape(-1, 1, 2)
        return ((grid - points) ** 2).sum(axis=2).argmin(axis=1).reshape(80, 80)

    points = rng.uniform(0, 80, (30, 2))
    gt, pred = cells(points), cells(points[:-4] + rng.normal(0, 2, (26, 2)))
    renamed = [np.append(0, rng.permutation(50) + 1)[labels] for labels in (gt, pred)]
    for name in set(METRICS) - {"aji_release"}:  # which depends on who is object number 1
        assert METRICS[name](*renamed) == pytest.approx(METRICS[name](gt, pred), rel=1e-12), name


# ---- worked by hand --------------------------------------------------------------------------------------


def square(shape, *boxes):
    """A label map with rectangles (row, column, height, width), ids from 1."""
    labels = np.zeros(shape, np.int32)
    for value, (r, c, h, w) in enumerate(boxes, start=1):
        labels[r : r + h, c : c + w] = value
    return labels


def test_two_nuclei_merged():
    gt = square((12, 24), (1, 1, 10, 10), (1, 11, 10, 10))
    pred = square((12, 24), (1, 1, 10, 20))
    assert aji(gt, pred) == 0.5  # (100 + 100) / (200 + 200)
    assert aji_release(gt, pred) == 0.5
    assert aji_plus(gt, pred) == pytest.approx(1 / 3)  # 100 / (200 + 100)
    assert panoptic_quality(gt, pred) == (0, 0, 0)  # an IoU of exactly 0.5 is not above 0.5
    assert f1_at_iou(gt, pred, [0.5]) == pytest.approx(2 / 3)  # but it reaches 0.5: TP 1, FN 1
    assert object_dice(gt, pred) == pytest.approx(2 / 3)
    assert object_dice_half(gt, pred) == pytest.approx(1 / 3)  # 100 is not above half of 200
    assert object_dice_half_both(gt, pred) == 0


def test_one_nucleus_split():
    gt, pred = square((12, 12), (1, 1, 10, 10)), square((12, 12), (1, 1, 5, 10), (6, 1, 5, 10))
    assert aji(gt, pred) == pytest.approx(1 / 3)  # 50 / (100 + 50)
    assert aji_plus(gt, pred) == pytest.approx(1 / 3)
    assert object_dice(gt, pred) == pytest.approx(2 / 3)
    assert object_dice_half(gt, pred) == pytest.approx(1 / 3)  # 50 is not above half of 100


def test_one_nucleus_missed():
    gt, pred = square((12, 30), (1, 1, 10, 10), (1, 15, 10, 10)), square((12, 30), (1, 15, 10, 10))
    assert aji(gt, pred) == 0.5  # 100 / (100 + 100)
    assert aji_plus(gt, pred) == 0.5
    assert aji_release(gt, pred) == pytest.approx(1 / 3)  # the miss also costs the area of object 1


def test_release_hides_a_surplus_object_behind_a_miss():
    """Object 1 overlaps nothing: the release charges it with the miss and not again as unused."""
    gt, pred = square((10, 10), (0, 0, 2, 5)), square((10, 10), (8, 0, 2, 2))
    assert aji(gt, pred) == aji_release(gt, pred) == 0
    gt = square((9, 9), (0, 0, 2, 5), (4, 0, 1, 4))
    pred = square((9, 9), (8, 0, 2, 2), (0, 0, 2, 5))
    assert aji(gt, pred) == pytest.approx(10 / (10 + 4 + 2))
    assert aji_release(gt, pred) == pytest.approx(10 / (10 + 4 + 2))
    other_order = square((9, 9), (0, 0, 2, 5), (8, 0, 2, 2))
    assert aji_release(gt, other_order) == pytest.approx(10 / (10 + 4 + 10 + 2))


def test_shifted_square():
    gt, pred = square((30, 30), (5, 5, 20, 20)), square((30, 30), (5, 6, 20, 20))
    assert aji(gt, pred) == pytest.approx(380 / 420)
    assert f1_at_iou(gt, pred).tolist() == [1] * 9 + [0]
    assert panoptic_quality(gt, pred).sq == pytest.approx(380 / 420)


def test_a_clump_costs_aji_more_than_aji_plus():
    """A merge of k equal nuclei gives AJI 1/k and AJI+ 1/(2k - 1)."""
    for k in (2, 3, 8):
        gt = square((4, 4 * k), *[(0, 4 * i, 4, 4) for i in range(k)])
        assert aji(gt, (gt > 0).astype(np.uint8)) == pytest.approx(1 / k)
        assert aji_plus(gt, (gt > 0).astype(np.uint8)) == pytest.approx(1 / (2 * k - 1))


def test_greedy_matching_can_find_less():
    """IoU 7/23 for (G1, S1), 6/24 for (G1, S2) and (G2, S1): greedy takes the first and blocks the others."""
    fields = dict(gt_ids=[1, 2], pred_ids=[1, 2], gt_areas=[15, 15], pred_areas=[15, 15], rows=[0, 0, 1],
                  cols=[0, 1, 0], overlaps=[7, 6, 6], gt_image=[0, 0], pred_image=[0, 0])
    fields = {name: np.array(value) for name, value in fields.items()}
    table = ContingencyTable(**fields, pixels=100, gt_counts=np.ones(2, bool), pred_counts=np.ones(2, bool))
    assert match_counts(table, thresholds=[0.2]).tp.tolist() == [2]
    assert match_counts_greedy(table, thresholds=[0.2]).tp.tolist() == [1]


def test_empty_restriction_is_undefined():
    gt = square((30, 30), (0, 0, 20, 20))
    for metric in (aji, aji_plus, aji_release, object_dice):
        assert np.isnan(metric(small_cells(gt, gt)))
    assert np.isnan(f1_at_iou(small_cells(gt, gt))).all()


# ---- overlapping masks -----------------------------------------------------------------------------------


def test_overlapping_masks_keep_their_full_area():
    """Two 4x4 masks that share a column: flattening would cost one of them 4 pixels, the stack does not."""
    gt = np.zeros((2, 4, 7), bool)
    gt[0, :, :4], gt[1, :, 3:] = True, True
    assert f1_of_masks(gt, gt).tolist() == [1] * 10
    flat = square((4, 7), (0, 0, 4, 4), (0, 3, 4, 4))
    assert f1_of_masks(flat, gt, [0.74, 0.76, 1.0]).tolist() == [1, 0.5, 0.5]  # 12/16 for the covered one
    with pytest.raises(DataError, match="overlap"):
        aji(ContingencyTable.from_masks(gt, gt))


@given(pairs())
def test_masks_of_a_label_map_give_the_same_table(maps):
    stacks = [np.array(masks_of(a)) if a.any() else np.zeros((0, *a.shape), bool) for a in maps]
    one, other = ContingencyTable.from_labels(*maps), ContingencyTable.from_masks(*stacks)
    assert other.flat
    for name in ("gt_areas", "pred_areas", "rows", "cols", "overlaps", "pixels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_identical_masks_are_matched_once():
    """Three copies of one mask against one truth: one match, two false positives."""
    mask = np.ones((1, 3, 3), bool)
    counts = match_counts(ContingencyTable.from_masks(mask, np.repeat(mask, 3, axis=0)), thresholds=[0.9])
    assert (counts.tp[0], counts.fp[0], counts.fn[0]) == (1, 2, 0)


# ---- bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gt", "pred", "message"),
    [
        (np.ones((3, 3), int), np.ones((3, 4), int), r"\(3, 3\) and \(3, 4\)"),
        (np.ones((3, 3)), np.ones((3, 3), int), "float64"),
        (np.ones((3, 3), int), np.full((3, 3), -1), "-1"),
        (np.ones((3, 3), int), None, "pred is missing"),
        (np.ones((1, 3, 3), int), np.ones((3, 3), int), r"\(1, 3, 3\)"),
    ],
)
def test_bad_maps_are_named(gt, pred, message):
    for metric in METRICS.values():
        with pytest.raises(DataError, match=message):
            metric(gt, pred)


def test_a_table_takes_no_second_map():
    with pytest.raises(DataError, match="not a table and a map"):
        aji(ContingencyTable.from_labels([[1]], [[1]]), [[1]])


def test_thresholds_are_checked():
    with pytest.raises(DataError, match=r"0\.3"):
        panoptic_quality([[1]], [[1]], iou=0.3)
    for bad in ([0.0], [1.1], [np.nan], [[0.5]]):
        with pytest.raises(DataError, match="thresholds"):
            f1_at_iou([[1]], [[1]], bad)
