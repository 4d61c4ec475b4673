"""The pyramid with its heads: sizes, sharing, starting values, gradients at the blocks, and boxes from their output."""

import math
from dataclasses import replace
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet18

from nucseg.errors import DataError, NucsegError, UnknownNameError
from nucseg.models import (
    DenseBoxes,
    FCOSConfig,
    FCOSHead,
    NucleusFPN,
    OccupancyHead,
    PositionHead,
    SegmentationHead,
    backbones,
    decode_boxes,
    level_locations,
    localization_head,
    suppress,
)

TINY = FCOSConfig(backbone="resnet18", weights=None, channels=32, mask_channels=32, pooled=2, reduced=4, hidden=16)


def seeded(module, *arguments):
    torch.manual_seed(0)
    return module(*arguments)


def pictures(height=64, width=64, batch=2):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def levels(side=32, channels=32, batch=2):
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(batch, channels, side // n, side // n, generator=generator) for n in (1, 2, 4, 8)]


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


class TestPyramid:
    def test_sizes_of_blocks_and_levels(self):
        network = seeded(NucleusFPN, TINY)
        blocks, found = network(pictures(70, 100))  # no multiples of 32
        assert network.block_channels == (64, 128, 256, 512)
        sizes = [(math.ceil(70 / stride), math.ceil(100 / stride)) for stride in (4, 8, 16, 32)]
        assert [tuple(block.shape[1:]) for block in blocks] == [(c, *s) for c, s in zip((64, 128, 256, 512), sizes)]
        assert [tuple(level.shape) for level in found] == [(2, 32, *size) for size in sizes]

    def test_blocks_are_those_of_the_classifier(self):
        network, whole = seeded(NucleusFPN, TINY).eval(), resnet18()
        names = ["conv1", "bn1", "relu", "maxpool"], ["layer1", "layer2", "layer3", "layer4"]
        for name, part in zip([*names[0], *names[1]], [*network.stem, *network.blocks]):
            getattr(whole, name).load_state_dict(part.state_dict())
        whole.eval()
        features = whole.maxpool(whole.relu(whole.bn1(whole.conv1(pictures()))))
        for name, block in zip(names[1], network(pictures()).blocks):
            features = getattr(whole, name)(features)
            torch.testing.assert_close(block, features)
            assert (block >= 0).all() and (block == 0).any()  # behind a ReLU

    @pytest.mark.slow
    @pytest.mark.parametrize("name, first", [("resnet34", 64), ("resnet50", 256)])
    def test_channels_of_the_larger_ones(self, name, first):
        network = NucleusFPN(replace(TINY, backbone=name)).eval()
        with torch.no_grad():
            blocks, found = network(pictures(32, 32, 1))
        assert network.block_channels == tuple(block.shape[1] for block in blocks) == (
            first, 2 * first, 4 * first, 8 * first
        )
        assert [tuple(level.shape) for level in found] == [(1, 32, side, side) for side in (8, 4, 2, 1)]

    def test_every_block_has_a_gradient_of_the_localization(self):
        """Class activation maps take it, while the graph stays for the losses."""
        network = seeded(NucleusFPN, TINY)
        head = seeded(localization_head, network.block_channels, TINY)
        blocks, _ = network(pictures())
        score = head(blocks[-1]).sum()
        gradients = torch.autograd.grad(score, blocks, retain_graph=True)
        assert [g.shape for g in gradients] == [b.shape for b in blocks]
        assert all(g.abs().sum() > 0 for g in gradients)
        score.backward()

    def test_imagenet_weights_are_loaded_or_the_error_is_clear(self, monkeypatch):
        torch.manual_seed(3)
        given = resnet18().state_dict()
        monkeypatch.setattr(backbones, "_imagenet", lambda name: given)
        network = NucleusFPN(replace(TINY, weights="imagenet"))
        torch.testing.assert_close(network.blocks[3][1].conv2.weight, given["layer4.1.conv2.weight"])
        torch.testing.assert_close(network.stem[0].weight, given["conv1.weight"])
        monkeypatch.undo()

        class Unreachable:
            url = "https://weights.example"

            @staticmethod
            def get_state_dict(**_):
                raise URLError("no route")

        monkeypatch.setitem(backbones._WEIGHTS, "resnet18", Unreachable)
        with pytest.raises(NucsegError, match="weights=None trains from scratch"):
            NucleusFPN(replace(TINY, weights="imagenet"))

    def test_bad_images_are_named(self):
        with pytest.raises(DataError, match=r"\(1, 4, 32, 32\)"):
            seeded(NucleusFPN, TINY)(torch.zeros(1, 4, 32, 32))


class TestDetectionHead:
    def test_one_box_for_each_location(self):
        found = seeded(FCOSHead, TINY)(levels())
        assert found.shapes == ((32, 32), (16, 16), (8, 8), (4, 4))
        total = 32**2 + 16**2 + 8**2 + 4**2
        assert found.logits.shape == found.centerness.shape == (2, total) and found.distances.shape == (2, total, 4)
        assert (found.distances > 0).all()

    def test_weights_are_shared_and_places_kept(self):
        """A level on its own gives what the convolutions of the head give at the same place."""
        head, features = seeded(FCOSHead, TINY), levels()
        found = head(features)
        start = 32**2
        logits = head.logit(head.class_tower(features[1]))[:, 0]
        torch.testing.assert_close(found.logits[:, start : start + 256].reshape(2, 16, 16), logits)
        raw = head.distances(head.box_tower(features[1]))
        torch.testing.assert_close(found.distances[1, start + 16 * 3 + 5], 8 * raw[1, :, 3, 5].exp())

    def test_layers_of_the_article(self):
        head = FCOSHead(FCOSConfig())
        tower = 4 * (256 * 256 * 9 + 256 + 2 * 256)  # convolutions with biases, scales and shifts of the normalization
        assert count(head) == 2 * tower + (256 * 9 + 1) * (1 + 4 + 1) + 4
        norms = [part for part in head.modules() if isinstance(part, nn.GroupNorm)]
        assert len(norms) == 8 and {part.num_groups for part in norms} == {32}
        for part in head.modules():
            if isinstance(part, nn.Conv2d):
                assert part.weight.std().item() == pytest.approx(0.01, rel=0.1)

    def test_start(self):
        found = seeded(FCOSHead, TINY)(levels())
        assert torch.sigmoid(found.logits).mean().item() == pytest.approx(0.01, rel=0.3)
        for stride, level in zip((4, 8, 16, 32), found.distances.split([1024, 256, 64, 16], dim=1)):
            assert level.mean().item() == pytest.approx(stride, rel=0.3)

    def test_scales_belong_to_levels(self):
        head, features = seeded(FCOSHead, TINY), levels()
        before = head(features).distances
        with torch.no_grad():
            head.scales[2] = 3.0
        changed = (head(features).distances != before).any(dim=2)[0]
        assert changed[1024 + 256 : 1024 + 256 + 64].all() and changed.sum() == 64

    def test_distances_by_relu(self):
        head = seeded(FCOSHead, replace(TINY, distance="relu"))
        features = levels()
        raw = head.distances(head.box_tower(features[3]))
        found = head(features).distances[:, -16:]
        torch.testing.assert_close(found, 32 * F.relu(raw).flatten(2).transpose(1, 2))

    def test_distances_stay_finite(self):
        head = seeded(FCOSHead, TINY)
        nn.init.constant_(head.distances.bias, 1e4)
        assert torch.isfinite(head(levels()).distances).all()

    def test_a_missing_level_is_named(self):
        with pytest.raises(DataError, match="expected 4 levels, got 3"):
            seeded(FCOSHead, TINY)(levels()[:3])


class TestSegmentationHead:
    def test_levels_share_the_layers(self):
        head, features = seeded(SegmentationHead, TINY), levels()
        logits = head(features, (128, 120))
        assert logits.shape == (2, 4, 128, 120)
        for number, level in enumerate(features):
            alone = head.layers(level)
            wanted = nn.functional.interpolate(alone, size=(128, 120), mode="bilinear", align_corners=False)
            torch.testing.assert_close(logits[:, number], wanted[:, 0])

    def test_layers(self):
        norm = 2 * 128
        expected = 256 * 128 * 9 + 128 + norm + 2 * (128 * 128 * 9 + 128 + norm) + 128 + 1
        assert count(SegmentationHead(FCOSConfig())) == expected
        kinds = [type(part) for part in SegmentationHead(TINY).layers[0]]
        assert kinds == [nn.Conv2d, nn.GroupNorm, nn.ReLU] * 3

    def test_without_a_level(self):
        with pytest.raises(DataError, match="at least one level"):
            seeded(SegmentationHead, TINY)([], (8, 8))


class TestLocalization:
    def test_layers_of_the_grid(self):
        head = OccupancyHead(2048, FCOSConfig())
        dense = (4096 * 512 + 512) + (512 * 512 + 512) + (512 * 256 + 256)
        assert count(head) == 2048 * 64 + 64 + dense
        assert OccupancyHead(512, replace(TINY, grid=4))(torch.randn(3, 512, 8, 8)).shape == (3, 4, 4)

    def test_layers_of_positions(self):
        head = PositionHead(512, FCOSConfig())
        assert count(head) == (512 * 512 + 512) * 2 + 512 + 1
        assert head(torch.randn(3, 512, 8, 6)).shape == (3, 8, 6)

    def test_positions_see_only_themselves(self):
        head = seeded(PositionHead, 8, TINY)
        features = torch.randn(1, 8, 4, 4)
        other = features.clone()
        other[..., 1, 2] += 1
        changed = (head(features) != head(other))[0]
        assert changed[1, 2] and changed.sum() == 1

    def test_the_grid_sees_where(self):
        """Pooled to one value, both would give the same."""
        head = seeded(OccupancyHead, 8, TINY)
        features = torch.rand(1, 8, 4, 4)
        assert not torch.allclose(head(features), head(features.flip(-1)))

    def test_the_config_names_one(self):
        assert isinstance(localization_head((2, 8), TINY), OccupancyHead)
        fine = localization_head((2, 8), replace(TINY, localization="positions", localized="P3"))
        assert isinstance(fine, PositionHead) and fine.layers[0].in_channels == TINY.channels
        coarse = localization_head((2, 8), replace(TINY, localization="positions"))
        assert isinstance(coarse, PositionHead) and coarse.layers[0].in_channels == 8


def test_outputs_are_float32_under_autocast():
    network, images = seeded(NucleusFPN, TINY), pictures()
    heads = seeded(FCOSHead, TINY), seeded(SegmentationHead, TINY), seeded(localization_head, (64, 512), TINY)
    with torch.autocast("cpu", torch.bfloat16):
        blocks, found = network(images)
        boxes, logits, counts = heads[0](found), heads[1](found, (64, 64)), heads[2](blocks[-1])
    assert blocks[-1].dtype == torch.bfloat16
    assert {part.dtype for part in (*boxes[:3], logits, counts)} == {torch.float32}


class TestConfig:
    @pytest.mark.parametrize("change, error, message", [
        ({"backbone": "vgg16"}, UnknownNameError, "unknown encoder 'vgg16'"),
        ({"weights": "coco"}, UnknownNameError, "'imagenet' or None"),
        ({"distance": "square"}, UnknownNameError, "unknown distance 'square'"),
        ({"localization": "count"}, UnknownNameError, "unknown localization 'count'"),
        ({"channels": 100}, DataError, "channels: expected a multiple of 32, got 100"),
        ({"mask_channels": 0}, DataError, "mask_channels"),
        ({"tower": 0}, DataError, "tower: expected 1 or more"),
        ({"prior": 1.0}, DataError, "prior"),
    ])
    def test_bad_settings_are_named(self, change, error, message):
        with pytest.raises(error, match=message):
            NucleusFPN(replace(TINY, **change))


def dense(boxes, scores, shapes=((1, 4),), strides=(8,)):
    """What a network says that gives these boxes at its locations, with these likelihoods of class and centerness."""
    locations, _ = level_locations(shapes, strides)
    boxes, scores = torch.tensor(boxes), torch.tensor(scores)
    distances = torch.cat([locations - boxes[:, :2], boxes[:, 2:] - locations], dim=1)
    return DenseBoxes(torch.logit(scores[:, 0])[None], distances[None], torch.logit(scores[:, 1])[None], shapes)


#: Four boxes: the second covers the first by 0.6, the third lies apart, the fourth has a low score.
BOXES = [[-0.5, -0.5, 9.5, 9.5], [-0.5, -0.5, 9.5, 5.5], [20.0, 20.0, 30.0, 31.0], [40.0, 0.0, 50.0, 9.0]]
SCORES = [[0.81, 0.81], [0.9, 0.4], [0.5, 0.5], [0.1, 0.2]]


class TestDecoding:
    def test_scores_threshold_and_suppression(self):
        (found,) = decode_boxes(dense(BOXES, SCORES), strides=(8,))
        torch.testing.assert_close(found.boxes, torch.tensor([BOXES[0], BOXES[2]]))
        torch.testing.assert_close(found.scores, torch.tensor([0.81, 0.5]))
        (loose,) = decode_boxes(dense(BOXES, SCORES), iou=0.7, strides=(8,))
        torch.testing.assert_close(loose.scores, torch.tensor([0.81, 0.6, 0.5]))
        (low,) = decode_boxes(dense(BOXES, SCORES), threshold=0.1, strides=(8,))
        assert low.scores.tolist() == pytest.approx([0.81, 0.5, math.sqrt(0.02)])

    def test_only_the_best_stay(self):
        (found,) = decode_boxes(dense(BOXES, SCORES), most=1, strides=(8,))
        torch.testing.assert_close(found.boxes, torch.tensor(BOXES[:1]))

    def test_images_do_not_suppress_one_another(self):
        one, other = dense(BOXES, SCORES), dense(BOXES, [[0.01, 0.01]] * 4)
        both = DenseBoxes(*(torch.cat([a, b]) for a, b in zip(one[:3], other[:3])), one.shapes)
        first, second = decode_boxes(both, strides=(8,))
        assert len(first.boxes) == 2 and second.boxes.shape == (0, 4) and second.scores.shape == (0,)

    def test_suppression_by_hand(self):
        generator = torch.Generator().manual_seed(4)
        corners = torch.rand(60, 2, generator=generator) * 30
        boxes = torch.cat([corners, corners + 5 + 10 * torch.rand(60, 2, generator=generator)], dim=1)
        scores = torch.rand(60, generator=generator)
        kept = []
        for number in scores.argsort(descending=True).tolist():
            if all(overlap(boxes[number], boxes[other]) <= 0.3 for other in kept):
                kept.append(number)
        found = suppress(boxes, scores, iou=0.3)
        torch.testing.assert_close(found.boxes, boxes[kept])
        torch.testing.assert_close(suppress(boxes, scores, 0.3, most=3).scores, scores[kept[:3]])

    def test_no_boxes(self):
        found = suppress(torch.zeros(0, 4), torch.zeros(0))
        assert found.boxes.shape == (0, 4) and found.scores.shape == (0,)

    def test_bad_input_is_named(self):
        found = dense(BOXES, SCORES)
        with pytest.raises(DataError, match="threshold of 0 to 1, got 2"):
            decode_boxes(found, threshold=2, strides=(8,))
        with pytest.raises(DataError, match="expected 4 levels"):
            decode_boxes(found, strides=(4, 8, 16, 32))
        with pytest.raises(DataError, match=r"dense boxes: .* \(1, 3\)"):
            decode_boxes(found._replace(logits=found.logits[:, :3]), strides=(8,))
        with pytest.raises(DataError, match=r"expected boxes \(N, 4\)"):
            suppress(torch.zeros(2, 3), torch.zeros(2))
        for iou, most in ((-0.1, None), (0.5, 0)):
            with pytest.raises(DataError, match="overlap of 0 to 1"):
                suppress(torch.zeros(2, 4), torch.zeros(2), iou, most)


def overlap(first, second):
    """Intersection over union of two boxes."""
    shared = (torch.minimum(first[2:], second[2:]) - torch.maximum(first[:2], second[:2])).clamp(min=0).prod()
    return shared / ((first[2:] - first[:2]).prod() + (second[2:] - second[:2]).prod() - shared)
