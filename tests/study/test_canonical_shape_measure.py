"""How patches are scored: by hand, pooled, and on truths that know their answer."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nucseg.data.sample import Dataset, Sample
from nucseg.errors import DataError
from nucseg.methods.crop_method import PatchPrediction
from nucseg.models.implicit_shape import ShapeFamily
from nucseg.postprocess.masks import InstanceMasks
from nucseg.study.measures import canonical_shape as measures
from nucseg.study.measures.canonical_shape import Scores, describe_shapes, measure_patches, score_image
from nucseg.study.measures.shape_ceilings import CEILINGS, drawn, measure_ceilings, moment_ellipse, parted


def patch(labels, *masks, prob=None):
    stack = np.array(masks, np.float32).reshape(-1, *labels.shape)
    prob = stack.max(axis=0, initial=0) if prob is None else prob
    return PatchPrediction((0, 0), prob, InstanceMasks.from_stack(stack), float(len(stack)))


def strip(start, end, length=10):
    return ((np.arange(length) >= start) & (np.arange(length) < end))[None]


def test_scores_of_one_patch_by_hand():
    labels = (strip(0, 4) * 1 + strip(6, 10) * 2).astype(np.int32)
    scores = Scores()
    scores.add_patch(labels, patch(labels, strip(0, 4), strip(6, 8), strip(4, 6)))
    found = scores.metrics()
    assert found["iou"] == 6 / 10 and found["dice"] == 12 / 16
    assert found["f1_50"] == 2 * 2 / (2 * 2 + 1) and found["f1_60"] == found["f1_100"] == 2 / (2 + 2 + 1)
    assert found["f1_mean"] == pytest.approx((5 * 0.8 + 5 * 0.4) / 10)
    assert (found["nuclei"], found["objects"], found["expected"], found["count_error"]) == (2, 3, 3, 1)


def test_masks_are_scored_whole_and_as_a_map():
    labels = strip(0, 10).astype(np.int32)
    scores = Scores()
    scores.add_patch(labels, patch(labels, 0.9 * strip(0, 10), strip(0, 5)))  # the smaller one is likelier
    found = scores.metrics()
    assert found["f1_100"] == 2 / 3 and found["f1_50_exclusive"] == 2 / 3
    assert found["f1_mean_exclusive"] == pytest.approx(2 / 3 * 5 / 10)


def test_pooling_is_one_count_over_all_patches():
    labels, empty = strip(0, 4).astype(np.int32), np.zeros((1, 10), np.int32)
    first, second = Scores(), Scores()
    first.add_patch(labels, patch(labels, strip(0, 4)))
    second.add_patch(labels, patch(labels, strip(4, 8)))
    second.add_patch(empty, patch(empty))
    whole = Scores()
    for part in (first, second):
        whole.add(part)
    found = whole.metrics()
    assert found["f1_50"] == 2 / (2 + 1 + 1) and found["iou"] == 4 / 12
    assert found["f1_50_patches"] == 0.5  # the patch with nothing on either side is left out
    assert whole.patch_f1[0] is first.patch_f1[0] and len(whole.counts) == 3


def test_nothing_to_score_is_undefined():
    found = Scores().metrics()
    assert np.isnan([found[name] for name in ("iou", "dice", "f1_50", "f1_mean", "count_error")]).all()


class Truth:
    """A method that predicts the label map it is given as an image, patch by patch."""

    def __init__(self, side, labels):
        self.config, self.labels, self.histories = SimpleNamespace(patch=side), labels, {}

    def predict_patches(self, image):
        side, (height, width) = self.config.patch, self.labels.shape
        for top in sorted({*range(0, height - side, side), height - side}):
            for left in sorted({*range(0, width - side, side), width - side}):
                own = self.labels[top : top + side, left : left + side]
                stack = own[None] == np.unique(own[own > 0])[:, None, None]
                yield patch(own, *stack)._replace(corner=(top, left))


def blobs(shape=(50, 70)):
    labels = np.zeros(shape, np.int32)
    labels[3:12, 5:20], labels[14:30, 25:45], labels[33:49, 50:69] = 1, 5, 9
    return labels


def test_a_label_map_scores_one_against_itself_at_all_thresholds():
    sample = Sample("a", np.zeros((50, 70, 3), np.uint8), blobs())
    scores = score_image(Truth(32, sample.labels), sample).metrics()
    assert all(scores[f"f1_{t}"] == 1 for t in range(10, 101, 10)) and scores["iou"] == 1


def test_each_image_carries_the_pooled_scores(monkeypatch):
    whole = Dataset("set", ("a", "b"), lambda name: Sample(
        name, np.zeros((50, 70, 3), np.uint8), blobs(), meta={"modality": "light" if name == "a" else "dark"}))
    monkeypatch.setattr(measures, "fitted", lambda row, runner: Truth(32, blobs()))

    def run():
        notes.append((yield from measure_patches(whole, None)))

    notes = []
    lines = dict(run())
    assert lines["a"]["f1_50"] == lines["b"]["f1_50"] == lines["a"]["f1_50_image"] == 1
    assert notes[0]["pooled"]["nuclei"] == 2 * lines["a"]["nuclei_image"] and notes[0]["pooled"]["f1_90"] == 1
    assert notes[0]["modalities"].keys() == {"light", "dark"} and "shape" not in notes[0]
    small = Dataset("set", ("c",), lambda name: Sample(name, np.zeros((20, 70, 3), np.uint8), blobs((20, 70)) * 0))
    with pytest.raises(DataError, match="c: needs a label map of at least 32 px"):
        list(measure_patches(small, None))


def test_a_disk_is_described_as_one():
    (found,) = describe_shapes(ShapeFamily(1, "disk").shapes)
    assert found["area_radius"] == pytest.approx(0.5, abs=0.005) and found["eccentricity"] < 0.05
    assert (found["x"], found["y"]) == pytest.approx((0, 0), abs=1e-6) and found["half"] == 2
    nothing = ShapeFamily(1, "disk")
    with torch.no_grad():
        nothing.shapes[0].layers[-1].bias.fill_(9.0)
    assert describe_shapes(nothing.shapes)[0]["area_radius"] is None


def test_a_large_shape_is_found_and_one_without_a_border_is_told():
    class Disk(torch.nn.Module):
        def forward(self, x, y):
            return torch.log(torch.sigmoid(8 * (11 - torch.hypot(x, y))))

    (large,) = describe_shapes([Disk()])
    assert large["area_radius"] == pytest.approx(11, rel=0.01) and large["half"] == 16
    everywhere = ShapeFamily(1, "disk")
    with torch.no_grad():
        everywhere.shapes[0].layers[-1].weight.zero_()
    (endless,) = describe_shapes(everywhere.shapes)
    assert endless["area_radius"] is None and endless["peak"] > 0.9


def test_an_ellipse_has_its_eccentricity():
    class Ellipse(torch.nn.Module):
        def forward(self, x, y):
            return torch.log(torch.sigmoid(40 * (1 - torch.hypot((x - 0.2) / 0.8, y / 0.4))))

    (found,) = describe_shapes([Ellipse()])
    assert found["eccentricity"] == pytest.approx(np.sqrt(1 - 0.25), abs=0.01)
    assert found["x"] == pytest.approx(0.2, abs=0.01)
    assert found["area_radius"] == pytest.approx(np.sqrt(0.32), abs=0.01)


# --- ceilings ---


def ellipse(size, center, axes, degrees):
    rows, columns = np.mgrid[:size, :size] - np.array(center).reshape(2, 1, 1)
    angle = np.radians(degrees)
    along, across = columns * np.cos(angle) + rows * np.sin(angle), rows * np.cos(angle) - columns * np.sin(angle)
    return (along / axes[0]) ** 2 + (across / axes[1]) ** 2 < 1


@pytest.mark.parametrize("axes, degrees", [((14, 8), 20), ((10, 10), 0), ((18, 5), 130)])
def test_an_ellipse_is_its_own_moment_ellipse(axes, degrees):
    mask = ellipse(60, (30, 28), axes, degrees)
    found = moment_ellipse(mask, *np.mgrid[:60, :60])
    assert (found ^ mask).sum() <= 0.02 * mask.sum()


def test_shapes_keep_the_area_and_the_center():
    mask = np.zeros((60, 60), bool)
    mask[10:20, 15:50] = True
    for disk in (False, True):
        found = moment_ellipse(mask, *np.mgrid[:60, :60], disk)
        assert found.sum() == pytest.approx(mask.sum(), rel=0.03)
        np.testing.assert_allclose(np.argwhere(found).mean(0), np.argwhere(mask).mean(0), atol=0.3)
    assert np.ptp(np.ptp(np.argwhere(found), axis=0)) <= 1, "the last one is a disk"


def test_every_nucleus_is_drawn():
    labels = np.zeros((20, 20), np.int32)
    labels[4, 5], labels[10:14, 10:17] = 3, 8
    assert drawn(labels).shape == (2, 20, 20) and drawn(labels).any(axis=(1, 2)).all()
    assert drawn(labels * 0).shape == (0, 20, 20)


def test_the_watershed_parts_two_touching_disks():
    mask = ellipse(60, (30, 20), (10, 10), 0) | ellipse(60, (30, 38), (10, 10), 0)
    found = parted(mask)
    assert found.max() == 2 and np.array_equal(found > 0, mask) and found[30, 20] != found[30, 38]
    assert parted(np.zeros((9, 9), bool)).max() == 0


@pytest.mark.parametrize("made", CEILINGS)
def test_ceilings_are_measured(made):
    labels = np.zeros((70, 64), np.int32)
    labels[30:37, 2:11] = 4
    for number, (row, column) in enumerate([(15, 15), (15, 45), (50, 30)], 1):
        labels[ellipse(70, (row, column), (9, 6), 30)[:, :64]] = number
    whole = Dataset("set", ("a",), lambda name: Sample(name, np.zeros((70, 64, 3), np.uint8), labels))
    row, notes = SimpleNamespace(settings={"made": made, "patch": 64}), []

    def run():
        notes.append((yield from measure_ceilings(whole, row)))

    (line,), pooled = dict(run()).values(), notes[0]["pooled"]
    assert line["f1_50"] == 1 and pooled["nuclei"] == pooled["objects"]
    assert (pooled["f1_100"] == 1) == (made in ("connected components", "watershed"))
    assert line["iou"] > 0.7 and line["dice_image"] == line["dice"]


def test_trainings_are_shared_by_rows_that_differ_in_prediction(monkeypatch):
    from nucseg.study.experiments.canonical_shape import SHORT, declare

    fits = []

    class Quiet(measures.CanonicalShape):
        def fit(self, train, val, **options):
            fits.append(self.config.count_weight)
            self.preprocessing, self.networks, self.histories = "colors", {"shapes": 1}, {}
            return self

    monkeypatch.setattr(measures, "METHODS", {"canonical shape": Quiet})
    monkeypatch.setattr(measures, "training_sets", lambda dataset: (None, None))
    monkeypatch.setattr(measures, "_LAST", {})
    uncounted = {"count_weight": 0.0}
    for changes in ({}, {"merge": False}, {"test_grid": 32}, uncounted, {**uncounted, "order": "union"}):
        row = declare("x", "y", replace(SHORT, **changes))
        found = measures.fitted(row, None)
        assert found.config == replace(SHORT, **changes) and found.preprocessing == "colors"
    assert fits == [0.01, 0.0]
