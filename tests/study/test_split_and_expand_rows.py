"""The rows of split and expand: declared completely, at the published settings, and under the published names."""

import json
from dataclasses import replace

import pytest

from nucseg.data import available, load_dataset
from nucseg.methods import SplitAndExpand, SplitAndExpandConfig
from nucseg.methods.base import config_from_dict
from nucseg.methods.split_and_expand.config import maskga_base_config
from nucseg.study.experiments.split_and_expand import FEW, ROWS, SHORT
from nucseg.study.measures.oracle import measure_oracle
from nucseg.study.tables import published

TRAINED = [row for row in ROWS if row.measure is not measure_oracle]
#: The library's settings, but from random weights.
PUBLISHED = replace(SplitAndExpandConfig(), base=replace(SplitAndExpandConfig().base, weights=None))
#: The same around the other base, which always starts from random weights.
MASKGA = replace(PUBLISHED, base=maskga_base_config())
TABLES = ("split and expand", "re-weighting")


def expected(row):
    """Return the published settings around the row's base."""
    return MASKGA if row.row.startswith("MaskGA") else PUBLISHED


def config(row):
    """Return the settings of a row's training, by way of JSON."""
    return config_from_dict(SplitAndExpandConfig, json.loads(json.dumps(row.settings["config"])))


def test_keys_are_unique_and_settings_survive_json():
    assert len({row.key for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert json.loads(json.dumps(row.describe())) == row.describe(), row.key


def test_every_config_can_be_built_and_is_complete():
    for row in TRAINED:
        whole = json.loads(json.dumps(expected(row), default=vars))
        assert row.settings["config"].keys() == whole.keys() - {"seed"}, f"{row.key}: the seed is the row's own"
        method = SplitAndExpand(config(row))
        again = json.loads(json.dumps(method.config, default=vars))
        assert again == {**row.settings["config"], "seed": 0}, row.key
        assert row.row.startswith("MaskGA") or method.config.base.weights is None


def test_published_rows_have_the_default_settings():
    for row in TRAINED:
        if row.experiment in (*TABLES, "no patient in two parts"):
            without = "without" in row.row
            assert config(row) == (replace(expected(row), reweighting=None) if without else expected(row)), row.key
            assert (row.fold.parts, row.fold.part, row.seed, "steps" in row.settings) == (10, "test", 0, False)


def test_published_names_are_declared_for_all_folds_and_no_others():
    reference = published("foo2022")
    assert set(reference.experiment) == set(TABLES)
    wanted = {(line.experiment, line.row, line.dataset) for line in reference.itertuples()}
    folds = {}
    for row in TRAINED:
        if row.experiment in TABLES:
            folds.setdefault((row.experiment, row.row, row.dataset), []).append(row.fold.number)
    assert folds == {key: list(range(10)) for key in wanted}


def test_scores_measured_before_are_of_declared_rows():
    reference = published("earlier measurement").query("experiment == 'true centers'")
    declared = {(row.experiment, row.row, row.dataset) for row in ROWS}
    assert len(reference) and {(line.experiment, line.row, line.dataset) for line in reference.itertuples()} <= declared


def test_a_row_measures_the_step_in_its_name():
    steps = {"Baseline": "baseline", "Split": "split", "Split & Expand": "expand"}
    named = [row for row in TRAINED if row.row.split(", ")[-1] in steps]
    assert len(named) > 60
    for row in named:
        assert row.settings["output"] == steps[row.row.split(", ")[-1]], row.key
    assert {row.settings["output"] for row in TRAINED if row.experiment == "re-weighting"} == {"expand"}


def test_patients_are_kept_together_where_the_name_says_so():
    for row in TRAINED:
        apart = row.experiment.startswith("no patient in two parts")
        assert row.fold.by == ("group" if apart else "image"), row.key
        assert not apart or row.dataset == "tnbc"


def test_folds_deal_all_images_of_a_dataset():
    """Training deals the whole dataset, so that a row on a part of it would train on what it measures."""
    for row in TRAINED:
        assert (row.split, row.scheme) == ("all", None), row.key


def test_short_rows_differ_from_the_published_ones_in_what_saves_time():
    for row in TRAINED:
        if "short" not in row.experiment:
            continue
        found, whole = config(row), expected(row)
        epochs, patches = SHORT[row.dataset]
        own, base = found.base, whole.base
        assert own.patches_per_side == patches
        if row.row.startswith("MaskGA"):
            assert (own.width, own.channels) == (base.width // 2, base.channels // 2)
            names = ("width", "channels", "epochs", "validate_every", "patch", "copies", "batch")
            back = replace(own, **{name: getattr(base, name) for name in names})
        else:
            assert own.segmenter.epochs == epochs
            assert own.normalization is None and own.segmenter.stain is not None
            names = ("epochs", "validate_every", "stain")
            segmenter = replace(own.segmenter, **{name: getattr(base.segmenter, name) for name in names})
            back = replace(own, segmenter=segmenter, normalization=base.normalization)
        back = replace(back, patches_per_side=base.patches_per_side)
        assert replace(found, base=back, reweighting=whole.reweighting) == whole, row.key


def test_short_rows_share_few_trainings():
    """Two folds of each dataset around each base, one with re-weighting, one that keeps patients together."""
    trainings = {
        (row.dataset, json.dumps(row.settings["config"], sort_keys=True), replace(row.fold, part="test"))
        for row in TRAINED if "short" in row.experiment
    }
    assert len(trainings) == 2 * 2 * len(FEW) + 2 == 10


def test_rows_of_one_experiment_differ():
    for name in {row.experiment for row in ROWS}:
        described = [row.describe() for row in ROWS if row.experiment == name]
        seen = [json.dumps({**values, "row": None}, sort_keys=True) for values in described]
        assert len(set(seen)) == len(seen), name


@pytest.mark.data
@pytest.mark.parametrize("dataset", ["monuseg", "tnbc"])
def test_folds_divide_the_real_images_as_they_promise(dataset):
    if dataset not in available():
        pytest.skip(f"{dataset} is not in the data folder")
    whole = load_dataset(dataset)
    for fold in {row.fold for row in TRAINED if row.dataset == dataset}:
        parts = fold.of(whole)
        assert sorted(i for part in parts for i in part.ids) == sorted(whole.ids) and all(map(len, parts))
        if fold.by == "group":
            patients = [{whole.groups[i] for i in part.ids} for part in parts]
            assert len(set().union(*patients)) == sum(map(len, patients)), "no patient in two parts"
