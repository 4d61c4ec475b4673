"""Region growing against a walk from pixel to pixel, and nuclei that come back from perfect probabilities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from nucseg.errors import DataError
from nucseg.postprocess import components, grow_to_boundary
from nucseg.supervision import boundary_classes

CROSS = [(0, 1), (1, 0), (0, -1), (-1, 0)]
LEVELS = [0.0, 0.1, 0.2, 0.3, 0.4]


@st.composite
def probabilities(draw):
    shape = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    boundary = draw(arrays(float, shape, elements=st.sampled_from(LEVELS)))
    return draw(arrays(float, shape, elements=st.sampled_from([*LEVELS, 0.6]))), boundary


def walk(inside, boundary, threshold):
    """The rule, pixel by pixel and round by round."""
    labels = components(inside > threshold, connectivity=4, fill_holes=True).astype(int)
    front = [tuple(pixel) for pixel in np.argwhere(labels)]
    while front:
        claims = {}
        for r, c in front:
            for dr, dc in CROSS:
                new = r + dr, c + dc
                if not (0 <= new[0] < labels.shape[0] and 0 <= new[1] < labels.shape[1]) or labels[new]:
                    continue
                likeliest = max(inside[new], boundary[new]) >= 1 - inside[new] - boundary[new]
                if likeliest and boundary[new] > boundary[r, c]:
                    claims[new] = min(claims.get(new, labels[r, c]), labels[r, c])
        for pixel, number in claims.items():
            labels[pixel] = number
        front = list(claims)
    return labels


@given(probabilities())
def test_growing_equals_a_walk(maps):
    labels = grow_to_boundary(*maps, min_size=0)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, walk(*maps, 0.5))


def nuclei():
    """Disks that touch, one alone, and one cut by the border."""
    rows, columns = np.mgrid[:60, :60]
    labels = np.zeros((60, 60), int)
    for number, (r, c, radius) in enumerate([(15, 15, 9), (17, 31, 8), (42, 20, 10), (45, 58, 7)], start=1):
        labels[((rows - r) ** 2 + (columns - c) ** 2 <= radius**2) & (labels == 0)] = number
    return labels


@pytest.mark.parametrize("both_sides", [True, False])
def test_perfect_probabilities_give_the_nuclei_back(both_sides):
    """All but the pixels that a cross does not fit over: the nuclei, opened by a cross."""
    truth = nuclei()
    classes = boundary_classes(truth, both_sides)
    found = grow_to_boundary((classes == 1).astype(float), (classes == 2).astype(float))
    framed = np.pad(truth, 2, mode="edge")  # the border of the image is not an edge of a nucleus
    opened = np.zeros(truth.shape, int)
    for number in range(1, truth.max() + 1):
        opened[ndimage.binary_opening(framed == number)[2:-2, 2:-2]] = number
    np.testing.assert_array_equal(found, opened)
    assert (opened > 0).sum() > 0.97 * (truth > 0).sum()


def test_growth_ends_where_the_boundary_falls_or_outside_wins():
    boundary = np.array([[0.0, 0.3, 0.6, 0.5, 0.1, 0.2, 0.3, 0.4]])
    inside = np.array([[0.1, 0.1, 0.3, 0.4, 0.9, 0.5, 0.4, 0.1]])
    # To the left the crest is at 0.6; to the right, outside is likeliest (0.5) at the end.
    np.testing.assert_array_equal(grow_to_boundary(inside, boundary, min_size=1), [[0, 0, 1, 1, 1, 1, 1, 0]])


def test_small_seeds_are_dropped():
    inside = np.zeros((9, 20))
    inside[2:6, 2:7], inside[2:5, 10:16], inside[5, 10] = 1, 1, 1  # 20 px and 19 px
    assert grow_to_boundary(inside, np.zeros((9, 20))).max() == 1
    assert grow_to_boundary(inside, np.zeros((9, 20)), min_size=19).max() == 2


def test_bad_maps():
    good = np.zeros((3, 3))
    for inside, boundary in ((good, np.zeros((3, 4))), (np.zeros(3), np.zeros(3)), (good, np.full((3, 3), np.nan))):
        with pytest.raises(DataError, match="region growing"):
            grow_to_boundary(inside, boundary)
