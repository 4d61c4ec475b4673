"""Pseudo boxes against a slow restatement and hand-computed cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucseg.errors import DataError
from nucseg.supervision import box_iou, pseudo_boxes

SIZE = (90, 120)
dots = st.lists(st.tuples(st.integers(0, 89), st.integers(0, 119)), min_size=3, max_size=25)


def sides(boxes):
    return boxes[:, 2:] - boxes[:, :2]


def slow_sides(points, ratio, split, smallest, largest):
    points = np.array(points, float)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    spacing = [np.sort(np.delete(apart[k], k))[:2].mean() for k in range(len(points))]
    radius = (points[:, 0].max() - points[:, 0].min()) / split
    mean = [np.mean([s for s, d in zip(spacing, apart[k]) if d <= radius]) for k in range(len(points))]
    return np.clip(ratio * np.array(mean), smallest, largest)


@given(dots, st.sampled_from([0.5, 0.75, 1]), st.sampled_from([2, 6, 10]), st.sampled_from([15, np.inf]))
def test_sides_equal_brute_force(points, ratio, split, largest):
    boxes = pseudo_boxes(points, SIZE, ratio, smallest=2.0, largest=largest, range_split=split)
    side = slow_sides(points, ratio, split, 2.0, largest)[:, None]
    points = np.array(points, float)
    limit = np.array(SIZE) - 0.5
    np.testing.assert_allclose(boxes[:, :2], np.maximum(points - side / 2, -0.5))
    np.testing.assert_allclose(boxes[:, 2:], np.minimum(points + side / 2, limit))


def test_a_regular_grid_gives_boxes_of_its_pitch():
    points = np.argwhere(np.ones((6, 7))) * 12 + 20
    for ratio in (1.0, 0.75, 0.5):
        np.testing.assert_allclose(sides(pseudo_boxes(points, (120, 120), ratio)), 12 * ratio)


def test_sides_scale_with_the_dots_and_follow_their_order():
    points = np.random.default_rng(0).integers(0, 100, (40, 2)).astype(float)
    one = sides(pseudo_boxes(points + 500, (1200, 1200)))
    np.testing.assert_allclose(sides(pseudo_boxes(2 * points + 500, (1200, 1200))), np.maximum(2 * one, 2))
    np.testing.assert_allclose(sides(pseudo_boxes(points[::-1] + 500, (1200, 1200))), one[::-1])


def test_boxes_are_cut_at_the_image():
    boxes = pseudo_boxes([(0, 0), (0, 30), (39, 39)], (40, 40))
    assert boxes[:, :2].min() == -0.5 and boxes[:, 2:].max() == 39.5


@pytest.mark.parametrize("count, height, side", [(1, 100, 20), (2, 120, 20), (1, 40, 12), (2, 30, 12)])
def test_one_or_two_dots_share_the_image_height(count, height, side):
    points = [(height // 2, 50), (height // 2, 60)][:count]
    np.testing.assert_allclose(sides(pseudo_boxes(points, (height, 120))), side)


def test_no_dots_no_boxes():
    assert pseudo_boxes([], SIZE).shape == (0, 4)


def test_dots_in_a_row_have_no_vertical_extent():
    # The neighborhood has radius 0: every dot uses its own spacing, 10 inside and (10 + 20) / 2 at the ends.
    boxes = pseudo_boxes([(45, 30), (45, 40), (45, 50), (45, 60)], SIZE)
    np.testing.assert_allclose(sides(boxes)[:, 0], [15, 10, 10, 15])


@pytest.mark.parametrize(
    "bad", [{"ratio": 0}, {"smallest": 9, "largest": 3}, {"range_split": 0}, {"ratio": np.nan}]
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(DataError, match="pseudo boxes"):
        pseudo_boxes([(1, 1)], SIZE, **bad)


def test_iou_by_hand():
    one = [(0, 0, 2, 2), (0, 0, 2, 2), (0, 0, 4, 4), (1, 1, 1, 1)]
    other = [(0, 0, 2, 2), (2, 0, 4, 2), (1, 1, 3, 3), (1, 1, 1, 1)]
    np.testing.assert_array_equal(box_iou(one, other), [1, 0, 4 / 16, np.nan])


@given(st.lists(st.tuples(*[st.integers(0, 9)] * 8), min_size=1, max_size=5))
def test_iou_equals_counting_pixels(numbers):
    def boxes(part):
        return [(min(a, c), min(b, d), max(a, c) + 1, max(b, d) + 1) for a, b, c, d in part]

    one, other = boxes([n[:4] for n in numbers]), boxes([n[4:] for n in numbers])
    for (a, b, c, d), (e, f, g, h), found in zip(one, other, box_iou(one, other)):
        first, second = np.zeros((12, 12), bool), np.zeros((12, 12), bool)
        first[a:c, b:d], second[e:g, f:h] = True, True
        assert found == pytest.approx((first & second).sum() / (first | second).sum())


def test_iou_needs_pairs():
    with pytest.raises(DataError, match=r"\(2, 4\) and \(1, 4\)"):
        box_iou(np.zeros((2, 4)), np.zeros((1, 4)))
