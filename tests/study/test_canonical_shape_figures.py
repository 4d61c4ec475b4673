"""What the chapter on canonical shape draws: variants, outlines, a picture that moves without scripts."""

import xml.etree.ElementTree as ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from nucseg.errors import DataError
from nucseg.methods import CanonicalShape, CanonicalShapeConfig
from nucseg.methods.canonical_shape import PlacedShapes
from nucseg.models import ImplicitShape
from nucseg.study import canonical_shape_figures as study
from nucseg.study.experiment import rows

PLACED = PlacedShapes(
    np.array([[20.0, 30.0], [40.0, 70.0]]), np.array([[[0.05, 0], [0, 0.1]], [[0.05, 0.02], [0.03, 0.05]]]),
    np.ones(2), np.zeros((2, 1)),
)


def test_a_variant_shares_everything_but_prediction():
    method = CanonicalShape(CanonicalShapeConfig())
    method.networks, method.preprocessing = {"shapes": object()}, object()
    other = study.variant(method, merge=False, test_grid=32)
    assert other.networks is method.networks and other.preprocessing is method.preprocessing
    assert (other.config.merge, method.config.merge) == (False, True)
    with pytest.raises(DataError, match="epochs"):
        study.variant(method, epochs=1)


def test_the_moving_picture_ends_where_the_shapes_are():
    root = ElementTree.fromstring(study.moving_picture(PLACED, (64, 100), 0.5))
    ellipses = root.findall(".//ellipse")
    assert len(ellipses) == 2 and "script" not in ElementTree.tostring(root).decode()
    assert root.get("aria-label") == root.find("title").text
    for ellipse, (row, column), axes in zip(ellipses, PLACED.centers, PLACED.semi_axes(0.5)):
        assert (float(ellipse.get("cx")), float(ellipse.get("cy"))) == (column, row)
        assert (float(ellipse.get("rx")), float(ellipse.get("ry"))) == pytest.approx(tuple(axes), abs=0.06)
        for move in ellipse.findall("animate"):
            values = move.get("values").split(";")
            assert values[-1] == f"{float(ellipse.get(move.get('attributeName'))):.1f}"
        (turn,) = ellipse.findall("animateTransform")
        assert f"rotate({turn.get('values').split(';')[-1]})" == ellipse.get("transform")


def test_outlines_are_drawn_where_the_shapes_are():
    figure, axis = plt.subplots()
    study.draw_ellipses(axis, PLACED, 0.5, "black")
    assert [patch.center for patch in axis.patches] == [(30.0, 20.0), (70.0, 40.0)]
    assert axis.patches[0].width == pytest.approx(20) and axis.patches[0].height == pytest.approx(10)
    plt.close(figure)


@pytest.mark.parametrize("degrees", [0, 30, 90, 150])
def test_axes_of_true_nuclei_come_from_their_moments(degrees):
    rows_, columns = np.mgrid[:80, :80] - 40
    angle = np.radians(degrees)
    along, across = columns * np.cos(angle) + rows_ * np.sin(angle), rows_ * np.cos(angle) - columns * np.sin(angle)
    labels = ((along / 20) ** 2 + (across / 10) ** 2 < 1).astype(np.int32)
    labels[0, :5] = 2  # too small
    ((major, minor, found),) = study.true_axes(labels)
    assert (major, minor) == pytest.approx((20, 10), rel=0.02)
    assert min(abs(found - degrees), 180 - abs(found - degrees)) < 1
    assert study.true_axes(labels * 0).shape == (0, 3)


def test_a_shape_is_drawn_from_the_numbers_of_its_record(monkeypatch):
    torch.manual_seed(0)
    shape = ImplicitShape()
    values = [value for part in shape.parameters() for value in part.flatten().tolist()]
    monkeypatch.setattr(study, "notes", lambda *_: {"shape_parameters": [values, []]})
    (again,) = study.recorded_shapes("table", "row")
    np.testing.assert_allclose(study.likelihood(again, 16), study.likelihood(shape, 16), atol=1e-6)
    monkeypatch.setattr(study, "notes", lambda *_: None)
    assert study.recorded_shapes("table", "row") == []


def test_shapes_are_put_into_words():
    nowhere = ImplicitShape("disk")
    with torch.no_grad():
        nowhere.layers[-1].bias.fill_(50.0)
    said = study.in_words({"a\nb": ImplicitShape("disk"), "c": nowhere})
    assert said == "a b: radius 0.50, eccentricity 0.00, middle 0.00 from the origin; c: nowhere above one half"
    assert study.in_words({}) == "Not recorded yet"


def test_a_shape_is_sampled_in_the_middles_of_cells():
    picture = study.likelihood(ImplicitShape("disk"), 4, half=2.0)
    assert picture.shape == (4, 4) and picture[1, 1] == pytest.approx(1 / (1 + np.exp(8 * (np.hypot(0.5, 0.5) - 0.5))))
    figure = study.show_shapes({"one": ImplicitShape("disk"), "two": ImplicitShape("disk")}, (4, 8, 16))
    assert len(figure.axes) == 6
    plt.close(figure)


def test_recorded_ceilings_are_found():
    table = study.pooled("ceilings")
    declared = [row.row for row in rows("canonical-shape") if row.experiment == "ceilings"]
    assert list(table.index) == declared and table.iou["connected components"] == 1
    assert study.pooled("no such experiment").empty and study.notes("ceilings", "no such row") is None
    figure, axis = plt.subplots()
    study.draw_curves(axis, {"a": np.linspace(1, 0, 10)})
    assert axis.get_lines()[0].get_xdata()[4] == 0.5
    plt.close(figure)
