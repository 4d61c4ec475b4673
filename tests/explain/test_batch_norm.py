"""Batch norms with constant statistics: PyTorch's own in every ordinary pass, otherwise a factor for each channel."""

import copy

import pytest
import torch
from torch import nn

from nucseg.explain.batch_norm import ConstantBatchNorm2d, constant_statistics, with_constant_batch_norm
from nucseg.models.backbones import residual_network


@pytest.fixture
def pair():
    torch.manual_seed(0)
    usual = nn.BatchNorm2d(3).double()
    nn.init.normal_(usual.weight)
    nn.init.normal_(usual.bias)
    return usual, with_constant_batch_norm(copy.deepcopy(usual))


@pytest.fixture
def values():
    return (3 * torch.randn(4, 3, 5, 6, dtype=torch.float64) + 1).requires_grad_()


@pytest.mark.parametrize("training", [True, False])
def test_ordinary_passes_are_those_of_pytorch(pair, values, training):
    usual, ours = (layer.train(training) for layer in pair)
    assert type(ours) is ConstantBatchNorm2d
    seen = []
    for layer in (usual, ours):
        found = layer(values)
        seen.append((found, *torch.autograd.grad((found * values.detach().sin()).sum(), (values, *layer.parameters()))))
    for theirs, own in zip(*seen):
        torch.testing.assert_close(own, theirs)
    for theirs, own in zip(usual.buffers(), ours.buffers()):
        torch.testing.assert_close(own, theirs)


def test_constant_statistics_leave_a_factor_for_each_channel(pair, values):
    _, ours = pair
    slopes = torch.randn_like(values)
    found = ours(values)
    with constant_statistics():
        (constant,) = torch.autograd.grad((found * slopes).sum(), values, retain_graph=True)
    (whole,) = torch.autograd.grad((found * slopes).sum(), values)
    deviation = (values.var(dim=(0, 2, 3), unbiased=False) + ours.eps).sqrt()
    torch.testing.assert_close(constant, slopes * (ours.weight / deviation).reshape(1, -1, 1, 1))
    assert whole.mean(dim=(0, 2, 3)).abs().max() < 1e-12 < constant.mean(dim=(0, 2, 3)).abs().min()


def test_the_context_ends_with_an_error(pair, values):
    _, ours = pair
    (before,) = torch.autograd.grad(ours(values).square().sum(), values)
    with pytest.raises(KeyboardInterrupt), constant_statistics():
        raise KeyboardInterrupt
    (after,) = torch.autograd.grad(ours(values).square().sum(), values)
    torch.testing.assert_close(before, after)


def test_a_whole_network_in_half_precision():
    torch.manual_seed(0)
    usual = residual_network("resnet18", None)
    ours = with_constant_batch_norm(copy.deepcopy(usual))
    assert list(ours.state_dict()) == list(usual.state_dict())
    assert sum(type(part) is ConstantBatchNorm2d for part in ours.modules()) == 20
    images = torch.randn(2, 3, 64, 64).to(memory_format=torch.channels_last)
    seen = []
    for network in (usual, ours):
        with torch.autocast("cpu", torch.bfloat16):
            found = network(images)
        found.float().sum().backward()
        seen.append((found, network.conv1.weight.grad))
    for theirs, own in zip(*seen):
        torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-5)
