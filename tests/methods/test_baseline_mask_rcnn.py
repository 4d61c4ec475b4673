"""Mask R-CNN as a method: targets and pasted masks with known answers, tiles that own nuclei, bounds that hold."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from method_checks import (
    changed,
    check_config,
    check_damaged,
    check_independence,
    check_interrupted,
    check_not_fitted,
    check_predictions,
    check_saved,
    check_sizes_and_kinds,
    cpu,
    disk_sample,
    disks,
    stamps,
)
from scipy import ndimage
from torch import nn
from torchvision.ops import FrozenBatchNorm2d, roi_align

from nucseg.data import Dataset, Sample
from nucseg.engine import fabric
from nucseg.errors import DataError, NucsegError, UnknownNameError
from nucseg.methods import Preprocessing, saved
from nucseg.methods.baselines import MaskRCNN, MaskRCNNConfig
from nucseg.metrics import f1_at_iou
from nucseg.models import backbones
from nucseg.models.mask_rcnn import NucleusRCNN, fpn_backbone, instance_targets, paste_masks

TINY = MaskRCNNConfig(
    backbone="resnet18", weights=None, patch=64, epochs=1, batch=2, proposals=(50, 10), sampled=(32, 8)
)
IMAGES = [disk_sample(name).image for name in "xyz"]
AS_IT_IS = Preprocessing(None, (0.0,) * 3, (1.0,) * 3)


def fit(config, folder, train=None, val=None, runner=None):
    train, val = train or disks("a", "b"), val or disks("v")
    return MaskRCNN(config).fit(train, val, run_dir=folder, fabric=runner or cpu(), progress=False)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return fit(TINY, tmp_path_factory.mktemp("run"))


def network(**settings):
    torch.manual_seed(0)
    return NucleusRCNN(fpn_backbone("resnet18", None, frozen=False), 64, **settings)


class Finder(nn.Module):
    """Detects dark spots perfectly; their scores are one less their brightness."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.roi_heads = SimpleNamespace()

    def forward(self, images):
        return [self.found(image[0].numpy()) for image in images]

    def found(self, image):
        labels, count = ndimage.label(image < 0.7)
        boxes = [(c.start, r.start, c.stop, r.stop) for r, c in ndimage.find_objects(labels)]
        values = ndimage.median(image, labels, range(1, count + 1)) if count else []
        scores = torch.tensor(1 - np.array(values, np.float32).reshape(-1))
        kept = scores > self.roi_heads.score_thresh
        return {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)[kept], "scores": scores[kept],
                "masks": torch.ones(count, 1, 28, 28)[kept]}


@pytest.fixture
def finder(monkeypatch):
    method = MaskRCNN(TINY)
    method.preprocessing, method.networks = AS_IT_IS, {"mask-rcnn": Finder()}
    monkeypatch.setattr(method, "prepared", lambda image: image)
    return method


def canvas(size, *squares):
    """Return a bright image with dark squares, and its label map; a square is (row, column, side, brightness)."""
    image, labels = np.full((*size, 3), 250, np.uint8), np.zeros(size, np.int32)
    for number, (row, column, side, value) in enumerate(squares, start=1):
        image[row : row + side, column : column + side] = value
        labels[row : row + side, column : column + side] = number
    return image, labels


def test_it_keeps_the_promises_of_a_method(fitted, tmp_path):
    check_predictions(fitted, IMAGES[0])
    check_independence(fitted, IMAGES[:2])
    check_sizes_and_kinds(fitted, IMAGES[0])
    check_saved(fitted, tmp_path / "saved", IMAGES[:1])
    assert type(saved.load_method(tmp_path / "saved")) is MaskRCNN
    check_not_fitted(MaskRCNN(TINY), tmp_path)
    check_config(TINY)


@pytest.mark.slow
def test_damaged_folders_are_refused(fitted, tmp_path):
    check_damaged(fitted, tmp_path)


def test_targets_by_hand():
    labels = torch.tensor([
        [0, 0, 4, 4, 0],
        [9, 0, 0, 4, 0],
        [9, 0, 0, 0, 0],
        [0, 0, 0, 0, 2],
    ], dtype=torch.int32)
    targets = instance_targets(labels)
    assert targets["boxes"].tolist() == [[4, 3, 5, 4], [2, 0, 4, 2], [0, 1, 1, 3]]  # of 2, 4 and 9
    assert targets["labels"].tolist() == [1, 1, 1]
    for mask, number in zip(targets["masks"], (2, 4, 9)):
        np.testing.assert_array_equal(mask, labels == number)
    assert {name: part.dtype for name, part in targets.items()} == {
        "boxes": torch.float32, "labels": torch.int64, "masks": torch.uint8
    }


def test_targets_of_nothing():
    targets = instance_targets(torch.zeros(6, 7, dtype=torch.int32))
    assert {name: tuple(part.shape) for name, part in targets.items()} == {
        "boxes": (0, 4), "labels": (0,), "masks": (0, 6, 7)
    }
    with pytest.raises(DataError, match="expected a label map"):
        instance_targets(torch.zeros(1, 6, 7))


def test_boxes_of_cut_instances_are_never_empty():
    labels = torch.from_numpy(disk_sample("a", count=12).labels)
    for row, column in np.random.default_rng(0).integers(0, 48, (30, 2)):
        crop = labels[row : row + 16, column : column + 16]
        targets = instance_targets(crop)
        extent = targets["boxes"][:, 2:] - targets["boxes"][:, :2]
        assert (extent >= 1).all() and len(extent) == len(np.unique(crop[crop > 0]))
        assert (targets["masks"].sum(dim=(1, 2)) <= extent.prod(dim=1)).all()


@pytest.mark.parametrize("enlarge", [1, 2, 3])
def test_pasting_undoes_the_cutting_of_training(enlarge):
    """torchvision cuts mask targets by roi_align from the enlarged image; perfect ones must land where they were."""
    rng, (rows, columns) = np.random.default_rng(0), np.mgrid[:64, :64]
    transform = network(enlarge=enlarge).transform
    for radius, wider in ((4, 0.0), (4, 0.9), (7, 0.4), (12, 0.0), (25, 0.0)):
        center = rng.uniform(radius + 3, 60 - radius, 2)
        mask = torch.from_numpy(np.hypot(rows - center[0], columns - center[1]) <= radius)
        given = instance_targets(mask.int())
        given["boxes"] += torch.tensor([-1, -1, 1, 1]) * torch.tensor(rng.uniform(0, wider, 4), dtype=torch.float32)
        _, (target,) = transform([torch.zeros(3, 64, 64)], [given])
        frame = torch.cat([torch.zeros(1, 1), target["boxes"]], dim=1)
        cut = roi_align(target["masks"][:, None].float(), frame, (28, 28))[:, 0]
        transform.eval()
        (found,) = transform.postprocess([{"boxes": target["boxes"]}], [(64 * enlarge,) * 2], [(64, 64)])
        transform.train()
        torch.testing.assert_close(found["boxes"], given["boxes"])
        pasted = paste_masks(cut, found["boxes"], 64)[0] > 0.5
        assert (pasted & mask).sum() / (pasted | mask).sum() > 0.94
        shift = np.subtract(*(ndimage.center_of_mass(part.numpy()) for part in (pasted, mask)))
        assert np.abs(shift).max() < 0.15


def test_pasted_masks_stay_in_their_boxes():
    boxes = torch.tensor([[3.0, 5.0, 9.0, 17.0], [-4.0, 2.0, 5.0, 8.0], [7.0, 7.0, 7.0, 7.0]])
    pasted = paste_masks(torch.ones(3, 28, 28), boxes, 20)
    expected = torch.zeros(3, 20, 20, dtype=torch.bool)
    expected[0, 5:17, 3:9] = expected[1, 2:8, :5] = True
    assert torch.equal(pasted > 0.5, expected)
    assert paste_masks(torch.ones(0, 28, 28), torch.zeros(0, 4), 20).shape == (0, 20, 20)


def test_the_backbone_is_that_of_other_methods():
    torch.manual_seed(3)
    reference = backbones.dilated_resnet("resnet18", None)
    torch.manual_seed(3)
    frozen, learned = fpn_backbone("resnet18", None), fpn_backbone("resnet18", None, frozen=False)
    for part, given in zip(frozen.body.values(), reference):
        assert all(torch.equal(value, given.state_dict()[name]) for name, value in part.state_dict().items())
    assert not any(isinstance(part, nn.BatchNorm2d) for part in frozen.modules())
    assert not any(isinstance(part, FrozenBatchNorm2d) for part in learned.modules())
    assert all(parameter.requires_grad for parameter in learned.parameters())
    kept = {name.split(".")[1] for name, parameter in frozen.named_parameters() if not parameter.requires_grad}
    assert kept == {"conv1", "layer1"}


def test_images_are_enlarged_and_not_normalized_again():
    images = [torch.randn(3, 64, 64) for _ in range(2)]
    held, targets = network().transform(images, [instance_targets(torch.eye(64).int())] * 2)
    expected = nn.functional.interpolate(torch.stack(images), scale_factor=2, mode="bilinear")
    torch.testing.assert_close(held.tensors, expected)
    assert targets[0]["boxes"].tolist() == [[-0.5, -0.5, 127.5, 127.5]] and targets[0]["masks"].shape == (1, 128, 128)


def test_crops_without_nuclei_can_be_learned():
    method, net = MaskRCNN(TINY), network(proposals=(50, 10), sampled=(32, 8)).train()
    method.preprocessing = AS_IT_IS
    filled = torch.from_numpy(disk_sample("a").labels)
    for labels in ([filled, torch.zeros_like(filled)], [torch.zeros_like(filled)] * 2):
        loss = method.loss(net, {"image": torch.rand(2, 3, 64, 64), "labels": torch.stack(labels)})
        loss.backward()
        assert loss.isfinite() and all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


def test_the_loss_is_the_sum_of_five():
    method, seen = MaskRCNN(TINY), []
    method.preprocessing = Preprocessing(None, (0.5,) * 3, (0.25,) * 3)

    def net(images, labels):
        seen.extend([images, labels])
        return {name: torch.tensor(float(value)) for name, value in zip("abcde", (1, 2, 4, 8, 16))}

    batch = {"image": torch.rand(2, 3, 8, 8), "labels": torch.ones(2, 8, 8, dtype=torch.int32)}
    assert method.loss(net, batch).item() == 31
    torch.testing.assert_close(seen[0], (batch["image"] - 0.5) / 0.25)
    assert seen[1] is batch["labels"]


def test_bfloat16_reaches_neither_boxes_nor_losses():
    runner, net = fabric(device="cpu", precision="bf16-mixed"), network(proposals=(50, 10), sampled=(32, 8))
    labels = torch.from_numpy(np.stack([disk_sample(name).labels for name in "ab"]))
    losses = runner.setup(net.train())(torch.rand(2, 3, 64, 64), labels)
    assert len(losses) == 5 and {part.dtype for part in losses.values()} == {torch.float32}
    assert {anchors.dtype for anchors in net.rpn.anchor_generator.cell_anchors} == {torch.float32}
    runner.backward(sum(losses.values()))
    assert all(p.grad.isfinite().all() for p in net.parameters())
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        (found,) = net.eval()(torch.rand(1, 3, 64, 64))
    assert found["boxes"].dtype == found["scores"].dtype == found["masks"].dtype == torch.float32


def test_detections_are_bounded_by_the_config():
    method = MaskRCNN(replace(TINY, score=0.0, nms=1.0, min_size=0, detections=120))
    method.preprocessing, counts = AS_IT_IS, []
    net = network(proposals=(300, 150)).eval()
    net.register_forward_hook(lambda *given: counts.extend(len(found["scores"]) for found in given[-1]))
    method._detected(net, IMAGES[0])
    assert counts == [120], "the library's own bound is 100"
    method.config = replace(method.config, detections=5)
    assert len(method._detected(net, IMAGES[0])[0]) <= 5 and counts[1:] == [5]
    method.config = replace(method.config, score=0.99)
    assert len(method._detected(net, IMAGES[0])[0]) == 0 and counts[2:] == [0]


def test_every_nucleus_is_found_once_in_a_tiled_image(finder):
    rng = np.random.default_rng(0)
    squares = [(int(row + rng.integers(0, 8)), int(column + rng.integers(0, 8)), 14, 40)
               for row in range(1, 180, 24) for column in range(1, 130, 24)]
    image, labels = canvas((210, 160), *squares)
    masks, found = finder.predict_masks(image), finder.predict(image)
    assert len(masks) == len(squares) == found.max()
    assert f1_at_iou(labels, found, [0.8])[0] == 1
    np.testing.assert_array_equal(finder.predict_maps(image)["nucleus"] > 0.5, masks.union())
    values = masks.values.data
    np.testing.assert_allclose(values, 1 - 40 / 255, rtol=1e-5)


def test_what_lies_beyond_a_small_image_is_no_nucleus(finder):
    image, _ = canvas((30, 20), (10, 12, 8, 40))  # reaches the right border, which is repeated up to the tile's end
    masks = finder.predict_masks(image)
    assert masks.size == (30, 20) and len(masks) == 1
    rows, columns = np.nonzero(masks.union())
    assert rows.min() >= 10 and rows.max() <= 18 and columns.min() >= 12 and columns.max() == 19


def test_small_and_unlikely_detections_are_dropped(finder):
    image, _ = canvas((64, 64), (5, 5, 2, 40), (5, 30, 12, 40), (40, 30, 12, 150))
    assert len(finder.predict_masks(image)) == 1, "four pixels, and a score of 0.41"
    finder.config = replace(TINY, min_size=2)
    assert len(finder.predict_masks(image)) == 2
    finder.config = replace(TINY, score=0.4)
    assert len(finder.predict_masks(image)) == 2


def test_overlapping_pixels_go_to_the_higher_score(finder):
    boxes = torch.tensor([[8.0, 8.0, 28.0, 28.0], [18.0, 8.0, 48.0, 28.0], [20.0, 10.0, 26.0, 26.0]])
    masks = torch.tensor([0.6, 0.9, 1.0])[:, None, None, None].expand(3, 1, 28, 28)
    answer = [{"boxes": boxes, "scores": torch.tensor([0.9, 0.8, 0.7]), "masks": masks}]
    finder.networks["mask-rcnn"].forward = lambda images: answer
    image = np.zeros((64, 64, 3), np.uint8)
    masks, labels = finder.predict_masks(image), finder.predict(image)
    assert len(masks) == 3 and np.unique(masks.values.data).tolist() == pytest.approx([0.7, 0.8, 0.9])
    assert labels[18, 12] == labels[18, 23] == 1 and labels[18, 40] == labels.max() == 2, "the third one is hidden"
    prob = finder.predict_maps(image)["nucleus"]
    assert prob[18, 12] == pytest.approx(0.6) and prob[18, 40] == pytest.approx(0.9)
    assert prob[18, 23] == pytest.approx(1.0) and prob[40, 40] == 0


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_same_weights(tmp_path, monkeypatch):
    config = replace(TINY, epochs=2, validate_every=1)
    check_interrupted(MaskRCNN, lambda folder: fit(config, folder), tmp_path, monkeypatch)


def test_settings_of_prediction_need_no_new_training(tmp_path):
    fit(TINY, tmp_path)
    before = stamps(tmp_path, "mask-rcnn-*")
    fit(replace(TINY, score=0.6, nms=0.4, detections=50, level=0.4, min_size=9, margin=8), tmp_path)
    assert stamps(tmp_path, "mask-rcnn-*") == before and len(before) == 1


def test_loading_needs_no_download(monkeypatch):
    def offline(name):
        raise NucsegError(f"the ImageNet weights of {name} could not be loaded")

    monkeypatch.setattr(backbones, "_imagenet", offline)
    method = MaskRCNN(replace(TINY, weights="imagenet"))
    built = method.build_networks(["mask-rcnn"])["mask-rcnn"]
    assert any(isinstance(part, FrozenBatchNorm2d) for part in built.modules())
    with pytest.raises(NucsegError, match="resnet18 could not be loaded"):
        method.untrained()


def test_bad_calls(tmp_path):
    bare = changed(disks("a"), lambda sample: replace(sample, labels=None))
    for train, val in ((bare, disks("v")), (disks("v"), bare)):
        with pytest.raises(DataError, match=r"^a: Mask R-CNN needs a label map"):
            fit(TINY, tmp_path, train, val)
    with pytest.raises(DataError, match=r"^a: 64x64 pixels are less than a crop of 128"):
        fit(replace(TINY, patch=128), tmp_path)
    with pytest.raises(UnknownNameError, match="unknown encoder 'vgg'"):
        fit(replace(TINY, backbone="vgg"), tmp_path)
    with pytest.raises(UnknownNameError, match="expected 'imagenet' or None, got 'coco'"):
        fit(replace(TINY, weights="coco"), tmp_path)
    wrong = {"trainable": 6, "enlarge": 0, "detections": 0, "proposals": (5,), "sampled": (0, 5), "score": 1.0,
             "nms": 0.0, "level": 1.0, "epochs": 0, "margin": 32}
    for name, value in wrong.items():
        with pytest.raises(DataError, match=rf"MaskRCNNConfig: .*{name} = .*out of range"):
            replace(TINY, **{name: value})


def test_the_defaults_are_the_recorded_settings():
    config = MaskRCNNConfig()
    assert (config.patch, config.enlarge, config.batch, config.learning_rate) == (128, 2, 16, 5e-3)
    assert (config.detections, config.score, config.nms, config.level) == (200, 0.5, 0.3, 0.5)
    assert config.proposals == (1000, 500) and config.backbone == "resnet50"


@pytest.mark.slow
def test_it_learns_easy_disks(tmp_path):
    """From nothing, on one image seen over and over: the loss falls, and each disk is found with its outline."""
    rows, columns = np.mgrid[:32, :32]

    def sample(name):
        labels = np.zeros((32, 32), np.int32)
        for number, (row, column) in enumerate([(8, 9), (22, 20)], start=1):
            labels[np.hypot(rows - row, columns - column) <= 6] = number
        noise = np.random.default_rng(ord(name)).normal(0, 8, (32, 32, 3))
        return Sample(name, (np.where(labels[..., None] > 0, 60, 210) + noise).clip(0, 255).astype(np.uint8), labels)

    data = Dataset("easy", ("a", "b"), sample)
    config = replace(TINY, patch=32, margin=4, epochs=50, validate_every=50, sampled=(32, 16), proposals=(100, 30),
                     learning_rate=0.02)
    method = fit(config, tmp_path, data, data)
    losses = [line["loss"] for line in method.histories["mask-rcnn"].epochs]
    assert np.mean(losses[-5:]) < losses[0] / 2
    assert method.histories["mask-rcnn"].best_score > 0.8
    fresh = sample("c")
    assert f1_at_iou(fresh.labels, method.predict(fresh.image), [0.5])[0] == 1
