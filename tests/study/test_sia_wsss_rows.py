"""The rows of SIA-WSSS: declared completely, at the published settings, on parts that share no image."""

import json
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest

from nucseg.data import available, load_dataset
from nucseg.data.synthetic import TissueConfig
from nucseg.methods import SIAWSSSConfig
from nucseg.methods.base import config_from_dict
from nucseg.models import TissueViT
from nucseg.study.experiments import sia_wsss as declared
from nucseg.study.experiments.sia_wsss import BCSS, FULL, LUAD, PARTS, PUBLISHED, ROWS, SYNTHETIC, WINDOWS
from nucseg.study.measures.sia_wsss import tissue_part
from nucseg.study.tables import published


def config(row):
    return config_from_dict(SIAWSSSConfig, json.loads(json.dumps(row.settings["config"])))


def of(experiment, **wanted):
    rows = [row for row in ROWS if row.experiment == experiment]
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


def differing(first, second):
    """Names of settings with other values, one below the other."""
    first, second = (json.loads(json.dumps(asdict(each))) for each in (first, second))

    def walk(a, b, name):
        if isinstance(a, dict) and isinstance(b, dict):
            return {found for key in a for found in walk(a[key], b[key], (*name, key))}
        return set() if a == b else {name}

    return walk(first, second, ())


def test_keys_are_unique_and_settings_survive_json():
    assert len({row.key for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert json.loads(json.dumps(row.describe())) == row.describe(), row.key
        config(row)
        assert (row.supervision, row.split) == ("tags", "test")
        assert set(row.settings) == ({"config", "data"} if row.dataset == SYNTHETIC else {"config"})


def test_tables_have_the_published_settings_and_names():
    assert SIAWSSSConfig() == PUBLISHED
    for row in of("table 2"):
        assert differing(config(row), PUBLISHED) == {
            (name,) for name, used in zip(("rfm", "dam", "rsm"), PARTS[row.row]) if not used}
    printed = published("fan2025", "table 2")
    assert {(row.row, row.dataset) for row in of("table 2", dataset=LUAD)} == set(zip(printed.row, printed.dataset))
    printed = published("fan2025", "table 1").query("row == 'SIA-WSSS'")
    assert {row.dataset for row in of("table 1", row="SIA-WSSS")} == {*printed.dataset, SYNTHETIC, WINDOWS}
    for row in of("table 1", row="SIA-WSSS"):
        assert config(row) == replace(PUBLISHED, white=None if row.dataset == BCSS else 200.0)
    seeds = Counter((row.experiment, row.row, row.dataset) for row in of("table 1") + of("table 2"))
    assert set(seeds.values()) == {5} and len(seeds) == 3 * 4 + 5 * 3


def test_short_rows_are_the_tables_with_other_costs():
    for table in ("table 1", "table 2"):
        for row in of(f"{table}, short"):
            (full,) = of(table, row=row.row, dataset=row.dataset, seed=row.seed)
            changed = {name[0] for name in differing(config(row), config(full))}
            assert changed <= {"vit", "activation", "decoder_channels", "stain", "epochs", "optimizer",
                               "learning_rate", "schedule", "warm_up", "validate_every"}
    small = config(of("table 2, short")[0]).vit
    assert 0.5e6 < sum(part.numel() for part in TissueViT(4, small).parameters()) < 0.6e6


def test_plain_cams_have_nothing_but_a_classifier():
    for row in of("table 1") + of("table 1, short"):
        own = config(row)
        if row.row == "SIA-WSSS":
            continue
        assert not (own.rfm or own.dam or own.rsm or own.segmentation_weight or own.auxiliary_weight)
        assert own.output == "activation" and own.maps.pooling in row.row and not own.token_weight


def test_an_ambiguity_changes_one_thing_of_the_whole_method():
    whole, names = declared.short(SYNTHETIC), set()
    for row in of("ambiguities, short"):
        changed = differing(config(row), whole)
        if row.row.startswith("row b labeled by"):
            assert changed - {("unfused",)} == {("dam",), ("rsm",)}
        else:
            assert len(changed) == 2 if row.row in PAIRS else len(changed) == 1, (row.row, changed)
            names |= changed
    assert {("inhibition", "weight"), ("inhibition", "kind"), ("inhibition", "attraction"), ("inhibition", "source"),
            ("inhibition", "graph", "neighbors"), ("activation", "kind"), ("maps", "pooling"), ("output",),
            ("modulation", "fusion"), ("modulation", "erosion"), ("background",)} <= names


#: What takes two settings to change.
PAIRS = {"certainty 0.25 and 0.70", "certainty 0.35 and 0.55", "no attraction, own classifier",
         "no decoder, refined maps"}


def test_difficulty_is_the_size_of_cores_alone():
    hard = asdict(TissueConfig())
    for row in of("difficulty, short"):
        knobs = row.settings["data"]["knobs"]
        assert {name for name in hard if knobs[name] != hard[name]} <= {"core"} and f"core {knobs['core']}" in row.row
        assert TissueConfig(**knobs) == TissueConfig(core=knobs["core"])
    # The default is a row of table 2 as well, and found trained.
    (default,) = of("difficulty, short", row=f"{FULL}, core 0.45", seed=0)
    (same,) = of("table 2, short", row=FULL, dataset=SYNTHETIC, seed=0)
    assert default.settings == same.settings


def test_synthetic_parts_have_their_sizes_and_share_no_patient():
    row = of("table 2, short", dataset=SYNTHETIC)[0]
    parts = {name: tissue_part(SYNTHETIC, name, row.settings["data"]) for name in ("train", "val", "test")}
    assert {name: len(part) for name, part in parts.items()} == {"train": 600, "val": 150, "test": 150}
    groups = [set(part.groups.values()) for part in parts.values()]
    ids = [set(part.ids) for part in parts.values()]
    for sets in (groups, ids):
        assert len(set.union(*sets)) == sum(map(len, sets))
    images, others = row.images()
    assert (images.ids, others) == (parts["test"].ids, {}) and images.checksum
    assert images[0] is images[0], "rendered once"
    assert parts["train"][0].tags != parts["train"][1].tags or (parts["train"][0].image != parts["val"][0].image).any()


@pytest.mark.skipif(WINDOWS not in available(), reason="needs wsss4luad")
def test_windows_share_no_image_between_parts_and_are_tagged_by_their_masks():
    parts = {name: tissue_part(WINDOWS, name) for name in ("train", "val", "test")}
    whole = [{window.split("@")[0] for window in part.ids} for part in parts.values()]
    assert len(set.union(*whole)) == sum(map(len, whole)) > 90
    measured, _ = of("table 2, short", dataset=WINDOWS)[0].images()
    assert measured.ids == load_dataset(WINDOWS, "test").ids == parts["test"].ids
    for part in parts.values():
        for sample in part[::9]:
            assert sample.image.shape == (224, 224, 3)
            shares = [np.mean(sample.mask == index) for index in range(len(sample.tags))]
            assert list(sample.tags.values()) == [share >= 0.01 for share in shares], sample.id
