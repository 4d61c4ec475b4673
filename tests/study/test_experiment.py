"""Rows run once, resume, and notice what they depend on."""

import json
from dataclasses import replace

import numpy as np
import pytest

from nucseg.data.sample import Dataset, Sample
from nucseg.errors import DataError, UnknownNameError
from nucseg.study import experiment, tables
from nucseg.study.experiment import Row, run_row

CALLS = []


def mean_grey(dataset, row):
    for sample in dataset:
        CALLS.append(sample.id)
        yield sample.id, {"mean": float(sample.image.mean()), "nothing": float("nan")}


def forgetful(dataset, row):
    yield dataset.ids[0], {"mean": 0.0}


@pytest.fixture
def study(monkeypatch, tmp_path):
    """A three-image dataset, an empty repository and a fixed library."""
    world = {"checksum": "data-1", "digest": "code-1"}

    def load(name, split=None, root=None, *, scheme=None):
        return Dataset(
            name,
            ["a", "b", "c"],
            lambda i: Sample(i, np.full((2, 2), 10 * "abc".index(i), np.uint8)),
            checksum=world["checksum"],
        )

    monkeypatch.setattr(experiment, "load_dataset", load)
    monkeypatch.setattr(experiment, "library_digest", lambda module, without=(): world["digest"])
    for module in (experiment, tables):
        monkeypatch.setattr(module, "results_folder", lambda slug: tmp_path / "results" / slug)
        monkeypatch.setattr(module, "runs_folder", lambda slug: tmp_path / "runs" / slug)
    CALLS.clear()
    return world


ROW = Row("grays", "Mean, all", "three", "train", "none", mean_grey, {"power": 1})


def test_key_is_a_file_name():
    assert ROW.key == "grays.mean-all.three.train.none.s0"


def test_runs_once_and_again_only_when_something_changed(study):
    record = run_row("ch", ROW)
    assert record["metrics"] == {i: {"mean": 10.0 * n, "nothing": None} for n, i in enumerate("abc")}
    assert record["images"] == ["a", "b", "c"] and record["seconds"] >= 0
    assert run_row("ch", ROW) == record
    assert CALLS == ["a", "b", "c"]
    for change in ({"digest": "code-2"}, {"checksum": "data-2"}):
        study.update(change)
        CALLS.clear()
        run_row("ch", ROW)
        assert CALLS == ["a", "b", "c"]
    CALLS.clear()
    run_row("ch", Row("grays", "Mean, all", "three", "train", "none", mean_grey, {"power": 2}))
    assert CALLS == ["a", "b", "c"]


def test_the_time_of_all_training_stages_is_kept_whoever_trained_them(study):
    def trained(dataset, row):
        yield from mean_grey(dataset, row)
        return {"device": "cpu", "training": {"first": {"seconds": 1000.04}, "second": {"seconds": 20.0}}}

    record = run_row("ch", Row("grays", "trained", "three", "train", "none", trained, {"power": 1}))
    assert record["training_seconds"] == 1020.0 and record["seconds"] < 1000
    assert "training_seconds" not in run_row("ch", ROW)


def test_small_runs_stay_out_of_the_results(study, tmp_path):
    run_row("ch", ROW, "quick", images=2)
    assert CALLS == ["a", "b"]
    assert not (tmp_path / "results").exists()
    with pytest.raises(DataError, match="all images"):
        run_row("ch", ROW, "full", images=2)


def test_a_row_that_skips_images_is_an_error_and_writes_nothing(study, tmp_path):
    with pytest.raises(DataError, match="measured 1 images of 3"):
        run_row("ch", Row("grays", "bad", "three", "train", "none", forgetful))
    assert not list(tmp_path.rglob("*.json"))


def test_broken_record_is_named(study, tmp_path):
    path = experiment.record_path("ch", ROW)
    path.parent.mkdir(parents=True)
    path.write_text('{"metrics": ')
    with pytest.raises(DataError, match=path.name):
        run_row("ch", ROW)
    path.write_text(json.dumps([1]))
    with pytest.raises(DataError, match="'metrics'"):
        run_row("ch", ROW)


def test_unknown_chapter():
    with pytest.raises(UnknownNameError, match="no experiments for 'nope'"):
        experiment.rows("nope")


@pytest.mark.parametrize("slug", experiment.chapters())
def test_declared_rows_have_unique_keys(slug):
    keys = [row.key for row in experiment.rows(slug)]
    assert keys and len(set(keys)) == len(keys)


def test_tidy_table_and_summary_by_hand(study):
    for seed, shift in ((0, 0), (1, 3)):
        row = Row("grays", "Mean, all", "three", "train", "none", mean_grey, {"shift": shift}, seed)
        record = run_row("ch", row)
        for values in record["metrics"].values():
            values["mean"] += shift
        experiment.write_record(experiment.record_path("ch", row), record)
    table = tables.collect("ch")
    assert list(table.columns) == list(tables.RUN_COLUMNS)
    assert len(table) == 2 * 3 * 2
    assert tables.runs("ch").equals(table.astype(tables.runs("ch").dtypes))
    result = tables.summary(table).set_index("metric")
    # Images 0, 10, 20: mean 10, standard deviation 10; the second seed is 3 higher: mean 11.5, sd 3 / sqrt(2).
    assert result.loc["mean", "mean"] == pytest.approx(11.5)
    assert result.loc["mean", "sd_seeds"] == pytest.approx(3 / np.sqrt(2))
    assert result.loc["mean", "sd_images"] == pytest.approx(10)
    assert (result.loc["mean", "seeds"], result.loc["mean", "images"]) == (2, 3)
    assert np.isnan(result.loc["nothing", "mean"]) and result.loc["nothing", "undefined"] == 3


def test_metrics_of_all_images_together_have_one_line(study):
    def pooling(dataset, row):
        yield from mean_grey(dataset, row)
        return {"pooled_metrics": {"share": 0.25}}

    row = Row("grays", "pooled", "three", "train", "none", pooling, {"power": 1})
    record = run_row("ch", row)
    assert record["pooled_metrics"] == {"share": 0.25} and "notes" not in record
    table = tables.collect("ch")
    assert len(table) == 3 * 2 + 1
    assert table[table.metric.eq("share")][["image", "value"]].values.tolist() == [[tables.ALL_IMAGES, 0.25]]
    result = tables.summary(table).set_index("metric")
    assert (result.loc["share", "mean"], result.loc["share", "images"], result.loc["mean", "images"]) == (0.25, 1, 3)


def test_beside_published_judges_by_the_stated_tolerance(study):
    import pandas as pd

    run_row("ch", ROW)
    ours = tables.summary(tables.collect("ch"))
    lines = [
        ("p", "grays", "Mean, all", "three", "mean", 10.4, None, "I"),
        ("p", "grays", "other", "three", "mean", 1.0, None, "I"),
    ]
    reference = pd.DataFrame(lines, columns=tables.PAPER_COLUMNS)
    # 10 instead of 10.4 is off by 0.4, which is 3.85 % of the reference.
    verdicts = [tables.beside_published(ours, reference, t).verdict.tolist() for t in (0.039, 0.038)]
    assert verdicts == [["agrees", "not run"], ["differs", "not run"]]


def test_shares_are_judged_absolutely(study):
    import pandas as pd

    run_row("ch", ROW)
    ours = tables.summary(tables.collect("ch")).assign(mean=0.05)
    reference = pd.DataFrame(
        [("p", "grays", "Mean, all", "three", "mean", 0.03, None, "I")], columns=tables.PAPER_COLUMNS
    )
    assert [tables.beside_published(ours, reference, t).verdict.item() for t in (0.021, 0.019)] == ["agrees", "differs"]


def test_missing_column_is_named(study, tmp_path):
    path = tmp_path / "results" / "ch" / "runs.csv"
    path.parent.mkdir(parents=True)
    path.write_text("experiment,row\n")
    with pytest.raises(DataError, match=r"runs\.csv: column 'dataset' is missing"):
        tables.runs("ch")


def test_listing_tells_the_state_of_each_record(study, monkeypatch):
    monkeypatch.setattr(experiment, "rows", lambda slug: (ROW,))

    def state():
        return experiment.listing("ch")[0]["state"]

    assert state() == "missing"
    run_row("ch", ROW)
    assert experiment.listing("ch") == [{"chapter": "ch", "key": ROW.key, "state": "current"}]
    study["digest"] = "code-2"
    assert state() == "other code"
    monkeypatch.setattr(experiment, "rows", lambda slug: (replace(ROW, settings={"power": 2}),))
    assert state() == "other settings"
