"""Voronoi labels against hand-drawn grids, a brute-force definition and plane geometry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from nucseg.errors import DataError
from nucseg.supervision import nearest_points, voronoi_cells, voronoi_edges, voronoi_labels

SIZE = (17, 21)
dots = st.lists(st.tuples(st.integers(0, 16), st.integers(0, 20)), max_size=10)


def draw(text):
    return np.array([[{"#": 0, "o": 1, ".": -1}[c] for c in line] for line in text.split()])


def test_two_dots_on_a_9x9_grid():
    # Columns 3 and 4 are nearer to the left dot up to 3.5, so 3 | 4 is the border: both are edge.
    rows = ["...##...."] * 3 + [".o.##.o..", "ooo##ooo.", ".o.##.o.."] + ["...##...."] * 3
    np.testing.assert_array_equal(voronoi_labels([(4, 1), (4, 6)], (9, 9), radius=1), draw(" ".join(rows)))


def test_equidistant_column_belongs_to_one_side():
    edges = voronoi_edges([(4, 1), (4, 7)], (9, 9))
    # Column 4 is as near to both; whichever dot has it, it is edge, and so is one column beside it.
    assert edges.sum(axis=1).tolist() == [2] * 9 and edges[:, 4].all()


def test_four_dots_make_a_cross():
    points = [(1, 1), (1, 6), (6, 1), (6, 6)]
    expected = np.zeros((8, 8), bool)
    expected[3:5, :] = expected[:, 3:5] = True
    # Closing fills the four inner corners: no cross-shaped gap fits into them.
    expected[[2, 2, 5, 5], [2, 5, 2, 5]] = True
    np.testing.assert_array_equal(voronoi_edges(points, (8, 8)), expected)
    # A cell keeps 3x3 pixels less the filled corner; where growing cells meet, the later one has the pixel.
    cells = voronoi_cells(points, (8, 8))
    assert [cells[tuple(p)] for p in points] == [1, 2, 3, 4]
    assert (cells == 4).sum() > (cells == 3).sum() > (cells == 1).sum() >= 8


@given(dots)
def test_edges_equal_their_definition(points):
    _, nearest = nearest_points(points, SIZE)
    edges = np.zeros(SIZE, bool)
    for (row, column), mine in np.ndenumerate(nearest):
        for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if 0 <= r < SIZE[0] and 0 <= c < SIZE[1] and nearest[r, c] != mine:
                edges[row, column] = True
    # Closing by a cross: what no cross outside the set covers, on a plane that goes on beyond the image.
    wide = np.pad(edges, 3)
    steps = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
    grown = np.any([np.roll(wide, s, (0, 1)) for s in steps], axis=0)
    closed = np.all([np.roll(grown, s, (0, 1)) for s in steps], axis=0)[3:-3, 3:-3]
    np.testing.assert_array_equal(voronoi_edges(points, SIZE), closed)


@given(dots, st.randoms())
def test_edges_do_not_depend_on_the_order_of_dots(points, random):
    shuffled = random.sample(points, len(points))
    np.testing.assert_array_equal(voronoi_edges(points, SIZE), voronoi_edges(shuffled, SIZE))
    np.testing.assert_array_equal(voronoi_labels(points, SIZE), voronoi_labels(shuffled, SIZE))


@given(dots)
def test_nucleus_wins_and_the_rest_follows_the_edges(points):
    labels, edges = voronoi_labels(points, SIZE, radius=2), voronoi_edges(points, SIZE)
    assert labels.dtype == np.int8
    disks = nearest_points(points, SIZE)[0] <= 2
    np.testing.assert_array_equal(labels == 1, disks)
    np.testing.assert_array_equal(labels == 0, edges & ~disks)


@given(st.sets(st.tuples(st.integers(0, 59), st.integers(0, 59)), min_size=2, max_size=8))
def test_edges_lie_along_perpendicular_bisectors(points):
    points = np.array(sorted(points), float)
    edges = voronoi_edges(points, (60, 60))
    pixels = np.argwhere(np.ones((60, 60))).astype(float)
    squared = ((pixels[:, None] - points[None]) ** 2).sum(2)
    first = squared.argmin(1)
    # Distance of a pixel to the bisector between its nearest dot and every other one.
    apart = np.linalg.norm(points[first][:, None] - points[None], axis=2)
    to_bisector = (squared - squared.min(1)[:, None]) / np.where(apart > 0, 2 * apart, np.inf)
    to_bisector[np.arange(len(pixels)), first] = np.inf
    gap = to_bisector.min(1).reshape(60, 60)
    inner = np.zeros((60, 60), bool)
    inner[1:-1, 1:-1] = True
    # A step of one pixel towards the bisector crosses it if it is 0.7 away at most. An edge is found by one
    # step and closed by one more, so it is 2 away at most.
    assert edges[inner & (gap < 0.7)].all()
    assert (gap[edges] <= 2).all()


@given(st.sets(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=12))
def test_well_separated_dots_have_a_cell_each(grid):
    points = np.array(sorted(grid)) * 12
    cells = voronoi_cells(points, (72, 72))
    # Thick edges may cut slivers off at the border of the image, so there can be more cells than dots.
    assert len({cells[tuple(p)] for p in points}) == len(points)


@given(dots)
def test_cells_equal_brute_force_growth(points):
    seeds, _ = ndimage.label(~voronoi_edges(points, SIZE), np.ones((3, 3)))
    expected = np.zeros(SIZE, int)
    for row, column in np.ndindex(*SIZE):
        for r, c in np.ndindex(*SIZE):
            if (r - row) ** 2 + (c - column) ** 2 <= 4:
                expected[row, column] = max(expected[row, column], seeds[r, c])
    np.testing.assert_array_equal(voronoi_cells(points, SIZE), expected)


def test_dots_in_a_line_are_no_trouble():
    points = [(8, c) for c in (2, 8, 14, 20)]
    assert voronoi_cells(points, SIZE).max() == 4
    edges = voronoi_edges(points, SIZE)
    assert (edges == edges[:1]).all(), "all edges are vertical"


def test_one_dot_and_none():
    one, none = voronoi_labels([(0, 0)], (9, 9)), voronoi_labels([], (9, 9))
    # x^2 + y^2 <= 4 with x, y >= 0: 6 pixels in the corner.
    assert (one == 1).sum() == 6 and (one == 0).sum() == 0
    assert (none == -1).all()
    assert (voronoi_cells([], (9, 9)) == 1).all() and (voronoi_cells([(3, 3)], (9, 9)) == 1).all()


def test_several_dots_on_one_pixel_are_one_cell():
    assert not voronoi_edges([(3, 3), (3, 3), (3.2, 2.9)], (9, 9)).any()


def test_dots_at_the_border_make_no_border_edges():
    corners = [(0, 0), (0, 20), (16, 0), (16, 20)]
    edges = voronoi_edges(corners, SIZE)
    assert not edges[:, :8].all(axis=1)[[0, -1]].any()
    assert edges[:6, 0].sum() == 0 and edges[0, :8].sum() == 0


def test_a_dot_outside_is_refused():
    with pytest.raises(DataError, match="1 of 2 points"):
        voronoi_labels([(4, 4), (4, 9)], (9, 9))
