"""The U-Net of DIST: sizes by arithmetic, skips in their places, tiles that begin on multiples of 16."""

import pytest
import torch
from torch import nn

from nucseg.errors import DataError
from nucseg.models import MARGIN, DistUNet


def seeded(width=2):
    torch.manual_seed(0)
    return DistUNet(width).eval()


def shrunk(side):
    """What two convolutions, pooling and doubling leave of a side, level by level."""
    sides = []
    for _ in range(4):
        side -= 4
        sides.append(side)
        assert side % 2 == 0
        side //= 2
    side -= 4
    for skip in reversed(sides):
        side = 2 * side
        assert side <= skip and (skip - side) % 2 == 0
        side -= 4
    return side


@pytest.mark.parametrize("size", [(188, 204), (220, 188)])
def test_output_is_smaller_by_the_margin(size):
    with torch.no_grad():
        found = tuple(seeded()(torch.zeros(1, 3, *size)).shape)
    assert found == (1, 1, *(shrunk(side) for side in size)) == (1, 1, *(side - 2 * MARGIN for side in size))


def test_the_published_sizes():
    assert shrunk(396) == 212 and shrunk(1180) == 996
    network = DistUNet()
    down = sum(9 * (a * b + b * b) + 4 * b for a, b in zip((3, 16, 32, 64, 128), (16, 32, 64, 128, 256)))
    up = sum(4 * 2 * b * b + b + 9 * (2 * b * b + b * b) + 4 * b for b in (128, 64, 32, 16))
    assert sum(parameter.numel() for parameter in network.parameters()) == down + up + 16 + 1


def test_the_first_skip_lies_over_the_image():
    """With the first level passing one color on and nothing from below, the output is the middle of the image."""
    network = seeded(width=4)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                module.weight.zero_()
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.fill_(1)
                module.eps = 0
        for layer in (network.down[0][0], network.down[0][3], network.merge[-1][0], network.merge[-1][3]):
            layer.weight[0, 0, 1, 1] = 1
        network.out.weight[0, 0] = 1
        image = torch.rand(1, 3, 188, 204)
        torch.testing.assert_close(network(image)[0, 0], image[0, 0, 92:-92, 92:-92])


def test_moving_the_input_by_16_moves_the_output_by_16():
    network, image = seeded(), torch.randn(1, 3, 220, 236)
    with torch.no_grad():
        whole, part = network(image), network(image[..., 16:, 32:])
    torch.testing.assert_close(part, whole[..., 16:, 32:], rtol=1e-4, atol=1e-5)


def test_the_last_layer_is_not_rounded_to_bfloat16():
    network, image = seeded(), torch.randn(1, 3, 188, 188)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = network(image)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("shape", [(1, 3, 188, 187), (1, 3, 172, 188), (1, 1, 188, 188), (3, 188, 188)])
def test_bad_sizes(shape):
    with pytest.raises(DataError, match="12 more than a multiple of 16"):
        seeded()(torch.zeros(shape))
