"""Superpixel labels against images that leave SLIC no choice, thin edges against plane geometry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.segmentation import slic

from nucseg.errors import DataError
from nucseg.supervision import dot_edge_labels, segments_for, superpixel_labels

SIZE = (40, 50)
dots = st.sets(st.tuples(st.integers(0, SIZE[0] - 1), st.integers(0, SIZE[1] - 1)), max_size=12)


def tiles(side=10, rows=4, columns=6):
    """Squares of different colors, and the number of the square that each pixel is in."""
    number = np.arange(rows * columns).reshape(rows, columns).repeat(side, 0).repeat(side, 1)
    colors = np.random.default_rng(0).integers(0, 256, (rows * columns, 3)).astype(np.uint8)
    return colors[number], number


@pytest.mark.parametrize(
    ("count", "shape", "expected"),
    [
        (0, (1000, 1000), 2000), (999, (1000, 1000), 2000), (1000, (1000, 1000), 3000), (1499, (1000, 1000), 3000),
        (1500, (1000, 1000, 3), 5000), (199, (512, 512), 700), (200, (512, 512), 1000), (5000, (512, 512), 1000),
    ],
)
def test_published_numbers_of_superpixels(count, shape, expected):
    assert segments_for(count, shape) == expected


def test_other_sizes_are_cut_in_proportion():
    # A quarter of the smaller table: 700 / 4 below 200 / 4 dots, 1000 / 4 from there on.
    assert [segments_for(count, (256, 256)) for count in (49, 50)] == [175, 250]
    # Twice the larger one, also for an image that is not square.
    assert [segments_for(count, (4000, 500)) for count in (1999, 2000, 2999, 3000)] == [4000, 6000, 6000, 10_000]
    assert segments_for(0, (1, 1)) == 1
    # The tables meet at the geometric mean of their areas, 512 * 1000.
    assert segments_for(0, (511, 1000)) == round(700 * 511_000 / 512**2)
    assert segments_for(0, (513, 1000)) == round(2000 * 0.513)


def test_superpixels_with_dots_are_nucleus():
    image, number = tiles()
    points = [(5, 5), (6, 6), (25.4, 33.2), (35, 55)]
    labels = superpixel_labels(image, points, segments=24)
    assert labels.dtype == np.int8
    np.testing.assert_array_equal(labels == 1, np.isin(number, [0, 2 * 6 + 3, 3 * 6 + 5]))
    assert set(np.unique(labels)) == {0, 1}


def test_every_nucleus_is_a_union_of_superpixels_that_hold_dots(rng):
    image = (ndimage.gaussian_filter(rng.random((60, 70, 3)), (3, 3, 0)) * 255).astype(np.uint8)
    points = rng.random((15, 2)) * (59, 69)
    labels = superpixel_labels(image, points, compactness=20)
    parts = slic(image, n_segments=segments_for(15, (60, 70)), compactness=20, start_label=1)
    dotted = {parts[row, column] for row, column in np.rint(points).astype(int)}
    for part in np.unique(parts):
        assert (labels[parts == part] == (part in dotted)).all()


def test_without_dots_all_is_background():
    image, _ = tiles()
    assert not superpixel_labels(image, []).any()
    assert not dot_edge_labels([], SIZE).any()


def test_tiny_images():
    for shape in ((1, 1), (1, 9), (2, 3)):
        image = np.full((*shape, 3), 130, np.uint8)
        assert superpixel_labels(image, [(0, 0)]).all(), "a single superpixel"


def test_edges_by_hand():
    # The border of the cells is the column half-way; the dots are in the columns beside it.
    expected = np.zeros((5, 9), np.int8)
    expected[:, 4] = 2
    expected[2, [1, 7]] = 1
    np.testing.assert_array_equal(dot_edge_labels([(2, 1), (2, 7)], (5, 9)), expected)


def test_four_dots_make_a_cross_one_pixel_wide():
    expected = np.zeros((9, 9), np.int8)
    expected[4], expected[:, 4] = 2, 2
    points = [(1, 1), (1, 7), (7, 1), (7, 7)]
    expected[tuple(np.transpose(points))] = 1
    np.testing.assert_array_equal(dot_edge_labels(points, (9, 9)), expected)


def test_a_diagonal_edge_is_one_pixel_in_each_row():
    labels = dot_edge_labels([(2, 6), (6, 2)], (9, 9))
    np.testing.assert_array_equal(labels == 2, np.eye(9, dtype=bool))


def test_edges_win_over_dots():
    labels = dot_edge_labels([(4, 4), (4, 5), (0, 0)], (9, 9))
    # The edge of the first two runs between columns 4 and 5 and covers one of them.
    assert sorted(labels[4, 4:6]) == [1, 2]


def test_one_dot_has_no_edges_also_if_it_comes_twice():
    for points in ([(3, 4)], [(3, 4), (3.2, 3.9)]):
        labels = dot_edge_labels(points, (9, 9))
        assert labels[3, 4] == 1 and (labels > 0).sum() == 1


@given(dots)
def test_edges_lie_between_the_cells(points):
    labels = dot_edge_labels(sorted(points), SIZE)
    assert labels.dtype == np.int8
    if len(points) < 2:
        assert not (labels == 2).any()
        return
    array = np.array(sorted(points), float)
    pixels = np.argwhere(np.ones(SIZE)).astype(float)
    squared = ((pixels[:, None] - array[None]) ** 2).sum(2)
    nearest = squared.argmin(1)
    # Distance of a pixel to the bisector between its nearest dot and every other one.
    apart = np.linalg.norm(array[nearest][:, None] - array[None], axis=2)
    gap = (squared - squared.min(1)[:, None]) / np.where(apart > 0, 2 * apart, np.inf)
    gap[np.arange(len(pixels)), nearest] = np.inf
    edges = labels == 2
    # The ends of a line and its pixels are rounded, by half a diagonal each.
    assert (gap.min(1).reshape(SIZE)[edges] <= np.sqrt(2) + 1e-6).all()
    # Wherever two neighbors belong to different cells, a line passes beside them.
    nearest, near = nearest.reshape(SIZE), ndimage.distance_transform_edt(~edges) <= 2
    assert near[:, :-1][np.diff(nearest, axis=1) != 0].all() and near[:-1][np.diff(nearest, axis=0) != 0].all()
    for row, column in points:
        assert labels[row, column] in (1, 2)
    assert (labels == 1).sum() + edges[tuple(np.transpose(sorted(points)))].sum() == len(points)


@given(dots, st.randoms())
def test_edges_do_not_depend_on_the_order_of_dots(points, random):
    ordered = sorted(points)
    np.testing.assert_array_equal(
        dot_edge_labels(ordered, SIZE), dot_edge_labels(random.sample(ordered, len(ordered)), SIZE)
    )


def test_dots_in_a_line_and_on_a_grid():
    labels = dot_edge_labels([(8, c) for c in (2, 8, 14, 20)], (17, 23))
    np.testing.assert_array_equal(np.flatnonzero((labels == 2).all(axis=0)), [5, 11, 17])
    grid = [(r, c) for r in (2, 8, 14) for c in (2, 8, 14)]
    edges = dot_edge_labels(grid, (17, 17)) == 2
    expected = np.zeros((17, 17), bool)
    expected[[5, 11]] = expected[:, [5, 11]] = True
    np.testing.assert_array_equal(edges, expected)


def test_bad_calls():
    image, _ = tiles()
    with pytest.raises(DataError, match="got -1"):
        segments_for(-1, (9, 9))
    with pytest.raises(DataError, match="shape"):
        segments_for(1, (9,))
    with pytest.raises(DataError, match="got 0 and 30"):
        superpixel_labels(image, [], segments=0)
    with pytest.raises(DataError, match="and 0"):
        superpixel_labels(image, [], compactness=0)
    for call in (superpixel_labels, lambda image, points: dot_edge_labels(points, image.shape)):
        with pytest.raises(DataError, match="1 of 2 points"):
            call(image, [(4, 4), (40, 4)])
    with pytest.raises(DataError, match="image"):
        superpixel_labels(image / 255, [])
