"""Boxes and a mask become instances: the rules word by word on small images, and what holds for all of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from nucseg.errors import DataError
from nucseg.postprocess import assemble, components

EIGHT = np.ones((3, 3))
RULES = ["nearest", "claim", "watershed"]


@st.composite
def scenes(draw):
    """A likelihood map with boxes and scores; edges lie on halves and whole numbers, so that ties occur."""
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    prob = draw(arrays(np.float64, size, elements=st.sampled_from([0.1, 0.5, 0.9, 0.9])))
    edges = st.integers(-8, 24).map(lambda twice: twice / 2)
    spans = st.tuples(edges, edges, edges, edges).map(lambda e: (*np.minimum(e[:2], e[2:]), *np.maximum(e[:2], e[2:])))
    boxes = draw(st.lists(spans, max_size=5))
    scores = draw(st.lists(st.sampled_from([0.3, 0.6, 0.9]), min_size=len(boxes), max_size=len(boxes)))
    return prob, np.array(boxes).reshape(-1, 4), np.array(scores)


def foreground(prob, min_size):
    """Holes filled by flooding the background from outside, small components dropped."""
    padded = np.pad(prob > 0.5, 1)
    outside = ndimage.label(~padded)[0]
    return components((outside != outside[0, 0])[1:-1, 1:-1], min_size) > 0


def inside(box, row, column):
    return box[0] < box[2] and box[1] < box[3] and box[0] <= row <= box[2] and box[1] <= column <= box[3]


def middle(box):
    return int(np.floor((box[0] + box[2]) / 2 + 0.5)), int(np.floor((box[1] + box[3]) / 2 + 0.5))


def one_component(labels, boxes, min_size):
    """Of each box's pixels the component at its center, or else the largest, if it is large enough."""
    result = np.zeros_like(labels)
    for number, box in enumerate(boxes):
        parts, count = ndimage.label(labels == number + 1, EIGHT)
        if not count:
            continue
        areas = [int((parts == part).sum()) for part in range(1, count + 1)]
        chosen = 1 + areas.index(max(areas))
        row, column = middle(box)
        if 0 <= row < labels.shape[0] and 0 <= column < labels.shape[1] and parts[row, column]:
            chosen = parts[row, column]
        if areas[chosen - 1] >= min_size:
            result[parts == chosen] = number + 1
    return result


def nearest_by_hand(prob, boxes, scores, min_size):
    mask = foreground(prob, min_size)
    labels = np.zeros(prob.shape, int)
    for row, column in np.argwhere(mask):
        ranked = []
        for number, box in enumerate(boxes):
            if inside(box, row, column):
                down = abs(row - (box[0] + box[2]) / 2) / (box[2] - box[0])
                along = abs(column - (box[1] + box[3]) / 2) / (box[3] - box[1])
                ranked.append((max(down, along), -scores[number], number))
        if ranked:
            labels[row, column] = min(ranked)[2] + 1
    return one_component(labels, boxes, min_size)


def claimed_by_hand(prob, boxes, scores, min_size):
    mask, labels = foreground(prob, min_size), np.zeros(prob.shape, int)
    turns = sorted(range(len(boxes)), key=lambda number: (-scores[number], number))
    for number in turns:
        window = mask & (labels == 0)
        for row, column in np.argwhere(window):
            window[row, column] = inside(boxes[number], row, column)
        parts, count = ndimage.label(window)
        if count:
            largest = max(range(1, count + 1), key=lambda part: ((parts == part).sum(), -part))
            labels[parts == largest] = number + 1
    for number in turns:
        if (labels == number + 1).sum() < min_size:
            labels[labels == number + 1] = 0
    grown = labels.copy()
    for number in reversed(turns):  # the best one last, over the others
        grown[ndimage.binary_dilation(labels == number + 1) & (labels == 0)] = number + 1
    return grown


@settings(max_examples=150, deadline=None)
@given(scenes(), st.integers(0, 4))
def test_pixels_go_to_the_nearest_center(scene, min_size):
    np.testing.assert_array_equal(assemble(*scene, min_size=min_size), nearest_by_hand(*scene, min_size))


@settings(max_examples=150, deadline=None)
@given(scenes(), st.integers(0, 4))
def test_boxes_claim_in_turn(scene, min_size):
    np.testing.assert_array_equal(assemble(*scene, min_size=min_size, rule="claim"), claimed_by_hand(*scene, min_size))


@settings(max_examples=150, deadline=None)
@given(scenes(), st.sampled_from(RULES), st.sampled_from(["discard", "components"]), st.integers(0, 4))
def test_what_holds_for_every_rule(scene, rule, outside, min_size):
    prob, boxes, scores = scene
    labels = assemble(prob, boxes, scores, min_size, outside, rule)
    assert labels.shape == prob.shape and labels.dtype == np.int32
    mask = foreground(prob, min_size)
    allowed = ndimage.binary_dilation(mask) if rule == "claim" else mask
    assert allowed[labels > 0].all()
    for own in np.unique(labels[labels > 0]):
        assert ndimage.label(labels == own, EIGHT)[1] == 1
        assert (labels == own).sum() >= min_size
    covered = np.zeros(prob.shape, bool)
    for box in boxes:
        covered |= np.array([[inside(box, row, column) for column in range(prob.shape[1])] for row in range(len(prob))])
    if rule == "nearest":
        assert covered[(labels > 0) & (labels <= len(boxes))].all()
    if rule != "claim":
        assert not covered[labels > len(boxes)].any()
    if outside == "discard":
        assert labels.max(initial=0) <= len(boxes)
    elif rule == "nearest":
        np.testing.assert_array_equal(np.where(labels > len(boxes), labels - len(boxes), 0),
                                      components(mask & ~covered, min_size))


def test_two_boxes_split_one_blob_where_their_distances_are_equal():
    """Boxes of 12 and 6 columns: at equal shares of their sides the line is twice as far from the wide one's center."""
    prob = np.ones((6, 18))
    boxes = [(-0.5, -0.5, 5.5, 11.5), (-0.5, 8.5, 5.5, 14.5)]  # centers at columns 5.5 and 11.5, equal at 9.5
    labels = assemble(prob, boxes, [0.5, 0.9])
    assert (labels[2:4, :10] == 1).all() and (labels[2:4, 10:15] == 2).all() and not labels[:, 15:].any()
    assert (assemble(prob, boxes, [0.5, 0.9], outside="components")[:, 15:] == 3).all()


def test_equal_distances_go_to_the_higher_score():
    prob = np.ones((1, 5))
    boxes = [(-0.5, -0.5, 0.5, 4.5), (-0.5, -0.5, 0.5, 4.5)]
    assert assemble(prob, boxes, [0.2, 0.9], min_size=1).tolist() == [[2] * 5]
    assert assemble(prob, boxes, [0.9, 0.9], min_size=1).tolist() == [[1] * 5]


def test_the_component_at_the_center_stays_even_if_another_is_larger():
    prob = np.zeros((5, 11))
    prob[1:4, 4:7] = 1  # 9 pixels at the center
    prob[:, 8:11] = 1  # 15 pixels at the edge
    box = [(-0.5, -0.5, 4.5, 10.5)]
    np.testing.assert_array_equal(assemble(prob, box, [1.0], min_size=5) > 0, np.pad(np.ones((3, 3)), ((1, 1), (4, 4))))
    prob[1:4, 4:7] = 0
    np.testing.assert_array_equal(assemble(prob, box, [1.0], min_size=5), prob)


def test_holes_are_filled_and_specks_dropped():
    prob = np.zeros((9, 9))
    prob[1:6, 1:6] = 1
    prob[3, 3] = 0
    prob[8, 8] = 1
    labels = assemble(prob, [(-0.5, -0.5, 8.5, 8.5)], [1.0])
    assert labels[3, 3] == 1 and labels[8, 8] == 0 and (labels > 0).sum() == 25


def test_half_is_no_foreground():
    box = [(-0.5, -0.5, 3.5, 3.5)]
    assert not assemble(np.full((4, 4), 0.5), box, [1.0]).any()
    assert assemble(np.full((4, 4), 0.5), box, [1.0], threshold=0.4).all()


def test_a_claimed_pixel_is_gone_and_instances_grow_by_one():
    prob = np.zeros((7, 12))
    prob[2:5, 1:11] = 1
    boxes = [(1.5, 0.5, 4.5, 6.5), (1.5, 3.5, 4.5, 10.5)]  # columns 1 to 6, and 4 to 10
    expected = np.zeros((7, 12), int)
    expected[2:5, 0:4] = expected[1:6, 1:4] = 1
    expected[2:5, 4:12] = expected[1:6, 4:11] = 2
    np.testing.assert_array_equal(assemble(prob, boxes, [0.4, 0.8], 9, rule="claim"), expected)


def test_two_touching_disks_are_flooded_from_their_centers():
    rows, columns = np.mgrid[:21, :36]
    distance = [np.hypot(rows - 10, columns - middle) for middle in (10, 25)]
    prob = (np.minimum(*distance) <= 9).astype(float)
    boxes = [(0.5, 0.5, 19.5, 19.5), (0.5, 15.5, 19.5, 34.5)]
    labels = assemble(prob, boxes, [0.5, 0.5], rule="watershed")
    clear = np.abs(distance[0] - distance[1]) > 2
    expected = np.where(distance[0] < distance[1], 1, 2) * (prob > 0)
    np.testing.assert_array_equal(labels[clear], expected[clear])
    # Without a marker of its own, the second disk is flooded from the first one, even outside the box.
    assert (assemble(prob, boxes[:1], [0.5], rule="watershed") == prob).all()


def test_the_better_of_two_boxes_with_one_center_marks_it():
    boxes = [(0.5, 0.5, 5.5, 5.5), (1.5, 1.5, 4.5, 4.5)]
    assert np.unique(assemble(np.ones((7, 7)), boxes, [0.1, 0.2], rule="watershed")).tolist() == [2]


@pytest.mark.parametrize("rule", RULES)
def test_nothing_to_assemble(rule):
    prob = np.zeros((6, 8))
    prob[1:5, 1:5] = 1
    assert not assemble(prob, [], [], rule=rule).any()
    assert (assemble(prob, np.zeros((0, 4)), np.zeros(0), rule=rule, outside="components") > 0).sum() >= 16
    far = [(-20, -20, -10, -10), (2, 30, 5, 40), (3.0, 3.0, 3.0, 6.0)]  # outside, outside, and without area
    assert not assemble(prob, far, [1, 1, 1], rule=rule).any()
    assert not assemble(np.zeros((6, 8)), [(0, 0, 5, 5)], [1.0], rule=rule, outside="components").any()


@pytest.mark.parametrize("change, message", [
    ({"prob": np.zeros((2, 3, 3))}, r"prob: .* \(2, 3, 3\)"),
    ({"prob": np.full((3, 3), np.nan)}, "likelihoods in"),
    ({"prob": np.full((3, 3), 1.5)}, "likelihoods in"),
    ({"boxes": [(0, 0, 1)]}, r"boxes: expected numbers of shape \(N, 4\), got \(1, 3\)"),
    ({"boxes": [(0, np.nan, 1, 1)]}, "number 0 is"),
    ({"boxes": [(0, 2, 3, 1)]}, "in this order"),
    ({"scores": [0.5, 0.5]}, "scores: expected 1 finite"),
    ({"scores": [np.nan]}, "scores: expected 1 finite"),
    ({"rule": "largest"}, "'largest'"),
    ({"outside": "keep"}, "'keep'"),
    ({"min_size": -1}, "size of 0 or more"),
    ({"threshold": 1.5}, "threshold of 0 to 1"),
])
def test_bad_input_is_named(change, message):
    given_ones = {"prob": np.ones((3, 3)), "boxes": [(0, 0, 2, 2)], "scores": [0.5], **change}
    with pytest.raises(DataError, match=message):
        assemble(**given_ones)
