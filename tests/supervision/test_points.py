"""Dots from masks, and drawing some of them."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg.errors import DataError
from nucseg.seeding import generator
from nucseg.supervision import box_centers, centroids, label_boxes, sample_points

maps = arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 4))

L_SHAPE = np.zeros((9, 9), int)
L_SHAPE[1:8, 1] = 7
L_SHAPE[7, 1:8] = 7
TWO = np.zeros((9, 9), int)
TWO[0:2, 0:3] = 2_000_000_000
TWO[5:9, 4:8] = 3


def by_hand(labels, of):
    return np.array([of(np.argwhere(labels == k)) for k in np.unique(labels) if k])


def test_centers_by_hand():
    assert box_centers(TWO).tolist() == [[6, 5], [0, 1]]
    assert centroids(TWO).tolist() == [[6.5, 5.5], [0.5, 1]]
    assert label_boxes(TWO).tolist() == [[4.5, 3.5, 8.5, 7.5], [-0.5, -0.5, 1.5, 2.5]]


def test_a_bent_object_has_its_centers_outside_unless_moved():
    # 13 pixels: the column sums to 7*1 + (2+...+7) = 34, the row to (1+...+7) + 6*7 = 70.
    assert centroids(L_SHAPE).tolist() == [[70 / 13, 34 / 13]]
    assert box_centers(L_SHAPE).tolist() == [[4, 4]]
    assert L_SHAPE[4, 4] == 0
    # (5.38, 2.62) is as far from (5, 1) as from (7, 3).
    moved = centroids(L_SHAPE, inside=True)
    assert moved.tolist() in ([[5, 1]], [[7, 3]])


@given(maps)
def test_centers_equal_brute_force(labels):
    if not labels.any():
        assert box_centers(labels).shape == centroids(labels).shape == (0, 2)
        assert label_boxes(labels).shape == (0, 4)
        return
    np.testing.assert_allclose(centroids(labels), by_hand(labels, lambda p: p.mean(0)))
    middle = by_hand(labels, lambda p: (p.min(0) + p.max(0)) // 2)
    np.testing.assert_array_equal(box_centers(labels), middle)
    edges = by_hand(labels, lambda p: np.hstack([p.min(0) - 0.5, p.max(0) + 0.5]))
    np.testing.assert_array_equal(label_boxes(labels), edges)


@given(maps)
def test_moved_centroids_are_on_the_nearest_own_pixel(labels):
    ids = [k for k in np.unique(labels) if k]
    for k, center, moved in zip(ids, centroids(labels), centroids(labels, inside=True)):
        own = np.argwhere(labels == k)
        if tuple(np.floor(center + 0.5)) in {tuple(p) for p in own}:
            assert moved.tolist() == center.tolist()
        else:
            assert tuple(moved) in {tuple(p) for p in own}
            nearest = np.sqrt(((own - center) ** 2).sum(1)).min()
            assert np.linalg.norm(moved - center) == pytest.approx(nearest)


@given(st.integers(0, 60), st.floats(0, 1), st.booleans(), st.integers(0, 5))
def test_a_draw_is_a_part_in_order(n, ratio, replace, seed):
    points = np.column_stack([np.arange(n), np.zeros(n)])
    kept = sample_points(points, ratio, seed, replace)
    assert (np.diff(kept[:, 0]) > 0).all() and np.isin(kept[:, 0], points[:, 0]).all()
    assert len(kept) <= ratio * n + 1e-9 if replace else ratio * n - 1 < len(kept) <= ratio * n + 1e-9
    np.testing.assert_array_equal(kept, sample_points(points, ratio, np.random.default_rng(seed), replace))


@pytest.mark.parametrize(
    "ratio, n, count", [(0.29, 100, 29), (0.05, 19, 0), (0.05, 20, 1), (1, 7, 7), (0.7, 10, 7)]
)
def test_a_draw_has_the_stated_size(ratio, n, count):
    assert len(sample_points(np.zeros((n, 2)), ratio, 0)) == count


def test_larger_ratios_contain_smaller_ones():
    points = np.random.default_rng(3).random((80, 2))
    draws = [{tuple(p) for p in sample_points(points, r, 5)} for r in (0.05, 0.1, 0.25, 0.5, 1)]
    assert all(small < large for small, large in pairwise(draws))


def test_every_dot_is_equally_likely():
    points = np.column_stack([np.arange(10), np.zeros(10)])
    hits = np.zeros(10)
    for seed in range(2000):
        hits[sample_points(points, 0.3, seed)[:, 0].astype(int)] += 1
    # 2000 draws with probability 0.3: standard deviation 20.5, so 100 is almost five of them.
    assert np.abs(hits - 600).max() < 100


@pytest.mark.parametrize("ratio", [0.05, 0.1, 0.25, 0.5, 1.0])
def test_with_replacement_keeps_one_minus_exp_of_the_ratio(ratio):
    points = np.column_stack([np.arange(20000), np.zeros(20000)])
    kept = len(sample_points(points, ratio, generator(0, "draw"), replace=True)) / 20000
    assert kept == pytest.approx(1 - np.exp(-ratio), abs=0.01)


@pytest.mark.parametrize("ratio", [-0.1, 1.1, np.nan])
def test_a_ratio_outside_its_range_is_refused(ratio):
    with pytest.raises(DataError, match="ratio must be between 0 and 1"):
        sample_points([(0, 0)], ratio, 0)


@pytest.mark.parametrize("function", [box_centers, centroids, label_boxes])
def test_bad_maps_are_refused(function):
    with pytest.raises(DataError, match=r"integers.*float64"):
        function(np.zeros((3, 3)))
    with pytest.raises(DataError, match="-2"):
        function(np.full((3, 3), -2))
