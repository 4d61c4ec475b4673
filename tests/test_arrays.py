"""The array checks accept what the documentation promises and name what they refuse."""

import numpy as np
import pytest

from nucseg.arrays import as_image, as_label_map, as_label_pair, as_pixels, as_points
from nucseg.errors import DataError


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int16, np.uint16, np.int64, np.uint64])
def test_label_map_keeps_values_of_any_integer_type(dtype):
    labels = np.array([[0, 1], [1, 0]]).astype(dtype)
    result = as_label_map(labels)
    assert result.dtype == np.int32
    assert result.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    "bad, word",
    [
        (np.zeros((2, 2, 1), int), "shape"),
        (np.zeros((0, 4), int), "shape"),
        (np.zeros((2, 2), float), "float64"),
        (np.array([[0, -3]]), "-3"),
        (np.array([[0, 2**40]]), str(2**40)),
    ],
)
def test_label_map_refuses_and_names(bad, word):
    with pytest.raises(DataError, match="mine") as caught:
        as_label_map(bad, "mine")
    assert word in str(caught.value)


def test_pair_of_unlike_sizes():
    with pytest.raises(DataError, match=r"\(2, 2\).*\(2, 3\)"):
        as_label_pair(np.zeros((2, 2), int), np.zeros((2, 3), int))


def test_points_at_the_rim_round_into_the_image():
    # Pixel 0 covers [-0.5, 0.5); 3.4 rounds to the last of four pixels, 3.5 does not.
    assert as_pixels([[-0.5, 3.4]], (4, 4)).tolist() == [[0, 3]]
    with pytest.raises(DataError, match=r"1 of 1 points .* \(0, 3.5\)"):
        as_points([[0, 3.5]], (4, 4))


def test_no_points_and_bad_points():
    assert as_points([]).shape == (0, 2)
    for bad in ([1, 2, 3], [[1, 2, 3]], [["a", "b"]]):
        with pytest.raises(DataError, match=r"\(N, 2\)"):
            as_points(bad)
    with pytest.raises(DataError, match="not finite"):
        as_points([[0, np.nan]])


def test_images_of_every_kind_become_rgb_bytes():
    gray = np.arange(6, dtype=np.uint8).reshape(2, 3)
    rgb = np.repeat(gray[..., None], 3, axis=2)
    for image in (
        gray,
        gray[..., None],
        rgb,
        np.dstack([rgb, np.full((2, 3), 7, np.uint8)]),
        gray.astype(np.uint16) * 257,
    ):
        assert np.array_equal(as_image(image), rgb)
    assert as_image(np.array([[True, False]])).tolist() == [[[255] * 3, [0] * 3]]


def test_images_refused():
    with pytest.raises(DataError, match=r"a\.png: .*float64"):
        as_image(np.zeros((2, 2, 3)), "a.png")
    for shape in ((2,), (2, 2, 2), (0, 2, 3)):
        with pytest.raises(DataError, match="shape"):
            as_image(np.zeros(shape, np.uint8))
