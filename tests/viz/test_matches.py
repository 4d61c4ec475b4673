"""Pictures of matches: who is drawn as what, and where."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex

from nucseg.errors import DataError
from nucseg.viz import PALETTE, show_detections, show_matches

PICTURE = np.full((20, 30, 3), 200, np.uint8)


@pytest.fixture(autouse=True)
def no_window():
    with mpl.rc_context({"backend": "agg"}):
        yield


def maps():
    """One square found exactly, one missed, one predicted where nothing is."""
    gt, pred = np.zeros((20, 30), int), np.zeros((20, 30), int)
    gt[2:6, 2:6] = pred[2:6, 2:6] = 5
    gt[10:14, 2:8] = 9
    pred[10:15, 20:24] = 2
    return gt, pred


def boxes(axis):
    """Bounding box (x0, y0, x1, y1) of every contour, by color."""
    found = {}
    for collection in axis.collections:
        color = to_hex(collection.get_colors()[0]).upper() if len(collection.get_segments()) else None
        for line in collection.get_segments():
            found.setdefault(color, []).append((*line.min(axis=0).tolist(), *line.max(axis=0).tolist()))
    return found


def test_contours_run_along_pixel_edges_in_the_color_of_their_outcome():
    gt, pred = maps()
    figure = show_matches(PICTURE, gt, {"a": pred})
    assert boxes(figure.axes[0]) == {
        PALETTE["true_positive"]: [(1.5, 1.5, 5.5, 5.5)],
        PALETTE["false_positive"]: [(19.5, 9.5, 23.5, 14.5)],
        PALETTE["false_negative"]: [(1.5, 9.5, 7.5, 13.5)],
    }
    assert figure.axes[0].get_title() == "a\n1 found, 1 extra, 1 missed"


def test_outcomes_differ_in_line_style_not_only_in_color():
    gt, pred = maps()
    figure = show_matches(PICTURE, gt, {"a": pred})
    styles = [str(collection.get_linestyle()) for collection in figure.axes[0].collections]
    assert len(set(styles)) == 3
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["found", "extra", "missed"]


def test_half_overlap_is_no_match():
    gt, pred = np.zeros((20, 30), int), np.zeros((20, 30), int)
    gt[0:10, 0:10], gt[0:10, 10:20] = 1, 2
    pred[0:10, 0:20] = 1  # intersection over union with each is exactly 1/2
    figure = show_matches(PICTURE, gt, {"merged": pred, "right": gt})
    titles = [axis.get_title().split("\n")[1] for axis in figure.axes]
    assert titles == ["0 found, 1 extra, 2 missed", "2 found, 0 extra, 0 missed"]


def test_an_instance_with_a_hole_has_two_contours():
    gt = np.zeros((20, 30), int)
    gt[2:9, 2:9] = 1
    gt[5, 5] = 0
    figure = show_matches(PICTURE, gt, {"a": gt})
    assert sorted(boxes(figure.axes[0])[PALETTE["true_positive"]]) == [
        (1.5, 1.5, 8.5, 8.5),
        (4.5, 4.5, 5.5, 5.5),
    ]


def test_detections_are_counted_and_marked():
    true = [[5, 5], [15, 25]]
    seen = [[5, 8], [10, 15]]
    figure = show_detections(PICTURE, true, {"a": seen}, radius=3)
    axis = figure.axes[0]
    assert axis.get_title() == "a\n1 found, 1 extra, 1 missed"
    link, *groups = axis.collections
    assert link.get_segments()[0].tolist() == [[5, 5], [8, 5]]
    assert [group.get_offsets().tolist() for group in groups] == [[[8, 5]], [[15, 10]], [[25, 15]]]
    assert len({group.get_paths()[0].vertices.tobytes() for group in groups}) == 3, "three kinds of marker"


def test_nothing_found_and_nothing_there():
    empty = np.zeros((20, 30), int)
    assert "0 found, 0 extra, 0 missed" in show_matches(PICTURE, empty, {"a": empty}).axes[0].get_title()
    assert (
        "0 found, 0 extra, 0 missed" in show_detections(PICTURE, [], {"a": []}, radius=3).axes[0].get_title()
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: show_matches(PICTURE, maps()[0], {}), "nothing to show"),
        (lambda: show_matches(PICTURE, maps()[0][:5], {"a": maps()[1]}), "one size"),
        (lambda: show_matches(PICTURE, maps()[0], {"a": maps()[1][:5]}), "one size"),
        (lambda: show_matches(PICTURE, maps()[0], {"a": maps()[1]}, iou=0.3), "0.3"),
        (lambda: show_detections(PICTURE, [[30, 0]], {"a": []}, radius=3), "gt_points"),
        (lambda: show_detections(PICTURE, [], {"a": []}, radius=0), "radius"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(DataError, match=message):
        call()
