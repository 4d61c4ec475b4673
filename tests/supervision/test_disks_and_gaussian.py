"""Labels that depend on nothing but the distance to the nearest dot."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucseg.errors import DataError
from nucseg.supervision import disk_labels, extended_gaussian_mask, gaussian_weights, nearest_points

SIZE = (11, 14)
dots = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 13)), max_size=12)


def brute_distance(points, shape):
    pixels = np.argwhere(np.ones(shape)).astype(float)
    apart = pixels[:, None] - np.asarray(points, float)[None]
    return np.linalg.norm(apart, axis=2).reshape(*shape, len(points))


@given(dots)
def test_nearest_points_equals_brute_force(points):
    distance, nearest = nearest_points(points, SIZE)
    if not points:
        assert np.isinf(distance).all() and (nearest == -1).all()
        return
    every = brute_distance(points, SIZE)
    np.testing.assert_allclose(distance, every.min(2))
    # A tie may go to either dot, so what is asked for is that no dot is nearer than the chosen one.
    np.testing.assert_allclose(np.take_along_axis(every, nearest[..., None], 2)[..., 0], every.min(2))
    assert all(points.index(points[k]) == k for k in np.unique(nearest)), "the first of several on a pixel"


@given(dots, st.randoms())
def test_nearest_points_does_not_depend_on_the_order(points, random):
    shuffled = random.sample(points, len(points))
    _, one = nearest_points(points, SIZE)
    _, other = nearest_points(shuffled, SIZE)
    if points:
        np.testing.assert_array_equal(np.array(points)[one], np.array(shuffled)[other])


def test_gaussian_on_a_9x9_grid_by_hand():
    mask = extended_gaussian_mask([(4, 4)], (9, 9), r1=2, r2=4, sigma=1)
    assert mask.dtype == np.float32 and mask[4, 4] == 1
    assert mask[4, 5] == np.float32(np.exp(-0.5)) and mask[3, 3] == np.float32(np.exp(-1))
    assert mask[4, 6] == 0, "at D = r1 the bump has ended"
    assert mask[4, 7] == 0 and mask[4, 8] == -1, "D = 3 is ring, D = r2 = 4 is ignored"
    assert mask[0, 0] == -1
    # D < 2: 9 pixels; 2 <= D < 4: dx^2 + dy^2 in 4..15, of which there are 4+8+4+4+8+8 = 36.
    assert ((mask > 0).sum(), (mask == 0).sum(), (mask == -1).sum()) == (9, 36, 36)


@given(dots, st.integers(1, 4), st.integers(0, 4), st.floats(0.5, 3))
def test_gaussian_equals_equation_one(points, r1, gap, sigma):
    mask = extended_gaussian_mask(points, SIZE, r1, r1 + gap, sigma)
    if not points:
        assert (mask == -1).all()
        return
    d = brute_distance(points, SIZE)
    bumps = np.exp(-(d**2) / (2 * sigma**2)).max(2)
    d = d.min(2)
    expected = np.where(d < r1, bumps, np.where(d < r1 + gap, 0, -1))
    np.testing.assert_allclose(mask, expected, rtol=1e-6)


def test_published_settings_give_the_published_areas():
    one = [(50, 50)]
    mask = extended_gaussian_mask(one, (101, 101), r1=11, r2=22, sigma=2.75)
    near = np.hypot(*(np.mgrid[:101, :101] - 50))
    released, literal = gaussian_weights(mask), gaussian_weights(mask, threshold=0)
    # exp(-D^2 / (2 sigma^2)) >= 0.05 where D <= sigma sqrt(2 ln 20) = 6.73.
    np.testing.assert_array_equal(released == 10, near <= 2.75 * np.sqrt(2 * np.log(20)))
    np.testing.assert_array_equal(literal == 10, near < 11)
    for weights in (released, literal):
        assert weights.dtype == np.float32 and set(np.unique(weights)) == {0, 1, 10}
        np.testing.assert_array_equal(weights > 0, near < 22)


def test_disks_on_a_9x9_grid_by_hand():
    labels = disk_labels([(0, 0)], (9, 9), r=1, d=3)
    assert labels.dtype == np.int8
    assert labels[0, :6].tolist() == [1, 1, -1, -1, 0, 0] and labels[1, 1] == -1 and labels[2, 3] == 0
    assert (labels == 1).sum() == 3, "the border cuts the disk, it adds nothing"


@given(dots, st.integers(0, 4), st.integers(0, 6))
def test_disks_equal_brute_force(points, r, gap):
    labels = disk_labels(points, SIZE, r, r + gap)
    if not points:
        assert (labels == 0).all()
        return
    d = brute_distance(points, SIZE).min(2)
    np.testing.assert_array_equal(labels, np.where(d <= r, 1, np.where(d > r + gap, 0, -1)))


def test_one_published_disk_has_49_pixels():
    labels = disk_labels([(31, 31)], (64, 64), r=4, d=20)
    # x^2 + y^2 <= 16 has 49 whole solutions, x^2 + y^2 <= 400 has 1257.
    assert ((labels == 1).sum(), (labels != 0).sum()) == (49, 1257)


def test_disks_of_dots_more_than_2r_apart_are_disjoint(rng):
    points = np.argwhere(np.zeros((6, 7)) == 0) * 9 + 4
    labels = disk_labels(points, (60, 70), r=4, d=20)
    assert (labels == 1).sum() == 49 * len(points)


@pytest.mark.parametrize("r, d", [(5, 4), (-1, 3), (np.nan, 3)])
def test_impossible_disks_are_refused(r, d):
    with pytest.raises(DataError, match="0 <= r <= d"):
        disk_labels([], (5, 5), r, d)


@pytest.mark.parametrize("r1, r2, sigma", [(0, 2, 1), (3, 2, 1), (1, 2, 0), (1, np.nan, 1)])
def test_impossible_gaussians_are_refused(r1, r2, sigma):
    with pytest.raises(DataError, match="0 < r1 <= r2"):
        extended_gaussian_mask([], (5, 5), r1, r2, sigma)


@pytest.mark.parametrize("points", [[(0, 9)], [(-1, 0)], [(np.nan, 0)], [1, 2, 3], [("a", "b")]])
def test_bad_points_are_refused_by_name(points):
    with pytest.raises(DataError, match="points"):
        nearest_points(points, (9, 9))


@pytest.mark.parametrize("shape", [(9,), (0, 9), 9, (9.5, 9), None])
def test_bad_shapes_are_refused_by_name(shape):
    with pytest.raises(DataError, match="shape"):
        nearest_points([(0, 0)], shape)


def test_the_shape_of_an_rgb_image_will_do():
    assert nearest_points([(0, 0)], np.zeros((4, 5, 3)).shape)[0].shape == (4, 5)
