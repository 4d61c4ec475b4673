"""White background and superpixels of tissue images."""

import numpy as np
import pytest
from scipy import ndimage

from nucseg.data.synthetic import TissueConfig, render_tissue
from nucseg.errors import DataError
from nucseg.supervision import slic_regions, white_background


def test_white_is_bright_and_large_enough():
    image = np.full((20, 20, 3), 120, np.uint8)
    image[2:4, 2:4] = 255  # 4 px
    image[10:18, 10:18] = 230  # 64 px
    image[0, 19], image[1, 18] = 255, 255  # touch at a corner only
    wanted = np.zeros((20, 20), bool)
    wanted[10:18, 10:18] = True
    np.testing.assert_array_equal(white_background(image), wanted)
    assert white_background(image, min_size=4)[2:4, 2:4].all() and not white_background(image, min_size=2)[0, 19]
    assert not white_background(image, threshold=255).any()


def test_luma_weighs_the_colors():
    image = np.zeros((8, 24, 3), np.uint8)
    for place, channel in enumerate(range(3)):
        image[:, 8 * place : 8 * place + 8, channel] = 255
    for threshold, wanted in ((75, [True, True, False]), (77, [False, True, False]), (28, [True, True, True])):
        found = white_background(image, threshold)
        assert [bool(found[0, 8 * place]) for place in range(3)] == wanted  # 76.2, 149.7 and 29.1


def test_white_of_synthetic_tissue_is_its_background():
    sample = render_tissue(TissueConfig(holes=1.0), seed=3)
    found, true = white_background(sample.image), sample.mask == 4
    inside = ndimage.binary_erosion(true, iterations=3)
    assert inside.any() and found[inside].mean() > 0.9
    assert found[~ndimage.binary_dilation(true, iterations=3)].mean() < 0.05


def test_superpixels_cover_an_image_and_follow_it():
    sample = render_tissue(TissueConfig(), seed=1)
    parts = slic_regions(sample.image)
    ids = np.unique(parts)
    assert parts.shape == (224, 224) and parts.dtype == np.int32 and np.array_equal(ids, np.arange(len(ids)))
    assert 130 < len(ids) <= 196
    assert len(np.unique(slic_regions(sample.image, area=1024))) <= 49
    assert np.array_equal(slic_regions(sample.image), parts)
    assert slic_regions(np.full((20, 9, 3), 77, np.uint8), area=1e6).max() == 0


def test_bad_input():
    image = np.zeros((4, 4, 3), np.uint8)
    for call in (lambda: white_background(image, -1), lambda: white_background(image / 255),
                 lambda: slic_regions(image, 0), lambda: slic_regions(image, compactness=0)):
        with pytest.raises(DataError):
            call()
