"""Maps are taken as they are or refused with the value at fault."""

import numpy as np
import pytest

from nucseg.errors import DataError
from nucseg.postprocess.maps import as_map


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float16, np.float32, np.float64])
def test_map_keeps_values_of_any_real_type(dtype):
    values = np.array([[0, 1], [1, 0]]).astype(dtype)
    result = as_map(values, (2, 2), lowest=0, highest=1)
    assert result.dtype == np.float64
    assert result.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    "bad, word",
    [
        (np.zeros(4), r"\(4,\)"),
        (np.zeros((0, 4)), r"\(0, 4\)"),
        (np.zeros((2, 2), complex), "complex"),
        (np.array([["a"]]), "dtype <U1"),
        (np.zeros((2, 3)), r"shape \(2, 2\) of the other maps, got \(2, 3\)"),
        (np.array([[0, 0.5], [np.nan, 2]]), r"2 of 4 .* in \[0, 1\]; the first is nan at .* \(1, 0\)"),
        (np.array([[0, -0.5], [0, 0]]), r"1 of 4 .* the first is -0.5 at .* \(0, 1\)"),
    ],
)
def test_map_refuses_and_names(bad, word):
    with pytest.raises(DataError, match=f"^mine: .*{word}"):
        as_map(bad, (2, 2), "mine", 0, 1)


def test_map_without_a_range_refuses_only_what_is_not_finite():
    assert as_map([[-7, 1e9]]).tolist() == [[-7, 1e9]]
    with pytest.raises(DataError, match="1 of 2 values are not finite; the first is -inf"):
        as_map([[0, -np.inf]])
