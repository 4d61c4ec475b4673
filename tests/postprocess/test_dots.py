"""Dots from probability maps, against a walk over neighbors, areas drawn by hand and bumps put there by equation 1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg.errors import DataError
from nucseg.postprocess import points_from_map
from nucseg.supervision import extended_gaussian_mask

MAPS = arrays(float, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 0.34, 0.35, 1]))


def regions(mask):
    """Return the pixels of every 8-connected region, in reading order, by walking."""
    left, found = {tuple(p) for p in np.argwhere(mask).tolist()}, []
    for start in sorted(left):
        if start not in left:
            continue
        own, todo = [], [start]
        while todo:
            row, column = todo.pop()
            if (row, column) in left:
                left.remove((row, column))
                own.append((row, column))
                todo += [(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        found.append(own)
    return found


@given(MAPS, st.integers(0, 5), st.integers(0, 12))
def test_dots_equal_the_means_of_a_walk(prob, min_area, extra):
    max_area = min_area + extra
    found = regions(prob >= 0.35)
    if len(found) > 1:
        found = [own for own in found if min_area <= len(own) < max_area]
    points = points_from_map(prob, min_area=min_area, max_area=max_area)
    assert points.dtype == np.float64 and points.shape == (len(found), 2)
    np.testing.assert_allclose(points, np.array([np.mean(own, axis=0) for own in found]).reshape(-1, 2))


def blocks(*areas):
    """Strips one row high, with a row between them."""
    prob = np.zeros((2 * len(areas), 250))
    for index, area in enumerate(areas):
        prob[2 * index, :area] = 0.9
    return prob


def test_areas_at_the_bounds():
    points = points_from_map(blocks(11, 12, 199, 200))
    assert points.tolist() == [[2, 5.5], [4, 99]]


@pytest.mark.parametrize("area", [1, 12, 250])
def test_a_single_region_is_kept_whatever_its_area(area):
    assert points_from_map(blocks(area)).tolist() == [[0, (area - 1) / 2]]


def test_two_regions_may_both_go():
    assert points_from_map(blocks(3, 220)).shape == (0, 2)
    assert points_from_map(np.zeros((5, 5))).shape == (0, 2)


def test_the_threshold_itself_counts_in_single_precision_too():
    prob = np.zeros((6, 20), np.float32)
    prob[1:5, 1:5], prob[1:5, 8:12], prob[1:5, 15:19] = 0.5, 0.4999, 0.5
    assert points_from_map(prob, threshold=0.5).tolist() == [[2.5, 2.5], [2.5, 16.5]]


def test_a_perfect_answer_gives_the_dots_back():
    """A bump of sigma 2.75 above 0.35 has a radius of 4.0 px: about 50 px, between 12 and 200."""
    dots = [(12, 15), (14, 60), (40, 30), (70, 70)]
    mask = extended_gaussian_mask(dots, (90, 90), 11, 22, 2.75)
    assert (mask >= 0.35).sum() == 4 * 45, "45 pixels lie within 3.98 px of a pixel"
    np.testing.assert_allclose(points_from_map(np.maximum(mask, 0)), dots)


def test_turning_the_map_turns_the_dots():
    rng = np.random.default_rng(0)
    prob = np.kron(rng.random((12, 9)), np.ones((4, 4)))
    points, turned = points_from_map(prob, 0.7), points_from_map(prob.T, 0.7)
    assert len(points) > 5
    np.testing.assert_allclose(sorted(points.tolist()), sorted(turned[:, ::-1].tolist()))


def test_what_is_no_map_is_refused():
    for prob in (np.zeros(3), np.zeros((2, 2, 2)), np.array([[0.1, np.nan]]), np.array([[np.inf]])):
        with pytest.raises(DataError, match="2-D map of finite numbers"):
            points_from_map(prob)
    with pytest.raises(DataError, match="min_area 9 is more than max_area 8"):
        points_from_map(np.zeros((2, 2)), min_area=9, max_area=8)
