"""Connected components against a flood fill and pictures with known answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg.errors import DataError
from nucseg.postprocess import components

MASKS = arrays(bool, st.tuples(st.integers(1, 8), st.integers(1, 8)))
STEPS = {4: [(0, 1), (1, 0), (0, -1), (-1, 0)]}
STEPS[8] = STEPS[4] + [(1, 1), (1, -1), (-1, 1), (-1, -1)]


def flood(mask, connectivity):
    """Label in raster order by walking from pixel to pixel."""
    labels, count = np.zeros(mask.shape, int), 0
    for start in zip(*np.nonzero(mask)):
        if labels[start]:
            continue
        count += 1
        todo = [start]
        while todo:
            r, c = todo.pop()
            if 0 <= r < mask.shape[0] and 0 <= c < mask.shape[1] and mask[r, c] and not labels[r, c]:
                labels[r, c] = count
                todo += [(r + dr, c + dc) for dr, dc in STEPS[connectivity]]
    return labels


@given(MASKS, st.sampled_from([4, 8]))
def test_components_equal_a_flood_fill(mask, connectivity):
    labels = components(mask, connectivity=connectivity)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, flood(mask, connectivity))


@given(MASKS, st.integers(0, 6))
def test_small_components_go_and_the_rest_stay(mask, min_size):
    labels, full = components(mask, min_size), flood(mask, 8)
    kept = [v for v in range(1, full.max() + 1) if (full == v).sum() >= min_size]
    np.testing.assert_array_equal(labels > 0, np.isin(full, kept))
    assert sorted(set(labels.flat) - {0}) == list(range(1, len(kept) + 1))


@given(MASKS, st.sampled_from([4, 8]))
def test_filled_holes_leave_only_background_that_reaches_the_border(mask, connectivity):
    filled = components(mask, connectivity=connectivity, fill_holes=True) > 0
    outside = flood(np.pad(~mask, 1, constant_values=True), 12 - connectivity)
    np.testing.assert_array_equal(filled, (outside != outside[0, 0])[1:-1, 1:-1])


def test_area_equal_to_the_minimum_stays():
    mask = np.zeros((10, 10), np.uint8)
    mask[0:4, 0:5], mask[6:9, 0:6], mask[9, 0] = 7, 7, 7  # 20 px and 19 px
    assert components(mask, min_size=20).max() == 1
    assert components(mask, min_size=19).max() == 2
    assert components(mask, min_size=21).max() == 0


def test_a_ring_and_what_is_in_it():
    """A diagonal ring holds its hole only under 8 neighbors; a dot inside joins the filled disk."""
    rows, cols = np.mgrid[-3:4, -3:4]
    ring = abs(rows) + abs(cols) == 3
    ring[3, 3] = True
    assert components(ring, connectivity=8).max() == 2
    assert components(ring, connectivity=8, fill_holes=True).max() == 1
    assert components(ring, connectivity=8, fill_holes=True).sum() == 1 + 3 + 5 + 7 + 5 + 3 + 1
    assert components(ring, connectivity=4, fill_holes=True).max() == 12 + 1


def test_small_ones_go_before_holes_are_filled():
    """A ring of 8 px is below 9 and goes, although filled it would have 9."""
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False
    assert components(mask, min_size=9, fill_holes=True).max() == 0


BAD = [np.ones(3), np.ones((2, 2)), np.ones((2, 2, 2), bool), np.zeros((0, 3), bool)]


@pytest.mark.parametrize("bad", BAD)
def test_bad_masks(bad):
    with pytest.raises(DataError, match="mask"):
        components(bad)


def test_bad_connectivity():
    with pytest.raises(DataError, match="6"):
        components([[1]], connectivity=6)
