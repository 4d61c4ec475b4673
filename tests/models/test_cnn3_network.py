"""The patch classifier: one pass over an image is the same as one patch after the other."""

import pytest
import torch
from torch import nn

from nucseg.errors import DataError
from nucseg.models import PATCH, CNN3Network

NARROW = (3, 4, 5, 6, 7)


def seeded(**options):
    torch.manual_seed(0)
    return CNN3Network(**options).eval()


def patch_by_patch(network, images):
    """Every 51 x 51 window on its own, as a classic classifier: steps of two, dense layers on flat features."""
    windows = images.unfold(2, PATCH, 1).unfold(3, PATCH, 1)
    batch, _, height, width = windows.shape[:4]
    features = windows.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, PATCH, PATCH)
    for layer in network.convolutions:
        features = nn.functional.max_pool2d(torch.relu(layer(features)), 2)
    features = features.flatten(1)
    for layer in network.dense:
        features = torch.relu(features @ layer.weight.flatten(1).T + layer.bias)
    logits = features @ network.out.weight.flatten(1).T + network.out.bias
    return logits.reshape(batch, height, width, -1).permute(0, 3, 1, 2)


@pytest.mark.parametrize("size", [(51, 51), (51, 52), (58, 66), (52, 51)])
def test_one_pass_equals_patch_by_patch(size):
    network = seeded(channels=NARROW).double()
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        found, expected = network(images), patch_by_patch(network, images)
    assert found.shape == (2, 3, size[0] - 50, size[1] - 50)
    assert expected.std() > 0
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_sizes_are_those_of_the_release():
    network, sizes = seeded(), []
    for layer in (*network.convolutions, *network.dense, network.out):
        sizes.append((layer.out_channels, layer.in_channels, layer.kernel_size[0]))
    assert sizes == [(25, 3, 4), (50, 25, 5), (80, 50, 6), (1024, 80, 2), (1024, 1024, 1), (3, 1024, 1)]
    assert [layer.p for layer in network.dropouts] == [0.1, 0.2, 0.25, 0.5, 0.5]


def test_the_last_four_rows_and_columns_of_a_patch_do_not_count():
    """Because 5 px are pooled to 2; within the first 47, every row and column counts."""
    network = seeded(channels=NARROW)
    image = torch.randn(1, 3, PATCH, PATCH, requires_grad=True)
    network(image).abs().sum().backward()
    seen = image.grad.abs().sum(dim=(0, 1))
    assert not seen[47:].any() and not seen[:, 47:].any()
    assert seen[:47].sum(dim=1).all() and seen[:, :47].sum(dim=0).all()


def test_dropout_takes_channels_before_convolutions_and_neurons_before_dense_layers():
    kinds = [type(layer) for layer in seeded().dropouts]
    assert kinds == [nn.Dropout2d] * 3 + [nn.Dropout] * 2
    network = seeded(channels=NARROW).train()
    images = torch.randn(1, 3, PATCH, PATCH)
    assert not torch.equal(network(images), network(images))


def test_norms_are_limited_for_each_neuron():
    network = seeded(channels=NARROW)
    with torch.no_grad():
        network.dense[0].weight[0] *= 100
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.limit_norms(1.0)
    norms = [layer.weight.flatten(1).norm(dim=1) for layer in (*network.convolutions, *network.dense, network.out)]
    assert all((norm <= 1 + 1e-6).all() for norm in norms)
    first, old = network.dense[0].weight[0], before["dense.0.weight"][0]
    torch.testing.assert_close(first, old / old.norm())
    for name, value in network.state_dict().items():  # all of the others were below 1 and stay
        changed = value != before[name]
        assert not changed.any() or (name == "dense.0.weight" and not changed[1:].any())


def test_bad_input():
    with pytest.raises(DataError, match="at least 51"):
        seeded()(torch.zeros(1, 3, 50, 60))
    with pytest.raises(DataError, match="5 channels"):
        CNN3Network(channels=(1, 2, 3))
