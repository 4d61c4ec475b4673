"""The losses with ignored pixels against hand-computed values, loops over pixels and numerical derivatives."""

import math

import numpy as np
import pytest
import torch

from nucseg.errors import DataError
from nucseg.losses import masked_cross_entropy, weighted_mse


def cross_entropy_by_loop(logits, labels):
    terms = []
    for b, r, c in np.ndindex(labels.shape):
        if labels[b, r, c] >= 0:
            scores = np.exp(logits[b, :, r, c])
            terms.append(-math.log(scores[labels[b, r, c]] / scores.sum()))
    return sum(terms) / len(terms)


def squared_error_by_loop(prob, mask, weights):
    terms = [float(weights[i]) * (float(prob[i]) - float(mask[i])) ** 2 for i in np.ndindex(mask.shape) if mask[i] >= 0]
    return sum(terms) / len(terms)


@pytest.fixture
def scores(rng):
    """Logits of three classes and labels, a third of them ignored."""
    return rng.normal(size=(2, 3, 4, 5)), rng.integers(-1, 3, size=(2, 4, 5)).astype(np.int8)


@pytest.fixture
def masks(rng):
    """Probabilities, a mask with ignored pixels, and weights."""
    mask = rng.random((2, 4, 5))
    mask[rng.random(mask.shape) < 0.4] = -1
    return rng.random(mask.shape), mask, rng.choice([1.0, 10.0], size=mask.shape)


def test_cross_entropy_by_hand():
    # Softmax of (log 3, 0) is (3/4, 1/4). The three labeled pixels count alike, whichever image they are in.
    logits = torch.zeros(2, 2, 1, 2, dtype=torch.float64)
    logits[:, 0] = math.log(3)
    labels = torch.tensor([[[0, -1]], [[1, 1]]], dtype=torch.int8)
    expected = -(math.log(3 / 4) + 2 * math.log(1 / 4)) / 3
    assert masked_cross_entropy(logits, labels).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64])
def test_cross_entropy_equals_the_loop(scores, dtype):
    logits, labels = scores
    value = masked_cross_entropy(torch.tensor(logits), torch.tensor(labels).to(dtype))
    assert value.item() == pytest.approx(cross_entropy_by_loop(logits, labels), rel=1e-12)


def test_cross_entropy_derivative(scores):
    logits = torch.tensor(scores[0], requires_grad=True)
    labels = torch.tensor(scores[1])
    assert torch.autograd.gradcheck(lambda x: masked_cross_entropy(x, labels), [logits])
    masked_cross_entropy(logits, labels).backward()
    # Softmax minus one-hot, over the number of labeled pixels; nothing where ignored.
    softmax = np.exp(scores[0]) / np.exp(scores[0]).sum(axis=1, keepdims=True)
    one_hot = np.stack([scores[1] == k for k in range(3)], axis=1)
    valid = (scores[1] >= 0)[:, None]
    np.testing.assert_allclose(logits.grad, (softmax - one_hot) * valid / valid.sum(), atol=1e-12)


def test_squared_error_by_hand():
    # (10 * 0.25 + 1 * 0.04) / 2: divided by two pixels, not by the weights' sum of 11.
    prob = torch.tensor([[[0.5, 0.2]], [[0.9, 0.7]]], dtype=torch.float64)
    mask = torch.tensor([[[1.0, 0.0]], [[-1.0, -1.0]]], dtype=torch.float64)
    weights = torch.tensor([[[10.0, 1.0]], [[10.0, 1.0]]], dtype=torch.float64)
    assert weighted_mse(prob, mask, weights).item() == pytest.approx(2.54 / 2, rel=1e-12)


def test_squared_error_equals_the_loop(masks):
    expected = squared_error_by_loop(*masks)
    assert weighted_mse(*map(torch.tensor, masks)).item() == pytest.approx(expected, rel=1e-12)
    with_channel = [torch.tensor(array)[:, None] for array in masks]
    assert weighted_mse(*with_channel).item() == pytest.approx(expected, rel=1e-12)


def test_squared_error_derivative(masks):
    prob, mask, weights = map(torch.tensor, masks)
    prob.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: weighted_mse(x, mask, weights), [prob])
    weighted_mse(prob, mask, weights).backward()
    valid = masks[1] >= 0
    expected = np.where(valid, 2 * masks[2] * (masks[0] - masks[1]), 0) / valid.sum()
    np.testing.assert_allclose(prob.grad, expected, atol=1e-12)


def test_ignored_pixels_do_not_matter(scores, masks):
    logits, labels = map(torch.tensor, scores)
    other = torch.where((labels < 0)[:, None], logits + 100 * torch.arange(3.0)[None, :, None, None], logits)
    assert masked_cross_entropy(other, labels) == masked_cross_entropy(logits, labels)
    prob, mask, weights = map(torch.tensor, masks)
    other = torch.where(mask < 0, 1 - prob, prob)
    assert weighted_mse(other, mask, torch.where(mask < 0, 7.0, weights)) == weighted_mse(prob, mask, weights)


def test_everything_ignored_gives_zero_and_no_gradient(scores, masks):
    logits = torch.tensor(scores[0], requires_grad=True)
    loss = masked_cross_entropy(logits, torch.full((2, 4, 5), -1, dtype=torch.int8))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))
    prob = torch.tensor(masks[0], requires_grad=True)
    loss = weighted_mse(prob, torch.full_like(prob, -1), torch.ones_like(prob))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(prob.grad, torch.zeros_like(prob))


@pytest.mark.parametrize(
    "shapes",
    [((2, 4, 5), (2, 4, 5)), ((2, 3, 4, 5), (2, 5, 4)), ((2, 3, 4, 5), (1, 4, 5)), ((2, 1, 4, 5), (2, 4, 5))],
)
def test_cross_entropy_refuses_shapes_that_do_not_belong_together(shapes):
    with pytest.raises(DataError, match="cross-entropy: expected logits"):
        masked_cross_entropy(torch.zeros(shapes[0]), torch.zeros(shapes[1], dtype=torch.int8))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bool])
def test_cross_entropy_refuses_labels_that_cannot_say_ignored(dtype):
    with pytest.raises(DataError, match="labels must be signed integers"):
        masked_cross_entropy(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, dtype=dtype))


def test_squared_error_refuses_to_broadcast():
    prob = torch.zeros(2, 1, 4, 5)
    with pytest.raises(DataError, match=r"one shape, got \(2, 1, 4, 5\), \(2, 4, 5\)"):
        weighted_mse(prob, prob[:, 0], prob[:, 0])
