"""Stain jitter: concentrations measured by independent deconvolution, and what must never change."""

from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nucseg.data.stain import HEMATOXYLIN_EOSIN, mix_stains, separate_stains
from nucseg.engine import StainJitterConfig, jitter_stain
from nucseg.errors import DataError

STILL = {field.name: 0.0 for field in fields(StainJitterConfig)} | {"probability": 1.0}


def only(**ranges):
    return StainJitterConfig(**{**STILL, **ranges})


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(batch=3, size=(9, 7), seed=0):
    return torch.rand(batch, 3, *size, generator=seeded(seed))


def tissue(side=24):
    """An image mixed by the Beer-Lambert law, and its concentrations."""
    rng = np.random.default_rng(0)
    amounts = rng.uniform(0.1, 0.9, (side, side, 2))
    light = mix_stains(amounts, glass=255) / 255
    return torch.from_numpy(light).permute(2, 0, 1)[None].float(), amounts


def residual_direction():
    """Unit vector at right angles to both stains, the last right singular vector of the pair."""
    return np.linalg.svd(HEMATOXYLIN_EOSIN)[2][2]


def density(image):
    """Optical density of a (3, H, W) image in float64, rows of red, green and blue."""
    values = 255 * image.numpy().astype(np.float64).reshape(3, -1).T
    return -np.log((values + 0.5) / 255.5)


def measured(image):
    """Concentrations by least squares: hematoxylin, eosin, residual."""
    columns = np.vstack([HEMATOXYLIN_EOSIN, residual_direction()]).T
    return np.linalg.lstsq(columns, density(image).T, rcond=None)[0]


def lines(images, changed):
    """Slope and intercept of concentrations after against before, (B, 3, 2), checking that they are on a line."""
    found = []
    for before, after in zip(images, changed):
        for x, y in zip(measured(before), measured(after)):
            line = np.polyfit(x, y, 1)
            assert np.abs(np.polyval(line, x) - y).max() < 2e-3
            found.append(line)
    return np.array(found).reshape(-1, 3, 2)


def test_closed_ranges_change_nothing():
    images = pictures(4, (20, 20))
    images[0, 0] = 0  # one channel at zero is no padding
    images[1] = 1
    torch.testing.assert_close(jitter_stain(images, only(), seeded()), images, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        jitter_stain(images, StainJitterConfig(probability=0), seeded()), images, atol=1e-5, rtol=0
    )


def test_concentrations_are_scaled_by_one_factor_per_image_and_stain():
    images = 0.4 + 0.2 * pictures(60, (6, 6))  # far from 0 and 1, so that nothing is cut
    factors, added = np.moveaxis(lines(images, jitter_stain(images, only(concentration_scale=0.2), seeded(1))), 2, 0)
    assert np.abs(added).max() < 1e-3
    assert factors.min() > 0.8 - 1e-3 and factors.max() < 1.2 + 1e-3
    # Uniform on (0.8, 1.2): mean 1, standard deviation 0.4 / sqrt(12); stains independent of each other.
    assert abs(factors.mean() - 1) < 0.03 and abs(factors.std() - 0.4 / 12**0.5) < 0.02
    assert np.abs(np.corrcoef(factors.T) - np.eye(3)).max() < 0.4


def test_concentrations_are_shifted_by_one_amount_per_image_and_stain():
    images = 0.4 + 0.2 * pictures(60, (6, 6))  # far from 0 and 1, so that nothing is cut
    factors, added = np.moveaxis(lines(images, jitter_stain(images, only(concentration_shift=0.1), seeded(1))), 2, 0)
    assert np.abs(factors - 1).max() < 1e-3
    assert np.abs(added).max() < 0.1 + 1e-3 and abs(added.mean()) < 0.02
    assert abs(added.std() - 0.2 / 12**0.5) < 0.01


def test_separation_of_8_bit_pixels_finds_the_scaled_amounts():
    image, amounts = tissue()
    for seed in range(5):
        changed = jitter_stain(image, only(concentration_scale=0.3), seeded(seed))
        pixels = (255 * changed[0].permute(1, 2, 0)).round().byte().numpy()
        found = separate_stains(pixels, glass=255)
        factors = (found.reshape(-1, 2) * amounts.reshape(-1, 2)).sum(0) / (amounts.reshape(-1, 2) ** 2).sum(0)
        assert (abs(factors - 1) < 0.31).all() and (abs(factors - 1) > 1e-3).any()
        assert np.abs(found - factors * amounts).max() < 0.04  # rounding to 8 bits


def test_white_stays_white_when_amounts_are_scaled():
    white = torch.ones(5, 3, 4, 4)
    changed = jitter_stain(white, only(concentration_scale=0.5), seeded())
    torch.testing.assert_close(changed, white, atol=1e-5, rtol=0)


def test_exposure_is_a_line_through_middle_gray():
    ramp = torch.linspace(0.2, 0.8, 49).expand(30, 3, 1, 49).contiguous()
    changed = jitter_stain(ramp, only(brightness=0.1, contrast=0.2), seeded())
    assert (changed.amax(dim=1) - changed.amin(dim=1)).max() < 1e-5, "gray stays gray"
    fits = np.array([np.polyfit(ramp[0, 0, 0].numpy() - 0.5, image[0, 0].numpy(), 1) for image in changed])
    assert np.abs(fits[:, 0] - 1).max() < 0.2 and np.abs(fits[:, 1] - 0.5).max() < 0.1
    assert fits[:, 0].std() > 0.05 and fits[:, 1].std() > 0.03
    middle = jitter_stain(torch.full((9, 3, 2, 2), 0.5), only(contrast=0.5), seeded())
    torch.testing.assert_close(middle, torch.full((9, 3, 2, 2), 0.5), atol=1e-5, rtol=0)


def test_padding_stays_black_and_nothing_else_becomes_black():
    images = 0.02 * pictures(40, (12, 12))
    images[:, :, :4] = 0
    images[:, :, 4] = torch.tensor([0.0, 0.0, 1e-3]).reshape(3, 1)  # dark, but not padding
    changed = jitter_stain(images, only(concentration_scale=0.9, brightness=0.5, contrast=0.9), seeded())
    assert torch.equal((changed == 0).all(dim=1), (images == 0).all(dim=1))
    assert (changed[:, :, :4] == 0).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 0.99), st.floats(0, 3), st.floats(0, 1), st.floats(0, 0.99))
def test_values_stay_in_range(seed, scale, shift, brightness, contrast):
    images = pictures(2, (5, 4), seed)
    images[0, :, 0] = torch.tensor([0.0, 1.0, 0.0]).reshape(3, 1)
    changed = jitter_stain(images, StainJitterConfig(scale, shift, brightness, contrast), seeded(seed))
    assert changed.dtype == torch.float32 and changed.shape == images.shape
    assert changed.min() >= 0 and changed.max() <= 1


def test_the_generator_decides_alone():
    images, config = pictures(), StainJitterConfig()
    first = jitter_stain(images, config, seeded(5))
    torch.manual_seed(123)
    assert torch.equal(first, jitter_stain(images, config, seeded(5)))
    assert not torch.equal(first, jitter_stain(images, config, seeded(6)))
    # As many values are drawn with closed ranges as with open ones.
    used, unused = seeded(5), seeded(5)
    jitter_stain(images, config, used)
    jitter_stain(images, only(), unused)
    assert torch.equal(torch.rand(3, generator=used), torch.rand(3, generator=unused))


def test_the_input_is_left_alone():
    images = pictures()
    copy = images.clone()
    jitter_stain(images, StainJitterConfig(), seeded())
    assert torch.equal(images, copy)


def test_layout_in_memory_does_not_matter():
    images = pictures()
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(*(jitter_stain(part, StainJitterConfig(), seeded()) for part in (images, last)))


def test_autocast_costs_no_digits():
    images = pictures()
    plain = jitter_stain(images, StainJitterConfig(), seeded())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(jitter_stain(images, StainJitterConfig(), seeded()), plain)


def test_probability_is_a_share_of_images():
    images = pictures(200, (2, 2))
    changed = jitter_stain(images, StainJitterConfig(probability=0.3), seeded())
    share = ((changed - images).abs().amax(dim=(1, 2, 3)) > 1e-4).float().mean()
    assert abs(share - 0.3) < 0.1


def test_settings_are_checked():
    with pytest.raises(FrozenInstanceError):
        StainJitterConfig().brightness = 1
    for name, bad in [
        ("concentration_scale", 1.0), ("concentration_scale", -0.1), ("concentration_shift", -1.0),
        ("concentration_shift", float("nan")), ("brightness", 2.0), ("contrast", 1.0), ("probability", 1.1),
    ]:  # fmt: skip
        with pytest.raises(DataError, match=name):
            StainJitterConfig(**{name: bad})


@pytest.mark.parametrize(
    "images", [torch.zeros(3, 4, 4), torch.zeros(1, 4, 4, 4), torch.zeros(1, 3, 4, 4, dtype=torch.uint8)]
)
def test_other_arrays_are_refused(images):
    with pytest.raises(DataError, match="images: expected float32"):
        jitter_stain(images, StainJitterConfig(), seeded())
