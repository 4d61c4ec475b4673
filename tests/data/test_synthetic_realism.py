"""Synthetic images beside real ones: what can be measured must lie within the range of the real sets."""

import functools

import numpy as np
import pytest

from nucseg.data import available, load_dataset
from nucseg.data.stain import separate_stains, stain_vectors, vector_angle
from nucseg.data.statistics import image_statistics
from nucseg.data.synthetic import synthetic_dataset

pytestmark = pytest.mark.data

MEASURES = (
    "median_area",
    "foreground",
    "contrast",
    "deviation",
    "nuclear_brightness",
    "background_brightness",
)


def describe(samples, stains=False):
    """Numbers of each image, as arrays over images; with the stain vectors and how much nuclei hold, if wanted."""
    rows = []
    for image, labels in samples:
        row = image_statistics(image, labels)
        row["nuclear_brightness"] = image[labels > 0].mean()
        row["background_brightness"] = image[labels == 0].mean()
        if stains:
            row["vectors"] = stain_vectors(image)
            hematoxylin = separate_stains(image, row["vectors"])[..., 0]
            row["hematoxylin"] = hematoxylin[labels > 0].mean() / hematoxylin[labels == 0].mean()
        rows.append(row)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def middle(dataset, step):
    """The middle 512 x 512 pixels of every so many images."""
    for position in range(0, len(dataset), step):
        sample = dataset[position]
        top, left = ((size - 512) // 2 for size in sample.labels.shape)
        window = (slice(top, top + 512), slice(left, left + 512))
        yield sample.image[window], sample.labels[window]


@functools.cache
def monuseg():
    if "monuseg" not in available():
        pytest.skip("monuseg is not in the data folder")
    return describe(middle(load_dataset("monuseg", "train", scheme="monuseg2018"), 5), stains=True)


@functools.cache
def real_he():
    if "tnbc" not in available():
        pytest.skip("tnbc is not in the data folder")
    parts = (monuseg(), describe(middle(load_dataset("tnbc"), 7), stains=True))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@functools.cache
def synthetic_he():
    return describe(middle(synthetic_dataset("synthetic-he", "train", count=8), 1), stains=True)


@functools.cache
def real_fluorescence():
    if "bbbc038" not in available():
        pytest.skip("bbbc038 is not in the data folder")
    dataset = load_dataset("bbbc038", "stage1_train")
    samples = (dataset[i] for i in range(0, len(dataset), 10))
    return describe((s.image, s.labels) for s in samples if s.meta["modality"] == "fluorescence")


@functools.cache
def synthetic_fluorescence():
    return describe((s.image, s.labels) for s in synthetic_dataset("synthetic-fluorescence", "train", count=16))


def check_among(synthetic, real):
    """The median over synthetic images lies between the 15th and the 85th percentile of real ones."""
    low, high = np.nanpercentile(real, [15, 85])
    assert low < np.median(synthetic) < high


@pytest.mark.parametrize("measure", [*MEASURES, "hematoxylin"])
def test_he_statistics_lie_among_those_of_monuseg_and_tnbc(measure):
    check_among(synthetic_he()[measure], real_he()[measure])


def test_he_nuclei_touch_as_often_as_in_monuseg():
    # In TNBC touching nuclei are one object, so it says nothing about touching.
    check_among(synthetic_he()["touching"], monuseg()["touching"])


@pytest.mark.parametrize("stain", [0, 1])
def test_he_stain_colors_lie_among_the_real_ones(stain):
    real, synthetic = real_he()["vectors"][:, stain], synthetic_he()["vectors"][:, stain]
    usual = np.median([vector_angle(vector, real.mean(axis=0)) for vector in real])
    assert vector_angle(synthetic.mean(axis=0), real.mean(axis=0)) < usual


@pytest.mark.parametrize("measure", [*MEASURES, "touching"])
def test_fluorescence_statistics_lie_among_those_of_bbbc038(measure):
    check_among(synthetic_fluorescence()[measure], real_fluorescence()[measure])
