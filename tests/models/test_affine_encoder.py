"""Where instances lie: anchors, axes, starts, and what a shift of the image does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.models import resnet18, resnet50

from nucseg.errors import DataError, NucsegError, UnknownNameError
from nucseg.models import backbones
from nucseg.models.affine_encoder import AffineEncoder, EncoderConfig, Transforms
from nucseg.models.backbones import dilated_resnet

SMALL = EncoderConfig(backbone="resnet18", weights=None)


def encoder(**changes):
    torch.manual_seed(0)
    return AffineEncoder(replace(SMALL, **changes)).eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))


def test_the_large_encoder_is_that_of_torchvision(images):
    torch.manual_seed(5)
    ours = dilated_resnet("resnet50", None).eval()
    torch.manual_seed(5)
    theirs = resnet50(weights=None, replace_stride_with_dilation=[False, False, True]).eval()
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    with torch.inference_mode():
        expected = images[:1]
        for name in names:
            expected = getattr(theirs, name)(expected)
        assert torch.equal(ours(images[:1]), expected)


def test_the_small_encoder_sees_what_the_strided_one_sees(images):
    """Every second place of the dilated last stage is a place of the strided one."""
    torch.manual_seed(5)
    ours = dilated_resnet("resnet18", None).eval()
    torch.manual_seed(5)
    theirs = torch.nn.Sequential(*list(resnet18(weights=None).children())[:-2]).eval()
    with torch.inference_mode():
        fine, coarse = ours(images[:1]), theirs(images[:1])
    assert fine.shape == (1, 512, 8, 8) and coarse.shape == (1, 512, 4, 4)
    torch.testing.assert_close(fine[..., ::2, ::2], coarse, atol=1e-4, rtol=1e-4)


def test_weights_that_cannot_be_loaded_are_named(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(type(backbones._WEIGHTS["resnet50"]), "get_state_dict", refuse)
    with pytest.raises(NucsegError, match=r"resnet50.*weights=None"):
        AffineEncoder()
    for name, weights in (("resnet9", None), ("resnet18", "places")):
        with pytest.raises(UnknownNameError, match=r"resnet9|places"):
            dilated_resnet(name, weights)


def test_there_are_128_instances_of_six_numbers(images):
    found = encoder()(images)
    assert found.linear.shape == (2, 128, 2, 2) and found.shift.shape == (2, 128, 2)
    assert found.presence.shape == (2, 128) and found.mixture.shape == (2, 128, 1)
    assert (found.linear[..., 0, 1] == 0).all() and (found.linear.diagonal(dim1=2, dim2=3) > 0).all()
    heads = encoder().heads
    assert [head.out_channels for head in heads] == [10, 2]


def test_training_starts_with_every_instance_in_its_cell(images):
    network = encoder()
    for head in network.heads:
        torch.nn.init.zeros_(head.weight)
    found = network(images)
    centers = found.centers[0].reshape(8, 8, 2, 2)  # row, column, instance, (x, y)
    for row, column in ((0, 0), (0, 7), (5, 2)):
        middle = torch.tensor([(2 * column + 1) / 8 - 1, (2 * row + 1) / 8 - 1])
        offsets = (centers[row, column] - middle) / (2 / 8)
        torch.testing.assert_close(offsets, torch.tensor([[-0.25, 0.0], [0.25, 0.0]]), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.linear.diagonal(dim1=2, dim2=3), torch.full((2, 128, 2), 3.3))
    torch.testing.assert_close(torch.sigmoid(found.presence).sum(dim=1), torch.full((2,), 5.8), rtol=1e-4, atol=0)


def test_softplus_starts_at_the_same_size(images):
    network = encoder(diagonal="softplus")
    torch.nn.init.zeros_(network.heads[0].weight)
    torch.testing.assert_close(network(images).linear.diagonal(dim1=2, dim2=3), torch.full((2, 128, 2), 3.3))


def test_the_diagonal_stays_in_its_range():
    network = encoder()
    raw = torch.tensor([-50.0, 50.0])
    np.testing.assert_allclose(network._positive(raw).numpy(), [np.exp(-1), np.exp(5)], rtol=1e-5)
    assert (encoder(diagonal="softplus")._positive(raw) > 0).all()


def test_a_center_is_minus_the_inverse_map_of_the_shift():
    linear = torch.tensor([[[[2.0, 0.0], [1.0, 4.0]]]])
    center = torch.tensor([0.3, -0.6])
    shift = -(linear[0, 0] @ center)[None, None]
    found = Transforms(linear, shift, torch.zeros(1, 1), torch.zeros(1, 1, 1)).centers
    torch.testing.assert_close(found[0, 0], center)


def test_anchored_centers_follow_the_image():
    """A cell's width to the right: the centers in the middle move by one cell, those without an anchor stay."""
    rng = torch.Generator().manual_seed(2)
    wide = torch.randn(1, 3, 128, 144, generator=rng)
    for anchor, moves in (("cell", 1), ("none", 0)):
        network = encoder(anchor=anchor)
        torch.nn.init.normal_(network.heads[0].weight, std=0.02, generator=rng)
        # Padding reaches everywhere in so deep a network, so compare what one cell would say, not the whole map.
        network.backbone = torch.nn.Sequential(torch.nn.AvgPool2d(16), torch.nn.Conv2d(3, 512, 1))
        with torch.inference_mode():
            first = network(wide[..., 16:]).centers.reshape(8, 8, 2, 2)
            second = network(wide[..., :128]).centers.reshape(8, 8, 2, 2)
        moved = second[:, 1:] - first[:, :-1]
        expected = torch.tensor([moves * 2 / 8, 0.0]).expand_as(moved)
        torch.testing.assert_close(moved, expected, atol=1e-4, rtol=0)


def test_a_bounded_anchor_never_leaves_its_neighborhood(images):
    network = encoder(anchor="bounded")
    torch.nn.init.normal_(network.heads[0].weight, std=100.0)
    cells = network.cells.repeat_interleave(2, dim=0)
    assert ((network(images).centers - cells).abs() <= 2 * 2 / 8 + 1e-3).all()


@pytest.mark.parametrize("changes, sizes", [
    ({"anchor": "coordinates"}, [10, 2]), ({"triangular": False}, [12, 2]), ({"shapes": 3}, [16, 2]),
    ({"per_cell": 4}, [20, 4]), ({"per_cell": 1, "hidden": None}, [5, 1]),
])
def test_variants_have_the_numbers_they_need(images, changes, sizes):
    network = encoder(**changes)
    found = network(images)
    assert [head.out_channels for head in network.heads] == sizes
    assert found.presence.shape == (2, 64 * changes.get("per_cell", 2))
    torch.testing.assert_close(found.mixture.exp().sum(-1), torch.ones_like(found.presence))


def test_bad_input_is_named(images):
    with pytest.raises(DataError, match=r"\(2, 3, 64, 128\)"):
        encoder()(images[:, :, :64])
    for changes, message in (({"anchor": "grid"}, "grid"), ({"diagonal": "abs"}, "abs")):
        with pytest.raises(UnknownNameError, match=message):
            encoder(**changes)
    for changes in ({"per_cell": 0}, {"expected": 128.0}, {"scale": 0.0}, {"shapes": 0}):
        with pytest.raises(DataError, match="encoder"):
            encoder(**changes)
    with pytest.raises(DataError, match="multiple of 16"):
        AffineEncoder(SMALL, patch=100)
