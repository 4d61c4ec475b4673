"""The label loss against equations 1 and 5 as they are printed."""

import math

import pytest
import torch

from nucseg.errors import DataError
from nucseg.losses import label_loss


def equation_five(logits, labels, weights):
    """Walk over every pixel."""
    means = []
    for image, label, weight in zip(logits.tolist(), labels.tolist(), weights.tolist()):
        terms = []
        for row, targets in zip(image, label):
            for logit, target in zip(row, targets):
                prob = 1 / (1 + math.exp(-logit))
                if target != -1:
                    terms.append((1 - target) * math.log(1 - prob) + target * math.log(prob))
        means.append(-weight * sum(terms) / len(terms) if terms else 0.0)
    return sum(means) / len(means)


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = (3 * torch.randn(4, 5, 6, generator=generator, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(-1, 2, (4, 5, 6), generator=generator, dtype=torch.int8)
    labels[2] = -1
    return logits, labels, torch.rand(4, generator=generator, dtype=torch.float64)


def test_equals_the_printed_formula():
    logits, labels, weights = batch()
    assert label_loss(logits, labels, weights).item() == pytest.approx(equation_five(logits, labels, weights))
    assert label_loss(logits, labels).item() == pytest.approx(equation_five(logits, labels, torch.ones(4)))


def test_gradient_is_the_error_over_the_count_of_labeled_pixels():
    logits, labels, weights = batch()
    label_loss(logits, labels, weights).backward()
    labeled = labels >= 0
    error = (torch.sigmoid(logits.detach()) - labels) * labeled
    counts = labeled.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    torch.testing.assert_close(logits.grad, error * weights[:, None, None] / counts / 4)


def test_nothing_labeled_gives_zero_with_zero_gradient():
    logits = torch.randn(2, 3, 3, requires_grad=True)
    loss = label_loss(logits, torch.full((2, 3, 3), -1, dtype=torch.int8))
    loss.backward()
    assert loss.item() == 0 and (logits.grad == 0).all()


def test_large_logits_stay_finite():
    logits = torch.tensor([[[1000.0, -1000.0, 1000.0]]], requires_grad=True)
    loss = label_loss(logits, torch.tensor([[[0, 1, 1]]]))
    loss.backward()
    assert loss.item() == pytest.approx(2000 / 3) and logits.grad.isfinite().all()


def test_half_precision_counts_in_float32():
    logits, labels, weights = batch()
    half = logits.detach().bfloat16()
    loss = label_loss(half, labels, weights.requires_grad_())
    assert loss.dtype == torch.float32 and not loss.requires_grad
    torch.testing.assert_close(loss, label_loss(half.float(), labels, weights), rtol=0, atol=0)


def test_bad_input_is_named():
    logits, labels, weights = batch()
    with pytest.raises(DataError, match=r"\(4, 5, 6\), \(4, 5, 5\), None"):
        label_loss(logits, labels[..., :5])
    with pytest.raises(DataError, match=r"\(3,\)"):
        label_loss(logits, labels, weights[:3])
    with pytest.raises(DataError, match=r"torch\.float64"):
        label_loss(logits, labels.double())
