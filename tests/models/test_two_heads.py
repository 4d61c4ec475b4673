"""The second head: a copy of the first one's last layers that reads the same features."""

import pytest
import torch

from nucseg.errors import DataError
from nucseg.models import ResNet34UNet, TwoHeadUNet


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return TwoHeadUNet().eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 49, 64, generator=torch.Generator().manual_seed(1))


def test_the_first_head_is_the_plain_network(network, images):
    plain = ResNet34UNet(2).eval()
    plain.load_state_dict({name: value for name, value in network.state_dict().items() if "center" not in name})
    with torch.no_grad():
        assert torch.equal(network(images)[0], plain(images))


def test_both_heads_begin_alike_and_learn_apart(network, images):
    nucleus, center = network(images)
    assert nucleus.shape == center.shape == (2, 2, 49, 64) and torch.equal(nucleus, center)
    network.zero_grad()
    center.sum().backward()
    touched = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched == {"c1", "c2", "c3", "c4", "c5", "u5", "u6", "u7", "center_u8", "center_out"}


def test_weights_of_one_change_nothing_and_zeros_silence_the_stem(network, images):
    with torch.no_grad():
        plain = network(images)[1]
        shape = network.c1(images).shape
        assert torch.equal(network(images, torch.ones(shape))[1], plain)
        silent = network(images, torch.zeros(shape))[1]
        # Nothing of the image is left, so both images get the same answer.
        assert torch.equal(silent[0], silent[1]) and not torch.allclose(silent, plain)


def test_weights_reach_the_pooling_and_the_skip(network, images):
    weights = torch.ones(network.c1(images).shape, requires_grad=True)
    seen = {}
    handles = [network.c2.register_forward_pre_hook(lambda m, a: seen.update(pooled=a[0])),
               network.center_u8.register_forward_pre_hook(lambda m, a: seen.update(skip=a[1]))]
    network(images, weights * 3)
    for handle in handles:
        handle.remove()
    expected = 3 * network.c1(images)
    torch.testing.assert_close(seen["pooled"], expected)
    torch.testing.assert_close(seen["skip"], expected)


def test_bad_input_is_refused(network, images):
    with pytest.raises(DataError, match=r"got \(2, 3, 8, 8\)"):
        network(images[..., :8, :8])
    with pytest.raises(DataError, match=r"stem_weights: expected shape \(2, 64, 25, 32\), got \(2, 64, 1, 1\)"):
        network(images, torch.ones(2, 64, 1, 1))
