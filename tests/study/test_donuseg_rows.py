"""The rows of DoNuSeg: declared completely, at the published settings; patches are scored by themselves."""

import json
from dataclasses import replace

import numpy as np
import pytest

from nucseg.methods import DoNuSegConfig
from nucseg.methods.base import config_from_dict
from nucseg.methods.donuseg import with_robust_maps
from nucseg.metrics import aji, panoptic_quality, pixel_scores
from nucseg.study.experiments.donuseg import DATASETS, LOSSES, PUBLISHED, ROWS, WEAKSEG, short
from nucseg.study.measures.donuseg import METHODS, patch_metrics


def config(row):
    return config_from_dict(METHODS[row.settings["method"]].Config, json.loads(json.dumps(row.settings["config"])))


def test_settings_survive_json():
    for row in ROWS:
        assert json.loads(json.dumps(row.describe())) == row.describe(), row.key
        config(row)


def test_tables_have_the_published_settings_and_five_folds():
    default = DoNuSegConfig()
    assert replace(default, network=replace(default.network, weights=None)) == PUBLISHED
    for dataset in DATASETS:
        for experiment, names in (("table 1", {"WeakSeg", "DoNuSeg"}), ("table 2", set(LOSSES)),
                                  ("table 3", {f"block {n}" for n in (1, 2, 3, 4)})):
            found = {(r.row, r.fold.number) for r in ROWS if r.experiment == experiment and r.dataset == dataset}
            assert found == {(name, fold) for name in names for fold in range(5)}
    for row in ROWS:
        if row.experiment == "table 2":
            assert config(row) == replace(PUBLISHED, **dict(zip(("dcs_weight", "ccl_weight"), LOSSES[row.row])))


def test_short_rows_of_weakseg_change_what_they_say_and_nothing_else():
    rows = {row.dataset: config(row) for row in ROWS if (row.experiment, row.row) == ("table 1, short", "WeakSeg")}
    assert set(rows) == set(DATASETS)
    for own in rows.values():
        segmenter = replace(own.segmenter, **{name: getattr(WEAKSEG.segmenter, name) for name in (
            "epochs", "crf_epochs", "validate_every", "stain")})
        assert own.segmenter.crf_epochs > 0
        assert own.normalization is None
        assert replace(own, segmenter=segmenter, normalization=WEAKSEG.normalization,
                       patches_per_side=WEAKSEG.patches_per_side) == WEAKSEG


def test_a_choice_changes_one_group_of_settings():
    for row in ROWS:
        if row.experiment == "choices in training, short":
            base, own = short(row.dataset), config(row)
            base = with_robust_maps(base) if row.row.startswith("robust maps") else base
            differing = {name for name in vars(base) if getattr(base, name) != getattr(own, name)}
            beside = {"count of dots": {"most_dots"}, "map of dots on P3": {"loc_weight"}}.get(row.row, set())
            assert beside <= differing and len(differing - beside) == 1, row.row


def test_robust_maps_change_what_they_say_in_all_rows_of_table_2():
    for experiment, base in (("table 2, robust maps", lambda _: PUBLISHED), ("table 2, robust maps, short", short)):
        found = [row for row in ROWS if row.experiment == experiment]
        assert {(row.dataset, row.row) for row in found} == {(name, row) for name in DATASETS for row in LOSSES}
        for row in found:
            own, plain = config(row), base(row.dataset)
            assert (own.network.localization, own.network.localized, own.loc_weight) == ("positions", "P3", 10.0)
            assert (own.selection.quantile, own.selection.balanced) == (0.99, True)
            assert (own.dcs_weight, own.ccl_weight) == LOSSES[row.row]
            network = replace(own.network, localization="occupancy", localized="C5")
            assert replace(own, network=network, selection=plain.selection, loc_weight=1.0, dcs_weight=0.5,
                           ccl_weight=2.0) == plain


def test_patches_are_scored_by_themselves():
    labels = np.zeros((256, 384), np.int32)
    labels[10:30, 10:30], labels[100:120, 300:330] = 1, 2
    image = np.zeros((256, 384, 3), np.uint8)
    image[..., 0] = labels

    def predict(patch):
        """Find the first nucleus without its last columns, never the second."""
        found = (patch[..., 0] == 1).astype(np.int32)
        found[:, 25:] = 0
        return found

    scores = patch_metrics(labels, image, predict)
    left = labels[:, :256]
    one = left == 1
    seen = predict(image[:, :256])
    assert seen.sum() == 300 and one.sum() == 400
    dq, sq, pq = panoptic_quality(left, seen)  # the second patch holds the second nucleus only: all scores 0
    assert scores["aji_patch"] == pytest.approx((aji(left, seen) + 0) / 2)
    assert (scores["dq_patch"], scores["sq_patch"], scores["pq_patch"]) == pytest.approx((dq / 2, sq / 2, pq / 2))
    assert scores["f1_pixel_patch"] == pytest.approx(pixel_scores(left, seen).f1 / 2)
    assert sq == pytest.approx(0.75)
    empty = patch_metrics(np.zeros_like(labels), image, predict)
    assert all(np.isnan(value) for value in empty.values())
