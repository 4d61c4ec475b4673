"""The rows of partial points: declared completely, and measured by training for real, on tiny images."""

import json
from dataclasses import replace

import numpy as np
import pytest

from nucseg.data import Dataset, Sample, load_dataset
from nucseg.engine import AugmentConfig
from nucseg.methods.partial_points import PartialPoints
from nucseg.methods.self_supervised import SelfSupervisedConfig
from nucseg.methods.stages import plain
from nucseg.metrics import aji
from nucseg.study import experiment
from nucseg.study.experiments import partial_points as declared
from nucseg.study.measures import partial_points as measures
from nucseg.study.measures.baselines import measure_baseline
from nucseg.study.measures.dense_crf import measure_lattice
from nucseg.study.tables import published, runs

ROWS = declared.ROWS
SMALL = AugmentConfig(crop=64)
TINY = declared.vary(
    declared.SOME_DOTS, patch=64, patches_per_side=1,
    detector={"epochs": 1, "rounds": 1, "augment": SMALL},
    segmenter={"epochs": 1, "crf_epochs": 1, "augment": SMALL, "cluster_restarts": 1},
)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Two images of 64 px stand for every dataset; the training folder is a temporary one."""
    sample = load_dataset("synthetic-he")[0]

    def load(name, split=None, root=None, scheme=None):
        parts = {f"{split}-{i}": (slice(0, 64), slice(64 * i, 64 * i + 64)) for i in range(2)}
        return Dataset(name, tuple(parts), lambda i: Sample(i, sample.image[parts[i]], sample.labels[parts[i]]))

    monkeypatch.setattr(measures, "load_dataset", load)
    monkeypatch.setattr(measures, "training_folder", lambda: tmp_path)
    return load("monuseg", "test")


def drain(generator):
    """Return the lines that a measurement yields and the notes that it returns."""
    lines = []
    while True:
        try:
            lines.append(next(generator))
        except StopIteration as stop:
            return dict(lines), stop.value


def test_every_published_row_on_these_images_is_declared_under_its_name():
    ours = {(row.experiment, row.row) for row in ROWS}
    reference = published("qu2020").query("dataset == 'monuseg'")
    missing = {(line.experiment, line.row) for line in reference.itertuples()} - ours
    # Nothing can be trained on the private lung images.
    assert all("trained on lc" in row for _, row in missing)


def test_every_config_can_be_built_and_survives_json():
    for row in ROWS:
        assert json.loads(json.dumps(row.describe())) == row.describe()
        if row.measure not in (measure_baseline, measure_lattice):
            method = measures.build(row)
            assert method.config.seed == row.seed
            assert method.config.weights is None


def test_published_settings_are_the_defaults_of_the_config():
    row = next(r for r in ROWS if (r.experiment, r.row) == ("segmentation", "10 %"))
    assert measures.build(row).config == replace(PartialPoints().config, weights=None)


def test_the_strength_of_the_lattice_is_the_recorded_one():
    table = runs("partial-points").query("experiment == 'strength of the lattice' and metric == 'gradient_ratio'")
    published_widths = table[table.row == "9 px, 0.1"]
    assert len(published_widths) == 12
    assert pytest.approx(2 * published_widths.value.mean(), abs=0.05) == declared.ON_THE_LATTICE


def test_rows_of_one_experiment_differ():
    for name in {row.experiment for row in ROWS}:
        seen = [json.dumps([r.settings, r.seed, r.dataset], sort_keys=True) for r in ROWS if r.experiment == name]
        # The three curves of figure 7 meet in the best settings.
        assert len(seen) - len(set(seen)) == (2 if name == "dense CRF settings" else 0), name


def test_segmentation_row_measures_what_its_method_predicts(tiny):
    row = declared.declare("segmentation", "10 %", measures.measure_segmentation, TINY, ratio=0.5)
    metrics, notes = drain(measures.measure_segmentation(tiny, row))
    assert list(metrics) == list(tiny.ids)
    train, val = measures.training_sets(row)
    method = measures.build(row).fit(train, val, run_dir=measures.training_folder(), progress=False)
    for sample in tiny:
        assert metrics[sample.id]["aji"] == aji(sample.labels, method.predict(sample.image))
        assert metrics[sample.id]["objects"] == method.predict(sample.image).max()
        assert 0 <= metrics[sample.id]["f1"] <= 1
    assert set(notes["training"]) == {"round-0", "round-1", "cross-entropy", "crf"}
    assert notes["device"] == "cpu" and len(notes["training"]["crf"]["loss"]) == 1


def test_detection_row_pools_its_counts(tiny):
    row = declared.declare("detection", "x", measures.measure_detection, TINY, ratio=0.5)
    metrics, notes = drain(measures.measure_detection(tiny, row))
    totals = {name: sum(line[name] for line in metrics.values()) for name in ("tp", "fp", "fn")}
    hits = 2 * totals["tp"]
    for line in metrics.values():
        assert line["f1"] == pytest.approx(hits / (hits + totals["fp"] + totals["fn"]))
    assert set(notes["training"]) == {"round-0", "round-1"}


def test_training_sets_follow_the_settings(tiny):
    row = declared.declare("x", "y", measures.measure_detection, TINY, ratio=0.5, train_on="tnbc", select_on="test")
    train, val = measures.training_sets(row)
    assert train.name == "tnbc" and val.ids[0].startswith("test")
    assert all(sample.labels is None and len(sample.points) for sample in train)
    masks = declared.declare("x", "y", measures.measure_segmentation, declared.MASKS)
    assert measures.training_sets(masks)[0][0].labels is not None


def test_self_supervised_rows_start_from_pretrained_weights(tiny):
    pretrain = plain(SelfSupervisedConfig(epochs=1, passes=1, patch=64, patches_per_side=1, augment=SMALL).__dict__ | {
        "augment": SMALL.__dict__, "stain": None})
    config = declared.vary(TINY, detector=None, segmenter={"crf_epochs": 0})
    rows = [declared.declare("x", name, measures.measure_segmentation, config, ratio=1.0, **options)
            for name, options in (("plain", {}), ("pretrained", {"pretrain": pretrain}))]
    losses = [drain(measures.measure_segmentation(tiny, row))[1]["training"]["cross-entropy"]["loss"] for row in rows]
    assert losses[0] != losses[1]
    folder = measures.training_folder()
    assert len(list(folder.glob("pretraining-*"))) == 1 and len(list(folder.glob("segmentation-*"))) == 2


def test_notes_of_a_measurement_reach_the_record(monkeypatch, tmp_path, tiny):
    def measure(dataset, row):
        for sample in dataset:
            yield sample.id, {"size": float(np.size(sample.labels))}
        return {"device": "cuda", "training": {"stage": {"best_epoch": 3, "seconds": 2.0}}}

    row = experiment.Row("x", "y", "monuseg", "test", "masks", measure)
    monkeypatch.setattr(experiment, "load_dataset", lambda *a, **k: tiny)
    monkeypatch.setattr(experiment, "runs_folder", lambda slug: tmp_path)
    record = experiment.run_row("partial-points", row, "quick")
    assert record["device"] == "cuda"
    assert record["notes"] == {"training": {"stage": {"best_epoch": 3, "seconds": 2.0}}}
