"""A flow of pictures: one axis each, in reading order, and one arrow from each to the next."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.patches import FancyArrowPatch

from nucseg.errors import DataError
from nucseg.viz import show_flow

PICTURE = np.full((20, 30, 3), 200, np.uint8)


@pytest.fixture(autouse=True)
def no_window():
    with mpl.rc_context({"backend": "agg"}):
        yield


def arrows(figure):
    return [artist for artist in figure.artists if isinstance(artist, FancyArrowPatch)]


def test_every_picture_has_an_axis_and_all_but_the_first_an_arrow():
    figure = show_flow([[("a", PICTURE), ("b", PICTURE, np.array([[3.0, 4.0]]))], [("c", np.eye(20))]])
    assert [axis.get_title() for axis in figure.axes] == ["a", "b", "c"]
    assert len(arrows(figure)) == 2


def test_rows_go_down_and_panels_go_right_without_overlap():
    figure = show_flow([[("a", PICTURE), ("b", PICTURE)], [("c", PICTURE), ("d", PICTURE)]], width=6)
    a, b, c, d = (axis.get_position() for axis in figure.axes)
    assert a.x1 < b.x0 and c.x1 < d.x0 and a.y0 > c.y1
    assert a.x0 == pytest.approx(c.x0) and b.x1 == pytest.approx(d.x1) == pytest.approx(1)
    # Panels keep the shape of their picture: 20 rows, 30 columns.
    wide, high = figure.get_size_inches()
    assert (a.height * high) / (a.width * wide) == pytest.approx(20 / 30)


def test_dots_are_drawn_where_they_are():
    figure = show_flow([[("a", PICTURE, np.array([[3.0, 4.0]]))]])
    (dots,) = figure.axes[0].collections
    assert dots.get_offsets().tolist() == [[4.0, 3.0]]
    assert not arrows(figure)


@pytest.mark.parametrize("rows", [[], [[("a", PICTURE)], []]])
def test_a_flow_needs_pictures(rows):
    with pytest.raises(DataError, match="at least one"):
        show_flow(rows)
