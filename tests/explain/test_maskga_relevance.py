"""Relevance through MaskGA-Net: gates that get nothing, corner-to-corner interpolation, additions, and its totals."""

import copy
from math import ceil, floor

import numpy as np
import pytest
import torch
from torch import nn

from nucseg.explain import LRPRules, relevance
from nucseg.explain.passes import Trace, replica
from nucseg.models import Scale, TwoHeadMaskGA
from nucseg.models.maskga import MaskGASegmentation
from nucseg.models.two_heads import TwoHeadMaskGANet

EPS = LRPRules().stabilizer


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def learned(network):
    """Return a network whose batch norms have seen and learned something."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.5)
            nn.init.normal_(module.running_mean, std=0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return learned(TwoHeadMaskGA(width=32, channels=32))


@pytest.fixture(scope="module")
def pictures():
    """Sides that are cut after each doubling, and a start that is not negative."""
    return normal(2, 3, 33, 26, seed=1), normal(2, 33, 26, seed=2).abs()


def center(answer):
    return answer[1][:, 0]


def total(network, pictures, at):
    return relevance(network, *pictures, at=at, output=center).double().sum().item()


def test_relevance_is_conserved(network, pictures):
    whole = pictures[1].double().sum().item()
    gated = [total(network, pictures, f"gates.{level}") for level in range(3)]
    assert min(gated) > 0.01 * whole
    for amount in (sum(gated), total(network, pictures, "stem"), total(network, pictures, "input")):
        assert amount == pytest.approx(whole, rel=1e-3)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(1)
    return learned(TwoHeadMaskGA(width=4, channels=8))


def test_what_weighs_the_features_gets_nothing(small, pictures):
    gated, unit = (total(small, pictures, at) for at in ("gates.1", "gates.1.unit"))
    assert gated > 0 and unit == pytest.approx(gated, rel=1e-6)


def test_a_block_divides_what_it_is_given(small, pictures):
    above = total(small, pictures, "stages.1.0")
    parts = [total(small, pictures, f"stages.1.0.{part}") for part in ("body", "shortcut")]
    assert min(parts) > 0 and sum(parts) == pytest.approx(above, rel=1e-3)


@pytest.mark.parametrize("training", [False, True])
def test_relevance_is_conserved_without_negative_weights(small, training, pictures):
    """If no batch norm raises its input, whatever is active got something, however few channels there are."""
    small = copy.deepcopy(small)
    for name, values in small.state_dict().items():
        if name.endswith(("weight", "running_mean")):
            values.abs_()
        elif name.endswith("bias"):
            values.zero_()
    small.train(training)
    before = {name: value.clone() for name, value in small.state_dict().items()}
    # Where no feature at all is active, the answer comes from nothing.
    whole = total(small, pictures, "center_head.reduce")
    assert whole > 0.1 * pictures[1].sum()
    assert [total(small, pictures, at) for at in ("stem", "input")] == pytest.approx([whole] * 2, rel=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())


class Weighing(nn.Module):
    """Three features of one pixel, their gates, and the sum of what is left."""

    def __init__(self):
        super().__init__()
        self.features, self.scale, self.last = nn.Conv2d(1, 3, 1, bias=False), Scale(), nn.Conv2d(3, 1, 1, bias=False)
        self.features.weight.data = torch.tensor([2.0, 4.0, 1.0]).reshape(3, 1, 1, 1)
        self.last.weight.data = torch.tensor([1.0, 1.0, -1.0]).reshape(1, 3, 1, 1)
        self.factors = torch.tensor([0.5, 0.125, 1.0]).reshape(1, 3, 1, 1)

    def forward(self, images):
        features = self.features(images)
        return self.last(self.scale(features, self.factors * features / features.detach()))


def test_gated_features_share_by_what_is_left_of_them():
    # 2 / 2 = 1 and 4 / 8 = 0.5 speak for the answer, 1 speaks against it.
    found = relevance(Weighing().eval(), torch.ones(1, 1, 1, 1), torch.full((1, 1, 1), 12.0), at="features")
    torch.testing.assert_close(found.flatten(), torch.tensor([8.0, 4.0, 0.0]), rtol=1e-5, atol=0)


def test_a_small_gate_by_loops():
    """Convolution of the gate's input, then gates computed by hand, then a convolution to one channel."""
    torch.manual_seed(2)
    gate = learned(MaskGASegmentation(width=2, channels=8)).gates[2]
    body = nn.Sequential(nn.Conv2d(3, gate.unit[0].in_channels, 1), nn.ReLU(), gate, nn.Conv2d(8, 1, 1)).eval()
    image, start = normal(1, 3, 4, 5, seed=3), normal(1, 4, 5, seed=4)
    with torch.no_grad():
        x, inside = (part[0].numpy() for part in (body[:2](image), gate.unit(body[:2](image))))
    conv, norm = gate.unit[:2]
    factor = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().numpy()
    kernel = conv.weight.detach().numpy() * factor[:, None, None, None]
    last = body[3].weight.detach().numpy()[0, :, 0, 0]
    pooled = (torch.from_numpy(values)[None, :, None, None] for values in (inside.mean((1, 2)), inside.max((1, 2))))
    weighed = inside * torch.sigmoid(sum(map(gate.weigh, pooled)))[0].detach().numpy()
    above = np.zeros_like(inside)
    for i, j in np.ndindex(4, 5):
        parts = np.maximum(weighed[:, i, j] * last, 0)
        above[:, i, j] = start[0, i, j].item() * parts / (parts.sum() + EPS)
    below, padded = np.zeros((len(x), 6, 7)), np.pad(x, ((0, 0), (1, 1), (1, 1)))
    for o, i, j in np.ndindex(above.shape):
        parts = np.maximum(padded[:, i : i + 3, j : j + 3] * kernel[o], 0)
        below[:, i : i + 3, j : j + 3] += above[o, i, j] * parts / (parts.sum() + EPS)
    found = relevance(body, image, start, at="2.unit")[0].numpy()
    np.testing.assert_allclose(found, above, rtol=1e-4, atol=1e-6)
    found = relevance(body, image, start, at="1")[0].numpy()
    assert np.abs(found).max() > 0.1
    np.testing.assert_allclose(found, below[:, 1:-1, 1:-1], rtol=1e-3, atol=1e-5)


def seen_before_doubling(low, high, length):
    """First and last of `length` pixels that the pixels from low to high of twice as many are interpolated from."""
    scale = (length - 1) / (2 * length - 1)
    return max(0, floor(low * scale)), min(length - 1, ceil(high * scale))


def test_one_pixel_is_explained_by_its_surroundings(network):
    """Gates see the whole image, but they are constants: relevance stays in what the convolutions see."""
    image, (row, column) = normal(1, 3, 48, 48, seed=5), (30, 21)
    start = torch.zeros(1, 48, 48)
    start[0, row, column] = 1
    found = {at: relevance(network, image, start, at=at, output=center) for at in ("refine", "gates.2")}
    spread = {at: values[0].ne(0).any(0) for at, values in found.items()}
    for axis, place in enumerate((row, column)):
        # Two convolutions of the head, a doubling, one convolution (refine), another doubling.
        low, high = seen_before_doubling(place - 2, place + 2, 24)
        reached = spread["refine"].any(1 - axis).nonzero().flatten()
        assert (reached.min(), reached.max()) == (low, high)
        low, high = seen_before_doubling(low - 1, high + 1, 12)
        reached = spread["gates.2"].any(1 - axis).nonzero().flatten()
        assert low <= reached.min() <= reached.max() <= high


def test_merging_leaves_the_output_as_it_was(small, pictures):
    merged, images = replica(small), pictures[0]
    with torch.no_grad():
        expected = small(images)
    with Trace(merged, "input") as trace:
        merged(images.clone().requires_grad_())
        trace.merge_batch_norms()
    norms = [module for module in merged.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) > 60 and all((norm.weight == 1).all() and not norm.bias.any() for norm in norms)
    with torch.no_grad():
        for found, own in zip(merged(images), expected, strict=True):
            torch.testing.assert_close(found, own, rtol=1e-5, atol=1e-5 * float(own.abs().max()))


def test_the_network_in_training_is_explained_like_its_part(pictures):
    torch.manual_seed(4)
    whole = learned(TwoHeadMaskGANet(width=4, channels=8))
    found = relevance(whole, *pictures, at=whole.weighted, output=center)
    part = whole.segmentation
    torch.testing.assert_close(found, relevance(part, *pictures, at=part.weighted, output=center))
