"""Synthetic H&E and fluorescence images: exact truth, and knobs that do what their names say."""

import dataclasses
import hashlib
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import threshold_otsu

from nucseg.data.stain import separate_stains
from nucseg.data.statistics import nuclear_areas, touching_share
from nucseg.data.synthetic import (
    FluorescenceConfig,
    HEConfig,
    TissueConfig,
    render_fluorescence,
    render_he,
    render_tissue,
)
from nucseg.errors import DataError

GENERATORS = {
    "he": (HEConfig(size=192, nuclei=24), render_he),
    "fluorescence": (FluorescenceConfig(size=192, nuclei=16), render_fluorescence),
    "tissue": (TissueConfig(size=96), render_tissue),
}
NUCLEI = {name: GENERATORS[name] for name in ("he", "fluorescence")}


def fingerprint(sample):
    truth = sample.mask if sample.labels is None else sample.labels
    return hashlib.sha256(sample.image.tobytes() + truth.tobytes()).hexdigest()


@pytest.mark.parametrize("name", GENERATORS)
def test_same_seed_same_image_whatever_was_drawn_before(name):
    config, render = GENERATORS[name]
    first = fingerprint(render(config, seed=3))
    others = {fingerprint(render(config, seed=seed)) for seed in (0, 1, 2)}
    assert fingerprint(render(config, seed=3)) == first
    assert len(others | {first}) == 4


def test_same_seed_same_image_in_another_process():
    script = (
        "import hashlib; from nucseg.data.synthetic import *\n"
        "for c, r in ((HEConfig(size=192, nuclei=24), render_he),"
        " (FluorescenceConfig(size=192, nuclei=16), render_fluorescence), (TissueConfig(size=96), render_tissue)):\n"
        "    s = r(c, seed=3); t = s.mask if s.labels is None else s.labels\n"
        "    print(hashlib.sha256(s.image.tobytes() + t.tobytes()).hexdigest())\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [fingerprint(render(config, seed=3)) for config, render in GENERATORS.values()]


@pytest.mark.parametrize("name", NUCLEI)
@pytest.mark.parametrize("seed", range(4))
def test_truth_is_one_connected_region_of_visible_size_per_id(name, seed):
    config, render = NUCLEI[name]
    sample = render(config, seed=seed)
    assert sample.image.shape == (config.size, config.size, 3) and sample.labels.dtype == np.int32
    ids = np.unique(sample.labels)
    assert ids.tolist() == list(range(config.nuclei + 1))
    assert len(sample.meta["kinds"]) == config.nuclei
    for i, window in enumerate(ndimage.find_objects(sample.labels), start=1):
        assert ndimage.label(sample.labels[window] == i, np.ones((3, 3)))[1] == 1
    assert nuclear_areas(sample.labels).min() >= {"he": 25, "fluorescence": 12}[name]


@pytest.mark.parametrize("name", NUCLEI)
@pytest.mark.parametrize("count", [0, 1, 7, 30])
def test_count_knob(name, count):
    config, render = NUCLEI[name]
    assert render(dataclasses.replace(config, nuclei=count), seed=1).labels.max() == count


def test_no_room_means_fewer_nuclei_not_an_error():
    sample = render_fluorescence(FluorescenceConfig(size=64, nuclei=60, variation=0), seed=0)
    assert 10 < sample.labels.max() < 60
    assert np.unique(sample.labels).tolist() == list(range(sample.labels.max() + 1))


@pytest.mark.parametrize("name", NUCLEI)
def test_touching_knob_sets_the_share_and_zero_means_none(name):
    config, render = NUCLEI[name]
    config = dataclasses.replace(config, nuclei=30, variation=0)
    wanted = [0.0, 0.2, 0.45, 0.7, 0.95]
    found = [touching_share(render(dataclasses.replace(config, touching=t), seed=2).labels) for t in wanted]
    assert found[0] == 0
    assert np.all(np.diff(found) > 0)
    assert np.allclose(found, wanted, atol=0.1)


def test_gap_is_kept_between_nuclei_that_do_not_touch():
    labels = render_he(HEConfig(size=256, nuclei=50, touching=0, gap=3), seed=0).labels
    for i in range(1, 51):
        near = ndimage.binary_dilation(labels == i, np.ones((3, 3)), iterations=3)
        assert set(np.unique(labels[near])) <= {0, i}


def test_kinds_differ_as_in_tissue():
    sample = render_he(HEConfig(nuclei=120, touching=0, variation=0), seed=5)
    kinds, areas = np.array(sample.meta["kinds"]), nuclear_areas(sample.labels)
    assert (kinds == "lymphocyte").sum() == round(0.22 * 120)
    assert np.median(areas[kinds == "lymphocyte"]) < 0.6 * np.median(areas[kinds == "epithelial"])

    def elongation(i):
        moments = np.cov(np.argwhere(sample.labels == i).T)
        small, large = np.linalg.eigvalsh(moments)
        return math.sqrt(large / small)

    stretched = {kind: np.median([elongation(i + 1) for i in np.flatnonzero(kinds == kind)]) for kind in set(kinds)}
    assert stretched["fibroblast"] > 1.6 > stretched["lymphocyte"]


def test_hematoxylin_marks_the_nuclei_of_the_truth():
    sample = render_he(HEConfig(noise=0, ghosts=0), seed=4)
    hematoxylin = separate_stains(sample.image, sample.meta["stain_vectors"][:2])[..., 0]
    darker = []
    for i in range(1, sample.labels.max() + 1):
        inside = sample.labels == i
        around = ndimage.binary_dilation(inside, iterations=6) & (sample.labels == 0)
        darker.append(hematoxylin[inside].mean() > hematoxylin[around].mean())
    assert np.mean(darker) > 0.97


def test_thresholding_merges_touching_nuclei():
    def merged_share(touching):
        sample = render_he(HEConfig(touching=touching, ghosts=0, variation=0), seed=6)
        hematoxylin = separate_stains(sample.image, sample.meta["stain_vectors"][:2])[..., 0]
        hematoxylin = ndimage.gaussian_filter(hematoxylin, 1)
        found, _ = ndimage.label(hematoxylin > threshold_otsu(hematoxylin))
        # Each nucleus belongs to the region that covers its center best; several in one region are merged.
        owners = [np.bincount(found[sample.labels == i]).argmax() for i in range(1, sample.labels.max() + 1)]
        owners = np.array([owner for owner in owners if owner > 0])
        assert len(owners) > 0.6 * sample.labels.max()
        return np.mean(np.bincount(owners)[owners] > 1)

    apart, crowded = merged_share(0.0), merged_share(0.7)
    assert crowded > 0.6 and crowded > apart + 0.3


def test_fluorescent_nuclei_are_brighter_than_their_surroundings():
    sample = render_fluorescence(seed=4)
    gray = sample.image[..., 0].astype(float)
    assert np.array_equal(sample.image[..., 0], sample.image[..., 2])
    for i in range(1, sample.labels.max() + 1):
        inside = ndimage.binary_erosion(sample.labels == i)
        around = ndimage.binary_dilation(sample.labels == i, iterations=6) & (sample.labels == 0)
        assert gray[inside].mean() > gray[around].mean()


def test_noise_knobs_have_the_unit_they_name():
    empty = HEConfig(size=256, nuclei=0, epithelium=1, glands=0, vessels=0, noise=0, blur=0)
    quiet, loud = render_he(empty).image.astype(float), render_he(dataclasses.replace(empty, noise=8)).image
    level = 8 * np.sqrt(quiet.mean() / 255)
    assert (loud - quiet).std() == pytest.approx(level, rel=0.1)
    dark = FluorescenceConfig(nuclei=0, background=60, unevenness=0, variation=0, read_noise=5, photons=1000)
    gray = render_fluorescence(dark).image[..., 0].astype(float)
    assert gray.mean() == pytest.approx(60, abs=0.5) and gray.std() == pytest.approx(5, rel=0.1)
    dim = dataclasses.replace(dark, read_noise=0, photons=0.5)
    # Poisson: the variance of a count equals its mean, here 30 photons of 2 gray levels each.
    assert render_fluorescence(dim).image[..., 0].std() == pytest.approx(2 * np.sqrt(30), rel=0.1)


def test_images_of_one_patient_share_the_stain_and_variation_zero_makes_all_patients_alike():
    config = HEConfig(size=64, nuclei=2, patient=11)
    vectors = [render_he(config, seed=s).meta["stain_vectors"] for s in (0, 1)]
    other = render_he(dataclasses.replace(config, patient=12), seed=0).meta["stain_vectors"]
    assert np.array_equal(*vectors) and not np.allclose(vectors[0], other)
    alike = [render_he(HEConfig(size=64, nuclei=2, patient=p, variation=0)).meta["stain_vectors"] for p in (1, 2)]
    assert np.array_equal(*alike)


@pytest.mark.parametrize("name", GENERATORS)
def test_every_knob_changes_the_picture(name):
    config, render = GENERATORS[name]
    config = dataclasses.replace(config, size=128, **({} if name == "tissue" else {"nuclei": 12}))
    # Shares of images are tried at both ends: one of them must differ from the default.
    for field, default, _, low, high in type(config).table():
        start = getattr(config, field)
        values = [low, high] if default is not None and high <= 10 else [7 if default is None else 1.5 * start]
        values = [type(default)(v) if isinstance(default, int | float) else v for v in values]
        seeds = range(8)
        assert any(
            fingerprint(render(config, seed=s))
            != fingerprint(render(dataclasses.replace(config, **{field: v}), seed=s))
            for s in seeds
            for v in values
        ), field


@pytest.mark.parametrize("kind", [HEConfig, FluorescenceConfig, TissueConfig])
def test_bad_knobs_are_named_with_their_value(kind):
    for field, default, unit, low, high in kind.table():
        assert unit
        for value in (low - 1, high * 2 + 1, math.nan, "3", True):
            with pytest.raises(DataError, match=rf"{kind.__name__}\.{field}: .*got {value!r}".replace("+", r"\+")):
                kind(**{field: value})
        if isinstance(default, int):
            with pytest.raises(DataError, match="whole number"):
                kind(**{field: low + 0.5})
