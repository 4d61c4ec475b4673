"""Synthetic datasets: splits that share nothing, images that depend on their name alone."""

import dataclasses

import numpy as np
import pytest

from nucseg.data.synthetic import (
    SPLITS,
    FluorescenceConfig,
    HEConfig,
    TissueConfig,
    dataset,
    synthetic_dataset,
    synthetic_names,
)
from nucseg.errors import DataError, UnknownNameError

SMALL = {
    "synthetic-he": HEConfig(size=64, nuclei=4),
    "synthetic-fluorescence": FluorescenceConfig(size=64, nuclei=4),
    "synthetic-tissue": TissueConfig(size=64),
}


@pytest.mark.parametrize("name", synthetic_names())
def test_splits_share_no_image_and_no_patient(name):
    parts = {split: synthetic_dataset(name, split, count=4, config=SMALL[name]) for split in SPLITS}
    everything = synthetic_dataset(name, count=4, config=SMALL[name])
    assert everything.ids == sum((part.ids for part in parts.values()), ())
    pixels, groups, patients = set(), [], []
    for part in parts.values():
        samples = list(part)
        pixels |= {s.image.tobytes() for s in samples}
        groups.append({s.group for s in samples})
        patients.append({s.meta["patient"] for s in samples})
        assert [s.id for s in samples] == list(part.ids)
        assert {s.id: s.group for s in samples} == part.groups
        assert len(groups[-1]) == len(patients[-1]) == 2
    assert len(pixels) == 12
    assert len(set.union(*groups)) == len(set.union(*patients)) == 6


def test_default_sizes():
    assert [len(synthetic_dataset("synthetic-he", split)) for split in SPLITS] == list(SPLITS.values())
    assert len(synthetic_dataset("synthetic-he")) == sum(SPLITS.values())


def test_an_image_depends_neither_on_count_nor_on_order():
    few = synthetic_dataset("synthetic-he", "train", count=3, config=SMALL["synthetic-he"])
    many = synthetic_dataset("synthetic-he", config=SMALL["synthetic-he"])
    last, first = few[2], few[0]
    assert few.ids == many.ids[:3]
    assert np.array_equal(many[0].image, first.image) and np.array_equal(many[few.ids[2]].labels, last.labels)


def test_seed_changes_images_and_patients():
    one, two = (synthetic_dataset("synthetic-he", "val", seed=s, config=SMALL["synthetic-he"]) for s in (0, 1))
    assert one[0].meta["patient"] != two[0].meta["patient"]
    assert not np.array_equal(one[0].image, two[0].image)


def test_checksum_names_the_pixels():
    make = synthetic_dataset
    config = SMALL["synthetic-he"]
    base = make("synthetic-he", "train", config=config).checksum
    assert base == make("synthetic-he", "test", count=5, config=config).checksum and len(base) == 64
    others = {
        make("synthetic-he").checksum,
        make("synthetic-he", seed=1, config=config).checksum,
        make("synthetic-he", config=dataclasses.replace(config, blur=1)).checksum,
        make("synthetic-fluorescence").checksum,
    }
    assert len(others | {base}) == 5


def test_nothing_is_rendered_before_it_is_asked_for(monkeypatch):
    def render(config, seed):
        raise RuntimeError("rendered")

    monkeypatch.setitem(dataset._KINDS, "synthetic-he", (HEConfig, render))
    images = synthetic_dataset("synthetic-he", "train", count=2000)
    assert len(images) == 2000 and len(set(images.groups.values())) == 1000
    with pytest.raises(RuntimeError, match="rendered"):
        images[1999]


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (UnknownNameError, "synthetic-xray.*synthetic-he", {"name": "synthetic-xray"}),
        (UnknownNameError, "'holdout'.*train, val, test", {"split": "holdout"}),
        (DataError, "count .* got 0", {"count": 0}),
        (DataError, "count .* got 2.5", {"count": 2.5}),
        (DataError, "seed .* got -1", {"seed": -1}),
        (DataError, "HEConfig with patient=None, got TissueConfig", {"config": TissueConfig()}),
        (DataError, "patient=3", {"config": HEConfig(patient=3)}),
    ],
)
def test_bad_requests_are_named(error, message, arguments):
    with pytest.raises(error, match=message):
        synthetic_dataset(**{"name": "synthetic-he", **arguments})
