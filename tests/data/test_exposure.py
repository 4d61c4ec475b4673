"""Contrast: what the percentiles become, and what stays."""

import numpy as np

from nucseg.data.exposure import stretch_contrast, stretched
from nucseg.data.sample import Dataset, Sample


def ramp():
    return np.repeat(np.linspace(40, 90, 10000).reshape(100, 100, 1), 3, axis=2).round().astype(np.uint8)


def test_percentiles_reach_the_ends():
    found = stretch_contrast(ramp())
    assert found.dtype == np.uint8
    assert np.percentile(found, 1) == 0 and np.percentile(found, 99) == 255
    assert abs(np.median(found) - 127.5) < 3


def test_it_does_not_depend_on_the_exposure():
    dim = ramp()
    bright = (dim * 2).astype(np.uint8)
    assert np.abs(stretch_contrast(dim).astype(int) - stretch_contrast(bright)).max() <= 1


def test_channels_share_the_percentiles():
    image = np.stack([ramp()[..., 0], ramp()[..., 0] // 2, np.full((100, 100), 60)], axis=-1).astype(np.uint8)
    found = stretch_contrast(image).astype(int)
    inside = (found > 0).all(-1) & (found < 255).all(-1)
    ratio = (found[inside, 0] - found[inside, 2]) / (image[inside, 0].astype(int) - 60).clip(1)
    assert np.unique(found[..., 2]).size == 1 and np.ptp(ratio[image[inside, 0] > 65]) < 1


def test_an_image_of_one_value_stays():
    flat = np.full((8, 8, 3), 17, np.uint8)
    assert np.array_equal(stretch_contrast(flat), flat)


def test_gray_and_16_bit_images_are_taken():
    gray = ramp()[..., 0]
    assert np.array_equal(stretch_contrast(gray), stretch_contrast(ramp()))
    assert stretch_contrast(gray.astype(np.uint16) * 257).shape == (100, 100, 3)


def test_a_dataset_is_stretched_when_it_is_read():
    plain = Dataset("set", ("a",), lambda name: Sample(name, ramp()), {"a": "patient"}, "sum")
    found = stretched(plain)
    assert (found.name, found.ids, found.groups, found.checksum) == ("set", ("a",), {"a": "patient"}, "sum")
    assert np.array_equal(found["a"].image, stretch_contrast(ramp()))
    assert np.array_equal(plain["a"].image, ramp())
