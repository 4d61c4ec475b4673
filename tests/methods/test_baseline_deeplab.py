"""DeepLabV3 as a method: logits at the right pixels, losses by hand, tiles with own areas, instances."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from method_checks import (
    changed,
    check_config,
    check_damaged,
    check_independence,
    check_interrupted,
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
from torch import nn

from nucseg.data import Dataset, Sample
from nucseg.errors import DataError, NucsegError, UnknownNameError
from nucseg.methods import Preprocessing, saved, tiling
from nucseg.methods.baselines import DeepLabV3, DeepLabV3Config
from nucseg.methods.baselines.deeplab import distance_watershed
from nucseg.methods.crop_method import pooled_dice
from nucseg.methods.tiling import cut, tiles
from nucseg.models import backbones
from nucseg.models.deeplab import DeepLabNet, PooledBatchNorm
from nucseg.postprocess import components

#: Three crops in batches of two, so that the last batch has a single crop.
TINY = DeepLabV3Config(backbone="resnet18", weights=None, patch=64, epochs=1, batch=2)
IMAGES = [disk_sample(name).image for name in "xyz"]
AS_IT_IS = Preprocessing(None, (0.0,) * 3, (1.0,) * 3)


def fit(config, folder, train=None, val=None):
    train, val = train or disks("a", "b", "c"), val or disks("v")
    return DeepLabV3(config).fit(train, val, run_dir=folder, fabric=cpu(), progress=False)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return fit(TINY, tmp_path_factory.mktemp("run"))


def untrained(config=TINY):
    method = DeepLabV3(config)
    method.preprocessing = AS_IT_IS
    torch.manual_seed(0)
    method.networks = {"deeplab": method.untrained().eval()}
    return method


def two_disks(apart=14, radius=9):
    """Two disks that touch."""
    rows, columns = np.mgrid[:40, :50]
    return ((np.hypot(rows - 20, columns - 15) <= radius) | (np.hypot(rows - 20, columns - 15 - apart) <= radius))


def test_it_keeps_the_promises_of_a_method(fitted, tmp_path):
    for method in (fitted, untrained(replace(TINY, separate="watershed"))):
        check_predictions(method, IMAGES[0])
        check_independence(method, IMAGES[:2])
    check_sizes_and_kinds(fitted, IMAGES[0])
    check_saved(fitted, tmp_path / "saved", IMAGES[:2])
    assert type(saved.load_method(tmp_path / "saved")) is DeepLabV3
    check_damaged(fitted, tmp_path / "damaged")
    check_not_fitted(DeepLabV3(TINY), tmp_path)
    check_config(replace(TINY, rates=(2, 4)))


def test_fitting_tells_what_happened(fitted):
    history = fitted.histories["deeplab"]
    assert list(fitted.networks) == ["deeplab"] and not fitted.networks["deeplab"].training
    found = fitted.predict_maps(disk_sample("v").image)["nucleus"] > 0.5
    assert history.best_score == pytest.approx(pooled_dice([found], [disk_sample("v").labels]))


def test_the_network_gives_a_logit_for_each_pixel():
    network = DeepLabNet("resnet18", None, (2, 3, 5)).eval()
    dilations = [conv.dilation[0] for conv in network.head[0].modules()
                 if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3)]
    assert dilations == [2, 3, 5]
    images = torch.rand(2, 3, 48, 80)
    with torch.no_grad():
        logits = network(images)
        assert network.encoder(images).shape == (2, 512, 3, 5)
    assert logits.shape == (2, 48, 80) and logits.dtype == torch.float32


def test_a_batch_of_one_is_normalized_by_what_was_seen_before():
    norm, usual = PooledBatchNorm(3), nn.BatchNorm2d(3)
    several = torch.randn(5, 3, 1, 1)
    torch.testing.assert_close(norm(several), usual(several))
    torch.testing.assert_close(norm.running_var, usual.running_var)
    before = norm.running_mean.clone(), norm.running_var.clone()
    one = torch.randn(1, 3, 1, 1)
    expected = (one - before[0][:, None, None]) / (before[1][:, None, None] + norm.eps).sqrt()
    torch.testing.assert_close(norm(one), expected)
    torch.testing.assert_close((norm.running_mean, norm.running_var), before)
    with pytest.raises(ValueError, match="more than 1 value"):
        usual(one)


def test_a_batch_of_one_trains_the_network():
    network = DeepLabNet("resnet18", None).train()
    network(torch.rand(1, 3, 64, 64)).mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_the_loss_by_hand():
    method, labels = untrained(), torch.zeros(2, 4, 4, dtype=torch.int32)
    labels[0, :2] = 3  # eight of sixteen pixels, and none in the second image
    loss = method.loss(lambda images: torch.zeros(2, 4, 4), {"image": torch.rand(2, 3, 4, 4), "labels": labels})
    dice = (1 - (2 * 4 + 1) / (8 + 8 + 1) + 1 - 1 / (8 + 1)) / 2
    assert loss.item() == pytest.approx(np.log(2) + dice, rel=1e-6)


def test_targets_are_foreground_from_labels_or_masks():
    sample = disk_sample("a")
    bare = replace(sample, labels=None)
    masked = Sample("m", sample.image, mask=(sample.labels > 0).astype(np.uint8))
    for target in DeepLabV3(TINY).targets([sample, masked]):
        np.testing.assert_array_equal(target, sample.labels > 0)
        assert target.dtype == np.int32
    with pytest.raises(DataError, match=r"^a: DeepLabV3 needs a label map or a binary mask"):
        DeepLabV3(TINY).targets([masked, bare])


def test_each_pixel_comes_from_the_tile_that_owns_it(monkeypatch):
    monkeypatch.setattr(tiling, "choose_precision", lambda *_: "32-true")
    method, image = untrained(), np.tile(IMAGES[0], (2, 3, 1))[:90, :140]
    found = method.nucleus_map(method.networks["deeplab"], image)
    seen = np.zeros((90, 140), int)
    for tile in tiles((90, 140), 64, 16):
        part = torch.from_numpy(cut(image, tile, 64) / np.float32(255)).permute(2, 0, 1)[None]
        with torch.no_grad():
            expected = method.networks["deeplab"](part)[0].sigmoid().numpy()
        inside, own = tile.own_window((90, 140))
        seen[inside] += 1
        np.testing.assert_allclose(found[inside], expected[own], atol=1e-4)
    assert (seen == 1).all()


@given(st.integers(1, 700), st.integers(1, 300), st.integers(8, 130), st.integers(0, 60))
def test_tiles_own_every_pixel_once_with_its_margin(height, width, patch, margin):
    assume(2 * margin < patch)
    seen = np.zeros((height, width), int)
    for tile in tiles((height, width), patch, margin):
        inside, own = tile.own_window((height, width))
        seen[inside] += 1
        for axis, length in enumerate((height, width)):
            assert 0 <= own[axis].start <= own[axis].stop <= patch
            assert tile.corner[axis] == 0 or own[axis].start >= margin
            assert tile.corner[axis] + patch >= length or own[axis].stop <= patch - margin
            assert tile.corner[axis] <= max(length - patch, 0)
    assert (seen == 1).all()


def test_dice_is_pooled_over_pixels():
    full, none = np.ones((2, 4), bool), np.zeros((2, 4), bool)
    half = np.array([[True] * 4, [False] * 4])
    assert pooled_dice([half, none], [full.astype(int), none.astype(int)]) == 2 * 4 / 12
    assert pooled_dice([half, full], [5 * half.astype(int), none.astype(int)]) == 2 * 4 / (4 + 4 + 8)
    assert pooled_dice([none], [none.astype(int)]) == 1


def test_watershed_divides_what_components_do_not():
    mask = two_disks()
    assert components(mask).max() == 1
    labels = distance_watershed(mask)
    assert labels.max() == 2 and labels.dtype == np.int32
    np.testing.assert_array_equal(labels > 0, mask)
    assert labels[20, 15] != labels[20, 29]
    left = np.arange(50) < 22  # the middle between both centers
    for half, ids in ((left, labels[20, 15]), (np.arange(50) > 22, labels[20, 29])):
        np.testing.assert_array_equal(np.unique(labels[:, half][mask[:, half]]), [ids])
    assert distance_watershed(mask, depth=20.0).max() == 1, "no basin is as deep"


def test_watershed_keeps_thin_parts_and_drops_small_ones():
    mask = np.zeros((20, 30), bool)
    mask[2, 2:12], mask[5:15, 15:25], mask[18, 1] = True, True, True
    labels = distance_watershed(mask, depth=1.0)
    np.testing.assert_array_equal(labels > 0, mask)
    assert labels.max() == 3
    labels = distance_watershed(mask, depth=1.0, min_size=2)
    assert labels.max() == 2 and labels[18, 1] == 0 and labels[2, 5] > 0
    assert distance_watershed(np.zeros((4, 5), bool)).max() == 0
    assert distance_watershed(np.ones((4, 5), bool)).max() == 1


def test_instances_follow_the_config():
    prob = np.where(two_disks(), np.float32(0.9), np.float32(0.5))
    prob[0, :4] = 0.8  # less than 5 px
    assert DeepLabV3(TINY).instances(prob).max() == 1
    assert DeepLabV3(replace(TINY, min_size=4)).instances(prob).max() == 2
    assert DeepLabV3(replace(TINY, separate="watershed")).instances(prob).max() == 2


def test_masks_are_the_instances(fitted, monkeypatch):
    prob = np.where(two_disks(), np.float32(0.9), np.float32(0.2))
    prob[0, :10] = 0.75
    monkeypatch.setattr(fitted, "nucleus_map", lambda *_: prob)
    image = np.zeros((*prob.shape, 3), np.uint8)
    masks, labels = fitted.predict_masks(image), fitted.predict(image)
    assert len(masks) == labels.max() == 2 and masks.areas.tolist() == [10, two_disks().sum()]
    np.testing.assert_array_equal(masks.labels(), labels)
    np.testing.assert_array_equal(masks.values.toarray().max(axis=0).reshape(prob.shape), np.where(labels > 0, prob, 0))
    monkeypatch.setattr(fitted, "nucleus_map", lambda *_: np.zeros_like(prob))
    assert len(fitted.predict_masks(image)) == 0


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path, monkeypatch):
    config = replace(TINY, epochs=2, validate_every=1)
    check_interrupted(DeepLabV3, lambda folder: fit(config, folder), tmp_path, monkeypatch)


def test_settings_of_prediction_need_no_new_training(tmp_path):
    first = fit(TINY, tmp_path)
    before = stamps(tmp_path, "deeplab-*")
    again = fit(replace(TINY, separate="watershed", depth=2.0, min_size=20, margin=8), tmp_path)
    assert stamps(tmp_path, "deeplab-*") == before and len(before) == 1
    assert same_weights(first.networks["deeplab"], again.networks["deeplab"])
    other = fit(replace(TINY, seed=1), tmp_path)
    assert not same_weights(first.networks["deeplab"], other.networks["deeplab"])


def test_loading_needs_no_download(monkeypatch):
    def offline(name):
        raise NucsegError(f"the ImageNet weights of {name} could not be loaded")

    monkeypatch.setattr(backbones, "_imagenet", offline)
    config = replace(TINY, weights="imagenet")
    assert list(DeepLabV3(config).build_networks(["deeplab"])) == ["deeplab"]
    with pytest.raises(NucsegError, match="resnet18 could not be loaded"):
        DeepLabV3(config).untrained()


def test_bad_calls(tmp_path):
    bare = changed(disks("a"), lambda sample: replace(sample, labels=None))
    for train, val in ((bare, disks("v")), (disks("v"), bare)):
        with pytest.raises(DataError, match=r"^a: DeepLabV3 needs"):
            fit(TINY, tmp_path, train, val)
    with pytest.raises(DataError, match=r"^a: 64x64 pixels are less than a crop of 128"):
        fit(replace(TINY, patch=128), tmp_path)
    with pytest.raises(UnknownNameError, match="unknown encoder 'vgg'"):
        fit(replace(TINY, backbone="vgg"), tmp_path)
    wrong = {"rates": (), "depth": -1.0, "epochs": 0, "batch": 0, "learning_rate": 0.0, "momentum": 1.0, "margin": 32,
             "gradient_norm": 0.0, "min_size": -1, "weight_decay": float("nan"), "crops": 0, "validate_every": 0}
    for name, value in wrong.items():
        with pytest.raises(DataError, match=rf"DeepLabV3Config: {name} = .*out of range"):
            replace(TINY, **{name: value})
    with pytest.raises(UnknownNameError, match="separate: expected one of components, watershed"):
        replace(TINY, separate="magic")


def test_the_defaults_are_those_of_canonical_shape():
    from nucseg.methods import CanonicalShapeConfig

    ours, theirs = DeepLabV3Config(), CanonicalShapeConfig()
    for name in ("patch", "epochs", "batch", "crops", "turn", "learning_rate", "momentum", "weight_decay",
                 "gradient_norm", "validate_every", "min_size", "margin", "seed"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert (ours.backbone, ours.weights) == (theirs.encoder.backbone, theirs.encoder.weights)


@pytest.mark.slow
def test_it_learns_large_disks(tmp_path):
    rows, columns = np.mgrid[:64, :64]

    def sample(name):
        row, column = (20, 40) if name < "c" else (40, 24)
        labels = (np.hypot(rows - row, columns - column) <= 16).astype(np.int32)
        noise = np.random.default_rng(ord(name)).normal(0, 8, (64, 64, 3))
        return Sample(name, (np.where(labels[..., None], 60, 210) + noise).clip(0, 255).astype(np.uint8), labels)

    data = Dataset("large", tuple("abcd"), sample)
    config = replace(TINY, epochs=60, batch=4, validate_every=60, rates=(1, 2, 3), learning_rate=0.05)
    method = fit(config, tmp_path, data, data)
    losses = [line["loss"] for line in method.histories["deeplab"].epochs]
    assert losses[-1] < losses[0] / 2
    assert method.histories["deeplab"].best_score > 0.8
    assert [method.predict(data[name].image).max() for name in "abcd"] == [1] * 4
