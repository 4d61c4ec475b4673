"""The network of SIA-WSSS is made of its parts as the article draws them."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from nucseg.models import SIANet, TissueViTConfig, TokenGraphConfig

VIT = TissueViTConfig(width=24, depth=2, heads=2, auxiliary=1, size=64, weights=None)


def net(**options):
    torch.manual_seed(0)
    options = {"graph": TokenGraphConfig(4), "projector": (8, 0.9), "decoder": (10, 5, 2), **options}
    return SIANet(4, VIT, **options).eval()


def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shared", [True, False])
def test_each_output_comes_from_its_part(shared):
    network = net(shared_classifier=shared)
    with torch.no_grad():
        found, encoded = network(images()), network.encoder(images())
        flat = encoded.patches.flatten(2).transpose(1, 2)
        graph, _ = network.graph(encoded.classes, flat)
        maps = torch.einsum("cd,bdhw->bchw", network.classifier.weight[:, :, 0, 0], encoded.patches)
        early = torch.einsum("cd,bdhw->bchw", network.auxiliary.weight[:, :, 0, 0], encoded.auxiliary)
        own = (network.classifier if shared else network.token_classifier).weight[:, :, 0, 0]
    close = torch.testing.assert_close
    close(found.tokens, graph)
    close(found.patches, encoded.patches)
    close(found.activation, maps, rtol=1e-4, atol=1e-5)
    close(found.auxiliary, early, rtol=1e-4, atol=1e-5)
    close(found.token_scores, torch.einsum("cd,bcd->bc", own, graph), rtol=1e-4, atol=1e-5)
    close(found.projection, F.linear(encoded.classes, network.projector.coarse.weight, network.projector.coarse.bias))
    close(found.segmentation, network.decoder(encoded.patches))
    assert found.segmentation.shape == (2, 5, 4, 4) and found.attention is None
    crops = network(images()[:, :, :32, 16:48], crops=True)
    close(crops, network.projector.fine(network.encoder(images()[:, :, :32, 16:48]).classes))


def test_without_its_parts_there_are_tokens_and_maps_alone():
    found = net(graph=None, projector=None, decoder=None)(images())
    assert found.projection is None and found.segmentation is None
    torch.testing.assert_close(found.tokens, net(graph=None, projector=None, decoder=None).encoder(images()).classes)


def test_a_full_graph_changes_what_the_decoder_sees_and_not_the_maps():
    first, full = net(), net(graph=TokenGraphConfig(4, full=True))
    full.load_state_dict(first.state_dict())
    with torch.no_grad():
        before, after = first(images()), full(images())
        torch.testing.assert_close(after.segmentation, full.decoder(after.patches))
    torch.testing.assert_close(before.activation, after.activation)
    assert not torch.allclose(before.patches, after.patches)


def test_enlarged_images_have_more_patches():
    network = net(upsampling=2, attention_blocks=1)
    found = network(images())
    assert found.activation.shape == found.attention.shape == (2, 4, 8, 8)
    large = F.interpolate(images(), scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(found.patches, network.encoder(large).patches)


def test_the_decoder_looks_two_dilations_far():
    with torch.no_grad():
        decoder = net().decoder
        maps = torch.zeros(1, 24, 15, 15)
        maps[0, :, 7, 7] = 9.0
        touched = (decoder(maps) - decoder(torch.zeros_like(maps))).abs().sum(dim=1)[0] > 1e-9
    rows, columns = torch.nonzero(touched, as_tuple=True)
    assert set(rows.tolist()) | set(columns.tolist()) <= {3, 5, 7, 9, 11} and touched[3].any() and touched[11].any()


def test_registers_and_classes_are_apart():
    config = replace(VIT, registers=3)
    assert SIANet(4, config)(images()).tokens.shape == (2, 4, 24)
