"""What the chapter on split and expand shows of its records: steps, paired gains, images, errors of centers."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from nucseg.postprocess import Mixture
from nucseg.study import split_and_expand_figures as study
from nucseg.study.tables import RUN_COLUMNS

SHORT = "split and expand, short"


@pytest.fixture
def results(monkeypatch):
    """Put lines in place of the records: experiment, row, dataset, image, metric and value of each."""
    def put(*lines):
        names = ["experiment", "row", "dataset", "image", "metric", "value"]
        table = pd.DataFrame(lines, columns=names).reindex(columns=list(RUN_COLUMNS))
        table = table.assign(split="all", supervision="all dots", seed=0).astype({"value": float})
        monkeypatch.setattr(study, "runs", lambda slug: table)

    return put


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    assert not plt.get_fignums(), "a figure was left open"


def three_steps(scores, dataset="monuseg", metric="aji"):
    """Lines of three outputs by image: the base, after split, after expand."""
    return [(SHORT, f"Weakly, {step}", dataset, image, metric, value) for image, values in scores.items()
            for step, value in zip(("Baseline", "Split", "Split & Expand"), values)]


def test_gains_are_paired_by_image(results):
    results(*three_steps({"a": (0.1, 0.2, 0.2), "b": (0.2, 0.4, 0.4), "c": (0.3, 0.6, 0.6)}),
            ("another", "Weakly, Split", "monuseg", "a", "aji", 0.9))
    table = study.gains(study.steps(SHORT))
    split, expand = (table.loc["monuseg", "aji", step] for step in (
        "Baseline to Split", "Split to Split & Expand"))
    # Differences 0.1, 0.2, 0.3: t = 0.2 / (0.1 / sqrt(3)) with 2 degrees of freedom, p = 1 - t / sqrt(2 + t ** 2).
    t = 2 * math.sqrt(3)
    assert (split.images, split.gain, split.sd, split.effect) == pytest.approx((3, 0.2, 0.1, 2.0))
    assert split.p == pytest.approx(1 - t / math.sqrt(2 + t**2)) and not split.better
    assert split["p, Holm"] == pytest.approx(split.p), "a step that changed nothing is no test"
    assert expand.gain == 0 and np.isnan(expand.p) and np.isnan(expand.effect) and not expand.better


def test_a_gain_is_better_from_its_level_on(results):
    results(*three_steps({"a": (0.1, 0.2, 0.1), "b": (0.2, 0.31, 0.2), "c": (0.3, 0.39, 0.3)}))
    table = study.gains(study.steps(SHORT))
    assert table.better.tolist() == [True, False]
    assert (table.p < 0.05).all() and table.gain.iloc[1] < 0
    assert not study.gains(study.steps(SHORT), level=1e-6).better.any()
    assert study.gains(study.steps("not run")).empty


def test_images_are_counted_once_and_undefined_scores_too(results):
    results(*three_steps({"a": (0.1, 0.2, 0.2), "b": (0.2, 0.4, math.nan)}),
            *three_steps({"a": (0.1, 0.2, 0.2)}, metric="object_dice"), *three_steps({"t": (0, 0, 0)}, "tnbc"))
    assert study.images_of(SHORT) == 2 and study.images_of(SHORT, "tnbc") == 1
    assert study.images_of("not run") == 0


def test_each_dataset_has_a_row_of_panels(results):
    results(*(line for metric in study.METRICS for dataset in ("monuseg", "tnbc")
              for line in three_steps({"a": (0.1, 0.2, 0.3), "b": (0.3, 0.4, 0.5)}, dataset, metric)))
    figure = study.show_steps(study.steps(SHORT))
    assert len(figure.axes) == 8 and figure.axes[4].get_title() == "TNBC: AJI"
    *images, mean = figure.axes[0].get_lines()
    assert [list(line.get_ydata()) for line in images] == [[0.1, 0.2, 0.3], [0.3, 0.4, 0.5]]
    assert list(mean.get_ydata()) == pytest.approx([0.2, 0.3, 0.4])


def test_errors_of_centers_are_sorted_from_none_on(results):
    rows = {"moved by 2 px": 0.8, "moved by 1 px": 0.9, "25 % missed": 0.7, "10 % added": 0.6}
    unharmed = {"aji": 1.0, "f1": 0}
    results(*(("true centers", "mixture", "monuseg", "a", metric, value) for metric, value in unharmed.items()),
            *(("wrong centers", row, "monuseg", "a", "aji", value) for row, value in rows.items()))
    curves = study.dose()
    assert {kind: dict(curve) for kind, curve in curves.items()} == {
        "moved": {0: 1.0, 1: 0.9, 2: 0.8}, "missed": {0: 1.0, 25: 0.7}, "added": {0: 1.0, 10: 0.6}}


def test_ellipses_have_the_axes_of_the_covariance():
    _, axis = plt.subplots()
    plt.close(axis.figure)
    covariance = np.diag([9.0, 4.0])  # 3 px along rows' axis, down the picture, and 2 px along columns
    mixture = Mixture(None, None, np.array([[5.0, 7.0]]), covariance[None], None)
    study.draw_ellipses(axis, mixture, scale=1.0)
    (ellipse,) = axis.patches
    across, along = (ellipse.get_patch_transform().transform(end) - (7, 5) for end in ((0, 1), (1, 0)))
    ends = np.abs([across, along])  # of the half axes, x and y
    assert ends.max(axis=0) == pytest.approx([2.0, 3.0]) and ends.min(axis=0) == pytest.approx([0, 0], abs=1e-9)
