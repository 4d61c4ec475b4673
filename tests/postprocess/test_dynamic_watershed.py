"""The dynamic watershed against flooding by hand, conservation of the foreground, and known pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg.errors import DataError
from nucseg.metrics import aji
from nucseg.postprocess import components, dynamic_watershed
from nucseg.supervision import chessboard_distance

MAPS = arrays(np.int32, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(0, 5))


def neighborhood(surface, r, c):
    return surface[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2]


def filled(surface, depth):
    """H-minima by definition: erode surface + depth again and again, never below the surface."""
    level = np.minimum(surface + depth, 255)
    while True:
        eroded = np.array([[neighborhood(level, r, c).min() for c in range(level.shape[1])]
                           for r in range(level.shape[0])])
        lower = np.maximum(eroded, surface)
        if (lower == level).all():
            return level
        level = lower


def minima(surface):
    """Plateaus with nothing lower around them, but not one that is all of the surface."""
    found = np.zeros(surface.shape, bool)
    for value in set(surface.flat):
        plateaus = components(surface == value)
        for number in range(1, plateaus.max() + 1):
            own = plateaus == number
            around = np.array([[neighborhood(own, r, c).any() for c in range(own.shape[1])]
                               for r in range(own.shape[0])]) & ~own
            found |= own & around.any() & (surface[around] > value).all()
    return found


@given(MAPS, st.integers(0, 2), st.sampled_from([0.5, 1.0]))
def test_one_nucleus_for_each_minimum_of_the_filled_surface(distance, depth, threshold):
    surface = filled(255 - distance, depth)
    foreground = distance > threshold
    seeds = components(minima(surface) & foreground)
    labels = dynamic_watershed(distance, depth, threshold)
    assert labels.dtype == np.int32
    assert labels.max() == seeds.max()
    for number in range(1, seeds.max() + 1):
        assert len(set(labels[seeds == number])) == 1
    # Every part of the foreground with a seed in it is divided among its seeds to the last pixel; no other part.
    parts = components(foreground, connectivity=4)
    seeded = np.isin(parts, parts[seeds > 0]) & foreground
    np.testing.assert_array_equal(labels > 0, seeded)


@given(MAPS, st.integers(0, 2))
def test_lines_take_pixels_that_touch_another_nucleus(distance, depth):
    plain, cut = dynamic_watershed(distance, depth), dynamic_watershed(distance, depth, lines=True)
    expected = plain.copy()
    for r, c in np.ndindex(*plain.shape):
        if len(set(neighborhood(plain, r, c).flat) - {0}) > 1:
            expected[r, c] = 0
    left = sorted(set(expected.flat) - {0})
    for number, old in enumerate(left, start=1):
        np.testing.assert_array_equal(cut == number, expected == old)
    assert set(cut.flat) - {0} == set(range(1, len(left) + 1))


def disks(*centers, radius=8, size=(40, 60)):
    rows, columns = np.mgrid[: size[0], : size[1]]
    labels = np.zeros(size, int)
    for number, (r, c) in enumerate(centers, start=1):
        labels[((rows - r) ** 2 + (columns - c) ** 2 <= radius**2) & (labels == 0)] = number
    return labels


def test_touching_disks_come_back_from_their_distances():
    """Two that overlap by a little and one alone; by the true distances, the watershed is nearly the truth."""
    truth = disks((12, 14), (14, 29), (28, 48))
    found = dynamic_watershed(chessboard_distance(truth), depth=1)
    assert found.max() == 3
    assert aji(truth, found) > 0.9
    np.testing.assert_array_equal(found > 0, truth > 0)


def test_depth_decides_whether_a_dent_divides():
    """Peaks 6 and 5 with 4 between them: the lower peak is 1 above the saddle."""
    row = np.array([0, 2, 4, 6, 5, 4, 5, 3, 1, 0])
    assert dynamic_watershed(row[None], depth=0).max() == 2
    assert dynamic_watershed(row[None], depth=0.5, whole=False).max() == 2
    assert dynamic_watershed(row[None], depth=1).max() == 1


def test_distances_are_cut_to_whole_pixels_and_to_their_range():
    row = np.array([[-3.0, 0.9, 1.9, 300.0, 400.0, 1.2, 0.2]])
    np.testing.assert_array_equal(dynamic_watershed(row), [[0, 0, 1, 1, 1, 1, 0]])
    np.testing.assert_array_equal(dynamic_watershed(row, threshold=1.0), [[0, 0, 0, 1, 1, 0, 0]])
    np.testing.assert_array_equal(dynamic_watershed(row, whole=False), [[0, 1, 1, 1, 1, 1, 0]])


def test_an_empty_map_and_one_too_flat_have_no_nuclei():
    assert not dynamic_watershed(np.zeros((5, 5))).any()
    bump = np.zeros((5, 5))
    bump[2, 2] = 1
    assert dynamic_watershed(bump, depth=0).sum() == 1
    assert not dynamic_watershed(bump, depth=1).any()


def test_bad_maps():
    for bad in (np.ones(4), np.full((2, 2), np.nan)):
        with pytest.raises(DataError, match="distance"):
            dynamic_watershed(bad)
    with pytest.raises(DataError, match="-1"):
        dynamic_watershed(np.ones((2, 2)), depth=-1)
