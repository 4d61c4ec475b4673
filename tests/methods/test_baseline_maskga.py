"""MaskGA-Net as a method: its labels, its loss, the choice of epochs, stages that are kept, and bad input."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from method_checks import (
    changed,
    check_config,
    check_damaged,
    check_independence,
    check_not_fitted,
    check_predictions,
    check_saved,
    check_sizes_and_kinds,
    cpu,
    disk_sample,
    disks,
    network_of,
    same_weights,
    stamps,
)

from nucseg.engine import AugmentConfig, load_weights
from nucseg.errors import DataError, UnknownNameError
from nucseg.methods import Preprocessing
from nucseg.methods.baselines import MaskGA, MaskGAConfig, maskga_stages
from nucseg.methods.baselines.maskga_stages import first_labels, turned_labels
from nucseg.methods.stages import Images
from nucseg.metrics import aji
from nucseg.models import MaskGANet
from nucseg.postprocess import components
from nucseg.supervision import annotate_dots, box_centers, corrected_labels, dot_edge_labels, superpixel_labels

TINY = MaskGAConfig(
    width=2, channels=8, superpixel_area=40, copies=1, epochs=2, learning_rate=0.01, min_size=5,
    augment=AugmentConfig(resize=(1, 1), affine=0, rotation=(0, 0), crop=32),
)  # fmt: skip
TRAIN = annotate_dots(disks("a", "b"))
VAL = disks("v", "w")
IMAGES = [disk_sample(name).image for name in ("x", "y")]

pytestmark = pytest.mark.usefixtures("float32")


def fit(config, folder, train=TRAIN, val=VAL):
    return MaskGA(config).fit(train, val, run_dir=folder, fabric=cpu(), progress=False)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, float32):
    """Both stages, trained; tests must not change it."""
    run_dir = tmp_path_factory.mktemp("run")
    return fit(TINY, run_dir), run_dir


def best_network(run_dir, stage):
    """Both networks of the best epoch of a stage."""
    (folder,) = run_dir.glob(f"{stage}-*")
    network = MaskGANet(2, 8)
    load_weights(folder / "best.safetensors", network)
    return network.eval()


def standardized(image, preprocessing):
    mean, std = (np.float32(values) for values in (preprocessing.mean, preprocessing.std))
    return torch.from_numpy((image / np.float32(255) - mean) / std).permute(2, 0, 1)[None]


def loss_by_hand(network, image, target, marks, preprocessing):
    """The loss of one image from the outputs of the networks, with the published weights."""
    with torch.no_grad():
        segmented, attended = network(standardized(image, preprocessing), torch.from_numpy(target)[None])
    segmented, attended = (part[0].double().numpy() for part in (segmented, attended))
    product = np.clip(segmented * attended, 1e-7, 1 - 1e-7)
    entropy = -np.mean(np.where(target == 1, np.log(product), np.log(1 - product)))
    return 0.8 * entropy + 1.0 * (np.mean(1 - attended[marks == 1]) + 0.4 * np.mean(1 - attended[marks == 2]))


def test_it_keeps_the_promises_of_a_method(fitted, tmp_path):
    method, _ = fitted
    check_predictions(method, IMAGES[0])
    check_independence(method, IMAGES)
    check_sizes_and_kinds(method, IMAGES[0])
    check_saved(method, tmp_path / "saved", IMAGES)
    check_damaged(method, tmp_path / "damaged")
    check_not_fitted(MaskGA(TINY), tmp_path)
    check_config(MaskGAConfig())
    assert list(method.networks) == ["segmenter"] and list(method.predict_maps(IMAGES[0])) == ["nucleus"]


def test_the_labels_of_stage_1_are_superpixels_and_thin_edges(fitted):
    for sample, (superpixels, marks) in zip(TRAIN, fitted[0].labels["superpixels"], strict=True):
        np.testing.assert_array_equal(superpixels, superpixel_labels(sample.image, sample.points, round(64 * 64 / 40)))
        np.testing.assert_array_equal(marks, dot_edge_labels(sample.points, (64, 64)))


def test_the_labels_of_stage_2_are_corrected_by_the_network_of_stage_1(fitted):
    method, run_dir = fitted
    network = best_network(run_dir, "superpixels").segmentation
    for sample, before, after in zip(TRAIN, *(method.labels[stage] for stage in method.labels), strict=True):
        with torch.no_grad():
            prob = network(standardized(sample.image, method.preprocessing))[0, 0]
        assert (corrected_labels(before[0], prob) != after[0]).mean() < 0.01  # the order of channels: last digits
        np.testing.assert_array_equal(before[1], after[1])


def test_planted_errors_of_labels_are_turned_around():
    truth = (disk_sample("a").labels > 0).astype(np.int8)
    labels = truth.copy()
    labels[:6, :6], labels[disk_sample("a").labels == 1] = 1, 0
    assert (labels > truth).any() and (labels < truth).any()
    marks = np.ones_like(labels)
    images = Images(("a",), [None], [disk_sample("a")])
    ((corrected, kept),) = turned_labels(images, [np.stack([labels, marks])], lambda _: np.where(truth == 1, 0.9, 0.1))
    np.testing.assert_array_equal(corrected, truth)
    np.testing.assert_array_equal(kept, marks)


def test_the_epoch_of_the_lowest_validation_loss_is_kept(fitted):
    method, run_dir = fitted
    network, losses = best_network(run_dir, "superpixels"), []
    for sample in VAL:
        dots = box_centers(sample.labels)
        target = superpixel_labels(sample.image, dots, round(64 * 64 / 40))
        marks = dot_edge_labels(dots, (64, 64))
        losses.append(loss_by_hand(network, sample.image, target, marks, method.preprocessing))
    history = method.histories["superpixels"]
    assert history.best_score == max(line["score"] for line in history.epochs)
    assert history.best_score == pytest.approx(-np.mean(losses), rel=1e-3)


def test_a_square_image_is_predicted_as_a_whole(fitted):
    method, run_dir = fitted
    network = best_network(run_dir, "corrected-1").segmentation
    with torch.no_grad():
        expected = network(standardized(IMAGES[0], method.preprocessing))[0, 0]
    np.testing.assert_allclose(method.predict_maps(IMAGES[0])["nucleus"], expected, atol=1e-4)


def test_nuclei_are_cleaned_components(fitted):
    method, _ = fitted
    prob = method.predict_maps(IMAGES[0])["nucleus"]
    expected = components(prob > 0.5, min_size=5, connectivity=8, fill_holes=True)
    np.testing.assert_array_equal(method.predict(IMAGES[0]), expected)


def test_the_same_seed_gives_the_same_weights(fitted, tmp_path):
    method, run_dir = fitted
    before = stamps(run_dir, "*")
    assert sorted(name.rsplit("-", 1)[0] for name in before) == ["corrected-1", "superpixels"]
    again = fit(TINY, run_dir)
    assert stamps(run_dir, "*") == before, "nothing was trained again"
    anew = fit(TINY, tmp_path)
    assert same_weights(anew.networks["segmenter"], method.networks["segmenter"])
    assert same_weights(again.networks["segmenter"], method.networks["segmenter"])
    other = fit(replace(TINY, seed=1, corrections=0), tmp_path)
    assert not same_weights(other.networks["segmenter"], best_network(run_dir, "superpixels").segmentation)


def test_without_correction_stage_1_is_shared(fitted):
    method, run_dir = fitted
    before = stamps(run_dir, "*")
    alone = fit(replace(TINY, corrections=0), run_dir)
    assert stamps(run_dir, "*") == before and list(alone.histories) == ["superpixels"]
    assert same_weights(alone.networks["segmenter"], best_network(run_dir, "superpixels").segmentation)
    assert not same_weights(alone.networks["segmenter"], method.networks["segmenter"])


def test_an_interrupted_training_goes_on_at_its_learning_rate(tmp_path, monkeypatch):
    config, calls = replace(TINY, epochs=3, corrections=0, patience=0), []

    def stalled(*_):
        calls.append(1)
        if len(calls) == stop:
            raise KeyboardInterrupt
        return 1.0

    monkeypatch.setattr(maskga_stages, "validation_loss", stalled)
    stop = 0
    whole = fit(config, tmp_path / "whole")
    (folder,) = (tmp_path / "whole").iterdir()
    rate = torch.load(folder / "last.ckpt", weights_only=True)["state"]["optimizer"]["param_groups"][0]["lr"]
    assert rate == pytest.approx(0.01 / 4)  # after the second and the third epoch
    calls.clear()
    stop = 2
    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path / "parts")
    parts = fit(config, tmp_path / "parts")
    assert same_weights(whole.networks["segmenter"], parts.networks["segmenter"])
    first, second = (network_of(tmp_path / name / folder.name) for name in ("whole", "parts"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_epochs_can_be_chosen_by_aji(tmp_path):
    method = fit(replace(TINY, select="aji", corrections=0), tmp_path)
    found = np.mean([aji(sample.labels, method.predict(sample.image)) for sample in VAL])
    assert method.histories["superpixels"].best_score == pytest.approx(found)


def test_segmentation_alone_has_no_attention_net(tmp_path):
    method = fit(replace(TINY, mode="segmentation", corrections=0, epochs=1), tmp_path)
    check_predictions(method, IMAGES[0])
    (folder,) = tmp_path.iterdir()
    assert not any(name.startswith("attention") for name in network_of(folder))


def test_without_attention_the_loss_is_the_cross_entropy():
    method = MaskGA(replace(TINY, mode="segmentation"))
    method.preprocessing = Preprocessing(None, (0.5,) * 3, (0.2,) * 3)

    def network(images, labels):
        return torch.full((1, 2, 2), 0.8), None

    batch = {"image": torch.zeros(1, 3, 2, 2), "maps": torch.tensor([[[[1, 1], [0, 0]], [[1, 2], [0, 0]]]])}
    expected = -0.8 * (np.log(0.8) + np.log(0.2)) / 2
    assert method._loss(network, batch).item() == pytest.approx(expected, rel=1e-5)


def test_dots_of_a_validation_image_come_before_its_masks(tmp_path):
    dotted = changed(VAL, lambda sample: replace(sample, points=box_centers(sample.labels)[:2]))
    seen = []
    for dataset in (VAL, dotted, annotate_dots(VAL)):
        images = Images.read(dataset, Preprocessing(None, (0.5,) * 3, (0.2,) * 3))
        seen.append(first_labels(images, TINY))
    assert (seen[1][0][1] == 1).sum() <= 2 < (seen[0][0][1] == 1).sum()
    np.testing.assert_array_equal(seen[0], seen[2])


def test_an_epoch_has_all_copies_and_crops_of_the_published_shift(tmp_path, monkeypatch):
    batches = []

    def loss(self, network, batch):
        if network.training:
            batches.append(batch["image"].shape)
        return sum(parameter.sum() for parameter in network.parameters())

    monkeypatch.setattr(MaskGA, "_loss", loss)
    config = replace(TINY, copies=4, epochs=1, corrections=0, augment=replace(TINY.augment, crop=None))
    fit(config, tmp_path)
    assert batches == [(2, 3, 51, 51)] * 4  # 0.8 of 64


def test_data_that_cannot_be_fitted_are_named(tmp_path):
    bare = changed(disks("a", "b"), lambda sample: replace(sample, labels=None))
    with pytest.raises(DataError, match=r"^a: a training image needs points"):
        fit(TINY, tmp_path, bare)
    with pytest.raises(DataError, match=r"^MaskGA: none of the training images has a dot"):
        fit(TINY, tmp_path, annotate_dots(disks("a", "b"), 0))
    with pytest.raises(DataError, match=r"^a: a validation image of MaskGA needs points or a label map"):
        fit(TINY, tmp_path, TRAIN, bare)
    with pytest.raises(DataError, match=r"^a: choosing an epoch of MaskGA by AJI needs a label map"):
        fit(replace(TINY, select="aji"), tmp_path, TRAIN, TRAIN)
    with pytest.raises(DataError, match=r"^a: 64x64 pixels are less than a patch of 250"):
        fit(replace(TINY, patch=250), tmp_path)
    with pytest.raises(DataError, match=r"crops of 17 px or more, got 16 px of patches of 20 px"):
        fit(replace(TINY, patch=20, augment=replace(TINY.augment, crop=None)), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [
    {"copies": 0}, {"epochs": 0}, {"batch": 0}, {"validate_every": 0}, {"learning_rate": 0}, {"rate_factor": 1},
    {"corrections": -1}, {"patience": -1}, {"min_size": -1}, {"shift": 0.5}, {"superpixel_area": 0},
])  # fmt: skip
def test_bad_settings(wrong):
    with pytest.raises(DataError, match="MaskGA: expected"):
        MaskGAConfig(**wrong)


def test_unknown_names():
    with pytest.raises(UnknownNameError, match="unknown mode 'SAC'; known: segmentation, attention"):
        MaskGAConfig(mode="SAC")
    with pytest.raises(UnknownNameError, match="unknown select 'dice'; known: loss, aji"):
        MaskGAConfig(select="dice")


def test_the_defaults_are_the_published_settings():
    config = MaskGAConfig()
    assert (config.epochs, config.batch, config.learning_rate, config.weight_decay) == (60, 2, 1e-3, 5e-4)
    assert (config.segmentation_weight, config.attention_weight) == (0.8, 1.0)
    assert (config.dot_weight, config.edge_weight, config.compactness) == (1.0, 0.4, 30)
    assert (config.rate_factor, config.patience, config.copies, config.corrections) == (0.5, 4, 4, 1)
    assert config.normalization is None and config.select == "loss" and config.mode == "attention"


@pytest.mark.slow
def test_it_learns_dark_disks(tmp_path):
    config = replace(TINY, width=4, channels=16, epochs=30, copies=4, corrections=1)
    method = fit(config, tmp_path, annotate_dots(disks("a", "b", "c", "d")))
    assert np.mean([aji(sample.labels, method.predict(sample.image)) for sample in VAL]) > 0.5
