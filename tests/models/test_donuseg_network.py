"""The network of DoNuSeg: what it returns when asked, and the projector against its layers one by one."""

import pytest
import torch
from torch.nn import functional as F

from nucseg.errors import UnknownNameError
from nucseg.models import FCOSConfig
from nucseg.models.donuseg import DoNuSegNet, Projector

TINY = FCOSConfig(backbone="resnet18", weights=None, channels=32, mask_channels=32, tower=1, hidden=16, reduced=4,
                  pooled=2, grid=4)
BLOCKS = [torch.randn(2, width, size, size) for width, size in ((4, 16), (6, 8), (8, 4), (10, 2))]


def built(config=TINY, contrast=None):
    torch.manual_seed(0)
    return DoNuSegNet(config, contrast).eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_the_projector_adds_all_blocks_at_the_finest_or_takes_the_last():
    every, last = Projector((4, 6, 8, 10), channels=5), Projector((4, 6, 8, 10), channels=5, features="last")
    assert every(BLOCKS).shape == (2, 5, 16, 16) and last(BLOCKS).shape == (2, 5, 2, 2)
    narrowed = [entry(block) for entry, block in zip(every.entries, BLOCKS)]
    added = sum(F.interpolate(block, size=(16, 16), mode="bilinear") for block in narrowed)
    torch.testing.assert_close(every(BLOCKS), every.layers(added))
    torch.testing.assert_close(last(BLOCKS), last.layers(last.entries[0](BLOCKS[3])))
    sizes = [layer.kernel_size[0] for layer in every.layers if isinstance(layer, torch.nn.Conv2d)]
    assert sizes == [3, 3, 3, 3, 1, 1, 1] and isinstance(every.layers[-1], torch.nn.Conv2d)
    with pytest.raises(UnknownNameError, match="'first'; known: sum, last"):
        Projector((4, 6, 8, 10), features="first")


def test_what_is_not_asked_for_is_not_computed(images):
    network = built(contrast=(8, "sum"))
    plain, learning = network(images), network(images, learn=True)
    assert plain.dots is plain.cams is plain.features is plain.level_masks is None
    assert learning.cams is None and learning.dots.shape == (2, 4, 4) and learning.features.shape == (2, 8, 16, 16)
    torch.testing.assert_close(plain.mask, learning.mask)
    torch.testing.assert_close(learning.mask, learning.level_masks.mean(dim=1))
    assert built()(images, learn=True).features is None


def test_the_mask_of_fewer_levels(images):
    every, finest = built(), built(FCOSConfig(**{**vars(TINY), "mask_levels": 1}))
    wanted = every(images, learn=True).level_masks[:, 0]
    torch.testing.assert_close(finest(images).mask, wanted)


def test_maps_of_one_block_are_those_among_all(images):
    network, scored = built(), torch.ones(2, 4, 4)
    every = network(images, learn=True, scored=scored).cams
    assert every.shape == (2, 4, 64, 64) and not every.requires_grad
    assert every.min() >= 0 and every.max() <= 1
    for block in (0, 3):
        alone = network(images, learn=True, scored=scored, blocks=(block,)).cams
        torch.testing.assert_close(alone[:, 0], every[:, block])
