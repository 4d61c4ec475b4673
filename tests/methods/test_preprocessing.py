"""Colors: statistics against all pixels at once, references against Lab means worked out here."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from method_checks import changed, disks
from skimage.color import rgb2lab

from nucseg.data.normalization import MONUSEG_REFERENCE
from nucseg.data.sample import Dataset, Sample
from nucseg.errors import DataError, UnknownNameError
from nucseg.methods import Preprocessing


def noise(name, low=0, high=256, side=24):
    rng = np.random.default_rng(sum(map(ord, name)))
    return Sample(name, rng.integers(low, high, (side, side + 5, 3), dtype=np.uint8))


def dataset(*names, read=noise):
    return Dataset("noise", names, read)


def lab_mean(image):
    return rgb2lab(image).reshape(-1, 3).mean(axis=0)


def test_statistics_are_those_of_all_pixels():
    def read(name):
        return noise(name, *{"a": (0, 100), "b": (50, 256), "c": (200, 230)}[name], side=20 + ord(name) % 7)

    source = dataset("a", "b", "c", read=read)
    learned = Preprocessing.learn(source, None)
    pixels = np.concatenate([sample.image.reshape(-1, 3) for sample in source]) / 255
    np.testing.assert_allclose(learned.mean, pixels.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(learned.std, pixels.std(axis=0), atol=1e-9)
    assert learned.reference is None
    np.testing.assert_array_equal(learned.colors(source["a"].image), source["a"].image)


def test_standardized_training_pixels_have_mean_0_and_deviation_1():
    source = dataset("a", "b")
    learned = Preprocessing.learn(source)
    images = torch.stack([torch.from_numpy(learned.colors(sample.image)).permute(2, 0, 1) for sample in source]) / 255
    standardized = learned.standardize(images)
    assert standardized.dtype == torch.float32 and standardized.shape == images.shape
    torch.testing.assert_close(standardized.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(standardized.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)


def test_all_images_get_the_colors_of_the_reference():
    source = disks("a", "b", "c")
    learned = Preprocessing.learn(source, reference="b")
    wanted = rgb2lab(source["b"].image).reshape(-1, 3)
    # Colors are rounded to 8 bits and cut to what RGB can show.
    np.testing.assert_allclose(learned.colors(source["b"].image), source["b"].image, atol=1)
    for sample in disks("a", "c", "v"):
        given = rgb2lab(learned.colors(sample.image)).reshape(-1, 3)
        np.testing.assert_allclose(given.mean(axis=0), wanted.mean(axis=0), atol=1.0)
        np.testing.assert_allclose(given.std(axis=0), wanted.std(axis=0), rtol=0.1)


def test_without_a_reference_the_most_ordinary_image_gives_its_colors():
    def read(name):
        return noise(name, *{"dark": (0, 60), "light": (200, 256), "middle": (90, 170)}[name])

    source = dataset("dark", "light", "middle", read=read)
    each = np.array([lab_mean(sample.image) for sample in source])
    nearest = np.argmin(((each - each.mean(axis=0)) ** 2).sum(axis=1))
    assert source.ids[nearest] == "middle"
    np.testing.assert_allclose(Preprocessing.learn(source).reference.mean, each[nearest], atol=1e-3)
    assert Preprocessing.learn(source) == Preprocessing.learn(source.subset(["dark", "light", "middle"]))


def test_the_prostate_image_is_the_reference_where_there_is_one():
    source = dataset("a", "b", MONUSEG_REFERENCE)
    np.testing.assert_allclose(
        Preprocessing.learn(source).reference.mean, lab_mean(source[MONUSEG_REFERENCE].image), atol=1e-3
    )
    assert Preprocessing.learn(source, reference="a") != Preprocessing.learn(source)


def test_values_survive_json():
    for normalization in ("reinhard", None):
        learned = Preprocessing.learn(dataset("a", "b"), normalization)
        assert Preprocessing.from_dict(json.loads(json.dumps(learned.to_dict()))) == learned


def test_labels_and_dots_say_nothing_about_colors():
    plain = Preprocessing.learn(disks("a", "b"))
    assert Preprocessing.learn(changed(disks("a", "b"), lambda sample: replace(sample, labels=None))) == plain


def test_what_cannot_be_learned_from_is_named():
    with pytest.raises(UnknownNameError, match="unknown normalization 'macenko'; known: 'reinhard', None"):
        Preprocessing.learn(dataset("a"), "macenko")
    with pytest.raises(DataError, match=r"^x: the reference for colors is not among the training images"):
        Preprocessing.learn(dataset("a"), reference="x")
    with pytest.raises(DataError, match="no training images"):
        Preprocessing.learn(dataset())


def test_images_of_a_single_color_are_refused():
    flat = dataset("a", read=lambda name: Sample(name, np.full((9, 9, 3), 200, np.uint8)))
    for normalization in (None, "reinhard"):
        with pytest.raises(DataError, match="a channel without variation"):
            Preprocessing.learn(flat, normalization)


def test_a_blank_image_can_be_given_colors():
    learned = Preprocessing.learn(disks("a", "b"))
    blank = learned.colors(np.full((8, 8, 3), 243, np.uint8))
    assert blank.dtype == np.uint8 and (blank == blank[0, 0]).all()
