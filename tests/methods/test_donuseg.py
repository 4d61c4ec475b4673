"""DoNuSeg keeps the promises of a method; its windows, stitching and log do what they say."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from method_checks import (
    changed,
    check_config,
    check_damaged,
    check_independence,
    check_not_fitted,
    check_predictions,
    check_saved,
    check_sizes_and_kinds,
    cpu,
    disk_sample,
    disks,
    same_weights,
)

from nucseg.engine import fabric
from nucseg.errors import DataError, UnknownNameError
from nucseg.methods import DoNuSeg, DoNuSegConfig, Preprocessing
from nucseg.methods.donuseg import ContrastConfig, SelectionConfig
from nucseg.methods.donuseg.log import SelectionLog
from nucseg.methods.donuseg.prediction import instances, stitch
from nucseg.methods.donuseg.pseudo_boxes import PseudoBoxes, box_sides
from nucseg.methods.donuseg.training import contrast, donuseg_loss, dot_targets, mask_loss, scored
from nucseg.methods.donuseg.windows import BEYOND, UNKNOWN, PatchBatches, cut_windows
from nucseg.methods.stages import Images
from nucseg.models import DenseBoxes, FCOSConfig, level_locations
from nucseg.models.donuseg import DoNuSegOutput
from nucseg.supervision import annotate_dots, disk_labels, pseudo_boxes
from nucseg.supervision.dynamic_cam import Selection

NETWORK = FCOSConfig(backbone="resnet18", weights=None, channels=32, mask_channels=32, tower=1, hidden=32, reduced=8,
                     pooled=2, grid=4)
TINY = DoNuSegConfig(network=NETWORK, contrast=ContrastConfig(channels=8), r=2.0, d=8.0, patch=40, window=48, stride=16,
                     box_sides=(4.0, 20.0), epochs=2, batch=2, warm_up=1, thresholds=(0.0, 0.3), min_size=5)
IMAGES = [disk_sample(name).image for name in "xyz"]


@pytest.fixture(scope="module", autouse=True)
def float32():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nucseg.methods.tiling.choose_precision", lambda *_: "32-true")
        yield


def fit(config, folder, train=None, **options):
    train = annotate_dots(disks("a", "b")) if train is None else train
    options = {"fabric": cpu(), "progress": False, **options}
    return DoNuSeg(config).fit(train, disks("v"), run_dir=folder, **options)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return fit(TINY, tmp_path_factory.mktemp("run"), watched=disks("a", "b"))


def test_it_keeps_the_promises_of_a_method(fitted, tmp_path):
    check_predictions(fitted, IMAGES[0])
    check_independence(fitted, IMAGES)
    check_sizes_and_kinds(fitted, IMAGES[0])
    check_saved(fitted, tmp_path / "saved", IMAGES)
    check_damaged(fitted, tmp_path / "damaged")
    check_not_fitted(DoNuSeg(TINY), tmp_path)
    check_config(TINY)


def test_defaults_are_those_of_the_article():
    config = DoNuSegConfig()
    assert (config.patch, config.stride, config.r, config.d, config.batch, config.epochs) == (256, 128, 4, 20, 8, 40)
    assert (config.learning_rate, config.momentum, config.weight_decay) == (0.01, 0.9, 5e-4)
    assert (config.dcs_weight, config.ccl_weight, config.selection.theta) == (0.5, 2.0, 0.8)
    assert config.contrast.temperature == 1 and config.network.backbone == "resnet50"


def test_the_log_holds_every_epoch_and_compares_with_the_truth(fitted):
    assert [line["epoch"] for line in fitted.log] == [1, 2]
    for line in fitted.log:
        assert sum(line[f"block_{n}"] for n in (1, 2, 3, 4)) + line["none"] == pytest.approx(1)
        assert all(0 <= line[name] <= 1 for name in ("alpha", "ignored", "disk_recall", "recall"))
        assert line["dynamic"] >= 0 and line["contrast"] > 0


def test_watching_the_truth_changes_nothing(fitted, tmp_path):
    blind = fit(TINY, tmp_path)
    assert same_weights(blind.networks["donuseg"], fitted.networks["donuseg"])
    assert all("recall" not in line and "precision" not in line for line in blind.log)


def test_an_interrupted_training_ends_the_same_and_with_the_same_log(fitted, tmp_path, monkeypatch):
    original, calls = DoNuSeg._scores, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(DoNuSeg, "_scores", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(TINY, tmp_path, watched=disks("a", "b"))
    again = fit(TINY, tmp_path, watched=disks("a", "b"))
    assert len(calls) == 4, "one epoch, one broken off, that one again, and the choice of the threshold"
    assert same_weights(again.networks["donuseg"], fitted.networks["donuseg"]) and again.log == fitted.log


def test_without_dynamic_label_and_contrast_there_are_no_maps(tmp_path):
    plain = fit(replace(TINY, dcs_weight=0.0, ccl_weight=0.0, epochs=1), tmp_path)
    assert plain.networks["donuseg"].projector is None
    assert plain.log[0].keys() == {"epoch", "detection", "segmentation", "localization", "dynamic", "contrast"}
    assert plain.log[0]["dynamic"] == plain.log[0]["contrast"] == 0


@pytest.mark.parametrize("changes", [
    {"selection": SelectionConfig(blocks=(3,), kind="layer-cam", score="all", balanced=True, least_recall=0.1)},
    {"network": replace(NETWORK, localization="positions"), "schedule": "steps"},
    {"network": replace(NETWORK, localization="positions", localized="P3"), "loc_weight": 10.0,
     "selection": SelectionConfig(quantile=0.99, balanced=True)},
    {"network": replace(NETWORK, pooled=1, grid=1), "most_dots": None},
    {"contrast": ContrastConfig(channels=8, features="last", interpolate=False, detach_anchors=False)},
    {"selection": SelectionConfig(first_epoch=2, constant_statistics=False)},
    {"selection": SelectionConfig(scope="batch"), "contrast": ContrastConfig(channels=8, scope="batch", mean=True)},
    {"refine_above": 0.0, "deep_supervision": True, "network": replace(NETWORK, mask_levels=2)},
])
def test_choices_train(changes, tmp_path):
    method = fit(replace(TINY, **changes), tmp_path, fabric=fabric(device="cpu", precision="bf16-mixed"))
    check_predictions(method, IMAGES[0])
    blocks = method.config.selection.blocks
    if method.config.selection.first_epoch == 2:
        assert "block_1" not in method.log[0] and "block_1" in method.log[1]
    elif len(blocks) == 1:
        assert method.log[0]["block_4"] + method.log[0]["none"] == 1


def test_the_explanation_belongs_together(fitted):
    points = np.array([(10.0, 10.0), (20.0, 25.0)])
    found = fitted.explain(IMAGES[0][:40, :40], points)
    assert found.cams.shape == found.candidates.shape == (4, 40, 40) and found.cams.min() >= 0 and found.cams.max() <= 1
    np.testing.assert_array_equal(found.initial, disk_labels(points, (40, 40), TINY.r, TINY.d))
    for cam, candidate, alpha in zip(found.cams, found.candidates, found.alphas):
        by_hand = np.where(cam > 0.8, 1, np.where(cam <= np.float32(1 - 0.8), 0, -1))
        np.testing.assert_array_equal(candidate, by_hand)
        assert alpha == pytest.approx((by_hand == found.initial)[found.initial >= 0].mean())
    np.testing.assert_array_equal(found.label, found.candidates[found.block])
    eligible = found.alphas[found.cams.max(axis=(1, 2)) > 0]
    assert found.alphas[found.block] == eligible.max()


def held(names="ab"):
    train = annotate_dots(disks(*names))
    return Images.read(train, Preprocessing.learn(train, None))


def test_windows_cover_images_and_carry_boxes():
    images = held("a")
    truth = {"a": disk_sample("a").labels > 0}
    windows = cut_windows(images, truth, TINY, "cpu")
    assert windows.names == ["a@0,0", "a@0,16", "a@16,0", "a@16,16"]
    points, seen = images.samples[0].points, np.zeros((64, 64), int)
    boxes = pseudo_boxes(points, (10**4, 10**4), 1.0, 4.0, 20.0)  # far from all but two borders
    wanted = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    parts = (windows.images, windows.maps, windows.names, windows.dots, windows.numbers)
    np.testing.assert_allclose(windows.sides.numpy(), wanted, rtol=1e-4)
    for window, maps, name, dots, numbers in zip(*parts):
        row, column = map(int, name.split("@")[1].split(","))
        part = slice(row, row + 48), slice(column, column + 48)
        np.testing.assert_array_equal(window.permute(1, 2, 0).numpy(), images.pixels[0][part])
        np.testing.assert_array_equal(maps[0], disk_labels(points, (64, 64), TINY.r, TINY.d)[part])
        np.testing.assert_array_equal(maps[1], truth["a"][part])
        assert len(dots) == len(points), "all dots of this small image lie near every window"
        np.testing.assert_allclose(dots.numpy() + np.array([row, column]), points, atol=1e-4)
        assert numbers.tolist() == list(range(len(points)))
        seen[part] += 1
    assert seen.min() >= 1
    assert (cut_windows(images, {}, TINY, "cpu").maps[:, 1] == UNKNOWN).all()
    with pytest.raises(DataError, match="a: 64x64 pixels are less than a window of 80"):
        cut_windows(images, {}, replace(TINY, window=80), "cpu")


def test_batches_move_dots_boxes_and_labels_together():
    config = replace(TINY, d=60.0)
    windows = cut_windows(held("ab"), {}, config, "cpu")
    source = PatchBatches(windows, PseudoBoxes(windows.sides), config)
    batches = list(source(3, torch.Generator().manual_seed(0)))
    assert len(batches) == len(source) == 4 and all(batch["epoch"] == 3 for batch in batches)
    assert sorted(name for batch in batches for name in batch["names"]) == sorted(source.windows.names)
    for batch in batches:
        assert batch["image"].shape == (2, 3, 40, 40) and 0 <= batch["image"].min() <= batch["image"].max() <= 1
        for image, maps, dots, boxes in zip(batch["image"], batch["maps"], batch["points"], batch["boxes"]):
            beyond = maps[1] == BEYOND
            assert (maps[0][beyond] == -1).all()
            near = torch.nn.functional.max_pool2d((~beyond).float()[None], 3, stride=1, padding=1)[0] > 0
            assert (image[:, ~near] == 0).all(), "black beyond the image, but for interpolation at its border"
            assert len(dots) == len(boxes) and (boxes[:, :2] <= dots).all() and (dots <= boxes[:, 2:]).all()
            assert boxes.min() >= -0.5 and boxes.max() <= 39.5
            pixels = torch.floor(dots + 0.5).long()
            labels = maps[0][pixels[:, 0], pixels[:, 1]]
            assert ((labels == 1) | beyond[pixels[:, 0], pixels[:, 1]]).all(), "a dot lies in its disk"


class Constant(torch.nn.Module):
    """Says the same everywhere, and one box of 6 px around the middle of every cell of the finest level."""

    def __init__(self, logit):
        super().__init__()
        self.logit = torch.nn.Parameter(torch.tensor(logit))

    def forward(self, images):
        shapes = tuple((images.shape[2] // s, images.shape[3] // s) for s in (4, 8, 16, 32))
        locations, spacing = level_locations(shapes)
        each = torch.where(spacing == 4, 4.0, -20.0).expand(len(images), -1)
        distances = torch.full((len(images), len(locations), 4), 1.9)
        mask = torch.full((len(images), *images.shape[2:]), float(self.logit))
        return DoNuSegOutput(DenseBoxes(each, distances, each, shapes), mask)


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (50, 33)])
def test_stitching_a_constant_gives_the_constant_and_every_box_once(size):
    preprocessing = Preprocessing(None, (0.5,) * 3, (0.2,) * 3)
    found = stitch(Constant(1.0), np.full((*size, 3), 9, np.uint8), preprocessing, replace(TINY, patch=32), 0.1)
    np.testing.assert_allclose(found.prob, 1 / (1 + np.exp(-1.0)), rtol=1e-6)
    centers = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    inside = (centers < size).all(axis=1)
    if not any(length % 4 for length in size):  # tiles begin at multiples of 16, so locations of all tiles agree
        wanted = set(product(*(np.arange(1.5, length, 4).tolist() for length in size)))
        assert inside.all() and len(centers) == len(wanted)
        assert {tuple(c) for c in centers.tolist()} == wanted
    labels = instances(found, 0.1, replace(TINY, min_size=1))
    assert labels.shape == size and labels.max() == len(np.unique(labels)) - (labels == 0).any()
    assert not instances(found, 0.99, TINY).any(), "no boxes above the score, no instances"


def test_log_counts_by_hand():
    log = SelectionLog(2)
    label = torch.tensor([[[1, 0, -1, 1]], [[-1, -1, -1, -1]]])
    selection = Selection(torch.tensor([1, -1]), torch.tensor([0.6, 0.0]), label, torch.tensor([0.5, torch.nan]),
                          torch.tensor([0.25, 1.0]))
    log.add_selection(2, selection, (0, 2), torch.tensor([[[1, 1, 1, 2]], [[0, 1, 0, 1]]]))
    log.add(2, batches=1, detection=torch.tensor(3.0))
    (line,) = log.lines()
    assert line["epoch"] == 2 and line["detection"] == 3
    assert (line["block_1"], line["block_3"], line["none"], line["alpha"]) == (0, 0.5, 0.5, pytest.approx(0.3))
    assert (line["disk_recall"], line["ignored"]) == (0.5, 0.625)
    assert (line["precision"], line["recall"]) == (1.0, 0.5)  # one of one claimed with a known truth, one of two nuclei


def test_targets_and_scores_of_the_localization_head():
    points = [torch.tensor([[3.0, 3.0], [4.0, 4.0], [31.0, 0.0]]), torch.zeros(0, 2)]
    counts = dot_targets(points, (32, 32), TINY)
    assert counts.shape == (2, 4, 4) and counts[0, 0, 0] == 2 and counts[0, 3, 0] == 1 and counts.sum() == 3
    assert scored(counts, TINY).sum() == 2
    assert scored(counts, replace(TINY, selection=SelectionConfig(score="all"))).eq(1).all()
    places = dot_targets(points, (64, 40), replace(TINY, network=replace(NETWORK, localization="positions")))
    assert places.shape == (2, 2, 2) and places[1].sum() == 0 and places[0].max() > 0
    coarse, fine = (dot_targets(points, (64, 64), replace(TINY, network=replace(
        NETWORK, localization="positions", localized=level))) for level in ("C5", "P3"))
    assert fine.shape == (2, 8, 8)  # the same Gaussians, averaged over a sixteenth of the area
    torch.testing.assert_close(fine.reshape(2, 2, 4, 2, 4).mean((2, 4)), coarse)


def test_the_loss_weighs_the_head_and_scales_the_maps_as_configured():
    preprocessing, seen = Preprocessing.learn(annotate_dots(disks("a", "b")), None), {}
    windows = cut_windows(held("ab"), {}, TINY, "cpu")
    pseudo = PseudoBoxes(windows.sides)
    batch = next(PatchBatches(windows, pseudo, TINY)(1, torch.Generator().manual_seed(0)))
    network = DoNuSeg(TINY).untrained().train()

    def spy(*inputs, **options):
        seen.update(options)
        return network(*inputs, **options)

    totals, selection = [], SelectionConfig(quantile=0.9, balanced=True)
    for weight in (0.0, 10.0):
        log = SelectionLog(1)
        config = replace(TINY, loc_weight=weight, selection=selection)
        totals.append(donuseg_loss(preprocessing, config, log, pseudo)(spy, batch).item())
    assert seen["quantile"] == 0.9 and log.lines()[0]["localization"] > 0
    assert totals[1] - totals[0] == pytest.approx(10 * log.lines()[0]["localization"], rel=1e-3)


def test_contrast_at_stride_4_takes_labels_at_the_middles_of_cells():
    torch.manual_seed(0)
    features = torch.randn(1, 3, 2, 2)
    labels = torch.full((1, 8, 8), -1)
    labels[0, 2::4, 2::4] = torch.tensor([[1, 0], [1, 0]])
    chosen = Selection(torch.tensor([0]), torch.tensor([1.0]), labels, torch.tensor([1.0]), torch.tensor([0.0]))
    own = contrast(features, labels, chosen, replace(TINY, contrast=ContrastConfig(interpolate=False)))
    vectors = features[0].reshape(3, 4).T  # by hand: anchors are the means of (0, 2) and (1, 3)
    total = 0.0
    for same, other in (((0, 2), (1, 3)), ((1, 3), (0, 2))):
        cosine = torch.nn.functional.cosine_similarity(vectors, vectors[list(same)].mean(0, keepdim=True))
        for u in same:
            total -= (cosine[u].exp() / (cosine[u].exp() + cosine[list(other)].exp().sum())).log().item() / 2
    assert own.item() == pytest.approx(total, rel=1e-5)


def test_dots_of_later_images_are_numbered_on():
    windows, points = cut_windows(held("ab"), {}, TINY, "cpu"), [sample.points for sample in held("ab").samples]
    assert len(windows.sides) == sum(map(len, points))
    second = windows.numbers[windows.names.index("b@0,0")]
    assert second.tolist() == list(range(len(points[0]), len(windows.sides)))
    np.testing.assert_allclose(windows.sides[second].numpy(), box_sides(points[1], (64, 64), TINY), rtol=1e-5)


def test_a_confident_box_resizes_the_pseudo_box_of_its_dot():
    shapes = ((8, 8), (4, 4), (2, 2), (1, 1))
    logits, distances = torch.full((1, 85), -9.0), torch.full((1, 85, 4), 2.0)
    at = 64 + 1 * 4 + 2  # of stride 8, second row, third column: rows 8 to 15, columns 16 to 23
    logits[0, at], distances[0, at] = 2.0, torch.tensor([3.0, 5.0, 7.0, 9.0])
    found = DenseBoxes(logits, distances, torch.full((1, 85), 9.0), shapes)
    pseudo = PseudoBoxes(torch.tensor([20.0, 21.0, 22.0]), confidence=0.6, limits=(8.0, 50.0))
    points, numbers = [torch.tensor([[9.0, 17.0], [1.0, 1.0]])], [torch.tensor([2, 0])]
    pseudo.refine(found, points, numbers)
    assert pseudo.sides.tolist() == [20.0, 21.0, 12.0], "(3 + 7 + 5 + 9) / 2 for the dot in the cell alone"
    score = (1 / (1 + np.exp(-2.0)) / (1 + np.exp(-9.0))) ** 0.5
    assert pseudo.confidence.tolist() == pytest.approx([0.6, 0.6, score])
    weaker = found._replace(logits=logits - 0.5, distances=distances * 2)
    pseudo.refine(weaker, points, numbers)
    assert pseudo.sides[2] == 12, "a less confident box changes nothing"
    pseudo.refine(found._replace(logits=logits + 0.5, distances=distances / 4), points, numbers)
    assert pseudo.sides[2] == 8, "not below the least side"


def test_contrast_of_a_batch_is_that_of_one_tall_image():
    torch.manual_seed(0)
    features, labels = torch.randn(2, 3, 4, 4), torch.randint(-1, 2, (2, 4, 4))
    batch, one = (replace(TINY, contrast=ContrastConfig(scope=scope)) for scope in ("batch", "image"))
    parts = torch.tensor([0, 0]), torch.tensor([0.2, 0.6]), labels, torch.ones(2), torch.zeros(2)
    tall = torch.cat(list(features), dim=1)[None], torch.cat(list(labels))[None]
    chosen = Selection(parts[0][:1], torch.tensor([0.4]), tall[1], parts[3][:1], parts[4][:1])
    torch.testing.assert_close(contrast(features, labels, Selection(*parts), batch), contrast(*tall, chosen, one))


def test_deep_supervision_averages_the_losses_of_levels():
    masks, labels = torch.tensor([[[[2.0, -1.0]], [[0.0, 3.0]]]]), torch.tensor([[[1, 0]]])
    found = DoNuSegOutput(None, masks.mean(dim=1), masks)
    by_hand = torch.nn.functional.softplus(torch.tensor([[-2.0, -1.0], [0.0, 3.0]])).mean()
    torch.testing.assert_close(mask_loss(found, labels, None, replace(TINY, deep_supervision=True)), by_hand)
    mean = torch.nn.functional.softplus(torch.tensor([-1.0, 1.0])).mean()
    torch.testing.assert_close(mask_loss(found, labels, None, TINY), mean)


def test_bad_input(tmp_path):
    with pytest.raises(DataError, match="a: a training image needs points"):
        fit(TINY, tmp_path, train=disks("a"))
    with pytest.raises(DataError, match="none of the training images has a dot"):
        empty = changed(annotate_dots(disks("a")), lambda sample: replace(sample, points=np.zeros((0, 2))))
        fit(TINY, tmp_path, train=empty)
    for wrong in ({"patch": 0}, {"window": 36}, {"refine_above": 1.0}, {"r": 30.0}, {"thresholds": ()},
                  {"dcs_weight": -1.0}, {"loc_weight": -1.0}):
        with pytest.raises(DataError, match=next(iter(wrong))):
            replace(TINY, **wrong)
    for wrong in ({"rule": "vote"}, {"schedule": "none"}, {"outside": "grow"}):
        with pytest.raises(UnknownNameError, match=next(iter(wrong))):
            replace(TINY, **wrong)
    with pytest.raises(DataError, match="blocks"):
        SelectionConfig(blocks=(4,))
    with pytest.raises(DataError, match="quantile"):
        SelectionConfig(quantile=0.0)
    with pytest.raises(UnknownNameError, match="P4"):
        replace(NETWORK, localized="P4")
    with pytest.raises(UnknownNameError, match="score"):
        SelectionConfig(score="some")
    with pytest.raises(UnknownNameError, match="features"):
        ContrastConfig(features="first")
    for settings in (SelectionConfig, ContrastConfig):
        with pytest.raises(UnknownNameError, match="scope"):
            settings(scope="epoch")
    with pytest.raises(DataError, match="temperature"):
        ContrastConfig(temperature=0.0)


def test_images_with_few_dots_train(tmp_path):
    sparse = changed(annotate_dots(disks("a", "b")), lambda s: replace(s, points=s.points[: 0 if s.id == "a" else 2]))
    method = fit(replace(TINY, epochs=1), tmp_path, train=sparse)
    assert np.isfinite(method.histories["donuseg"].epochs[0]["loss"])
