"""What the chapter on DoNuSeg draws and counts: labels, empty labels, locations of boxes, assembly, curves."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from nucseg.models import FCOSConfig
from nucseg.study import donuseg_curves as curves
from nucseg.study import donuseg_figures as study
from nucseg.viz import rgb, show_flow

POINTS = np.array([[20.0, 20.0], [20.0, 44.0], [50.0, 30.0]])
SHAPE = (64, 64)
IMAGE = np.full((*SHAPE, 3), 200, np.uint8)


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    assert not plt.get_fignums(), "a figure was left open"


def explanation(block=1):
    """What `explain` gives for a patch, made up."""
    candidates = np.zeros((4, *SHAPE), np.int8)
    return SimpleNamespace(cams=np.zeros((4, *SHAPE)), candidates=candidates, alphas=np.array([0.1, 0.9, 0.2, 0.3]),
                           initial=candidates[0], label=candidates[1], block=block)


def test_edges_of_boxes_are_painted_and_nothing_else():
    painted = study.boxes_on(IMAGE, [(9.5, 19.5, 14.5, 29.5), (60.5, 60.5, 90, 90), (-9, -9, -4, -4)], "vermilion")
    changed = (painted != IMAGE).any(axis=2)
    # 5 x 10 pixels without the 3 x 8 inside them; the second box leaves two sides of 3 pixels in the image.
    assert changed.sum() == (5 * 10 - 3 * 8) + 5
    assert changed[10, 20:30].all() and changed[14, 20:30].all() and not changed[11:14, 21:29].any()
    assert (painted[changed] == rgb("vermilion")).all() and (IMAGE == 200).all()


def test_boxes_alone_are_a_label():
    label = study.box_label([(9.5, 19.5, 14.5, 29.5), (-0.5, -0.5, 1.5, 0.5)], SHAPE)
    assert label.dtype == np.int8 and label.sum() == 5 * 10 + 2 and label[10:15, 20:30].all()
    assert not study.box_label(np.zeros((0, 4)), SHAPE).any()


def test_labels_of_dots_are_weak_labels_of_the_whole_image():
    labels = study.labels_of_dots(IMAGE, POINTS, restarts=1)
    assert list(labels) == ["Voronoi", "cluster", "pseudo boxes", "initial, M"]
    for label in labels.values():
        assert label.shape == SHAPE and set(np.unique(label)) <= {-1, 0, 1}
    assert (labels["initial, M"] == 1).sum() == 3 * 49  # lattice points of a disk of radius 4
    truth = np.zeros(SHAPE, np.int32)
    figure = study.show_labels(IMAGE, truth, labels, (10, 10, 32), dynamic=np.ones((32, 32), np.int8), points=POINTS)
    assert [axis.get_title() for axis in figure.axes][5:7] == ["initial, M", "dynamic, P"]
    (dots,) = figure.axes[0].collections
    assert dots.get_offsets().tolist() == [[10, 10]]  # the one in the window
    assert len(study.show_labels(IMAGE, truth, labels).axes) == 6 + 2


def test_an_empty_label_scores_the_share_of_background():
    far = np.array([[5.0, 5.0]])
    table = study.background_scores({"one": far, "none": np.zeros((0, 2))}, {"one": (60, 60), "none": (8, 8)})
    rows, columns = np.indices((60, 60))
    distance = np.hypot(rows - 5, columns - 5)
    nucleus, background = (distance <= 4).sum(), (distance > 20).sum()
    assert table.loc["one"].tolist() == pytest.approx(
        [nucleus / 3600, background / 3600, background / (background + nucleus), 0.5])
    assert table.loc["none", "literal"] == 1
    blocks = {name: 0.4 for name in ("block 1", "block 2", "block 3", "block 4", "no nucleus")}
    lines = study.show_background_scores(table, blocks).axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["literal (eq. 4)", "balanced", *blocks]
    assert len({line.get_color() for line in lines}) == len(lines)


def test_locations_that_learn_a_box_are_counted():
    box = np.array([[19.5, 19.5, 44.5, 44.5]])  # 25 px, center 32
    locations = 4 * (np.arange(16) + 0.5) - 0.5
    near = locations[np.abs(locations - 32) < 6]
    fine = [(a, b) for a in near for b in near if max(abs(a - 32), abs(b - 32)) + 12.5 <= 32]
    found = study.positives(box, SHAPE, (32, 64, 128))
    assert sorted(found[found.level == 2][["row", "column"]].itertuples(index=False, name=None)) == fine
    assert len(fine) == 9 and (found.box == 0).all()
    table = study.count_positives(box, SHAPE)
    assert list(table.index) == list(study.LIMITS) and table.P2["8 strides"] == 9
    assert table["for a box"]["8 strides"] == 9 and (table["boxes without"] == 0).all()
    none = study.count_positives(np.zeros((0, 4)), SHAPE)
    assert not none.to_numpy().any()
    figure = study.show_positives(IMAGE, box)
    assert [axis.get_title() for axis in figure.axes] == [f"up to {name}" for name in study.LIMITS]


def test_rules_share_the_blob_as_they_say():
    prob, boxes, scores = study.blob_and_boxes()
    figure = study.show_assembly(prob, boxes, scores)
    assert [axis.get_title() for axis in figure.axes] == ["mask and boxes", "nearest", "claim", "watershed"]
    pictures = [axis.images[0].get_array() for axis in figure.axes]
    bar = (20, 64)  # in the mask, in no box
    assert pictures[0][bar].tolist() == [255] * 3 and not pictures[1][bar].any() and not pictures[2][bar].any()
    assert pictures[3][bar].any()  # the watershed floods it
    kept = study.show_assembly(prob, boxes, scores, outside="components").axes[1].images[0].get_array()
    assert kept[bar].any()


def test_the_network_is_described_without_being_computed():
    table, parameters = curves.describe_network(FCOSConfig(weights=None))
    assert table["grid"].tolist() == ["64 x 64", "32 x 32", "16 x 16", "8 x 8"]
    assert table["channels C"].tolist() == [256, 512, 1024, 2048] and set(table["channels P"]) == {256}
    assert parameters["encoder"] == 23_508_032  # ResNet-50 without its classifier
    assert parameters["localization head"] == (2048 + 1) * 64 + (4096 + 1) * 512 + (512 + 1) * 512 + (512 + 1) * 256


def test_flows_show_the_steps():
    image, prob, labels = IMAGE, np.zeros(SHAPE), np.zeros(SHAPE, np.int32)
    found = explanation()
    figure = show_flow(curves.overview_rows(image, POINTS, found, prob))
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[1] == "CAM of\nblock 1" and "P: block 2,\nalpha 0.90" in titles and len(titles) == 8
    none = curves.overview_rows(image, POINTS, explanation(-1), prob)
    assert none[1][1][0] == "P: none\neligible"
    detections = SimpleNamespace(boxes=np.array([[9.5, 9.5, 20.5, 20.5]]))
    assert len(show_flow(curves.network_rows(image, detections, prob, labels, labels)).axes) == 5
    titles = [axis.get_title() for axis in curves.show_candidates(found).axes]
    assert titles[5] == "chosen: alpha 0.900" and titles[4] == "alpha 0.100" and titles[0] == "block 1: CAM"


def test_both_ways_to_compute_the_contrast_agree():
    table = curves.compare_contrast([(5, 7), (2, 3)])
    assert (table.difference < 1e-6).all()
    assert table.loc["5, 7", ["exp by pairs", "exp at once"]].tolist() == [40, 12]


def test_the_pairs_are_equation_7():
    anchor = torch.tensor([1.0, 0.0])
    similar, dissimilar = torch.tensor([[0.0, 2.0]]), torch.tensor([[-3.0, 0.0], [0.0, 1.0]])
    expected = -(0 - np.log(np.exp(0) + np.exp(-2) + np.exp(0)))
    assert float(curves.contrast_by_pairs(anchor, similar, dissimilar, 0.5)) == pytest.approx(expected)


def test_the_curve_of_the_contrast_falls_by_the_temperature():
    figure = curves.show_contrast((1.0, 0.1), dissimilar=100)
    warm, cold, start = (line.get_ydata() for line in figure.axes[0].get_lines())
    assert start[0] == pytest.approx(np.log(101)) and warm[40] == pytest.approx(np.log(101), rel=1e-4)
    assert cold[0] - cold[-1] > warm[0] - warm[-1] and (np.diff(cold) < 0).all()


def test_a_log_of_choices_is_drawn():
    log = [{"epoch": e, "block_1": 0.25, "block_2": 0.0, "block_3": 0.5, "block_4": 0.0, "none": 0.25, "alpha": 0.8,
            "disk_recall": None, "ignored": 0.3} for e in (1, 2, 3)]
    figure = curves.show_selection(log, "a training")
    left, right = figure.axes
    top = [area.get_paths()[0].vertices[:, 1].max() for area in left.collections]
    assert top == pytest.approx([0.25, 0.25, 0.75, 0.75, 1.0])
    assert [line.get_label() for line in right.get_lines()] == ["alpha of P", "share that P ignores"]
    assert len(curves.show_selection(log[:1]).axes) == 2
    (axis,) = curves.show_selection([], "a training").axes
    assert axis.texts[0].get_text() == "a training: not run"


def test_a_sweep_varies_one_radius_at_a_time():
    table = pd.DataFrame({"r": [2, 4, 8, 4, 4], "d": [20, 20, 20, 12, 30], "dice": [0.5, 0.6, 0.7, 0.55, 0.65],
                          "aji": [0.3] * 5})
    left, right = curves.show_sweep(table).axes
    assert left.get_lines()[0].get_xdata().tolist() == [2, 4, 8]
    assert right.get_lines()[0].get_xdata().tolist() == [12, 20, 30]
    assert right.get_lines()[0].get_ydata().tolist() == [0.55, 0.6, 0.65]
    both = pd.concat([table.assign(dataset="one"), table.assign(dataset="two")])
    assert [line.get_label() for line in curves.show_sweep(both).axes[0].get_lines()][2] == "two DICE"
    (axis,) = curves.show_sweep(table.iloc[:0]).axes
    assert axis.texts[0].get_text() == "r and d: not run"


def test_recorded_radii_come_from_the_settings_of_the_rows(monkeypatch):
    def row(name, r, d, dataset="tnbc", experiment="radii, short"):
        config = {} if r is None else {"r": r, "d": d}
        return SimpleNamespace(experiment=experiment, row=name, dataset=dataset, settings={"config": config})

    scores = {"radii, short": pd.DataFrame({"f1_pixel": [0.6, 0.5], "aji": [0.4, 0.3]}, index=["b", "a"]),
              "table 1, short": pd.DataFrame({"f1_pixel": [0.9, 0.8], "aji": [0.7, 0.6]}, index=["DoNuSeg", "WeakSeg"])}
    monkeypatch.setattr(curves, "rows", lambda _: [
        row("WeakSeg", None, None, experiment="table 1, short"), row("DoNuSeg", 4, 20, experiment="table 1, short"),
        row("a", 2, 20), row("b", 4, 24), row("c", 8, 20), row("a", 3, 20, "consep"), row("a", 5, 20, experiment="x"),
    ])
    monkeypatch.setattr(curves, "means", lambda _, experiment, dataset: scores[experiment])
    found = curves.recorded_radii("tnbc").to_numpy().tolist()
    assert found == [[2, 20, 0.5, 0.3], [4, 20, 0.9, 0.7], [4, 24, 0.6, 0.4]]
    monkeypatch.setattr(curves, "means", lambda _, experiment, dataset: scores[experiment].iloc[:0])
    assert curves.recorded_radii("tnbc").empty


def test_a_log_is_found_in_the_records(monkeypatch, tmp_path):
    row = SimpleNamespace(experiment="table 1, short", row="DoNuSeg", dataset="tnbc")
    monkeypatch.setattr(curves, "rows", lambda _: [row])
    monkeypatch.setattr(curves, "record_path", lambda *_: tmp_path / "record.json")
    monkeypatch.setattr(curves, "read_record", lambda _: {"notes": {"selection": [{"epoch": 1}]}})
    assert curves.recorded_log("table 1, short", "DoNuSeg", "tnbc") == []  # no file
    (tmp_path / "record.json").touch()
    assert curves.recorded_log("table 1, short", "DoNuSeg", "tnbc") == [{"epoch": 1}]
    assert curves.recorded_log("table 1, short", "DoNuSeg", "consep") == []


def test_recorded_rows_stand_side_by_side(monkeypatch):
    def known(_, experiment, dataset):
        names = {"one": ["a", "b"], "two": ["c"]}[experiment] if dataset == "tnbc" else []
        table = {f"{metric}{end}": range(len(names)) for metric in study.METRICS for end in ("", "_patch")}
        return pd.DataFrame(table, index=names, dtype=float)

    monkeypatch.setattr(curves, "means", known)
    table = curves.recorded_rows("one", "two", datasets=("consep", "tnbc"))
    assert list(table.index) == ["a", "b", "c"]
    assert list(table.columns) == [("TNBC", study.NAMES[metric]) for metric in study.METRICS]
    assert table["TNBC", "AJI"].tolist() == [0, 1, 0]
    assert curves.recorded_rows("one", datasets=("consep",), suffix="_patch").empty


def test_printed_gains_are_those_of_the_tables():
    said = study.printed_gains("aji", ("L_dcs", "L_dcs + L_ccl"))
    assert said == "+0.020, +0.023 (CryoNuSeg) and +0.002, +0.009 (CoNSeP)"


def test_the_fullest_window_holds_the_most_dots():
    dots = np.array([[2.0, 2.0], [40.0, 50.0], [44.0, 60.0], [63.0, 63.0]])
    assert study.fullest_window(dots, (64, 64), 32) == (32, 32, 32)
    assert study.fullest_window(dots[:1], (64, 64), 200) == (0, 0, 64)
    assert study.fullest_window(np.zeros((0, 2)), (64, 80), 32) == (0, 0, 32)
