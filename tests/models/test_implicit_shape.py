"""The canonical shape: 88 parameters, a log-likelihood, a disk where one is asked for."""

import numpy as np
import pytest
import torch

from nucseg.errors import DataError, UnknownNameError
from nucseg.models.implicit_shape import FixedDisk, ImplicitShape, ShapeFamily


def places(count=50, seed=0):
    return torch.randn(2, count, generator=torch.Generator().manual_seed(seed))


def by_hand(shape, x, y):
    """The layers as section 2.1 words them, place by place, in NumPy."""
    weights = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in shape.layers]
    values = []
    for place in zip(x.tolist(), y.tolist()):
        given = np.array([*place, np.hypot(*place)])
        hidden = given
        for matrix, bias in weights[:-1]:
            hidden = np.concatenate([np.maximum(matrix @ hidden + bias, 0), given])
        (a,) = weights[-1][0] @ hidden + weights[-1][1]
        values.append(-np.log1p(np.exp(a)))
    return np.array(values)


def test_layers_have_the_sizes_of_the_article():
    shape = ImplicitShape()
    assert [sum(p.numel() for p in layer.parameters()) for layer in shape.layers] == [32, 48, 8]


def test_it_computes_what_the_layers_say():
    torch.manual_seed(3)
    shape, (x, y) = ImplicitShape(), places()
    np.testing.assert_allclose(shape(x, y).detach().numpy(), by_hand(shape, x, y), atol=1e-6)


def test_shapes_of_the_input_are_kept():
    shape, (x, y) = ImplicitShape(), places(24)
    flat = shape(x, y)
    torch.testing.assert_close(shape(x.reshape(2, 3, 4), y.reshape(2, 3, 4)), flat.reshape(2, 3, 4))
    assert (flat <= 0).all()


def test_the_derivative_with_respect_to_the_last_sum_is_minus_the_sigmoid():
    shape = ImplicitShape("disk")
    value = shape(torch.tensor([0.3]), torch.tensor([0.0])).sum()
    (gradient,) = torch.autograd.grad(value, shape.layers[-1].bias)
    a = 8 * (0.3 - 0.5)
    assert gradient.item() == pytest.approx(-1 / (1 + np.exp(-a)), rel=1e-5)


def test_gradients_at_the_origin_are_finite():
    shape = ImplicitShape()
    x = torch.zeros(1, requires_grad=True)
    shape(x, torch.zeros(1)).backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("shape", [ImplicitShape("disk"), FixedDisk()])
def test_a_disk_has_radius_one_half(shape):
    angles = torch.linspace(0, 6, 20)
    for radius, expected in ((0.5, 0.5), (0.0, 1 / (1 + np.exp(-4))), (1.0, 1 / (1 + np.exp(4)))):
        found = shape(radius * angles.cos(), radius * angles.sin()).exp()
        torch.testing.assert_close(found, torch.full((20,), expected).float(), atol=1e-5, rtol=0)


def test_a_fixed_disk_has_nothing_to_learn():
    assert not list(FixedDisk().parameters())


def test_a_family_mixes_its_shapes():
    torch.manual_seed(0)
    family, (x, y) = ShapeFamily(2), places()
    shares = torch.tensor([0.25, 0.75]).log().expand(50, 2)
    expected = 0.25 * family.shapes[0](x, y).exp() + 0.75 * family.shapes[1](x, y).exp()
    torch.testing.assert_close(family(x, y, shares).exp(), expected)
    alone = ShapeFamily(1)
    assert torch.equal(alone(x, y, torch.zeros(50, 1)), alone.shapes[0](x, y))


def test_bad_input_is_named():
    with pytest.raises(UnknownNameError, match="square"):
        ImplicitShape("square")
    with pytest.raises(DataError, match="got 0"):
        ShapeFamily(0)
    with pytest.raises(DataError, match="one shape"):
        ImplicitShape()(torch.zeros(2), torch.zeros(3))
