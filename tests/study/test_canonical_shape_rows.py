"""The rows of canonical shape: declared completely, at the published settings, and under the published names."""

import json
from dataclasses import replace

import pytest

from nucseg.data import available
from nucseg.methods import CanonicalShapeConfig
from nucseg.methods.base import config_from_dict
from nucseg.study.experiments.canonical_shape import PUBLISHED, ROWS, SEEDS, SHORT, TABLE
from nucseg.study.measures.canonical_shape import METHODS, measure_patches, training_sets
from nucseg.study.tables import published

#: Experiments whose rows are trainings of their own.
TRAINED = ("choices in training", "weight of the count loss", "further work")
OURS = [row for row in ROWS if row.settings.get("method") == "canonical shape"]


def config(row):
    return config_from_dict(METHODS[row.settings["method"]].Config, json.loads(json.dumps(row.settings["config"])))


def test_keys_are_unique_and_settings_survive_json():
    assert len({row.key for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert json.loads(json.dumps(row.describe())) == row.describe(), row.key


def test_rows_of_the_table_have_the_published_settings():
    random = replace(CanonicalShapeConfig(), encoder=replace(CanonicalShapeConfig().encoder, weights=None))
    assert random == PUBLISHED
    rows = [row for row in OURS if row.experiment == "table 1" and row.settings["method"] == "canonical shape"]
    assert {(row.row, row.seed) for row in rows} == {(name, seed) for name in TABLE for seed in SEEDS}
    for row in rows:
        counted, grid, merged = TABLE[row.row]
        assert config(row) == replace(PUBLISHED, count_weight=counted, test_grid=grid, merge=merged)
        assert ("L_cnt" in row.row, "P" in row.row.replace("L_cnt", ""), f", {grid}" in row.row) == (
            counted > 0, merged, True)
        assert row.supervision == ("binary masks and counts" if counted else "binary masks")


def test_published_names_are_declared():
    names = set(published("costa2022").row)
    assert names == {row.row for row in ROWS if row.experiment == "table 1"}


def test_references_have_their_default_settings():
    for row in ROWS:
        if row.experiment == "table 1" and row.row not in TABLE:
            assert config(row) == replace(METHODS[row.settings["method"]].Config(), weights=None)


def test_a_choice_changes_one_thing():
    for name, base in (("", PUBLISHED), (", short", SHORT)):
        reference = json.loads(json.dumps(replace(base, merge=True), default=vars))
        for row in OURS:
            if row.experiment in [f"{choice}{name}" for choice in TRAINED]:
                own = {**row.settings["config"], "seed": 0}
                outer = [key for key in own if own[key] != reference[key]]
                inner = [key for key in own["encoder"] if own["encoder"][key] != reference["encoder"][key]]
                assert len(outer) == 1 and len(inner) == (outer == ["encoder"]), row.key


def test_random_starts_change_the_start():
    for name, base in (("", PUBLISHED), (", short", SHORT)):
        found = {row.row: config(row) for row in OURS if row.experiment == f"shapes from random weights{name}"}
        for row in ("Ours + P, 128", "Ours + L_cnt + P, 128"):
            counted, grid, merge = TABLE[row]
            assert found[row] == replace(base, count_weight=counted, test_grid=grid, merge=merge, shape="random")


def test_choices_of_prediction_need_no_training_of_their_own():
    trained = {json.dumps(METHODS["canonical shape"](config(row)).training_settings(), sort_keys=True)
               for row in OURS if row.experiment in ("table 1, short", "presence, short", "merging, short")}
    assert len(trained) == 2


@pytest.mark.skipif("bbbc038" not in available(), reason="bbbc038 is not here")
def test_training_validation_and_test_share_no_image():
    train, val = training_sets("bbbc038")
    (row,) = [row for row in ROWS if row.measure is measure_patches and row.key.startswith("table-1-short.ours-32")]
    test, _ = row.images()
    assert len(train) + len(val) == 664 and len(test) == 65 and len(val) == 67
    assert not set(train.ids) & set(val.ids) and not (set(train.ids) | set(val.ids)) & set(test.ids)
