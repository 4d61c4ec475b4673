"""Color normalization: the result must have the statistics it was given."""

import numpy as np
import pytest
from skimage.color import rgb2lab

from nucseg.data.normalization import ColorStatistics, color_statistics, reinhard_normalize
from nucseg.errors import DataError


def tissue(seed, mean=(190, 140, 180), spread=12):
    noise = np.random.default_rng(seed).normal(0, 1, (40, 50, 3))
    return np.clip(mean + spread * (noise + noise.mean(2, keepdims=True)), 0, 255).astype(np.uint8)


def test_statistics_equal_the_lab_channels():
    image = tissue(0)
    lab, found = rgb2lab(image).reshape(-1, 3), color_statistics(image)
    np.testing.assert_allclose(found.mean, lab.mean(0))
    np.testing.assert_allclose(found.std, np.sqrt(((lab - lab.mean(0)) ** 2).mean(0)))
    gray = color_statistics(np.full((3, 3, 3), 255, np.uint8))
    np.testing.assert_allclose(gray.mean, (100, 0, 0), atol=0.02)


def test_the_result_has_the_colors_of_the_reference():
    image, reference = tissue(1), tissue(2, mean=(150, 110, 160), spread=18)
    found, wanted = color_statistics(reinhard_normalize(image, reference)), color_statistics(reference)
    # 8-bit rounding moves single pixels by up to half a level, the mean by far less.
    np.testing.assert_allclose(found.mean, wanted.mean, atol=0.3)
    np.testing.assert_allclose(found.std, wanted.std, rtol=0.02)


def test_an_image_normalized_to_itself_stays():
    image = tissue(3)
    assert np.abs(reinhard_normalize(image, image).astype(int) - image).max() <= 1


def test_statistics_serve_in_place_of_the_image():
    image, reference = tissue(4), tissue(5, mean=(170, 90, 150))
    np.testing.assert_array_equal(
        reinhard_normalize(image, reference), reinhard_normalize(image, color_statistics(reference))
    )


def test_brightness_keeps_its_order():
    ramp = np.repeat(np.arange(40, 200, 4, dtype=np.uint8)[:, None, None], 5, axis=1).repeat(3, axis=2)
    light = rgb2lab(reinhard_normalize(ramp, ColorStatistics((60.0, 0.0, 0.0), (10.0, 1.0, 1.0))))[:, 0, 0]
    assert (np.diff(light) > 0).all()
    assert light.mean() == pytest.approx(60, abs=0.5) and light.std() == pytest.approx(10, rel=0.05)


def test_a_flat_image_takes_the_mean():
    flat = np.full((6, 6, 3), 77, np.uint8)
    reference = tissue(6)
    np.testing.assert_allclose(
        color_statistics(reinhard_normalize(flat, reference)).mean, color_statistics(reference).mean, atol=0.7
    )


def test_colors_outside_the_cube_are_cut_not_wrapped():
    image = tissue(7)
    bright = reinhard_normalize(image, ColorStatistics((100.0, 0.0, 0.0), (40.0, 5.0, 5.0)))
    light = image.sum(axis=2)
    assert bright[light > np.median(light)].mean() > 235
    assert reinhard_normalize(image, ColorStatistics((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))).max() == 0


def test_bad_images_are_refused():
    with pytest.raises(DataError, match="image"):
        reinhard_normalize(np.zeros((4, 4, 3)), tissue(0))
    with pytest.raises(DataError, match="image"):
        color_statistics(np.zeros((4, 4, 2), np.uint8))
