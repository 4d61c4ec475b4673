"""Losses of MaskGA-Net by hand, by loop, and where their gradients may go."""

import math

import numpy as np
import pytest
import torch

from nucseg.errors import DataError
from nucseg.losses import partial_l1, product_cross_entropy


@pytest.fixture
def maps(rng):
    """Probability, attention, a label of two classes, and dots and edges; the second image has no dot."""
    where = rng.choice(3, (2, 4, 5), p=[0.5, 0.2, 0.3])
    where[1][where[1] == 1] = 0
    return *rng.uniform(0.05, 0.95, (2, 2, 4, 5)), rng.integers(0, 2, (2, 4, 5)), where


def test_cross_entropy_by_hand():
    # Products 0.8, 0.5 and 0.1 against 1, 0 and 0.
    prob, attention = torch.tensor([[[0.8, 1.0, 0.2]]]), torch.tensor([[[1.0, 0.5, 0.5]]])
    expected = -(math.log(0.8) + math.log(0.5) + math.log(0.9)) / 3
    found = product_cross_entropy(prob, attention, torch.tensor([[[1, 0, 0]]], dtype=torch.int8))
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_equals_the_loop(maps):
    prob, attention, labels, _ = maps
    products = zip((prob * attention).ravel(), labels.ravel())
    expected = np.mean([-math.log(p if label else 1 - p) for p, label in products])
    found = product_cross_entropy(*map(torch.tensor, (prob, attention, labels)))
    assert found.item() == pytest.approx(expected, rel=1e-6)
    alone = np.mean([-math.log(p if label else 1 - p) for p, label in zip(prob.ravel(), labels.ravel())])
    assert product_cross_entropy(torch.tensor(prob), None, torch.tensor(labels)).item() == pytest.approx(alone)


def test_low_attention_excuses_on_background_but_not_on_nuclei():
    def gradient(label, attention):
        prob = torch.tensor([[[0.9]]], requires_grad=True)
        product_cross_entropy(prob, torch.tensor([[[attention]]]), torch.tensor([[[label]]])).backward()
        return prob.grad.item()

    # d/dp -ln(1 - a p) = a / (1 - a p);  d/dp -ln(a p) = -1 / p.
    for attention in (1.0, 0.1):
        assert gradient(0, attention) == pytest.approx(attention / (1 - 0.9 * attention), rel=1e-4)
        assert gradient(1, attention) == pytest.approx(-1 / 0.9, rel=1e-4)


def test_certain_mistakes_cost_much_but_not_infinitely():
    certain = torch.tensor([[[1.0, 0.0]]])
    found = product_cross_entropy(certain, None, torch.tensor([[[0, 1]]])).item()
    assert 15 < found < 17  # -ln 1e-7 = 16.1, and 1 - 1e-7 as float32 has it
    assert product_cross_entropy(certain, None, torch.tensor([[[1, 0]]])).item() < 1e-6


def test_half_precision_is_not_used(maps):
    prob, attention, labels, _ = (torch.tensor(array) for array in maps)
    prob, attention = prob.bfloat16(), attention.bfloat16()
    found = product_cross_entropy(prob, attention, labels)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, product_cross_entropy(prob.float(), attention.float(), labels))
    assert partial_l1(attention, labels).dtype == torch.float32


def test_partial_l1_by_hand():
    # First image: dots 0.5 away, edges (0.1 + 0.3) / 2 away. Second image: a dot 0.2 away, no edges.
    attention = torch.tensor([[[0.5, 0.9, 0.7, 0.0]], [[0.8, 0.1, 0.2, 0.3]]])
    labels = torch.tensor([[[1, 2, 2, 0]], [[1, 0, 0, 0]]], dtype=torch.int8)
    assert partial_l1(attention, labels).item() == pytest.approx((0.5 + 0.4 * 0.2 + 0.2) / 2, rel=1e-6)
    assert partial_l1(attention, labels, 3.0, 0.0).item() == pytest.approx((1.5 + 0.6) / 2, rel=1e-6)


def test_partial_l1_equals_the_loop(maps):
    _, attention, _, where = maps
    total = 0
    for image, marks in zip(attention, where):
        for value, weight in ((1, 2.0), (2, 0.7)):
            away = [1 - a for a, mark in zip(image.ravel(), marks.ravel()) if mark == value]
            total += weight * sum(away) / max(len(away), 1)
    found = partial_l1(torch.tensor(attention), torch.tensor(where), 2.0, 0.7)
    assert found.item() == pytest.approx(total / 2, rel=1e-6)


def test_partial_l1_moves_dots_and_edges_only(maps):
    attention = torch.tensor(maps[1], requires_grad=True)
    where = torch.tensor(maps[3])
    partial_l1(attention, where).backward()
    assert ((attention.grad < 0) == (where > 0)).all() and ((attention.grad == 0) == (where == 0)).all()


def test_without_dots_and_edges_nothing_is_lost():
    assert partial_l1(torch.rand(2, 3, 4), torch.zeros(2, 3, 4, dtype=torch.int8)).item() == 0


def test_bad_shapes():
    one, other = torch.rand(1, 3, 4), torch.zeros(1, 4, 3, dtype=torch.int8)
    with pytest.raises(DataError, match=r"product cross-entropy: .* got \(1, 3, 4\), None and \(1, 4, 3\)"):
        product_cross_entropy(one, None, other)
    with pytest.raises(DataError, match="product cross-entropy"):
        product_cross_entropy(one, torch.rand(1, 4, 3), torch.zeros(1, 3, 4))
    with pytest.raises(DataError, match=r"partial L1: .* got \(1, 3, 4\) and \(1, 4, 3\)"):
        partial_l1(one, other)
