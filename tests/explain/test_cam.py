"""Class activation maps: networks whose maps are known, and a second implementation made of hooks."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.nn import functional as F

from nucseg.errors import DataError, NucsegError, UnknownNameError
from nucseg.explain import block_cams, class_activation_map


class Blocks(nn.Module):
    """Three blocks, each at half the resolution of the one before, and a score from the last."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        widths = (3, 4, 6, 8)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU()) for a, b in pairwise(widths)
        )
        self.head = nn.Conv2d(8, 1, 1)

    def forward(self, images):
        activations = []
        for block in self.blocks:
            images = block(images)
            activations.append(images)
        return self.head(images)[:, 0], activations


def pictures(count=3):
    return torch.rand(count, 3, 16, 24, generator=torch.Generator().manual_seed(1))


def hooked(network, image):
    """Return activations and gradients of the blocks for one image, as hooks see them."""
    kept, slopes = [], []
    handles = []
    for block in network.blocks:
        handles.append(block.register_forward_hook(lambda *a: kept.append(a[2].detach().numpy()[0])))
        handles.append(block.register_full_backward_hook(lambda *a: slopes.insert(0, a[2][0].numpy()[0])))
    network(image[None].requires_grad_())[0].sum().backward()
    for handle in handles:
        handle.remove()
    return zip(kept, slopes)


def hooked_cams(network, images, kind, size):
    """Grad-CAM as it is commonly written: image after image, with hooks and numpy."""
    cams = []
    for image in images:
        for activation, slope in hooked(network, image):
            cam = np.zeros(activation.shape[1:], np.float32)
            for a, g in zip(activation, slope):
                cam += (g.mean() if kind == "grad-cam" else np.maximum(g, 0)) * a
            cam = torch.tensor(np.maximum(cam, 0))[None, None]
            cam = F.interpolate(cam, size=size, mode="bilinear", align_corners=False)[0, 0].numpy()
            cams.append((cam - cam.min()) / (cam.max() - cam.min()) if cam.max() else cam)
    return np.reshape(cams, (len(images), -1, *size))


def test_both_kinds_by_hand():
    activations = torch.tensor([[[[1.0, 2.0, 3.0]], [[4.0, 0.0, 1.0]]]])
    gradients = torch.tensor([[[[3.0, -1.0, 1.0]], [[-2.0, 0.0, -1.0]]]])
    # Grad-CAM: the means are 1 and -1. LayerCAM: only 3 and 1 of the first channel are positive.
    assert class_activation_map(activations, gradients).tolist() == [[[0, 2, 2]]]
    assert class_activation_map(activations, gradients, "layer-cam").tolist() == [[[3, 0, 3]]]


@pytest.mark.parametrize("kind", ["grad-cam", "layer-cam"])
def test_a_score_from_one_channel_shows_that_channel(kind):
    activations = torch.randn(2, 5, 6, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    cams = block_cams(4 * activations[:, 3].sum(), [activations], kind)
    channel = activations[:, 3].detach().relu()
    torch.testing.assert_close(cams[:, 0], channel / channel.amax((1, 2), keepdim=True))


def test_a_linear_network_gives_its_weights():
    # S = w . mean A has the gradient w / (h w) everywhere, so Grad-CAM is relu(sum_k w_k A_k) / (h w).
    weights = torch.tensor([1.0, -2.0, 0.5])
    activations = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    score = (activations.mean((2, 3)) * weights).sum(1)
    (gradients,) = torch.autograd.grad(score.sum(), activations, retain_graph=True)
    expected = (weights[:, None, None] * activations.detach()).sum(1).relu() / 20
    torch.testing.assert_close(class_activation_map(activations.detach(), gradients), expected)
    lowest, highest = expected.amin((1, 2), keepdim=True), expected.amax((1, 2), keepdim=True)
    torch.testing.assert_close(block_cams(score, [activations])[:, 0], (expected - lowest) / (highest - lowest))


@pytest.mark.parametrize("kind", ["grad-cam", "layer-cam"])
def test_agrees_with_hooks(kind):
    network, images = Blocks(), pictures()
    scores, activations = network(images)
    cams = block_cams(scores.sum((1, 2)), activations, kind, (16, 24))
    assert cams.shape == (3, 3, 16, 24) and (cams.amax((2, 3)) > 0).any()
    np.testing.assert_allclose(cams.numpy(), hooked_cams(network, images, kind, (16, 24)), atol=1e-5)


def test_the_losses_can_still_go_backward_with_the_same_gradients():
    def gradients(explain):
        network = Blocks()
        scores, activations = network(pictures())
        if explain:
            cams = block_cams(scores.sum(), activations, size=(16, 24))
            assert not cams.requires_grad
            assert all(parameter.grad is None for parameter in network.parameters())
        (scores.square().mean() + activations[0].mean()).backward()
        return [parameter.grad for parameter in network.parameters()]

    for with_cams, without in zip(gradients(True), gradients(False)):
        torch.testing.assert_close(with_cams, without, rtol=0, atol=0)


def test_an_image_does_not_see_the_others():
    network, images = Blocks(), pictures()
    scores, activations = network(images)
    together = block_cams(scores.sum(), activations)
    for k in range(3):
        scores, activations = network(images[k : k + 1])
        torch.testing.assert_close(block_cams(scores.sum(), activations), together[k : k + 1])


def test_maps_reach_from_zero_to_one():
    scores, activations = Blocks()(pictures())
    cams = block_cams(scores.sum() * 1e-6, activations, size=(16, 24))
    lowest, highest = cams.amin((2, 3)), cams.amax((2, 3))
    assert (lowest == 0).all() and ((highest == 0) | (highest == 1)).all() and (highest == 1).any()


def test_a_quantile_can_be_the_top():
    values = torch.tensor([1.0, 3.0, 2.0, 4.0, 100.0])[None, None, None].requires_grad_()
    literal, robust = (block_cams(values.sum(), [values], quantile=quantile)[0, 0, 0] for quantile in (1.0, 0.75))
    torch.testing.assert_close(literal, torch.tensor([0, 2, 1, 3, 99]) / 99)
    torch.testing.assert_close(robust, torch.tensor([0, 2 / 3, 1 / 3, 1, 1]))  # 4 is the largest value but a quarter


def test_quantiles_agree_with_numpy_on_every_map():
    scores, activations = Blocks()(pictures())
    plain, robust = (block_cams(scores.sum(), activations, size=(16, 24), quantile=q).numpy() for q in (1.0, 0.9))
    top = np.quantile(plain, 0.9, axis=(2, 3), keepdims=True)
    expected = np.where(top > 0, np.minimum(plain / np.where(top > 0, top, 1), 1), 0)
    np.testing.assert_allclose(robust, expected, atol=1e-6)


def test_quantiles_of_many_maps():
    """More values than PyTorch takes quantiles of at once."""
    activations = torch.rand(70, 1, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    cams = block_cams(activations.sum(), [activations], size=(512, 512), quantile=0.5)
    share = (cams == 1).float().mean((1, 2, 3))  # a corner is flat, so a few values are equal
    assert cams.numel() > 2**24 and (share - 0.5).abs().max() < 0.01


def test_degenerate_maps_are_zero_and_leave_the_others_alone():
    activations = torch.ones(3, 1, 2, 2)
    activations[0, 0, 0, 0] = 3
    activations.requires_grad_()
    score = (activations.sum((1, 2, 3)) * torch.tensor([1.0, -1.0, 1.0])).sum()  # informative, negative, flat
    cams = block_cams(score, [activations])
    assert cams.tolist() == [[[[1, 0], [0, 0]]], [[[0, 0], [0, 0]]], [[[0, 0], [0, 0]]]]
    tiny = torch.full((1, 1, 1, 2), 1e-42)
    tiny[..., 0] = 0
    assert block_cams(tiny.requires_grad_().sum(), [tiny]).tolist() == [[[[0, 0]]]]


def test_bfloat16_gives_float32():
    network = Blocks()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores, activations = network(pictures())
        cams = block_cams(scores.sum(), activations, size=(16, 24))
    assert activations[0].dtype == torch.bfloat16 and cams.dtype == torch.float32
    scores, activations = network(pictures())
    assert (cams - block_cams(scores.sum(), activations, size=(16, 24))).abs().mean() < 0.05


class Explained(Blocks):
    def forward(self, images):
        scores, activations = super().forward(images)
        return scores, block_cams(scores.sum(), activations, size=(16, 24))


def test_works_in_the_forward_pass_of_a_wrapped_network():
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    network = Explained()
    scores, cams = fabric.setup(network)(pictures())
    fabric.backward(scores.square().mean())
    assert cams.shape == (3, 3, 16, 24) and not cams.requires_grad
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_bad_input_is_named():
    activations = torch.rand(2, 3, 4, 4, requires_grad=True)
    score = activations.sum()
    with pytest.raises(UnknownNameError, match="grad-cam, layer-cam, got 'cam'"):
        class_activation_map(activations, activations, "cam")
    with pytest.raises(DataError, match=r"\(2, 3, 4, 4\) and \(2, 3, 4, 1\)"):
        class_activation_map(activations, activations[..., :1])
    with pytest.raises(NucsegError, match="no activations"):
        block_cams(score, [])
    for quantile in (0.0, 1.01, float("nan")):
        with pytest.raises(DataError, match="quantile"):
            block_cams(score, [activations], quantile=quantile)
    with pytest.raises(DataError, match="does not come from activations 1"):
        block_cams(score, [activations, torch.rand(2, 3, 2, 2, requires_grad=True)])
    with pytest.raises(DataError, match="activations 0 were made without gradients"):
        block_cams(score, [activations.detach()])
    with pytest.raises(DataError, match="score was made without gradients"):
        block_cams(score.detach(), [activations])
    with pytest.raises(DataError, match=r"score \(\) or \(2,\), got \(2, 3\)"):
        block_cams(activations.sum((2, 3)), [activations])
    with pytest.raises(DataError, match=r"\(3, 4, 4\) for activations 0"):
        block_cams(score, [activations[0]])
