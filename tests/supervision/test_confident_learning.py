"""Confident learning against the definition written as loops, and against errors that were planted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucseg.errors import DataError
from nucseg.supervision import corrected_labels, label_errors

items = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 99)), min_size=1, max_size=40)


def errors_by_loop(labels, prob):
    """Northcutt et al. 2021 for two classes: thresholds, confident joint, its rows scaled to the labels, pruning."""
    each = [(1 - p, p) for p in prob]
    thresholds = []
    for k in (0, 1):
        own = [row[k] for row, label in zip(each, labels) if label == k]
        if not own:
            return [False] * len(labels)
        thresholds.append(sum(own) / len(own))
    joint = [[0, 0], [0, 0]]
    for row, label in zip(each, labels):
        reached = [k for k in (0, 1) if row[k] >= thresholds[k] - 1e-6]
        if len(reached) == 1:
            joint[label][reached[0]] += 1
        elif reached:
            joint[label][int(row[1] > row[0])] += 1
    wrong = [False] * len(labels)
    for k in (0, 1):
        joint[k][k] = max(joint[k][k], 1)
        mine = [i for i, label in enumerate(labels) if label == k]
        number = min(round(joint[k][1 - k] / sum(joint[k]) * len(mine)), len(mine) - 1)
        for i in sorted(mine, key=lambda i: each[i][k])[:number]:
            wrong[i] = each[i][k] < 0.5
    return wrong


@given(items)
def test_errors_equal_the_definition(pairs):
    labels, prob = [label for label, _ in pairs], [percent / 100 for _, percent in pairs]
    assert label_errors(labels, prob).tolist() == errors_by_loop(labels, prob)


def test_errors_by_hand():
    # Thresholds: class 0 at (0.9 + 0.8 + 0.7 + 0.1) / 4 = 0.625, class 1 at (0.9 + 0.8 + 0.4) / 3 = 0.7.
    # Of label 0, three count for 0 and one (0.9) for 1: a quarter of four is one item, the one at 0.9.
    # Of label 1, two count for 1; 0.4 reaches neither threshold: no errors.
    labels, prob = [0, 0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.9, 0.9, 0.8, 0.4]
    assert np.flatnonzero(label_errors(labels, prob)).tolist() == [3]
    assert corrected_labels(labels, prob).tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_planted_errors_are_turned_around_in_both_directions(rng):
    truth = np.zeros((40, 50), np.int8)
    truth[10:30, 5:25] = 1
    prob = np.where(truth == 1, 0.9, 0.08) + rng.uniform(-0.02, 0.02, truth.shape)
    labels = truth.copy()
    labels[10:14, 5:25] = 0  # a missing part
    labels[0:4, 30:50] = 1  # a part too much
    found = label_errors(labels, prob)
    np.testing.assert_array_equal(found, labels != truth)
    corrected = corrected_labels(labels, prob)
    assert corrected.dtype == np.int8
    np.testing.assert_array_equal(corrected, truth)


def test_labels_that_the_probability_favors_are_kept():
    # Everything of label 1 but one item counts for 0, so nearly all of it is to go, but 0.6 still favors 1.
    labels = [0, 0, 1, 1, 1, 1]
    prob = [0.02, 0.02, 0.01, 0.01, 0.6, 0.99]
    assert label_errors(labels, prob).tolist() == [False, False, True, True, False, False]


def test_one_item_of_each_label_is_kept():
    assert label_errors([0, 0, 1], [0.9, 0.9, 0.1]).sum() == 1


@pytest.mark.parametrize("label", [0, 1])
def test_a_single_class_has_no_errors(label):
    labels = np.full((3, 4), label)
    assert not label_errors(labels, np.full((3, 4), 0.3)).any()
    np.testing.assert_array_equal(corrected_labels(labels, np.full((3, 4), 0.3)), labels)


def test_arguments_stay_as_they_were():
    labels, prob = np.array([0, 0, 1, 1]), np.array([0.1, 0.9, 0.2, 0.9], np.float32)
    before = labels.copy(), prob.copy()
    corrected_labels(labels, prob)
    np.testing.assert_array_equal(labels, before[0])
    np.testing.assert_array_equal(prob, before[1])


def test_bad_calls():
    with pytest.raises(DataError, match="shape"):
        label_errors([0, 1], [0.5])
    with pytest.raises(DataError, match="labels 0 and 1"):
        label_errors([0, -1], [0.5, 0.5])
    for wrong in (1.5, float("nan"), -0.1):
        with pytest.raises(DataError, match="between 0 and 1"):
            corrected_labels([0, 1], [0.5, wrong])
