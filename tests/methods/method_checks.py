"""What every method must pass, and the tiny images and networks to test methods with.

Each ``check_...`` takes a method and raises AssertionError where the method breaks the promises of
:class:`nucseg.methods.Method`; tests of a new method call them on a method that was fitted with :func:`disks`.
"""

import dataclasses
import json

import numpy as np
import pytest
import torch

from nucseg.data.sample import Dataset, Sample
from nucseg.engine import AugmentConfig, fabric
from nucseg.errors import DataError, NucsegError
from nucseg.methods import DetectorConfig, PartialPointsConfig, SegmenterConfig
from nucseg.methods.base import config_from_dict
from nucseg.seeding import generator

#: Side of the images and radius of the nuclei, px.
SIDE, RADIUS = 64, 5

#: Settings of partial points that train in a moment on such images.
DETECTOR = DetectorConfig(
    strategy="ST-bg", rounds=1, r1=5.0, r2=10.0, sigma=1.5, epochs=1, batch=2, augment=AugmentConfig(crop=48)
)
SEGMENTER = SegmenterConfig(
    cluster_restarts=1, epochs=1, crf_epochs=1, batch=2, sigma_xy=2.0, min_size=5,
    augment=AugmentConfig(crop=48, elastic=True),
)
TINY = PartialPointsConfig(DETECTOR, SEGMENTER, weights=None, patch=64, patches_per_side=1)


def disk_sample(name, count=6, side=SIDE):
    """Return an image of dark disks on a pale ground, its label map, and nothing else."""
    rng = generator(0, "disks", name)
    rows, columns = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.int32)
    while labels.max() < count:
        row, column = rng.integers(RADIUS, side - RADIUS, 2)
        disk = np.hypot(rows - row, columns - column) <= RADIUS
        room = np.hypot(rows - row, columns - column) <= RADIUS + 2
        if not labels[room].any():
            labels[disk] = labels.max() + 1
    color = np.where(labels[..., None] > 0, (110, 60, 140), (225, 180, 215))
    image = np.clip(color + rng.normal(0, 8, color.shape), 1, 255).astype(np.uint8)
    return Sample(name, image, labels)


def disks(*names, counts=None):
    """Return a dataset of :func:`disk_sample`; `counts` says how many nuclei an image has, 6 by default."""
    counts = counts or {}
    return Dataset("disks", names, lambda name: disk_sample(name, counts.get(name, 6)))


def changed(dataset, change):
    """Return a dataset whose samples are what ``change(sample)`` returns."""
    return Dataset(dataset.name, dataset.ids, lambda name: change(dataset[name]))


class TinyNet(torch.nn.Module):
    """A network of a few hundred weights that has normalization and dropout, as the U-Nets have."""

    def __init__(self, classes):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(3, 6, 5, padding=2), torch.nn.BatchNorm2d(6), torch.nn.ReLU(), torch.nn.Dropout2d(0.1)
        )
        self.out = torch.nn.Conv2d(6, classes, 3, padding=1)

    def forward(self, images):
        return self.out(self.body(images))


def tiny_unet(classes, weights, initial, seed, *names):
    """Stand in for :func:`nucseg.methods.stages.unet`."""
    torch.manual_seed(int(generator(seed, "tiny", *names).integers(2**63 - 1)))
    return TinyNet(classes)


def cpu():
    """Return a fabric that computes the same on every machine."""
    return fabric(device="cpu", precision="32-true")


def same_weights(first, second):
    """Return whether two networks hold the same numbers."""
    first, second = first.state_dict(), second.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def network_of(folder):
    """Return the weights in the checkpoint of a training stage."""
    return torch.load(folder / "last.ckpt", weights_only=True)["state"]["network"]


def stamps(folder, pattern):
    """Return when the checkpoints of the stages of a pattern were written."""
    return {path.name: (path / "last.ckpt").stat().st_mtime_ns for path in folder.glob(pattern)}


def check_not_fitted(method, tmp_path):
    """An unfitted method refuses to predict and to be saved, and leaves no folder behind."""
    image = disk_sample("x").image
    for call in (method.predict, method.predict_maps):
        with pytest.raises(NucsegError, match=f"{type(method).__name__} is not fitted yet"):
            call(image)
    with pytest.raises(NucsegError, match="not fitted yet"):
        method.save(tmp_path / "unfitted")
    assert not (tmp_path / "unfitted").exists()


def check_predictions(method, image):
    """Predictions have the promised shapes, types and values, and the image stays as it was."""
    before = image.copy()
    labels, maps = method.predict(image), method.predict_maps(image)
    assert labels.shape == image.shape[:2] and labels.dtype == np.int32
    assert np.array_equal(np.unique(labels[labels > 0]), np.arange(1, labels.max() + 1))
    assert maps and all(isinstance(name, str) for name in maps)
    for name, values in maps.items():
        assert values.shape == image.shape[:2] and values.dtype == np.float32, name
        assert np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1, name
    assert np.array_equal(image, before)


def check_independence(method, images):
    """What is predicted on an image depends on nothing that was predicted before."""
    first = [(method.predict(image), method.predict_maps(image)) for image in images]
    for image, (labels, maps) in reversed(list(zip(images, first))):
        again = method.predict_maps(image)
        assert again.keys() == maps.keys() and all(np.array_equal(again[name], maps[name]) for name in maps)
        assert np.array_equal(method.predict(image), labels)
    torch.manual_seed(7)
    assert np.array_equal(method.predict(images[0]), first[0][0]), "nothing is drawn"


def check_sizes_and_kinds(method, image):
    """Images of odd sizes, gray images and images with an alpha channel are taken; others are refused."""
    for shape in ((1, 1), (17, 33), (image.shape[0], 31)):
        check_predictions(method, np.ascontiguousarray(image[:shape[0], :shape[1]]))
    check_predictions(method, np.tile(image, (4, 1, 1))[:229, :50])
    check_predictions(method, np.full((20, 20, 3), 240, np.uint8))
    gray = image[..., 1]
    assert np.array_equal(method.predict(gray), method.predict(gray[..., None].repeat(3, axis=2)))
    transparent = np.concatenate([image, image[..., :1]], axis=2)
    assert np.array_equal(method.predict(transparent), method.predict(image))
    for wrong in (image / 255, image[:0], np.zeros((4, 4, 2), np.uint8)):
        with pytest.raises(DataError):
            method.predict(wrong)


def check_config(config):
    """Settings are frozen and survive JSON."""
    stored = json.loads(json.dumps(dataclasses.asdict(config)))
    assert config_from_dict(type(config), stored) == config
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, dataclasses.fields(config)[0].name, None)


def check_saved(method, folder, images):
    """A saved and loaded method is the same method."""
    method.save(folder)
    loaded = type(method).load(folder)
    assert loaded.config == method.config and loaded.preprocessing == method.preprocessing
    assert loaded.networks.keys() == method.networks.keys()
    for name, network in loaded.networks.items():
        assert same_weights(network, method.networks[name]) and not network.training
    for image in images:
        before, after = method.predict_maps(image), loaded.predict_maps(image)
        assert before.keys() == after.keys()
        for name in before:
            np.testing.assert_array_equal(after[name], before[name], err_msg=name)
        assert np.array_equal(loaded.predict(image), method.predict(image))
    content = json.loads((folder / "method.json").read_text())
    assert content["method"] == type(method).__name__ and content["networks"] == sorted(method.networks)
    kept = {path.name for path in folder.iterdir()}
    assert kept == {"method.json", *(f"{name}.safetensors" for name in method.networks)}


def check_interrupted(kind, fit, folder, monkeypatch):
    """A training of two epochs that is broken off after the first one ends with the same weights as a whole one.

    `kind` is a CropMethod, and ``fit(folder)`` trains one for two epochs with a validation image after each.
    """
    calls, original = [], kind.nucleus_map

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, *arguments)

    whole = fit(folder / "whole")
    monkeypatch.setattr(kind, "nucleus_map", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(folder / "parts")
    parts = fit(folder / "parts")
    assert len(calls) == 3, "the first epoch is not repeated"
    assert same_weights(whole.networks[kind.network_name], parts.networks[kind.network_name])


def check_damaged(method, folder):
    """A folder that holds no such method is refused with the name of the file at fault."""
    load = type(method).load
    description = folder / "method.json"
    with pytest.raises(DataError, match=r"method\.json: no such file"):
        load(folder / "nothing here")
    method.save(folder)
    good = json.loads(description.read_text())
    wrong = [
        "", "{", "[]", "3", json.dumps({**good, "method": "AnotherMethod"}), json.dumps({"method": good["method"]}),
        json.dumps({**good, "config": {**good["config"], "no_such_field": 1}}),
        json.dumps({**good, "config": [1]}), json.dumps({**good, "preprocessing": None}),
    ]
    for text in wrong:
        description.write_text(text)
        with pytest.raises(DataError, match=r"method\.json: "):
            load(folder)
    description.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"method\.json: "):
        load(folder)
    description.write_text(json.dumps(good))
    for name in method.networks:
        weights = folder / f"{name}.safetensors"
        content = weights.read_bytes()
        for damaged in (b"", content[: len(content) // 2], b"\0" * 64):
            weights.write_bytes(damaged)
            with pytest.raises(DataError, match=rf"{name}\.safetensors: these weights cannot be used"):
                load(folder)
        weights.unlink()
        with pytest.raises(DataError, match=rf"{name}\.safetensors"):
            load(folder)
        weights.write_bytes(content)
    load(folder)
