"""DIST as a method: the right target under the right pixels, tiles that do not show, choices made on validation."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from nucseg.data import Dataset, Sample
from nucseg.engine import AugmentConfig, fabric
from nucseg.errors import DataError, NucsegError
from nucseg.methods import Preprocessing
from nucseg.methods.baselines import DIST, DISTConfig, dist
from nucseg.metrics import aji
from nucseg.models import DistUNet
from nucseg.postprocess import dynamic_watershed

TINY = DISTConfig(
    width=2, patch=48, patches_per_side=1, epochs=2, batch=4, learning_rate=0.01, stain=None,
    augment=AugmentConfig.crop_only(220),
)
COLORS = Preprocessing(None, (0.5, 0.6, 0.4), (0.2, 0.3, 0.25))


def picture(seed=0, size=(64, 56)):
    """Dark disks on light ground."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    labels = np.zeros(size, np.int32)
    for number, (r, c) in enumerate([(14, 16), (40, 36)], start=1):
        labels[(rows - r - seed) ** 2 + (columns - c) ** 2 <= 81] = number
    noise = np.random.default_rng(seed).normal(0, 10, (*size, 3))
    return (np.where(labels[..., None] > 0, 80, 200) + noise).clip(0, 255).astype(np.uint8), labels


def dataset(*seeds):
    samples = {f"p{seed}": Sample(f"p{seed}", *picture(seed)) for seed in seeds}
    return Dataset("pictures", tuple(samples), samples.get)


@pytest.fixture(scope="module")
def cpu():
    return fabric(device="cpu", precision="32-true")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, cpu):
    run_dir = tmp_path_factory.mktemp("run")
    return DIST(TINY).fit(dataset(0, 1), dataset(2), run_dir=run_dir, fabric=cpu, progress=False), run_dir


def untrained():
    method = DIST(TINY)
    method.preprocessing = COLORS
    torch.manual_seed(0)
    method.networks = {"distance": DistUNet(2).eval()}
    return method


def test_every_pixel_sees_the_image_mirrored_at_its_border(float32):
    method, (image, _) = untrained(), picture(size=(36, 20))
    wide = np.pad(image, ((92, 92), (92, 92), (0, 0)), mode="symmetric") / np.float32(255)
    tensor = torch.from_numpy((wide - np.float32(COLORS.mean)) / np.float32(COLORS.std)).permute(2, 0, 1)
    with torch.no_grad():  # both sides are 12 more than a multiple of 16 already
        expected = method.networks["distance"](tensor[None])[0, 0].clamp(min=0)
    found = method.predict_maps(image)["distance"]
    assert found.std() > 0
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_tiles_do_not_show(monkeypatch, float32):
    method, (image, _) = untrained(), picture(size=(61, 75))
    whole = method.predict_maps(image)["distance"]
    monkeypatch.setattr(dist, "TILE", 220)
    np.testing.assert_allclose(method.predict_maps(image)["distance"], whole, atol=1e-4)


class Silent(nn.Module):
    """Says 0 everywhere."""

    def forward(self, images):
        return images.new_zeros(len(images), 1, images.shape[2] - 184, images.shape[3] - 184)


def test_the_loss_compares_with_the_middle_of_the_target():
    method = untrained()
    maps = torch.full((2, 1, 188, 204), 50, dtype=torch.int8)
    middle = torch.randint(0, 9, (2, 1, 4, 20), dtype=torch.int8)
    maps[..., 92:-92, 92:-92] = middle
    loss = method._loss(Silent(), {"image": torch.rand(2, 3, 188, 204), "maps": maps})
    assert loss.item() == pytest.approx((middle.double() ** 2).mean().item())


def test_training_patches_are_parts_with_their_surroundings():
    """Four by four of 250 px, each with 92 px around it, as in the release."""
    image = np.arange(1000 * 1000, dtype=np.int64).reshape(1000, 1000)
    wide = dist.mirrored(image)
    assert wide.shape == (1184, 1184)
    np.testing.assert_array_equal(wide[92:-92, 92:-92], image)
    np.testing.assert_array_equal(wide[:92, 92:-92], image[91::-1])
    np.testing.assert_array_equal(wide[92:-92, -92:], image[:, :-93:-1])
    from nucseg.engine import patch_corners

    config = DISTConfig()
    assert patch_corners(1184, config.patch + 184, config.patches_per_side) == [0, 250, 500, 750]


def test_targets_fit_in_a_byte():
    labels = np.zeros((300, 300), np.int32)
    labels[5:295, 5:295] = 1
    target = dist.distance_target(labels)
    assert target.dtype == np.int8 and target.max() == 127 and target[5, 5] == 1 and target[4, 4] == 0


def test_the_learning_rate_follows_from_the_epoch_alone():
    network = nn.Linear(1, 1)
    optimizer = torch.optim.Adam(network.parameters(), 7.0)
    batches = dist.DecayedBatches(lambda epoch, generator: [epoch], optimizer, DISTConfig())
    for epoch, power in ((1, 0), (80, 7), (10, 0), (11, 1), (21, 2)):
        assert batches(epoch, None) == [epoch]
        assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 * 0.96**power)


def test_weight_decay_is_for_convolutions_only():
    network = DistUNet(2)
    decayed, others = dist._adam(network, DISTConfig()).param_groups
    assert decayed["weight_decay"] == 5e-5 and others["weight_decay"] == 0
    assert {p.ndim for p in decayed["params"]} == {4} and {p.ndim for p in others["params"]} == {1}
    assert len(decayed["params"]) + len(others["params"]) == len(list(network.parameters()))


def test_depth_and_threshold_are_the_best_on_validation(fitted):
    method, _ = fitted
    image, labels = picture(2)
    distance = method.predict_maps(image)["distance"]
    scores = {pair: aji(labels, dynamic_watershed(distance, *pair, lines=True)) for pair in product((0, 1), (0.5, 1.0))}
    chosen = method.config.depth, method.config.threshold
    assert scores[chosen] == max(scores.values())
    assert method.histories["distance"].best_score == pytest.approx(scores[chosen])
    np.testing.assert_array_equal(method.predict(image), dynamic_watershed(distance, *chosen, lines=True))


def test_a_given_depth_is_kept(monkeypatch):
    method = DIST(replace(TINY, depth=3.0))
    monkeypatch.setattr(method, "_distance", lambda network, pixels: np.zeros((5, 5), np.float32))
    held_out = type("Images", (), {"pixels": [None], "samples": [Sample("a", *picture(size=(5, 5)))]})
    assert list(method._scores(None, held_out)) == [(3.0, 0.5), (3.0, 1.0)]


def test_training_is_kept(fitted, cpu):
    method, run_dir = fitted
    (folder,) = run_dir.iterdir()
    assert folder.name.startswith("distance-")
    again = DIST(TINY).fit(dataset(0, 1), dataset(2), run_dir=run_dir, fabric=cpu, progress=False)
    assert again.histories["distance"].epochs == method.histories["distance"].epochs
    assert again.config == method.config


def test_an_interrupted_training_goes_on_at_its_learning_rate(tmp_path, cpu, monkeypatch):
    config, scores, calls = replace(TINY, decay_epochs=1, decay=0.1), DIST._scores, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return scores(self, *arguments)

    def trained(folder):
        return DIST(config).fit(dataset(0), dataset(2), run_dir=tmp_path / folder, fabric=cpu, progress=False)

    whole = trained("whole")
    monkeypatch.setattr(DIST, "_scores", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained("parts")
    parts = trained("parts")
    first, second = (method.networks["distance"].state_dict() for method in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_saved_method_predicts_the_same(fitted, float32, tmp_path):
    method, _ = fitted
    method.save(tmp_path / "saved")
    loaded = DIST.load(tmp_path / "saved")
    assert loaded.config == method.config
    image, labels = picture(3)
    found = method.predict(image)
    assert found.dtype == np.int32 and found.shape == labels.shape
    np.testing.assert_array_equal(loaded.predict(image), found)
    # The order of channels in memory may differ, and with it the last digits.
    before, after = method.predict_maps(image)["distance"], loaded.predict_maps(image)["distance"]
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_bad_calls(tmp_path, cpu):
    with pytest.raises(NucsegError, match="not fitted"):
        DIST().predict(picture()[0])
    dots = Dataset("dots", ("d",), lambda name: Sample(name, picture()[0]))
    for train, val in ((dots, dataset(0)), (dataset(0), dots)):
        with pytest.raises(DataError, match="d: DIST needs a label map"):
            DIST(TINY).fit(train, val, run_dir=tmp_path, fabric=cpu, progress=False)
    for wrong in (None, 184, 221, 252):
        with pytest.raises(DataError, match=f"crop.*got {wrong}"):
            replace(TINY, augment=AugmentConfig.crop_only(wrong))
    with pytest.raises(DataError, match="decay"):
        replace(TINY, decay=0.0)


@pytest.mark.slow
def test_it_learns_dark_disks(tmp_path, cpu):
    config = replace(TINY, width=4, epochs=40, validate_every=10)
    method = DIST(config).fit(dataset(0, 1), dataset(2), run_dir=tmp_path, fabric=cpu, progress=False)
    assert method.histories["distance"].best_score > 0.6
