"""The second head of MaskGA-Net: a copy of the last two convolutions, and an attention net that has none."""

import pytest
import torch

from nucseg.errors import DataError
from nucseg.models import MaskGANet, MaskGASegmentation, TwoHeadMaskGA, TwoHeadMaskGANet


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return TwoHeadMaskGA(width=4, channels=16).eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 49, 64, generator=torch.Generator().manual_seed(1))


def named(network):
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def test_the_first_head_is_the_plain_network(network, images):
    plain = MaskGASegmentation(width=4, channels=16).eval()
    plain.load_state_dict({name: value for name, value in network.state_dict().items() if "center" not in name})
    with torch.no_grad():
        assert torch.equal(torch.sigmoid(network(images)[0]), plain(images))


def test_the_second_head_is_the_last_two_convolutions(network):
    own, head = named(network), {n: shape for n, shape in named(network).items() if n.startswith("head.")}
    assert {n for n in own if "center" in n} == {f"center_{n}" for n in head}
    assert head["head.reduce.0.weight"] == (8, 16, 3, 3) and head["head.out.weight"] == (1, 8, 3, 3)


def test_both_heads_begin_alike_and_learn_apart(network, images):
    nucleus, center = network(images)
    assert nucleus.shape == center.shape == (2, 1, 49, 64) and torch.equal(nucleus, center)
    network.zero_grad()
    center.sum().backward()
    touched = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched == {"stem", "stages", "decoders", "gates", "merges", "refine", "center_head"}


def test_weights_of_one_change_nothing_and_others_multiply_the_stem(network, images):
    seen = []
    handle = network.pool.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        plain, stem = network(images)[1], network.stem(images)
        assert stem.shape == (2, 4, 25, 32) and network.get_submodule(network.weighted) is network.stem
        assert torch.equal(network(images, torch.ones_like(stem))[1], plain)
        weights = torch.rand(stem.shape, generator=torch.Generator().manual_seed(2)) + 1
        assert not torch.allclose(network(images, weights)[1], plain)
    handle.remove()
    torch.testing.assert_close(seen[-1], weights * stem)


def test_the_attention_net_has_one_head_and_runs_for_labels_alone(images):
    torch.manual_seed(3)
    both, labels = TwoHeadMaskGANet(width=4, channels=16).eval(), torch.ones(2, 49, 64, dtype=torch.int8)
    assert named(both.attention) == named(MaskGANet(width=4, channels=16).attention)
    with torch.no_grad():
        nucleus, center, attended = both(images, labels=labels)
        for one, other in zip(both.segmentation(images), (nucleus, center), strict=True):
            assert torch.equal(one, other)
        assert torch.equal(attended, both.attention(torch.cat([images, labels[:, None].float()], 1))[:, 0])
        weights = torch.full((2, 4, 25, 32), 1.5)
        weighted, silent = both(images, weights)[1], both(images, weights)[2]
        assert silent is None and torch.equal(weighted, both.segmentation(images, weights)[1])
        alone = TwoHeadMaskGANet(width=4, channels=16, attention=False).eval()
        assert alone.attention is None and alone(images, labels=labels)[2] is None
    assert both.get_submodule(both.weighted) is both.segmentation.stem


def test_bad_input_is_refused(network, images):
    with pytest.raises(DataError, match=r"got \(2, 3, 8, 8\)"):
        network(images[..., :8, :8])
    with pytest.raises(DataError, match=r"stem_weights: expected shape \(2, 4, 25, 32\), got \(2, 4, 1, 1\)"):
        network(images, torch.ones(2, 4, 1, 1))
