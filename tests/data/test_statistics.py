"""Image statistics against loops over nuclei and pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg.data.statistics import (
    foreground_fraction,
    image_statistics,
    nuclear_areas,
    nucleus_background_contrast,
    nucleus_deviation,
    touching_share,
)
from nucseg.errors import DataError

label_maps = arrays(
    np.int64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 0, 0, 1, 2, 7])
)


def touching_by_loops(labels):
    touching = set()
    for (r, c), own in np.ndenumerate(labels):
        around = labels[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2]
        if own and ((around > 0) & (around != own)).any():
            touching.add(own)
    count = len(set(labels.ravel()) - {0})
    return len(touching) / count if count else np.nan


def contrast_by_loops(image, labels, radius):
    differences, weights = [], []
    rows, columns = np.mgrid[: labels.shape[0], : labels.shape[1]]
    for i in set(labels.ravel()) - {0}:
        inside = labels == i
        nearest = np.full(labels.shape, np.inf)
        for r, c in np.argwhere(inside):
            nearest = np.minimum(nearest, np.hypot(rows - r, columns - c))
        ring = (nearest <= radius) & (labels == 0)
        if ring.any():
            differences.append(np.abs(image[inside].mean(axis=0) - image[ring].mean(axis=0)).mean())
            weights.append(inside.sum())
    return np.average(differences, weights=weights) if weights else np.nan


def deviation_by_loops(image, labels):
    ids = sorted(set(labels.ravel()) - {0})
    stds = [image[labels == i].astype(float).std(axis=0).mean() for i in ids]
    return np.average(stds, weights=[(labels == i).sum() for i in ids]) if ids else np.nan


@given(label_maps)
def test_areas_and_foreground_equal_counting(labels):
    ids = sorted(set(labels.ravel()) - {0})
    assert nuclear_areas(labels).tolist() == [int((labels == i).sum()) for i in ids]
    assert foreground_fraction(labels) == pytest.approx((labels > 0).mean())


@given(label_maps)
def test_touching_share_equals_loops(labels):
    assert touching_share(labels) == pytest.approx(touching_by_loops(labels), nan_ok=True)


@given(label_maps, st.integers(0, 9), st.integers(1, 4))
def test_contrast_and_deviation_equal_loops(labels, seed, radius):
    image = np.random.default_rng(seed).integers(0, 256, (*labels.shape, 3), np.uint8)
    expected = contrast_by_loops(image, labels, radius)
    assert nucleus_background_contrast(image, labels, radius) == pytest.approx(expected, nan_ok=True)
    assert nucleus_deviation(image, labels) == pytest.approx(deviation_by_loops(image, labels), nan_ok=True)


@given(label_maps)
def test_names_of_nuclei_do_not_matter(labels):
    image = np.random.default_rng(0).integers(0, 256, (*labels.shape, 3), np.uint8)
    renamed = np.where(labels > 0, 2_000_000_000 - 1000 * labels, 0)
    before, after = image_statistics(image, labels), image_statistics(image, renamed)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert after[name] == pytest.approx(value, nan_ok=True)


def test_known_picture():
    labels, image = np.zeros((20, 20), int), np.full((20, 20, 3), 200, np.uint8)
    labels[2:6, 2:6], labels[6:8, 6:8], labels[14:16, 14:16] = 1, 2, 3
    image[labels > 0] = (100, 140, 180)
    numbers = image_statistics(image, labels)
    assert numbers["nuclei"] == 3 and numbers["density"] == pytest.approx(7500)
    assert numbers["median_area"] == 4 and numbers["foreground"] == pytest.approx(24 / 400)
    assert numbers["touching"] == pytest.approx(2 / 3)
    assert numbers["contrast"] == pytest.approx((100 + 60 + 20) / 3)
    assert numbers["deviation"] == 0


def test_nothing_to_measure_is_nan_not_an_error():
    numbers = image_statistics(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), int))
    assert numbers["nuclei"] == 0 and numbers["foreground"] == 0
    assert all(np.isnan(numbers[name]) for name in ("median_area", "touching", "contrast", "deviation"))


def test_bad_input_is_named():
    image, labels = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 4), int)
    for measure in (nucleus_background_contrast, nucleus_deviation):
        with pytest.raises(DataError, match=r"\(4, 5\) and \(4, 4\)"):
            measure(image, labels)
    with pytest.raises(DataError, match=r"radius .* got 0"):
        nucleus_background_contrast(image, np.zeros((4, 5), int), 0)
