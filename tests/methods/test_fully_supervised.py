"""The fully supervised reference: its targets are the masks themselves, and it keeps every promise of a method."""

from dataclasses import replace

import numpy as np
import pytest
from method_checks import (
    SEGMENTER,
    changed,
    check_damaged,
    check_independence,
    check_not_fitted,
    check_predictions,
    check_saved,
    check_sizes_and_kinds,
    cpu,
    disk_sample,
    disks,
    same_weights,
    stamps,
)

from nucseg.data.sample import Dataset, Sample
from nucseg.errors import DataError
from nucseg.methods.baselines import FullySupervised, FullySupervisedConfig, fully_supervised
from nucseg.supervision import box_centers, voronoi_edges

IMAGES = [disk_sample(name).image for name in "xyz"]
CONFIG = FullySupervisedConfig(
    segmenter=replace(SEGMENTER, crf_epochs=0), weights=None, patch=64, patches_per_side=1
)
TRAIN = disks("a", "b", "c", "d")


def fit(config, train, val, folder):
    return FullySupervised(config).fit(train, val, run_dir=folder, fabric=cpu(), progress=False)


@pytest.fixture
def given(monkeypatch):
    """Note the labels and shares that the segmenter would be trained with, and train nothing."""

    class Seen(Exception):
        pass

    def segmenter(train, val, labels, shares, *rest, **options):
        seen.extend([labels, shares])
        raise Seen

    def targets(config, train, val):
        seen.clear()
        with pytest.raises(Seen):
            fit(config, train, val, None)
        return seen

    seen = []
    monkeypatch.setattr(fully_supervised, "train_segmenter", segmenter)
    return targets


def test_it_keeps_the_promises_of_a_method(fitted_on_masks, tiny, tmp_path):
    check_predictions(fitted_on_masks, IMAGES[0])
    check_independence(fitted_on_masks, IMAGES)
    check_sizes_and_kinds(fitted_on_masks, IMAGES[0])
    check_saved(fitted_on_masks, tmp_path / "saved", IMAGES)
    check_damaged(fitted_on_masks, tmp_path / "damaged")
    check_not_fitted(FullySupervised(CONFIG), tmp_path)


def test_fitting_tells_what_happened(fitted_on_masks):
    assert list(fitted_on_masks.histories) == ["cross-entropy"] and list(fitted_on_masks.networks) == ["segmenter"]
    assert list(fitted_on_masks.predict_maps(IMAGES[0])) == ["nucleus"]


def test_the_targets_are_the_masks(given, val, tiny):
    labels, shares = given(CONFIG, TRAIN, val)
    assert sum(shares) == 1 and len(shares) == 1
    for sample, target in zip(TRAIN, labels):
        assert target.dtype == np.int8
        np.testing.assert_array_equal(target, [sample.labels > 0])


def test_separation_cuts_touching_nuclei_apart(given, val, tiny):
    labels = np.zeros((64, 64), int)
    labels[20:40, 10:30], labels[20:40, 30:50] = 1, 2
    train = Dataset("touching", ["t"], lambda name: Sample(name, disk_sample("a").image, labels))
    ((targets,), _), plain = given(replace(CONFIG, separate=True), train, val), labels > 0
    target = targets[0]
    cut = plain & (target == 0)
    np.testing.assert_array_equal(cut, plain & voronoi_edges(box_centers(labels), (64, 64)))
    rows, columns = np.nonzero(cut)
    assert set(rows) == set(range(20, 40)) and 28 <= columns.min() <= columns.max() <= 31
    assert not (target[~plain]).any()


def test_nothing_is_ignored(given, val, tiny):
    for separate in (False, True):
        labels, _ = given(replace(CONFIG, separate=separate), TRAIN, val)
        assert all(set(np.unique(target)) == {0, 1} for target in labels)


def test_the_same_seed_gives_the_same_weights(fitted_on_masks, tiny, val, tmp_path):
    again = fit(CONFIG, TRAIN, val, tmp_path)
    before = stamps(tmp_path, "*")
    assert same_weights(again.networks["segmenter"], fitted_on_masks.networks["segmenter"])
    fit(CONFIG, TRAIN, val, tmp_path)
    assert stamps(tmp_path, "*") == before and len(before) == 1
    other = fit(replace(CONFIG, seed=1), TRAIN, val, tmp_path)
    assert not same_weights(again.networks["segmenter"], other.networks["segmenter"])


def test_fine_tuning_can_be_asked_for(tiny, val, tmp_path):
    method = fit(replace(CONFIG, segmenter=SEGMENTER), TRAIN, val, tmp_path)
    assert list(method.histories) == ["cross-entropy", "crf"]


def test_data_that_cannot_be_fitted_are_named(tiny, val, tmp_path):
    bare = changed(disks("a", "b"), lambda sample: replace(sample, labels=None))
    with pytest.raises(DataError, match=r"^a: full supervision needs a label map"):
        fit(CONFIG, bare, val, tmp_path)
    with pytest.raises(DataError, match=r"^a: a validation image of the segmenter needs a label map"):
        fit(CONFIG, TRAIN, bare, tmp_path)
    with pytest.raises(DataError, match=r"^a: 64x64 pixels are less than a patch of 250"):
        fit(replace(CONFIG, patch=250), TRAIN, val, tmp_path)
    assert not list(tmp_path.iterdir())


def test_images_without_nuclei_are_background(tiny, val, tmp_path):
    method = fit(CONFIG, disks("a", "b", counts={"b": 0}), val, tmp_path)
    check_predictions(method, IMAGES[0])


def test_a_second_fit_that_fails_leaves_no_mixture(tiny, val, tmp_path, monkeypatch):
    method = fit(CONFIG, TRAIN, val, tmp_path)
    before = method.predict_maps(IMAGES[0])["nucleus"]

    def dying(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(fully_supervised, "train_segmenter", dying)
    dark = changed(TRAIN, lambda sample: replace(sample, image=sample.image // 2))
    with pytest.raises(KeyboardInterrupt):
        method.fit(dark, val, run_dir=tmp_path, fabric=cpu(), progress=False)
    if method.networks:
        np.testing.assert_array_equal(method.predict_maps(IMAGES[0])["nucleus"], before)


def test_the_defaults_are_the_published_settings():
    config = FullySupervisedConfig()
    assert (config.segmenter.epochs, config.segmenter.crf_epochs, config.segmenter.learning_rate) == (200, 0, 1e-4)
    assert not config.separate and config.weights == "imagenet" and config.normalization == "reinhard"
