"""The networks of MaskGA-Net against a table of their layers: parameters, strides, sizes, gradients, the head."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from nucseg.errors import DataError
from nucseg.models import MaskGAAttention, MaskGANet, MaskGASegmentation
from nucseg.models.maskga import MIN_SIZE

#: Convolutions without bias, each followed by a normalization with two numbers per channel: times, in, out, kernel.
ENCODERS = {
    MaskGASegmentation: [
        (1, 3, 32, 7),
        # Stride 4: three bottlenecks of 32 inside and 128 outside; the shortcut of the first is a convolution.
        (1, 32, 32, 1), (3, 32, 32, 3), (3, 32, 128, 1), (1, 32, 128, 1), (2, 128, 32, 1),
        # Stride 8: four of 64 and 256.
        (1, 128, 64, 1), (4, 64, 64, 3), (4, 64, 256, 1), (1, 128, 256, 1), (3, 256, 64, 1),
        # Stride 16: six of 128 and 512, then three of 256 and 1024.
        (1, 256, 128, 1), (6, 128, 128, 3), (6, 128, 512, 1), (1, 256, 512, 1), (5, 512, 128, 1),
        (1, 512, 256, 1), (3, 256, 256, 3), (3, 256, 1024, 1), (1, 512, 1024, 1), (2, 1024, 256, 1),
    ],
    MaskGAAttention: [
        (1, 4, 32, 7),
        # Two blocks of two 3x3 convolutions in each stage.
        (4, 32, 32, 3), (1, 32, 32, 1),
        (1, 32, 64, 3), (3, 64, 64, 3), (1, 32, 64, 1),
        (1, 64, 128, 3), (3, 128, 128, 3), (1, 64, 128, 1),
        (1, 128, 256, 3), (3, 256, 256, 3), (1, 128, 256, 1),
    ],
}  # fmt: skip
#: Channels at stride 16 (last stage), 16, 8 and 4.
WIDTHS = {MaskGASegmentation: (1024, 512, 256, 128), MaskGAAttention: (256, 128, 64, 32)}
BOTH = pytest.mark.parametrize("kind", WIDTHS)


def parameters_of_the_table(kind):
    rows = list(ENCODERS[kind])
    for before, after in zip(WIDTHS[kind], WIDTHS[kind][1:]):
        rows += [(1, before, after, 1), (1, after, after, 1), (1, after, after, 3), (1, after, after, 1)]  # decoder
        rows += [(1, after, 128, 3)]  # before the gate
    rows += [(2, 128, 128, 1), (1, 128, 128, 3), (1, 128, 64, 3)]  # aggregation
    gates = 3 * (128 * 16 + 16 + 16 * 128 + 128)
    out = 64 * 1 * 9 + 1
    return sum(times * (a * b * k * k + 2 * b) for times, a, b, k in rows) + gates + out


def tiny(kind, **options):
    torch.manual_seed(0)
    return kind(width=4, channels=16, **options)


def pictures(channels, height=64, width=64, batch=2):
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(1))


def recorded(network, modules, images):
    """Input and output of some modules during one pass."""
    seen = {}
    for module in modules:
        module.register_forward_hook(lambda m, inputs, output: seen.update({m: (inputs[0], output)}))
    with torch.no_grad():
        network(images)
    return [seen[module] for module in modules]


@BOTH
def test_number_of_parameters(kind):
    with torch.device("meta"):
        network = kind()
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters_of_the_table(kind)


@BOTH
def test_channels_and_strides_of_the_stages(kind):
    network = tiny(kind).eval()
    modules = [network.stem, *network.stages, *network.decoders, network.refine, network.head]
    seen = recorded(network, modules, pictures(network.inputs, 96, 160, 1))
    last, *others = (wide // 8 for wide in WIDTHS[kind])  # a width of 4 instead of 32
    expected = [
        (4, 2), *zip(reversed(others), (4, 8, 16)), (last, 16), *zip(others, (16, 8, 4)), (16, 2), (1, 1),
    ]
    assert [tuple(output.shape[1:]) for _, output in seen] == [(c, 96 // s, 160 // s) for c, s in expected]


@BOTH
def test_only_the_last_stage_is_dilated_and_not_in_its_first_block(kind):
    network = tiny(kind)
    for level, stage in enumerate(network.stages):
        for number, block in enumerate(stage):
            dilations = {m.dilation[0] for m in block.modules() if isinstance(m, nn.Conv2d)}
            assert (2 in dilations) == (level == 3 and number > 0)
            strides = {m.stride[0] for m in block.modules() if isinstance(m, nn.Conv2d)}
            assert (2 in strides) == (level in (1, 2) and number == 0)


@BOTH
def test_features_are_as_large_as_the_input(kind):
    with torch.device("meta"):
        network = tiny(kind)
        for side in range(MIN_SIZE, 50):
            found = network.features(torch.zeros(1, network.inputs, side, 66 - side))
            assert found.shape == (1, 16, side, 66 - side)
        assert network.features(torch.zeros(1, network.inputs, 1000, 1000)).shape == (1, 16, 1000, 1000)


@pytest.mark.parametrize("side", [MIN_SIZE, 33])
def test_the_smallest_images_can_be_trained_on_one_at_a_time(side):
    network = tiny(MaskGANet).train()
    segmented, attended = network(pictures(3, side, side, 1), torch.zeros(1, side, side))
    assert torch.isfinite(segmented).all() and torch.isfinite(attended).all()


@BOTH
def test_outputs_are_probabilities_in_float32_also_under_autocast(kind):
    network = tiny(kind).eval()
    images = pictures(network.inputs)
    with torch.no_grad():
        exact = network(images)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(images)
    assert exact.dtype == rounded.dtype == torch.float32
    assert 0 < exact.min() < exact.max() < 1
    torch.testing.assert_close(rounded, exact, atol=0.05, rtol=0)


def test_gradients_reach_every_parameter():
    network = tiny(MaskGANet).train()
    labels = (pictures(1)[:, 0] > 0).float()
    segmented, attended = network(pictures(3), labels)
    (segmented * attended).sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not silent


def test_the_gate_weighs_whole_channels_by_their_mean_and_maximum():
    gate = tiny(MaskGASegmentation).eval().gates[0]
    features = pictures(gate.unit[0].in_channels, 6, 7)
    with torch.no_grad():
        inside, weighed = gate.unit(features).numpy(), gate(features).numpy()
    first, _, second = gate.weigh
    a, b = (layer.weight.detach().numpy()[:, :, 0, 0] for layer in (first, second))
    c, d = (layer.bias.detach().numpy() for layer in (first, second))
    total = sum(
        np.maximum(pooled @ a.T + c, 0) @ b.T + d for pooled in (inside.mean((2, 3)), inside.max((2, 3)))
    )
    np.testing.assert_allclose(weighed, inside / (1 + np.exp(-total))[..., None, None], rtol=1e-5, atol=1e-6)


def test_the_decoder_adds_the_skip_and_cuts_what_exceeds_it():
    decoder = tiny(MaskGASegmentation).eval().decoders[1]
    features = pictures(decoder.adapt[0].in_channels, 3, 4, 1)
    skip = pictures(decoder.adapt[0].out_channels, 5, 7, 1)
    ((entering, _),) = recorded(lambda images: decoder(images, skip), [decoder.units], features)
    adapted = decoder.adapt(features).detach().numpy()[0]
    # From corner to corner: pixel i of 6 (of 8) lies at 2 i / 5 of the three (3 i / 7 of the four) before.
    rows, columns = np.arange(5) * 2 / 5, np.arange(7) * 3 / 7
    for channel in range(len(adapted)):
        along = np.stack([np.interp(rows, range(3), column) for column in adapted[channel].T], axis=1)
        both = np.stack([np.interp(columns, range(4), row) for row in along])
        np.testing.assert_allclose(entering[0, channel], both + skip[0, channel].numpy(), atol=1e-5)


def test_a_copy_of_the_head_is_a_second_head():
    network = tiny(MaskGASegmentation).eval()
    images = pictures(3)
    with torch.no_grad():
        second = copy.deepcopy(network.head)
        torch.testing.assert_close(torch.sigmoid(second(network.features(images))), network(images))
    assert [type(m) for m in network.head.reduce] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert network.head.reduce[0].weight.shape == (8, 16, 3, 3) and network.head.out.weight.shape == (1, 8, 3, 3)


def test_attention_sees_the_label_and_segmentation_does_not():
    network = tiny(MaskGANet).eval()
    images, labels = pictures(3), torch.zeros(2, 64, 64, dtype=torch.int8)
    with torch.no_grad():
        (one, certain), (other, doubted) = network(images, labels), network(images, 1 - labels)
    assert torch.equal(one, other) and not torch.equal(certain, doubted)
    alone = tiny(MaskGANet, attention=False).eval()
    assert alone.attention is None and alone(images, labels)[1] is None


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 4, 64, 64), (1, 3, 16, 64)])
def test_bad_images(shape):
    with pytest.raises(DataError, match=r"expected shape \(B, 3, H, W\) with H and W at least 17"):
        tiny(MaskGASegmentation)(torch.zeros(shape))


@pytest.mark.parametrize(("width", "channels"), [(0, 8), (4, 4), (4, 20)])
def test_bad_widths(width, channels):
    with pytest.raises(DataError, match=f"got {width} and {channels}"):
        MaskGAAttention(width, channels)
