"""Pictures whose pixels are known beforehand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg.data.sample import Sample
from nucseg.errors import DataError
from nucseg.viz import crop, crop_points, fill, instance_colors, outline, outline_mask, rgb, weak_label_image

GRAY = np.full((8, 8, 3), 100, np.uint8)
label_maps = arrays(np.int32, st.tuples(st.integers(2, 9), st.integers(2, 9)), elements=st.integers(0, 4))


def square():
    labels = np.zeros((8, 8), int)
    labels[2:6, 2:6] = 7
    return labels


def test_outline_of_a_square_is_its_ring():
    expected = square() > 0
    expected[3:5, 3:5] = False
    drawn = outline(GRAY, square(), "black")
    assert np.array_equal((drawn == 0).all(axis=2), expected)
    assert (drawn[~expected] == 100).all()
    assert (GRAY == 100).all(), "the image given must stay untouched"


def test_a_wider_outline_grows_inward():
    assert np.array_equal(outline_mask(square(), width=2), square() > 0)


def test_touching_instances_have_a_line_each():
    labels = np.ones((4, 8), int)
    labels[:, 4:] = 2
    expected = np.zeros((4, 8), bool)
    expected[:, 3:5] = True  # the image border is no edge
    assert np.array_equal(outline_mask(labels), expected)


@given(label_maps, st.integers(1, 3))
def test_outline_equals_its_definition(labels, width):
    rows, columns = np.indices(labels.shape)
    expected = np.zeros(labels.shape, bool)
    for (r, c), label in np.ndenumerate(labels):
        near = abs(rows - r) + abs(columns - c) <= width
        expected[r, c] = label > 0 and (labels[near] != label).any()
    assert np.array_equal(outline_mask(labels, width), expected)


def test_fill_blends_by_alpha():
    filled = fill(GRAY, square(), (1, 0, 0), alpha=0.25)
    assert filled[3, 3].tolist() == [139, 75, 75]  # 0.75 * 100 + 0.25 * 255 = 138.75
    assert (filled[square() == 0] == 100).all()
    assert np.array_equal(fill(GRAY, square(), "blue", alpha=0), GRAY)
    assert np.array_equal(fill(GRAY, square(), None, alpha=1)[3, 3], instance_colors(square())[3, 3])


@given(label_maps)
def test_neighbors_never_share_a_color(labels):
    painted = instance_colors(labels, gap=0).astype(int)
    assert (painted[labels == 0] == 0).all()
    flat = painted @ [1 << 16, 1 << 8, 1]
    for a, b, la, lb in (
        (flat[1:], flat[:-1], labels[1:], labels[:-1]),
        (flat[:, 1:], flat[:, :-1], labels[:, 1:], labels[:, :-1]),
    ):
        assert ((a == b) == (la == lb)).all()


@pytest.mark.parametrize("hub", [1, 99])
def test_one_nucleus_with_more_neighbors_than_the_cycle_has_colors(hub):
    labels = np.full((5, 61), hub)
    labels[0] = np.arange(2, 63)
    painted = instance_colors(labels, gap=0)
    rays = {tuple(color) for color in painted[0].tolist()}
    assert len(rays) >= 6
    assert tuple(painted[4, 0].tolist()) not in rays


def test_nuclei_a_few_pixels_apart_differ_too():
    labels = np.zeros((80, 10), int)
    for number in range(1, 8):
        labels[10 * number : 10 * number + 2, 0:2] = number
    labels[10:12, 6:8] = 8  # the cycle of seven colors starts anew at 8, which stands 4 pixels from number 1
    near, far = instance_colors(labels, gap=3), instance_colors(labels, gap=1)
    assert (near[10, 0] != near[10, 6]).any()
    assert (far[10, 0] == far[10, 6]).all()


def test_weak_labels_have_one_color_each():
    label = np.array([[1, 0], [-1, 1]], np.int8)
    shown = weak_label_image(label)
    assert np.array_equal(shown[0], [rgb("nucleus"), rgb("background")])
    assert np.array_equal(shown[1], [rgb("ignored"), rgb("nucleus")])


def test_weak_labels_over_an_image_leave_ignored_pixels_alone():
    label = np.array([[1, -1]], np.int8)
    shown = weak_label_image(label, np.full((1, 2, 3), 50, np.uint8), alpha=0.5)
    assert shown[0, 1].tolist() == [50, 50, 50]
    assert shown[0, 0].tolist() == [140, 104, 25]  # halfway from 50 to (230, 159, 0), half to even


def test_crop_cuts_a_sample_with_its_points():
    image = np.arange(8 * 8 * 3).reshape(8, 8, 3).astype(np.uint8)
    sample = Sample("a", image, labels=square(), points=np.array([[3.0, 4.0], [0.0, 0.0]]), group="g")
    part = crop(sample, 2, 1, (4, 5))
    assert part.image.shape == (4, 5, 3)
    assert np.array_equal(part.image, image[2:6, 1:6])
    assert np.array_equal(part.labels, square()[2:6, 1:6])
    assert part.points.tolist() == [[1.0, 3.0]]
    assert (part.id, part.group, part.mask) == ("a", "g", None)


def test_a_crop_is_a_copy():
    part = crop(square(), 2, 2, 3)
    part[:] = 0
    assert square().sum() == 7 * 16


def test_points_on_the_window_border():
    # Pixel 4 is the last of the window 2..4; 4.5 rounds to pixel 5, outside.
    inside = crop_points([[4.25, 2.0], [4.5, 2.0], [1.5, 2.0]], 2, 2, 3)
    assert inside.tolist() == [[2.25, 0], [-0.5, 0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: outline(GRAY, np.zeros((3, 3), int)), "one size"),
        (lambda: outline_mask(square(), width=0), "at least 1"),
        (lambda: fill(GRAY, square(), alpha=1.5), "1.5"),
        (lambda: weak_label_image([[2, 0]]), "got 2"),
        (lambda: weak_label_image([[np.nan, 0]]), "got nan"),
        (lambda: crop(square(), 6, 0, 4), "8x8"),
        (lambda: crop(square(), -1, 0, 4), "row -1"),
        (lambda: crop(square(), 0, 0, 0), "at least one pixel"),
        (lambda: crop(np.zeros(3), 0, 0, 1), "shape"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(DataError, match=message):
        call()
