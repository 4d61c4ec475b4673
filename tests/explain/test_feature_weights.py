"""Feature weights against numbers worked out by hand."""

import pytest
import torch

from nucseg.errors import DataError, UnknownNameError
from nucseg.explain import feature_weights

#: Two images, two channels, two positions.
RELEVANCE = torch.tensor([[[[4.0, 0]], [[-2, 1]]], [[[0.0, 0]], [[0, 0]]]])


def test_weights_by_image():
    expected = torch.tensor([[[[2.0, 1]], [[0.5, 1.25]]], [[[1.0, 1]], [[1, 1]]]])
    assert torch.equal(feature_weights(RELEVANCE), expected)


def test_weights_by_position():
    expected = torch.tensor([[[[2.0, 1]], [[0.5, 2]]], [[[1.0, 1]], [[1, 1]]]])
    assert torch.equal(feature_weights(RELEVANCE, scope="position"), expected)


@pytest.mark.parametrize("scope", ["image", "position"])
def test_weights_stay_in_their_range_and_have_no_unit(scope):
    signed = torch.randn(2, 5, 4, 3, generator=torch.Generator().manual_seed(0))
    weights = feature_weights(signed, scope)
    assert weights.min() >= 0 and weights.max() <= 2
    assert feature_weights(signed.abs(), scope).min() >= 1
    torch.testing.assert_close(feature_weights(1e-30 * signed, scope), weights)


def test_bad_arguments_are_refused():
    with pytest.raises(UnknownNameError, match="scope: expected one of image, position, got 'batch'"):
        feature_weights(RELEVANCE, scope="batch")
    with pytest.raises(DataError, match=r"relevance: expected \(B, C, H, W\) floats, got \(2, 1, 2\)"):
        feature_weights(RELEVANCE[0])
    with pytest.raises(DataError, match="int64"):
        feature_weights(RELEVANCE.long())
