"""Stain separation against images mixed here, by the Beer-Lambert law, from known vectors and amounts."""

import numpy as np
import pytest

from nucseg.data.stain import (
    GLASS,
    HEMATOXYLIN_EOSIN,
    mix_stains,
    optical_density,
    separate_stains,
    stain_vectors,
    vector_angle,
)
from nucseg.errors import DataError

PAIRS = {
    "classical": HEMATOXYLIN_EOSIN,
    "scanner": np.array([[0.62, 0.69, 0.37], [0.15, 0.83, 0.52]]),
    "eosin nearly without red": np.array([[0.55, 0.75, 0.38], [0.02, 0.90, 0.42]]),
}


def amounts(rng, pixels=10000):
    """Concentrations like those of tissue: some glass, some of one stain alone, the rest mixed."""
    c = rng.uniform(0.25, 1.3, (pixels, 2))
    part = rng.integers(4, size=pixels)
    c[part == 0] *= [0, 0]
    c[part == 1] *= [1, 0]
    c[part == 2] *= [0, 1]
    return c.reshape(-1, 100, 2)


def mixed(c, vectors):
    density = c[..., :1] * vectors[0] + c[..., 1:] * vectors[1]
    return np.rint(GLASS * np.exp(-density)).astype(np.uint8)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("name", PAIRS)
def test_estimated_vectors_are_those_mixed_in(rng, name):
    estimate = stain_vectors(mixed(amounts(rng), PAIRS[name]))
    assert np.allclose(np.linalg.norm(estimate, axis=1), 1)
    for found, true in zip(estimate, unit(PAIRS[name])):
        assert np.degrees(np.arccos(min(found @ true, 1))) < 3


def test_estimate_does_not_depend_on_where_pixels_lie_nor_on_how_much_glass_there_is(rng):
    image = mixed(amounts(rng), PAIRS["scanner"])
    shuffled = rng.permutation(image.reshape(-1, 3)).reshape(image.shape)
    more_glass = np.concatenate([image, np.full_like(image, int(GLASS))])
    assert np.allclose(stain_vectors(image), stain_vectors(shuffled))
    assert np.allclose(stain_vectors(image), stain_vectors(more_glass))


def test_estimate_survives_noise_and_a_speck_of_pigment(rng):
    image = mixed(amounts(rng), PAIRS["scanner"]).astype(float)
    image = np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
    image[:2, :20] = (20, 20, 20)
    for found, true in zip(stain_vectors(image), unit(PAIRS["scanner"])):
        assert vector_angle(found, true) < 8


@pytest.mark.parametrize("name", PAIRS)
def test_separation_returns_the_amounts(rng, name):
    c = amounts(rng)
    found = separate_stains(mixed(c, PAIRS[name]), PAIRS[name])
    # Rounding to 8 bits is coarsest, relative to the light that is left, in the darkest pixels.
    assert np.abs(found - c).max() < 0.06
    assert np.abs(found - c).mean() < 0.01


def test_separation_undoes_mixing(rng):
    c = amounts(rng, 100)
    image = np.rint(mix_stains(c)).astype(np.uint8)
    assert np.array_equal(image, mixed(c, HEMATOXYLIN_EOSIN))
    assert np.allclose(separate_stains(image), c, atol=0.06)


def test_light_through_two_layers_is_dimmed_twice(rng):
    c = rng.uniform(0, 1, (3, 4, 2))
    once, twice = mix_stains(c) / GLASS, mix_stains(2 * c) / GLASS
    assert np.allclose(twice, once**2, rtol=1e-4)


def test_optical_density_by_hand():
    image = np.array([[[245, 122, 255], [0, 60, 245]]], np.uint8)
    expected = [[[0, np.log(245.5 / 122.5), 0], [np.log(491), np.log(245.5 / 60.5), 0]]]
    assert np.allclose(optical_density(image), expected)


def test_vector_angle_by_hand():
    assert vector_angle([1, 0, 0], [0, 2, 0]) == pytest.approx(90)
    assert vector_angle([1, 1, 0], [3, 0, 0]) == pytest.approx(45)
    assert vector_angle([1, 2, 3], [2, 4, 6]) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda image: optical_density(image, 0), "glass .* got 0"),
        (lambda image: stain_vectors(image, percentile=50), "percentile .* got 50"),
        (lambda image: stain_vectors(np.full((40, 40, 3), 245, np.uint8)), "only 0 stained pixels"),
        (lambda image: stain_vectors(np.full((40, 40, 3), 90, np.uint8)), "one color"),
        (lambda image: separate_stains(image, np.ones((2, 3))), "same color"),
        (lambda image: separate_stains(image, np.ones((3, 3))), r"shape \(3, 3\)"),
        (lambda image: mix_stains(np.zeros((2, 2, 3)), HEMATOXYLIN_EOSIN), r"\(H, W, 2\), got \(2, 2, 3\)"),
        (lambda image: mix_stains(np.zeros((2, 2, 2)), np.ones(3)), r"shape \(3,\)"),
    ],
)
def test_bad_input_is_named(rng, call, message):
    with pytest.raises(DataError, match=message):
        call(mixed(amounts(rng, 1000), HEMATOXYLIN_EOSIN))
