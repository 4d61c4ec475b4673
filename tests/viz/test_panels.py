"""Figures: what is drawn where."""

from io import BytesIO

import matplotlib as mpl
import numpy as np
import pytest

from nucseg.errors import DataError
from nucseg.viz import rgb, show_panels, use_style
from nucseg.viz.panels import round_length

PICTURE = np.zeros((20, 40, 3), np.uint8)


@pytest.fixture(autouse=True)
def style():
    with mpl.rc_context({"backend": "agg"}):
        use_style()
        yield


def pixels(figure):
    buffer = BytesIO()
    figure.savefig(buffer, format="rgba")
    width, height = (int(side) for side in figure.get_size_inches() * mpl.rcParams["savefig.dpi"])
    return np.frombuffer(buffer.getvalue(), np.uint8).reshape(height, width, 4)[..., :3]


def test_one_axis_for_each_image_with_its_title():
    figure = show_panels([PICTURE] * 5, titles=list("abcde"), columns=3)
    shown = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in shown] == list("abcde")
    assert len(figure.axes) == 6
    assert not any(axis.axison for axis in figure.axes)


def test_the_figure_is_as_wide_as_asked_and_as_high_as_the_images_need():
    figure = show_panels([PICTURE, PICTURE], width=6)
    assert figure.get_size_inches().tolist() == [6, 1.5]  # each panel 3 in wide, half as high


def test_every_panel_shows_the_same_crop():
    marked = PICTURE.copy()
    marked[5, 7] = 255
    field = np.arange(800.0).reshape(20, 40)
    figure = show_panels([marked, field], crop=(5, 7, (4, 6)))
    first, second = (axis.images[0].get_array() for axis in figure.axes)
    assert first.shape[:2] == second.shape == (4, 6)
    assert first[0, 0].tolist() == [255, 255, 255]
    assert second[0, 0] == 5 * 40 + 7


def test_dots_land_on_their_pixels_and_follow_the_crop():
    dots = np.array([[6.0, 9.0], [0.0, 0.0]])
    figure = show_panels([PICTURE, PICTURE], points=[dots, None], crop=(5, 7, 10))
    first, second = figure.axes
    assert first.collections[0].get_offsets().tolist() == [[2.0, 1.0]]  # x = column, y = row
    assert not second.collections


def test_a_dot_is_visible_in_the_rendered_figure():
    without, with_dot = (pixels(show_panels([PICTURE], points=p)) for p in (None, np.array([[10.0, 20.0]])))
    changed = (without != with_dot).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert abs(rows.mean() / changed.shape[0] - 10.5 / 20) < 0.03
    assert abs(columns.mean() / changed.shape[1] - 20.5 / 40) < 0.03
    assert (with_dot[changed] == rgb("point")).all(axis=1).any()


def test_maps_share_their_limits():
    figure = show_panels([np.zeros((4, 4)), np.full((4, 4), 3.0), PICTURE])
    assert [axis.images[0].get_clim() for axis in figure.axes[:2]] == [(0, 3), (0, 3)]


@pytest.mark.parametrize(
    ("extent", "length"), [(64, 10), (80, 20), (250, 50), (4, 1), (3.9, 0.5), (1000, 200)]
)
def test_scale_bar_has_a_round_length(extent, length):
    assert round_length(extent) == pytest.approx(length)


def test_scale_bar_is_true_to_scale():
    figure = show_panels([PICTURE, PICTURE], scale_bar=2.0)  # 80 µm wide: the bar is 20 µm, 10 pixels
    (line,) = figure.axes[0].lines
    assert np.ptp(line.get_xdata()) == pytest.approx(10)
    assert figure.axes[0].texts[0].get_text() == "20 µm"
    assert not figure.axes[1].lines
    different = show_panels([PICTURE, PICTURE[:, :20]], scale_bar=2.0)
    assert all(axis.lines for axis in different.axes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: show_panels([]), "nothing to show"),
        (lambda: show_panels(PICTURE), "pass a list"),
        (lambda: show_panels([PICTURE], titles=["a", "b"]), "2 titles for 1"),
        (lambda: show_panels([PICTURE], points=[None, None]), "2 sets of points for 1"),
        (lambda: show_panels([PICTURE], points=np.array([[50, 1]])), r"points\[0\]"),
        (lambda: show_panels([PICTURE, np.zeros(3)]), r"images\[1\]"),
        (lambda: show_panels([PICTURE], columns=0), "got 0"),
        (lambda: show_panels([PICTURE], scale_bar=0), "above 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(DataError, match=message):
        call()
