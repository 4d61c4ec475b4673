"""Overlapping masks: dense and sparse agree, merging follows the rule, and nothing is lost on the way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg.errors import DataError
from nucseg.postprocess.masks import InstanceMasks, containment_groups, merge_contained

stacks = arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6)),
                elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))


def boxes(*spans, size=(8, 8)):
    """Masks that are boxes, from (row, end row, column, end column)."""
    stack = np.zeros((len(spans), *size), np.float32)
    for mask, (top, bottom, left, right) in zip(stack, spans):
        mask[top:bottom, left:right] = 1
    return InstanceMasks.from_stack(stack)


@given(stacks)
def test_sparse_and_dense_agree(stack):
    masks = InstanceMasks.from_stack(stack)
    np.testing.assert_array_equal(masks.stack(), stack > 0)
    np.testing.assert_array_equal(masks.areas, (stack > 0).sum(axis=(1, 2)))
    np.testing.assert_array_equal(masks.union(), (stack > 0).any(axis=0))
    np.testing.assert_array_equal(masks.labels(), np.where((stack > 0).any(axis=0), stack.argmax(axis=0) + 1, 0))
    groups = np.arange(len(stack)) // 2
    grouped = np.stack([stack[groups == g].max(axis=0) for g in range(groups.max() + 1)])
    np.testing.assert_array_equal(masks.grouped(groups).values.toarray().reshape(grouped.shape), grouped)
    kept = masks.areas > 2
    np.testing.assert_array_equal(masks.chosen(kept).stack(), stack[kept] > 0)


def by_hand(stack, overlap, order):
    """The rule word by word on dense masks."""
    masks = [mask > 0 for mask in stack]
    ranked = sorted(range(len(masks)), key=lambda i: (-masks[i].sum(), i))
    if order == "closure":
        group = list(range(len(masks)))
        for position, bigger in enumerate(ranked):
            for smaller in ranked[position + 1 :]:
                if (masks[bigger] & masks[smaller]).sum() >= overlap * masks[smaller].sum():
                    group = [group[bigger] if g == group[smaller] else g for g in group]
        return group
    leaders, group = {}, [None] * len(masks)
    for i in ranked:
        for leader, mask in leaders.items():
            if (mask & masks[i]).sum() >= overlap * masks[i].sum():
                group[i] = leader
                if order == "union":
                    leaders[leader] = mask | masks[i]
                break
        else:
            group[i], leaders[i] = i, masks[i]
    return group


@settings(max_examples=200)
@given(stacks, st.sampled_from([0.3, 0.5, 1.0]), st.sampled_from(["leader", "union", "closure"]))
def test_groups_follow_the_rule(stack, overlap, order):
    stack = stack[(stack > 0).any(axis=(1, 2))]
    found = containment_groups(InstanceMasks.from_stack(stack), overlap, order)
    expected = by_hand(stack, overlap, order)
    same = np.equal.outer(found, found) if len(found) else np.zeros((0, 0), bool)
    np.testing.assert_array_equal(same, [[a == b for b in expected] for a in expected] or np.zeros((0, 0), bool))


@given(stacks, st.sampled_from(["leader", "union", "closure"]))
def test_merging_keeps_the_union(stack, order):
    masks = InstanceMasks.from_stack(stack[(stack > 0).any(axis=(1, 2))])
    merged = merge_contained(masks, order=order)
    np.testing.assert_array_equal(merged.union(), masks.union())
    assert len(merged) <= len(masks) and (merged.areas > 0).all()


def test_a_small_mask_joins_the_big_one_and_not_the_other_way_round():
    masks = boxes((0, 6, 0, 6), (4, 6, 4, 8), (7, 8, 0, 8))  # half of the second lies in the first
    assert containment_groups(masks).tolist() == [0, 0, 1]
    assert containment_groups(masks, overlap=0.6).tolist() == [0, 1, 2]
    assert merge_contained(masks).areas.tolist() == [36 + 4, 8]


def test_the_three_orders_differ_on_a_chain():
    """A big mask, one half inside it, and one half inside that one but not inside the big one."""
    masks = boxes((0, 4, 0, 4), (0, 3, 2, 6), (0, 2, 5, 7), size=(4, 8))
    assert containment_groups(masks, order="leader").tolist() == [0, 0, 1]
    assert containment_groups(masks, order="union").tolist() == [0, 0, 0]
    assert containment_groups(masks, order="closure").tolist() == [0, 0, 0]


def test_an_image_without_masks():
    empty = InstanceMasks.from_stack(np.zeros((0, 4, 5)))
    assert len(merge_contained(empty)) == 0 and not empty.labels().any() and empty.labels().shape == (4, 5)
    assert empty.stack().shape == (0, 4, 5)


def test_bad_input_is_named():
    masks = boxes((0, 2, 0, 2), (3, 3, 3, 3))
    with pytest.raises(DataError, match="mask 1 is empty"):
        containment_groups(masks)
    for overlap, order in ((0.0, "leader"), (1.5, "leader"), (0.5, "random")):
        with pytest.raises(DataError, match="merging"):
            containment_groups(boxes((0, 2, 0, 2)), overlap, order)
    for stack in (np.zeros((4, 4)), np.full((1, 2, 2), np.nan)):
        with pytest.raises(DataError, match="finite values of shape"):
            InstanceMasks.from_stack(stack)
