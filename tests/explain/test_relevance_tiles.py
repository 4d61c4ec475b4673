"""Relevance by tiles against one pass over the whole image."""

import pytest
import torch
from torch import nn

from nucseg.errors import DataError
from nucseg.explain import relevance, tiled_relevance
from nucseg.explain import tiles as module
from nucseg.models import ResNet34UNet


class Strided(nn.Module):
    """Stride 32 as in the U-Net, but nothing is seen farther away than 36 pixels."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.deep = nn.Sequential(nn.MaxPool2d(32), nn.ConvTranspose2d(6, 4, 32, stride=32))
        self.out = nn.Conv2d(10, 2, 5, padding=2)

    def forward(self, images):
        skip = self.stem(images)
        deep = self.deep(nn.functional.pad(skip, (0, 31, 0, 31)))[..., : skip.shape[2], : skip.shape[3]]
        return self.out(torch.cat([deep, skip], dim=1))


@pytest.fixture
def passes(monkeypatch):
    """The shapes that are explained."""
    shapes = []

    def counted(network, images, start, **options):
        shapes.append(tuple(images.shape[2:]))
        return relevance(network, images, start, **options)

    monkeypatch.setattr(module, "relevance", counted)
    return shapes


def scene(height, width):
    torch.manual_seed(0)
    start = torch.zeros(height, width)
    start[:40, 30:50], start[-60, -50], start[-1, -1] = torch.randn(40, 20), 3, 2
    return Strided().eval(), torch.randn(3, height, width), start


@pytest.mark.parametrize("size", [(200, 333), (224, 224), (97, 400)])
def test_tiles_add_up_to_the_whole(passes, size):
    network, image, start = scene(*size)
    expected = relevance(network, image[None], start[None])[0]
    result = tiled_relevance(network, image, start, tile=160, margin=64)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
    assert len(passes) > 1 and all(max(shape) <= 160 for shape in passes)


def test_tiles_without_a_start_are_passed_over(passes):
    network, image, start = scene(200, 333)
    start[:] = 0
    assert not tiled_relevance(network, image, start, tile=160, margin=64).any()
    assert passes == []
    start[100, 200] = 1
    tiled_relevance(network, image, start, tile=160, margin=64)
    assert passes == [(160, 160)]


def test_a_small_image_takes_one_pass(passes):
    torch.manual_seed(0)
    network = ResNet34UNet(classes=1).eval()
    image, start = torch.randn(3, 50, 64), torch.rand(50, 64)
    result = tiled_relevance(network, image, start, tile=64, margin=0, output=lambda logits: 2 * logits[:, 0])
    torch.testing.assert_close(result, relevance(network, image[None], start[None])[0])
    assert passes == [(50, 64)]


def test_bad_arguments_are_refused():
    network, image, start = scene(70, 70)
    for tile, margin in ((100, 32), (128, 30), (128, 64), (128, -32), (0, 0)):
        with pytest.raises(DataError, match=f"expected multiples of 32, .* got {tile}, {margin}"):
            tiled_relevance(network, image, start, tile=tile, margin=margin)
    with pytest.raises(DataError, match=r"expected \(channels, H, W\) and \(H, W\), got \(3, 70, 70\) and \(70, 69\)"):
        tiled_relevance(network, image, start[:, 1:])
    start[0, 0] = float("nan")
    with pytest.raises(DataError, match="start: expected 3 axes of finite floats"):
        tiled_relevance(network, image, start)
    network.stem[1].train()
    with pytest.raises(DataError, match="expected evaluation mode"):
        tiled_relevance(network, image, start)
