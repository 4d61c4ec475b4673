"""Losses of canonical shapes against the formulas as they are printed."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nucseg.errors import DataError
from nucseg.losses.shapes import (
    count_loss,
    log1mexp,
    log_cross_entropy,
    size_loss,
    smooth_dice,
    upsampled_log_likelihood,
)


def test_log1mexp_has_all_digits():
    values = torch.tensor([-1e-5, -0.1, -0.7, -5.0, -30.0], dtype=torch.float64)
    expected = [math.log(-math.expm1(v)) if v > -0.7 else math.log1p(-math.exp(v)) for v in values.tolist()]
    np.testing.assert_allclose(log1mexp(values).numpy(), expected, rtol=1e-9)
    assert torch.isfinite(log1mexp(torch.tensor([0.0, -1e30]))).all()


def test_log1mexp_has_the_right_gradient():
    values = torch.tensor([-1e-3, -0.5, -0.6931, -0.7, -8.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(log1mexp, values)


def test_cross_entropy_is_the_plain_one():
    rng = torch.Generator().manual_seed(0)
    prob = torch.rand(2, 8, 8, generator=rng, dtype=torch.float64).clamp(0.01, 0.99)
    mask = torch.rand(2, 8, 8, generator=rng) > 0.5
    expected = F.binary_cross_entropy(prob, mask.double())
    torch.testing.assert_close(log_cross_entropy(prob.log(), mask), expected)


@pytest.mark.parametrize("a", [-100.0, 100.0])
def test_cross_entropy_stays_finite(a):
    logit = torch.full((1, 2, 2), a, requires_grad=True)
    mask = torch.tensor([[[0, 1], [1, 0]]])
    loss = log_cross_entropy(-F.softplus(logit), mask)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logit.grad).all()


def test_dice_by_hand():
    prob = torch.tensor([[[1.0, 0.5], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    mask = torch.tensor([[[1, 1], [0, 0]], [[0, 0], [0, 0]]])
    first = 1 - (2 * 1.5 + 1) / (1.5 + 2 + 1)
    assert smooth_dice(prob, mask).item() == pytest.approx(first / 2)


def test_count_loss_by_hand_and_its_derivative():
    presence = torch.tensor([[0.0, 2.0], [-1.0, -1.0]], requires_grad=True)
    counts = torch.tensor([3, 0])
    prob = 1 / (1 + np.exp(-presence.detach().numpy()))
    expected = ((prob.sum(1) - [3, 0]) ** 2).mean()
    loss = count_loss(presence, counts)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    slope = 2 * (prob.sum(1, keepdims=True) - np.array([[3], [0]])) * prob * (1 - prob) / 2
    np.testing.assert_allclose(presence.grad.numpy(), slope, rtol=1e-4)


def test_size_prior_is_zero_at_the_typical_size():
    linear = torch.diag_embed(torch.tensor([[[3.0, 3.0], [1.5, 6.0], [6.0, 6.0]]]))
    presence = torch.tensor([[0.0, 0.0, -100.0]])
    assert size_loss(linear, presence, 3.0).item() == pytest.approx(0, abs=1e-6)  # same area, or absent
    present = torch.zeros(1, 3)
    assert size_loss(linear, present, 3.0).item() == pytest.approx(np.log(4) ** 2 / 3, rel=1e-5)
    presence = present.clone().requires_grad_()
    size_loss(linear.requires_grad_(), presence, 3.0).backward()
    assert presence.grad is None


def test_interpolation_of_either_kind():
    log_prob = torch.tensor([[[0.2, 0.8], [0.8, 0.2]]]).log()
    same = upsampled_log_likelihood(log_prob, 2)
    assert same is log_prob
    fine = upsampled_log_likelihood(log_prob, 4).exp()
    assert fine[0, 0, 0].item() == pytest.approx(0.2) and fine[0, 1, 1].item() == pytest.approx(
        0.2 * 0.625 + 0.8 * 0.375)
    geometric = upsampled_log_likelihood(log_prob, 4, "log")
    assert geometric[0, 1, 1].item() == pytest.approx(0.625 * np.log(0.2) + 0.375 * np.log(0.8), rel=1e-5)


def test_bad_input_is_named():
    ones = torch.zeros(1, 2, 2)
    for loss in (log_cross_entropy, smooth_dice):
        with pytest.raises(DataError, match=r"\(1, 2, 3\)"):
            loss(ones, torch.zeros(1, 2, 3))
    with pytest.raises(DataError, match=r"\(2,\)"):
        count_loss(torch.zeros(1, 3), torch.zeros(2))
    with pytest.raises(DataError, match="above 0"):
        size_loss(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1), 0.0)
    with pytest.raises(DataError, match="cubic"):
        upsampled_log_likelihood(ones, 4, "cubic")
