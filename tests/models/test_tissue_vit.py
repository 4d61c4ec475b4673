"""The transformer with class tokens, against torchvision's, and by what a change of its input may change."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.models import VisionTransformer

from nucseg.errors import DataError, NucsegError, UnknownNameError
from nucseg.models import SMALL_VIT, TissueViT, TissueViTConfig, vit_weights
from nucseg.models.tissue_vit import resized_positions
from nucseg.models.vit_weights import renamed

TINY = TissueViTConfig(width=24, depth=3, heads=2, auxiliary=2, size=64, weights=None)


def vit(config=TINY, classes=4):
    torch.manual_seed(0)
    return TissueViT(classes, config).eval()


def torchvision_vit():
    return VisionTransformer(image_size=64, patch_size=16, num_layers=3, num_heads=2, hidden_dim=24, mlp_dim=96)


def sequence_lengths(network, side):
    lengths = []
    hooks = [block.register_forward_hook(lambda _, inputs, __: lengths.append(inputs[0].shape[1]))
             for block in network.blocks]
    with torch.no_grad():
        found = network(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    return found, set(lengths)


@pytest.mark.parametrize("side, patches", [(224, 196), (96, 36)])
@pytest.mark.parametrize("registers", [0, 3])
def test_there_is_a_token_for_each_class_and_each_patch(side, patches, registers):
    found, lengths = sequence_lengths(vit(replace(TINY, size=224, registers=registers)), side)
    assert lengths == {4 + registers + patches}
    assert found.classes.shape == (1, 4, 24)
    assert found.patches.shape == found.auxiliary.shape == (1, 24, side // 16, side // 16)


def test_it_computes_what_torchvision_computes():
    torch.manual_seed(1)
    theirs = torchvision_vit().eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    ours = vit(classes=1)
    ours.load_state_dict(renamed(theirs.state_dict(), 1, 4, 0.0))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        sequence = torch.cat([theirs.class_token.expand(2, -1, -1), theirs._process_input(images)], dim=1)
        wanted, found = theirs.encoder(sequence), ours(images)
    torch.testing.assert_close(found.classes, wanted[:, :1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.patches.flatten(2).transpose(1, 2), wanted[:, 1:], rtol=1e-4, atol=1e-5)


def test_copies_of_a_pretrained_token_are_told_apart_by_noise():
    theirs = torchvision_vit()
    torch.manual_seed(0)
    state = renamed(theirs.state_dict(), 50, 2, 0.02)
    assert (state["tokens"] == theirs.class_token[0]).all()
    noise = state["token_positions"] - theirs.encoder.pos_embedding[0, :1]
    assert noise.std().item() == pytest.approx(0.02, rel=0.1) and len(noise.unique(dim=0)) == 50
    assert state["patch_positions"].shape == (1, 24, 2, 2)


def test_class_tokens_differ_after_a_step():
    network = vit()
    with torch.no_grad():
        network.tokens[:] = network.tokens[:1]
        network.token_positions[:] = network.token_positions[:1]
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    images, weights = torch.randn(2, 3, 64, 64), torch.randn(4, 24)
    before = network(images).classes
    assert torch.allclose(before, before[:, :1].expand_as(before), atol=1e-6)
    (before * weights).sum().backward()
    optimizer.step()
    after = network(images).classes
    assert (after - after[:, :1]).abs().amax(dim=(0, 2))[1:].min() > 1e-3


def test_auxiliary_patches_are_those_of_the_named_block():
    network, seen = vit(), []
    network.blocks[1].register_forward_hook(lambda *call: seen.append(call[2]))
    with torch.no_grad():
        found = network(torch.randn(1, 3, 64, 48))
    torch.testing.assert_close(found.auxiliary.flatten(2).transpose(1, 2), seen[0][:, 4:])
    assert found.auxiliary.shape == (1, 24, 4, 3)


def test_positions_of_another_size():
    torch.manual_seed(0)
    positions = torch.randn(1, 5, 14, 14)
    assert resized_positions(positions, (14, 14)) is positions
    constant = resized_positions(torch.full((1, 2, 14, 14), 3.0), (6, 9))
    torch.testing.assert_close(constant, torch.full((1, 2, 6, 9), 3.0))
    ramp = torch.arange(14.0).expand(1, 1, 14, 14)  # a line stays a line away from the border
    middles = (np.arange(7) + 0.5) * 2 - 0.5
    np.testing.assert_allclose(resized_positions(ramp, (7, 7))[0, 0, 3, 1:-1], middles[1:-1], atol=1e-5)


def test_attention_of_class_tokens_is_that_of_the_last_blocks():
    network, inputs = vit(), []
    for block in network.blocks:
        block.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    with torch.no_grad():
        found = network(torch.randn(2, 3, 64, 64), attention_blocks=2).attention
        by_hand = 0
        for block, sequence in zip(network.blocks[1:], inputs[1:]):
            query, key, _ = block.qkv(block.norm_1(sequence)).chunk(3, dim=2)
            for head in (slice(0, 12), slice(12, 24)):
                scores = torch.einsum("bnd,bmd->bnm", query[..., head], key[..., head]) / 12**0.5
                by_hand = by_hand + scores.softmax(dim=2)[:, :4, 4:] / 4
    torch.testing.assert_close(found.flatten(2), by_hand)
    assert network(torch.randn(1, 3, 64, 64)).attention is None


def test_images_do_not_depend_on_each_other():
    network, images = vit(replace(TINY, stem="convolutional")), torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(images).classes[1], network(images[1:2]).classes[0], rtol=1e-4, atol=1e-5)


def test_the_small_one_has_the_size_it_claims():
    network = TissueViT(4, SMALL_VIT)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(0.56e6, rel=0.01)
    assert network.stem(torch.zeros(1, 3, 224, 224)).shape == (1, 96, 14, 14)


def test_the_mean_over_channels_behind_a_normalization_says_nothing():
    """As long as gain is 1 and shift 0, such a logit of a class token is 0 whatever the image."""
    with torch.no_grad():
        assert vit()(torch.randn(2, 3, 64, 64)).classes.mean(dim=2).abs().max() < 1e-6


def test_bad_input(monkeypatch):
    with pytest.raises(DataError, match=r"multiples of 16 px, got \(64, 50\)"):
        vit()(torch.zeros(1, 3, 64, 50))
    for wrong in ({"width": 0}, {"heads": 5}, {"size": 100}, {"auxiliary": 4}, {"registers": -1},
                  {"stem_channels": (1,)}):
        with pytest.raises(DataError, match=next(iter(wrong))):
            replace(TINY, **wrong)
    for wrong in ({"stem": "none"}, {"weights": "all"}):
        with pytest.raises(UnknownNameError, match=next(iter(wrong))):
            replace(TINY, **wrong)
    with pytest.raises(DataError, match="ViT-B/16 and need its shape"):
        replace(TINY, weights="imagenet")

    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(type(vit_weights._SOURCE), "get_state_dict", refuse)
    with pytest.raises(NucsegError, match=r"ViT-B/16 could not be loaded from http.*no network.*weights=None"):
        vit_weights.imagenet_vit(4, 14, 0.02)
