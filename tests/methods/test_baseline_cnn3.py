"""CNN3 as a method: patches around the right pixels, whole images as patch by patch, a training that is kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nucseg.data import Dataset, Sample
from nucseg.engine import fabric
from nucseg.errors import DataError, NucsegError
from nucseg.methods import Preprocessing
from nucseg.methods.baselines import CNN3, CNN3Config, cnn3
from nucseg.methods.baselines.pixel_patches import BalancedBatches, PixelPatches
from nucseg.models import CNN3Network

TINY = CNN3Config(patches_per_class=6, epochs=2, batch=8, validate_every=1, learning_rate=0.5, normalization=None)


def picture(seed=0, size=(40, 44)):
    """Dark disks on light ground."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    labels = np.zeros(size, np.int32)
    for number, (r, c) in enumerate([(10, 12), (28, 30)], start=1):
        labels[(rows - r - seed) ** 2 + (columns - c) ** 2 <= 36] = number
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
    return CNN3(TINY).fit(dataset(0, 1), dataset(2), run_dir=run_dir, fabric=cpu, progress=False), run_dir


def test_patches_are_cut_around_their_pixels(rng):
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((7, 9), (12, 6))]
    classes = [rng.integers(0, 3, image.shape[:2]).astype(np.int8) for image in images]
    patches = PixelPatches.of(("a", "b"), images, classes, side=5, number=3)
    for value, places in enumerate(patches.places):
        found, numbers = patches.cut(places.long())
        index = 0
        for number, (image, own) in enumerate(zip(images, classes)):
            wide = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
            for r, c in np.argwhere(own == value):
                expected = wide[r : r + 5, c : c + 5].transpose(2, 0, 1)
                np.testing.assert_array_equal(found[index], expected)
                assert numbers[index] == number
                index += 1
        assert index == len(places)


def test_a_class_without_pixels_is_named():
    with pytest.raises(DataError, match="class 2"):
        PixelPatches.of(("a",), [np.zeros((9, 9, 3), np.uint8)], [np.eye(9, dtype=np.int8)], 5, 3)


@pytest.mark.parametrize("turns", [False, True])
def test_batches_hold_as_many_patches_of_each_class(rng, turns):
    classes = rng.choice(3, (20, 20), p=[0.9, 0.07, 0.03]).astype(np.int8)
    image = np.stack([classes * 100] * 3, axis=-1).astype(np.uint8)
    patches = PixelPatches.of(("a",), [image], [classes], 5, 3)
    source = BalancedBatches(patches, 20, 16, turns)
    batches = list(source(1, torch.Generator().manual_seed(0)))
    assert [len(batch["image"]) for batch in batches] == [16, 16, 16, 12]
    assert all(batch["names"] == ["a"] * len(batch["image"]) for batch in batches)
    images, targets = (torch.cat([batch[name] for batch in batches]) for name in ("image", "target"))
    assert targets.bincount().tolist() == [20, 20, 20]
    torch.testing.assert_close(images[:, 0, 2, 2] * 2.55, targets.float())  # the central pixel shows its class
    again = torch.cat([batch["image"] for batch in source(1, torch.Generator().manual_seed(0))])
    assert torch.equal(images, again)


def test_turns_are_the_eight_positions_of_a_square():
    from nucseg.methods.baselines.pixel_patches import _turned

    corner = torch.arange(9.0).reshape(1, 3, 3)
    found = {tuple(_turned(corner, turn).flatten().tolist()) for turn in range(8)}
    assert len(found) == 8
    assert all(values[4] == 4 and sorted(values) == list(range(9)) for values in found)


@pytest.mark.parametrize("tile", [178, 70])
def test_a_whole_image_is_classified_as_patch_by_patch(monkeypatch, float32, tile):
    monkeypatch.setattr(cnn3, "TILE", tile)
    image, _ = picture(size=(47, 33))
    method = CNN3(TINY)
    method.preprocessing = Preprocessing(None, (0.5, 0.6, 0.4), (0.2, 0.3, 0.25))
    torch.manual_seed(0)
    network = CNN3Network(channels=(3, 4, 5, 6, 7)).eval()
    method.networks = {"classifier": network}
    maps = method.predict_maps(image)
    assert list(maps) == ["outside", "inside", "boundary"]
    wide = np.pad(image, ((25, 25), (25, 25), (0, 0)), mode="reflect") / np.float32(255)
    wide = torch.from_numpy((wide - np.float32((0.5, 0.6, 0.4))) / np.float32((0.2, 0.3, 0.25))).permute(2, 0, 1)
    for r, c in [(0, 0), (46, 32), (0, 32), (19, 19), (20, 20), (39, 21), (25, 7)]:
        with torch.no_grad():
            expected = torch.softmax(network(wide[None, :, r : r + 51, c : c + 51])[0, :, 0, 0], dim=0)
        found = [maps[name][r, c] for name in maps]
        np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(sum(maps.values()), 1, atol=1e-5)


def test_training_is_kept_and_limits_norms(fitted, cpu):
    method, run_dir = fitted
    history = method.histories["patches"]
    assert len(history.epochs) == 2 and 0 <= history.best_score <= 1
    network = method.networks["classifier"]
    for layer in (*network.convolutions, *network.dense, network.out):
        assert (layer.weight.flatten(1).norm(dim=1) <= 1 + 1e-5).all()
    (folder,) = run_dir.iterdir()
    assert folder.name.startswith("patches-")
    again = CNN3(TINY).fit(dataset(0, 1), dataset(2), run_dir=run_dir, fabric=cpu, progress=False)
    assert again.histories["patches"].epochs == history.epochs  # seconds too: nothing was trained again
    image, _ = picture(3)
    np.testing.assert_array_equal(again.predict_maps(image)["inside"], method.predict_maps(image)["inside"])


def test_a_saved_method_predicts_the_same(fitted, float32, tmp_path):
    method, _ = fitted
    method.save(tmp_path / "saved")
    loaded = CNN3.load(tmp_path / "saved")
    assert loaded.config == method.config
    image, labels = picture(3)
    found = method.predict(image)
    assert found.dtype == np.int32 and found.shape == labels.shape
    np.testing.assert_array_equal(loaded.predict(image), found)
    # The order of channels in memory may differ, and with it the last digits.
    before, after = method.predict_maps(image)["boundary"], loaded.predict_maps(image)["boundary"]
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_bad_calls(tmp_path, cpu):
    with pytest.raises(NucsegError, match="not fitted"):
        CNN3().predict(picture()[0])
    dots = Dataset("dots", ("d",), lambda name: Sample(name, picture()[0]))
    for train, val in ((dots, dataset(0)), (dataset(0), dots)):
        with pytest.raises(DataError, match="d: CNN3 needs a label map"):
            CNN3(TINY).fit(train, val, run_dir=tmp_path, fabric=cpu, progress=False)
    with pytest.raises(DataError, match="batch"):
        replace(TINY, batch=0)


@pytest.mark.slow
def test_it_learns_dark_disks(tmp_path, cpu):
    config = replace(TINY, patches_per_class=64, epochs=30, batch=32, learning_rate=0.05, validate_every=10)
    method = CNN3(config).fit(dataset(0, 1), dataset(2), run_dir=tmp_path, fabric=cpu, progress=False)
    assert method.histories["patches"].best_score > 0.6
