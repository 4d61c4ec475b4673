"""Both stages together: which dots reach stage 2, what is shared and resumed, and every promise of a method."""

import logging
import math
from dataclasses import replace
from urllib.error import URLError

import numpy as np
import pytest
from method_checks import (
    DETECTOR,
    SEGMENTER,
    TINY,
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
from torchvision.models import ResNet34_Weights

from nucseg.errors import DataError, NucsegError, UnknownNameError
from nucseg.methods import PartialPoints, PartialPointsConfig
from nucseg.methods.partial_points import method as module
from nucseg.methods.partial_points.detector import Detector
from nucseg.methods.stages import unet
from nucseg.models import ResNet34UNet
from nucseg.supervision import annotate_dots

pytestmark = pytest.mark.usefixtures("tiny")

IMAGES = [disk_sample(name).image for name in "xyz"]


def fit(config, train, val, folder):
    return PartialPoints(config).fit(train, val, run_dir=folder, fabric=cpu(), progress=False)


def with_dots(points):
    """Return training images with these dots."""
    return changed(disks(*points), lambda s: replace(s, labels=None, points=np.reshape(points[s.id], (-1, 2))))


@pytest.fixture
def unets(monkeypatch, tiny):
    """Networks are those of the article after all."""
    monkeypatch.setattr(module, "unet", unet)


def test_it_keeps_the_promises_of_a_method(fitted):
    check_predictions(fitted, IMAGES[0])
    check_independence(fitted, IMAGES)
    check_sizes_and_kinds(fitted, IMAGES[0])


def test_it_can_be_saved(fitted, tmp_path):
    check_saved(fitted, tmp_path / "saved", IMAGES)
    check_damaged(fitted, tmp_path / "damaged")
    check_not_fitted(PartialPoints(TINY), tmp_path)


def test_it_works_with_its_own_networks(fitted_unets):
    assert {type(network) for network in fitted_unets.networks.values()} == {ResNet34UNet}
    assert {name: network.out.out_channels for name, network in fitted_unets.networks.items()} == {
        "detector": 1, "segmenter": 2
    }
    check_predictions(fitted_unets, IMAGES[0])


def test_its_own_networks_can_be_saved(fitted_unets, unets, tmp_path):
    check_saved(fitted_unets, tmp_path, IMAGES[:1])


def test_fitting_tells_what_happened(fitted, train):
    assert list(fitted.histories) == ["round-0", "round-1", "cross-entropy", "crf"]
    for history in fitted.histories.values():
        assert len(history.epochs) == 1 and math.isfinite(history.epochs[0]["loss"]) and history.best_epoch == 1
    assert set(fitted.networks) == {"detector", "segmenter"} and len(fitted.points) == len(train)
    assert set(fitted.predict_maps(IMAGES[0])) == {"nucleus", "center"}
    dots = fitted.detect(IMAGES[0])
    assert dots.ndim == 2 and dots.shape[1] == 2 and dots.dtype == np.float64


@pytest.fixture
def heard(monkeypatch):
    """Let the detector find what ``heard.detections`` says, and note the dots that labels are made from."""

    class Heard:
        def __init__(self):
            self.detections, self.labeled = [], []

    heard, original = Heard(), module.weak_labels

    def detector(train, val, preprocessing, config, network, **options):
        return Detector(network(0).eval(), heard.detections)

    def labels(pixels, points, config):
        heard.labeled.append(np.asarray(points).tolist())
        return original(pixels, points, config)

    monkeypatch.setattr(module, "train_detector", detector)
    monkeypatch.setattr(module, "weak_labels", labels)
    return heard


def test_stage_2_has_the_annotated_dots_and_far_detections(heard, val, tmp_path):
    """With r1 = 5 a detection 5 px from a dot is that dot, one 6 px away is another nucleus."""
    train = with_dots({"a": [(20, 20)], "b": [], "c": [(10, 50), (50, 10)]})
    heard.detections = [
        np.array([(20.0, 25.0), (26.0, 20.0), (40.0, 40.0)]), np.array([(30.0, 30.5)]), np.zeros((0, 2))
    ]
    method = fit(TINY, train, val, tmp_path)
    expected = [[[20, 20], [26, 20], [40, 40]], [[30, 30.5]], [[10, 50], [50, 10]]]
    assert heard.labeled == expected and [points.tolist() for points in method.points] == expected
    heard.labeled.clear()
    fit(replace(TINY, keep_annotated=False), train, val, tmp_path)
    assert heard.labeled == [found.tolist() for found in heard.detections]


def test_without_a_detector_the_dots_are_taken_as_they_are(heard, train, val, tmp_path):
    heard.detections = [np.array([(1.0, 1.0)])] * 4
    method = fit(replace(TINY, detector=None), train, val, tmp_path / "run")
    assert heard.labeled == [sample.points.tolist() for sample in train]
    assert set(method.networks) == {"segmenter"} and set(method.predict_maps(IMAGES[0])) == {"nucleus"}
    with pytest.raises(DataError, match=r"fitted without a detector \(detector=None\)"):
        method.detect(IMAGES[0])
    with pytest.raises(DataError, match=r"no detector to train \(detector=None\)"):
        method.fit_detector(train, val, run_dir=tmp_path)
    check_saved(method, tmp_path / "saved", IMAGES[:1])
    check_sizes_and_kinds(method, IMAGES[0])


def test_the_shares_are_those_of_eq_6(monkeypatch, train, val, tmp_path):
    class Seen(Exception):
        pass

    def segmenter(images, held_out, labels, shares, *rest, **options):
        raise Seen(shares)

    monkeypatch.setattr(module, "train_segmenter", segmenter)
    for share in (0.0, 0.25, 1.0):
        config = replace(TINY, detector=None, segmenter=replace(SEGMENTER, voronoi_share=share))
        with pytest.raises(Seen) as raised:
            fit(config, train, val, tmp_path)
        assert raised.value.args[0] == (share, 1 - share)


def test_methods_that_share_a_folder_share_their_stages(train, val, tmp_path):
    first = fit(TINY, train, val, tmp_path)
    before = stamps(tmp_path, "*")
    assert sorted(name.rpartition("-")[0] for name in before) == ["crf", "detection-0", "detection-1", "segmentation"]
    again = fit(TINY, train, val, tmp_path)
    assert stamps(tmp_path, "*") == before
    for name, network in first.networks.items():
        assert same_weights(network, again.networks[name])
    fit(replace(TINY, segmenter=replace(SEGMENTER, crf_epochs=0)), train, val, tmp_path)
    assert stamps(tmp_path, "*") == before, "a part of what is there"
    PartialPoints(replace(TINY, detector=replace(DETECTOR, strategy="ext-GM"))).fit_detector(
        train, val, run_dir=tmp_path, fabric=cpu(), progress=False
    )
    assert stamps(tmp_path, "*") == before


def test_the_same_seed_gives_the_same_weights(train, val, tmp_path, fitted):
    again = fit(TINY, train, val, tmp_path / "again")
    other = fit(replace(TINY, seed=1), train, val, tmp_path / "other")
    for name, network in fitted.networks.items():
        assert same_weights(network, again.networks[name]) and not same_weights(network, other.networks[name])
    for image in IMAGES:
        np.testing.assert_array_equal(again.predict(image), fitted.predict(image))


def test_the_order_of_fitting_does_not_matter(train, val, tmp_path, fitted):
    """Nothing is left over from a method fitted before, not even by the same object."""
    method = PartialPoints(TINY)
    small = train.subset(["d", "b"])
    method.fit(small, val, run_dir=tmp_path / "small", fabric=cpu(), progress=False)
    assert len(method.points) == 2
    method.fit(train, val, run_dir=tmp_path / "all", fabric=cpu(), progress=False)
    assert all(same_weights(network, fitted.networks[name]) for name, network in method.networks.items())
    assert method.preprocessing == fitted.preprocessing and len(method.points) == 4


def test_a_run_that_dies_between_the_stages_goes_on(monkeypatch, train, val, tmp_path, fitted):
    def dying(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "train_segmenter", dying)
        with pytest.raises(KeyboardInterrupt):
            fit(TINY, train, val, tmp_path)
    before = stamps(tmp_path, "*")
    assert sorted(name.rpartition("-")[0] for name in before) == ["detection-0", "detection-1"]
    method = fit(TINY, train, val, tmp_path)
    assert before.items() < stamps(tmp_path, "*").items(), "the detector is not trained again"
    assert all(same_weights(network, fitted.networks[name]) for name, network in method.networks.items())


def test_labels_of_training_images_are_never_looked_at(val, tmp_path, fitted, train):
    """The same dots with and without masks beside them."""
    masks = disks(*train.ids)
    both = changed(masks, lambda sample: replace(sample, points=train[sample.id].points))
    method = fit(TINY, both, val, tmp_path)
    assert all(same_weights(network, fitted.networks[name]) for name, network in method.networks.items())


def test_the_detector_alone(train, val, tmp_path, fitted):
    method = PartialPoints(TINY)
    dotted = annotate_dots(val)
    assert method.fit_detector(train, dotted, run_dir=tmp_path, fabric=cpu(), progress=False) is method
    assert set(method.networks) == {"detector"} and method.detect(IMAGES[0]).shape[1] == 2
    assert same_weights(method.networks["detector"], fitted.networks["detector"])


@pytest.mark.parametrize("call", ["predict", "predict_maps"])
def test_a_detector_alone_does_not_segment(train, val, tmp_path, call):
    method = PartialPoints(TINY)
    method.fit_detector(train, val, run_dir=tmp_path, fabric=cpu(), progress=False)
    with pytest.raises(NucsegError, match="segmenter"):
        getattr(method, call)(IMAGES[0])


def test_one_dot_is_enough(val, tmp_path, caplog):
    train = with_dots({"a": [], "b": [(30, 30)]})
    with caplog.at_level(logging.WARNING):
        method = fit(replace(TINY, detector=None), train, val, tmp_path)
    assert [record.message for record in caplog.records if record.name == module.__name__] == [
        "a: no dots, so none of its pixels has a label"
    ]
    check_predictions(method, IMAGES[0])
    fit(TINY, train, val, tmp_path)


def test_no_dots_at_all_are_refused(val, tmp_path):
    train = with_dots({"a": [], "b": []})
    with pytest.raises(DataError, match="none of the training images has a dot"):
        fit(TINY, train, val, tmp_path)
    with pytest.raises(DataError, match=r"no pixel of the training images has a label; are there any dots\?"):
        fit(replace(TINY, detector=None), train, val, tmp_path)


def test_data_that_cannot_be_fitted_are_named(train, val, tmp_path):
    with pytest.raises(DataError, match=r"^a: a training image needs points; see nucseg\.supervision\.annotate_dots"):
        fit(TINY, disks("a"), val, tmp_path)
    with pytest.raises(DataError, match="no training images"):
        fit(TINY, train.subset([]), val, tmp_path)
    with pytest.raises(DataError, match="disks: there are no images"):
        fit(TINY, train, val.subset([]), tmp_path)
    with pytest.raises(DataError, match=r"^a: 64x64 pixels are less than a patch of 80; ask for smaller ones"):
        fit(replace(TINY, patch=80), train, val, tmp_path)
    with pytest.raises(UnknownNameError, match="unknown normalization 'macenko'"):
        fit(replace(TINY, normalization="macenko"), train, val, tmp_path)
    with pytest.raises(DataError, match=r"^x: the reference for colors is not among"):
        fit(replace(TINY, reference="x"), train, val, tmp_path)
    assert not list(tmp_path.iterdir()), "said before anything is trained"


def test_validation_images_without_masks_are_named_before_anything_is_trained(train, val, tmp_path):
    with pytest.raises(DataError, match=r"^v: a validation image of the segmenter needs a label map"):
        fit(TINY, train, annotate_dots(val), tmp_path)
    assert not list(tmp_path.iterdir())


def test_colors_may_stay_as_they_are(train, val, tmp_path):
    method = fit(replace(TINY, normalization=None), train, val, tmp_path)
    assert method.preprocessing.reference is None
    check_saved(method, tmp_path / "saved", IMAGES[:1])


def test_imagenet_weights_that_cannot_be_had_are_named(unets, monkeypatch, train, val, tmp_path):
    def offline(*_, **__):
        raise URLError("no way out")

    monkeypatch.setattr(ResNet34_Weights, "get_state_dict", offline)
    for config in (TINY, replace(TINY, detector=None)):
        with pytest.raises(NucsegError, match=r"ImageNet weights of ResNet-34 could not be loaded.*weights=None"):
            fit(replace(config, weights="imagenet"), train, val, tmp_path)
    assert not list(tmp_path.iterdir())


def test_unknown_weights_are_refused(unets, train, val, tmp_path):
    with pytest.raises(UnknownNameError, match="expected 'imagenet' or None, got 'coco'"):
        fit(replace(TINY, weights="coco"), train, val, tmp_path)


def test_the_defaults_are_the_published_settings():
    config = PartialPointsConfig()
    assert (config.patch, config.patches_per_side, config.normalization, config.weights) == (
        250, 4, "reinhard", "imagenet"
    )
    assert config.keep_annotated and config.seed == 0 and config.reference is None
