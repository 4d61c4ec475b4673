"""What the chapter on partial points shows from records: nothing invented where nothing was run."""

import numpy as np
import pandas as pd
import pytest

from nucseg.study import partial_points_figures as shown
from nucseg.study import recorded as recorded_rows
from nucseg.study.tables import RUN_COLUMNS, published

TABLE_1 = "detection strategies, 10 % of the dots"


def recorded(*lines):
    """A tidy table from (experiment, row, seed, image, metric, value)."""
    known = {"dataset": "monuseg", "split": "test", "supervision": "dots", "profile": "full", "record": "r"}
    names = ("experiment", "row", "seed", "image", "metric", "value")
    return pd.DataFrame([{**known, **dict(zip(names, line))} for line in lines], columns=RUN_COLUMNS)


@pytest.fixture
def results(monkeypatch):
    """A function that puts a table in the place of the committed one; nothing is recorded until then."""

    def put(*lines):
        table = recorded(*lines)
        for module in (shown, recorded_rows):
            monkeypatch.setattr(module, "runs", lambda slug: table.astype({"value": float}))

    put()
    return put


def test_without_records_every_published_number_stands_beside_not_run(results):
    for experiment, metrics in ((TABLE_1, shown.DETECTION), ("segmentation", shown.SEGMENTATION)):
        table = shown.side_by_side(experiment, metrics)
        who = table.index.get_level_values(2)
        printed = table[who == "paper"].drop(columns="seeds").to_numpy().ravel()
        expected = published("qu2020", experiment).value
        assert sorted(float(text) for text in printed if text) == pytest.approx(sorted(expected))
        ours = table[who == "ours"].drop(columns="seeds")
        assert len(ours) and (ours.iloc[:, 0] == recorded_rows.NOT_RUN).all()
        assert (ours.iloc[:, 1:] == "").all(axis=None)
        assert (table.xs("Lung Cancer (private)").index.get_level_values(1) == "paper").all()


def test_recorded_rows_are_means_over_images_then_seeds(results):
    results(*((TABLE_1, "GM", seed, image, "f1", value)
              for (seed, image), value in {(0, "a"): 0.2, (0, "b"): 0.4, (1, "a"): 0.5, (1, "b"): 0.7}.items()))
    line = shown.side_by_side(TABLE_1, shown.DETECTION).loc["Multi-Organ", "GM", "ours"]
    # Seeds have means 0.3 and 0.6: mean 0.45, standard deviation 0.3 / sqrt(2).
    assert line["F1"] == "0.4500 ±\N{NO-BREAK SPACE}0.2121"
    assert line["P"] == "" and line["seeds"] == "2"


def test_short_trainings_stand_below_the_row_they_shorten(results):
    results(("segmentation, short", "10 %", 0, "a", "aji", 0.25))
    table = shown.side_by_side("segmentation", shown.SEGMENTATION)
    assert table.loc[("Multi-Organ", "10 %", "ours, short"), "AJI"] == "0.2500"
    assert ("Multi-Organ", "10 %", "ours") not in table.index
    assert table.loc[("Multi-Organ", "5 %", "ours")].iloc[0] == recorded_rows.NOT_RUN
    assert ("Multi-Organ", "5 %", "ours, short") not in table.index


def test_choices_stand_below_what_they_vary(results):
    results(("segmentation", "GT points", 0, "a", "aji", 0.5), ("segmentation", "10 %", 0, "a", "aji", 0.4),
            ("closing the gap, all dots", "300 epochs", 0, "a", "aji", 0.25))
    table = shown.choices("closing the gap, all dots", ["aji"], ("segmentation", "GT points"))
    assert table.columns.tolist() == ["AJI"] and table.index[0] == "GT points (segmentation)"
    assert table.AJI.tolist() == ["0.5000", "0.2500"] and table.index[1] == "300 epochs"
    assert shown.choices("closing the gap, all dots", ["aji"]).index.tolist() == ["300 epochs"]
    missing = shown.not_recorded("closing the gap, all dots").replace("\n", " ")
    assert missing.startswith("Declared, not recorded yet: stain jitter; ") and " 300 epochs;" not in missing
    results()
    assert shown.choices("closing the gap, all dots", ["aji"], ("segmentation", "GT points")) is None
    assert "300 epochs" in shown.not_recorded("closing the gap, all dots")


def test_organs_are_averaged_over_their_images_and_new_ones_come_last(results):
    images = {"TCGA-AY-A8YK-01A-01-TS1": 0.1, "TCGA-NH-A8F7-01A-01-TS1": 0.3, "TCGA-21-5784-01Z-00-DX1": 0.8}
    results(*(("segmentation", "GT points", 0, image, "aji", value) for image, value in images.items()))
    wanted = {"plain": ("segmentation", "GT points"), "other": ("segmentation", "10 %")}
    table = shown.by_organ(wanted, ("aji", "recall_pixel"))
    assert table.index.tolist() == [("Liver", "yes", 1), ("Colon", "no", 2)]
    assert table["plain", "AJI"].tolist() == pytest.approx([0.8, 0.2])
    assert table["plain", "pixel R"].isna().all() and "other" not in table
    results()
    assert shown.by_organ(wanted, ("aji",)).empty


def test_a_sweep_is_sorted_by_its_number(results):
    results(*(("dense CRF settings", f"spatial width {width}", 0, "a", "aji", width / 100) for width in (9, 3, 15)),
            ("dense CRF settings", "weight 0.05", 0, "a", "aji", 0.9))
    table = shown.sweep("dense CRF settings", "spatial width")
    assert table.index.tolist() == [3, 9, 15]
    assert table["aji"].tolist() == [0.03, 0.09, 0.15]
    assert shown.sweep("dense CRF settings", "color width").empty
    assert shown.sweep("share of the Voronoi label", "a =").empty


def test_image_scores_keep_the_order_asked_for(results):
    results(*(("segmentation", row, 0, image, "aji", value)
              for row, image, value in (("GT points", "a", 0.5), ("5 %", "a", 0.4), ("5 %", "b", 0.3))))
    table = shown.image_scores(["5 %", "10 %", "GT points"], "aji")
    assert table.columns.tolist() == ["5 %", "GT points"]
    assert table.loc["a"].tolist() == [0.4, 0.5]
    assert np.isnan(table.loc["b", "GT points"])


def test_curves_come_from_the_records_of_the_row(monkeypatch, tmp_path):
    curves = {"round-0": {"best_epoch": 1, "best_score": 0.5, "loss": [1.0], "score": [0.5], "seconds": 2.0}}
    records = {
        "a": {"experiment": "segmentation", "row": "10 %", "seed": 1, "notes": {"training": curves}, "metrics": {}},
        "b": {"experiment": "segmentation", "row": "10 %", "seed": 0, "metrics": {}},
        "c": {"experiment": "segmentation", "row": "5 %", "seed": 0, "notes": {"training": curves}, "metrics": {}},
    }
    monkeypatch.setattr(shown, "results_folder", lambda slug: tmp_path)
    assert shown.recorded_training("segmentation", "10 %") == {}
    (tmp_path / "records").mkdir()
    for name in records:
        (tmp_path / "records" / f"{name}.json").write_text("{}")
    monkeypatch.setattr(shown, "read_record", lambda path: records[path.stem])
    assert shown.recorded_training("segmentation", "10 %") == {1: curves}


def test_difficulty_of_an_image_made_by_hand():
    image = np.full((20, 20, 3), 200, np.uint8)
    labels = np.zeros((20, 20), int)
    labels[5:9, 5:9] = 1
    image[labels == 1] = 80  # an even nucleus, 120 gray levels darker than its surroundings

    class Sample:
        id = "made"

    Sample.image, Sample.labels = image, labels
    table = shown.difficulty([Sample])
    assert table.loc["made"].tolist() == [120.0, 0.0]
    assert shown.difficulty([Sample], lambda picture: picture // 2).loc["made", "nuclei-bg-diff"] == 60
