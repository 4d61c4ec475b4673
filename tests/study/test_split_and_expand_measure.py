"""The steps of split and expand with every choice open, on painted images whose nuclei and centers are known."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from nucseg.data import Dataset, Sample
from nucseg.engine import AugmentConfig, fabric
from nucseg.methods import PartialPointsConfig, Preprocessing, SegmenterConfig, SplitAndExpand, SplitAndExpandConfig
from nucseg.methods.split_and_expand import method as method_module
from nucseg.metrics import aji
from nucseg.study import experiment
from nucseg.study.experiment import rows, run_row
from nucseg.study.experiments import split_and_expand as declared
from nucseg.study.folds import FoldChoice
from nucseg.study.measures import split_and_expand as measures
from nucseg.study.measures.split_and_expand import Steps, fitted, measure_steps
from nucseg.supervision import annotate_dots, box_centers

SEGMENTER = SegmenterConfig(epochs=1, batch=2, crf_epochs=0, cluster_restarts=1, learning_rate=1e-6,
                            augment=AugmentConfig(crop=32))
BASE = PartialPointsConfig(None, SEGMENTER, weights=None, normalization=None, patch=48, patches_per_side=1)
#: Half of the image is nearly a center for a network in standardized colors, hence the high threshold.
CONFIG = SplitAndExpandConfig(BASE, reweighting=None, center_threshold=0.5)
ONES = Preprocessing(None, (0.0,) * 3, (1.0,) * 3)
#: A level of red that means a probability of 0.3.
FAINT = 117
#: What is painted: a bar of two nuclei, the pixels of which lie nearest to their center, and a disk of 149 px.
CENTERS = ((10, 12), (10, 29), (31, 40))


class Painted(torch.nn.Module):
    """Red speaks for a nucleus, blue for a center; the center head sees 5 x 5 pixels but reads the middle one."""

    def __init__(self, weights=None, gain=20.0, middle=0.5):
        super().__init__()
        self.nucleus, self.center = torch.nn.Conv2d(3, 2, 1), torch.nn.Conv2d(3, 2, 5, padding=2)
        with torch.no_grad():
            for head, color in ((self.nucleus, 0), (self.center, 2)):
                head.weight.zero_()
                head.bias[:] = torch.tensor([0.0, -gain * middle])
                head.weight[1, color, head.kernel_size[0] // 2, head.kernel_size[0] // 2] = gain

    def forward(self, images):
        return self.nucleus(images), self.center(images)


def hand_made(config=None):
    """Return a method that was never trained: an image without red and blue has neither nuclei nor centers."""
    method = SplitAndExpand(config or SplitAndExpandConfig(BASE))
    method.preprocessing, method.networks = ONES, {"two heads": Painted().eval()}
    return method


def painted(name="a"):
    """Return the bar in red and three centers of 5 x 5 px in blue; the nucleus of the last one is not painted."""
    image, labels = np.zeros((48, 56, 3), np.uint8), np.zeros((48, 56), np.int32)
    rows, columns = np.mgrid[:48, :56]
    labels[6:16, 6:21], labels[6:16, 21:36], labels[np.hypot(rows - 31, columns - 40) <= 7] = 1, 2, 3
    image[(labels == 1) | (labels == 2), 0] = 255
    for row, column in CENTERS:
        image[row - 2 : row + 3, column - 2 : column + 3, 2] = 255
    return Sample(name, image, labels)


def noisy(name="n"):
    """Return an image with spots of many sizes and levels in red and, smaller, in blue."""
    image = np.zeros((80, 90, 3), np.uint8)
    noise = np.random.default_rng(1).random((2, 80, 90))
    for color, sigma, share, values in zip((0, 2), (4, 2), (0.25, 0.12), noise):
        smooth = ndimage.gaussian_filter(values, sigma)
        level = 0.4 + 2 * (smooth - np.quantile(smooth, 1 - share)) / np.ptp(smooth)
        image[..., color] = 255 * np.clip(level, 0, 1)
    return Sample(name, image)


def drain(generator):
    """Return the lines that a measurement yields and the notes that it returns."""
    lines = {}
    while True:
        try:
            lines.update([next(generator)])
        except StopIteration as stop:
            return lines, stop.value


@pytest.fixture
def steps(tmp_path):
    return Steps(hand_made(), tmp_path)


@pytest.fixture(scope="module")
def predicted():
    """What the method makes of the noisy image in its own settings."""
    return hand_made().predict_stages(noisy().image)


@pytest.mark.parametrize("changes", [
    {}, {"min_size": 60}, {"center_threshold": 0.6}, {"center_min_size": 40}, {"floor": 0.9}, {"heat_threshold": 0.6},
    {"overlap": 0.01},
], ids=str)
def test_the_defaults_are_what_the_method_predicts(tmp_path, predicted, changes):
    sample, method = noisy(), hand_made(replace(SplitAndExpandConfig(BASE), **changes))
    found, _ = Steps(method, tmp_path).objects(sample)
    expected = method.predict_stages(sample.image)
    assert all(np.array_equal(found[name], expected[name]) and found[name].dtype == np.int32 for name in found)
    assert found["baseline"].max() <= found["split"].max() < found["expand"].max()
    differs = any((predicted[name] != expected[name]).any() for name in found)
    assert differs == bool(changes), "this image shows the setting"


def test_a_bar_is_divided_and_a_disk_grows_as_drawn(steps):
    sample = painted()
    found, centers = steps.objects(sample, clustering="nearest", grow="disk", expand={"sigma": 0.0})
    assert sorted(map(tuple, centers.points)) == sorted(CENTERS)
    assert np.bincount(centers.blobs.ravel())[1:].tolist() == [25] * 3
    assert np.array_equal(found["baseline"], sample.labels.clip(0, 1) * (sample.labels < 3))
    assert np.array_equal(found["split"], np.where(sample.labels < 3, sample.labels, 0))
    assert np.array_equal(found["expand"], sample.labels)


def test_a_center_grows_over_all_that_is_faintly_a_nucleus(steps):
    sample = painted()
    faint = np.zeros(sample.labels.shape, bool)
    faint[27:37, 36:50] = faint[40:46, 2:20] = True
    image = sample.image.copy()
    image[faint, 0] = FAINT
    grown = steps.objects(replace(sample, image=image), grow="lower threshold", expand={"sigma": 0.0})[0]["expand"]
    faint[40:46, 2:20] = False  # no center lies in that one
    assert np.array_equal(grown == 3, faint)


def test_relevance_spreads_evenly_over_what_a_center_sees(steps):
    """A flat first layer hands the same to each of 5 x 5 pixels, whatever their colors (see ``LRPRules``)."""
    alone = np.zeros((48, 56), np.int32)
    alone[29:34, 38:43] = 1
    seen = np.zeros((48, 56))
    for row, column in zip(*np.nonzero(alone)):
        seen[row - 2 : row + 3, column - 2 : column + 3] += 1 / 25 / 25
    heat = steps.heat(painted(), alone, "relevance", {})
    np.testing.assert_allclose(heat, seen, rtol=1e-4, atol=1e-7)
    assert heat.sum() == pytest.approx(1, rel=1e-4), "nothing is lost"
    # By the squares of the weights the only weight, that of the middle pixel, gets all.
    by_squares = steps.heat(painted(), alone, "relevance", {"first": "wsquare"})
    np.testing.assert_allclose(by_squares, alone / 25, rtol=1e-3, atol=1e-7)


def test_peaks_tell_centers_apart_that_blobs_fuse(steps):
    image = np.zeros((30, 40, 3), np.uint8)
    image[8:13, 10:21, 2] = FAINT
    image[10, [12, 18], 2] = 255
    image[5:16, 5:26, 0] = 255
    counts = {}
    for rule in ({"rule": "blobs", "threshold": 0.05, "min_size": 10},
                 {"rule": "blobs", "threshold": 0.05, "min_size": 56},
                 {"rule": "peaks", "height": 0.05, "distance": 3}):
        before = dict(rule)
        found, centers = steps.objects(Sample("p", image), centers=rule)
        assert rule == before, "settings of a row stay as they are"
        counts[json.dumps(rule)] = len(centers.points), int(found["split"].max())
    assert list(counts.values()) == [(1, 1), (0, 1), (2, 2)], "one group of 55 px with two peaks"


def test_a_blob_that_touches_a_nucleus_is_assigned_only_by_the_other_rule(steps):
    sample = painted()
    image = sample.image.copy()
    image[29:34, 42:50, 0] = 255  # a nucleus over one column of the blob, beside its middle
    sample = replace(sample, image=image)
    options = {"grow": "disk", "expand": {"overlap": "iou"}}
    counts = [steps.objects(sample, unassigned=rule, **options)[0]["expand"].max() for rule in ("point", "overlap")]
    assert counts == [4, 3]


def test_maps_and_heat_are_computed_once(steps, tmp_path, monkeypatch):
    sample = noisy()
    first, _ = steps.objects(sample)
    files = sorted(tmp_path.iterdir())

    def forbidden(*_):
        raise AssertionError("computed again")

    for name in ("predict_maps", "explain"):
        monkeypatch.setattr(SplitAndExpand, name, forbidden)
    later, _ = Steps(hand_made(), tmp_path).objects(sample, clustering="nearest", expand={"threshold": 0.3})
    assert sorted(tmp_path.iterdir()) == files and len(files) == 2
    assert np.array_equal(later["baseline"], first["baseline"]) and (later["expand"] != first["expand"]).any()
    for changed in ({"rules": {"first": "zplus"}}, {"centers": {"rule": "peaks"}}):
        with pytest.raises(AssertionError, match="computed again"):
            steps.objects(sample, **changed)
    steps.objects(sample, grow="disk")
    assert len(list(tmp_path.iterdir())) == 3


def test_nothing_is_remembered_of_other_weights_colors_or_code(steps, tmp_path, monkeypatch):
    sample = painted()
    maps = steps.maps(sample)
    other = hand_made()
    with torch.no_grad():
        other.networks["two heads"].nucleus.bias[1] += 5
    assert (Steps(other, tmp_path).maps(sample)["nucleus"] > maps["nucleus"]).any()
    pale = hand_made()
    pale.preprocessing = replace(ONES, std=(2.0,) * 3)
    assert (Steps(pale, tmp_path).maps(sample)["nucleus"] < maps["nucleus"]).any()
    assert len(list(tmp_path.iterdir())) == 3
    # A row runs again because the code that it depends on has changed; so do its maps and its heat.
    monkeypatch.setattr(measures, "library_digest", lambda name: f"another {name}")
    later = Steps(hand_made(), tmp_path)
    later.heat(sample, np.eye(48, 56, dtype=np.int32), "lower threshold", {})
    assert len(list(tmp_path.iterdir())) == 5


def test_every_declared_choice_gives_instance_maps(steps):
    sample = noisy()
    choices = {json.dumps(row.settings["steps"]) for row in rows("split-and-expand") if "steps" in row.settings}
    assert len(choices) > 25
    for choice in sorted(choices):
        found, centers = steps.objects(sample, **json.loads(choice))
        least = json.loads(choice).get("taken_below", 0)
        stays, sizes = found["split"] > 0, np.bincount(found["split"].ravel())[1:]
        assert not stays[found["baseline"] == 0].any(), f"{choice}: nothing new"
        assert (sizes >= least).all(), f"{choice}: nothing small"
        assert least or np.array_equal(stays, found["baseline"] > 0), f"{choice}: the foreground stays"
        assert np.array_equal(np.where(found["split"] > 0, found["expand"], 0), found["split"]), choice
        for name, labels in found.items():
            assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1)), (choice, name)
        assert len(centers.points) == centers.blobs.max() > 0, choice


@pytest.mark.parametrize("output, score, small, added", [
    # The bar matches both of its nuclei with 150 px and is charged its 300 px each time; it is too large to be small.
    ("baseline", 300 / (300 + 300 + 149), 0, None), ("split", 300 / (300 + 149), 300 / (300 + 149), None),
    ("expand", 1, 1, (1, 149, 1)),
])
def test_a_row_measures_the_step_it_names(monkeypatch, tmp_path, output, score, small, added):
    monkeypatch.setattr(measures, "fitted", lambda row, runner: hand_made())
    monkeypatch.setattr(measures, "training_folder", lambda: tmp_path)
    growth = {"grow": "disk", "expand": {"sigma": 0.0}} if output == "expand" else {}
    row = declared.declare("x", "y", "painted", CONFIG, FoldChoice(0, 3), output=output,
                           steps={"clustering": "nearest", **growth})
    lines, notes = drain(measure_steps(Dataset("painted", ("a", "b"), painted), row))
    assert list(lines) == ["a", "b"] and notes.keys() == {"device", "precision", "training"}
    for line in lines.values():
        assert (line["aji"], line["aji_small"]) == (pytest.approx(score), pytest.approx(small))
        assert (line["nuclei"], line["center_precision"], line["center_recall"], line["center_f1"]) == (3, 1, 1, 1)
        assert line["center_area"] == 25
        found = tuple(line[name] for name in ("added", "added_area", "added_true") if name in line)
        assert found == (added or ()), "only Expand adds"


def test_centers_far_from_a_nucleus_are_wrong_and_no_center_has_no_area(monkeypatch, tmp_path):
    monkeypatch.setattr(measures, "fitted", lambda row, runner: hand_made())
    monkeypatch.setattr(measures, "training_folder", lambda: tmp_path)
    row = declared.declare("x", "y", "painted", CONFIG, FoldChoice(0, 3), output="split")

    def moved(name):
        """The image 6 or 7 px lower than its labels, or dark."""
        sample = painted(name)
        return replace(sample, image=np.roll(sample.image, int(name), axis=0) * np.uint8(name != "0"))

    lines, _ = drain(measure_steps(Dataset("painted", ("6", "7", "0"), moved), row))
    # Two of the box centers are one column from the painted ones: at 6 rows only the third is in reach.
    assert lines["6"]["center_precision"] == pytest.approx(1 / 3) and lines["7"]["center_recall"] == 0
    assert lines["0"]["center_recall"] == 0 and np.isnan(lines["0"]["center_area"])


def speckled(name):
    """Return the painted image with some green, and the last nucleus painted too, so that there is color to learn."""
    sample = painted(name)
    image = sample.image.copy()
    image[..., 1] = np.random.default_rng(ord(name)).integers(1, 30, image.shape[:2])
    image[sample.labels == 3, 0] = 255
    return replace(sample, image=image)


SPECKLED = Dataset("speckled", ("a", "b", "c"), speckled, checksum="speckled")
ROW = declared.declare("x", "y", "speckled", CONFIG, FoldChoice(1, 3), seed=5, output="split")


@pytest.fixture
def study(monkeypatch, tmp_path):
    """Three images stand for the data, a network of a few weights for the U-Net; nothing is written elsewhere."""
    for module in (experiment, measures):
        monkeypatch.setattr(module, "load_dataset", lambda *_, **__: SPECKLED)
    monkeypatch.setattr(method_module, "TwoHeadUNet", lambda weights: Painted(weights, gain=4, middle=0))
    monkeypatch.setattr(measures, "fabric", lambda: fabric(device="cpu", precision="32-true"))
    monkeypatch.setattr(measures, "runs_folder", lambda slug: tmp_path / "runs" / slug)
    monkeypatch.setattr(experiment, "runs_folder", lambda slug: tmp_path / "runs" / slug)


def test_rows_of_one_training_look_for_it_once(study, monkeypatch):
    fits = []
    monkeypatch.setattr(SplitAndExpand, "fit", lambda self, *parts, **options: fits.append(self) or self)
    other = replace(ROW, row="z", settings={**ROW.settings, "output": "expand"}, fold=replace(ROW.fold, part="val"))
    assert fitted(ROW, "runner") is fitted(other, "runner") and len(fits) == 1
    for change in ({"seed": 6}, {"fold": FoldChoice(2, 3)}, {}):
        fitted(replace(ROW, **change), "runner")
    assert len(fits) == 4


def test_training_sees_the_dots_of_its_fold_alone(study, monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr(SplitAndExpand, "fit", lambda self, train, val, **options: seen.update(
        options, method=self, train=list(train), val=list(val)) or self)
    assert fitted(ROW, "runner") is seen["method"] and seen["fabric"] == "runner"
    train, val, test = ROW.fold.of(SPECKLED)
    assert [s.id for s in seen["train"]] == list(train.ids) and [s.id for s in seen["val"]] == list(val.ids)
    for sample in seen["train"]:
        assert sample.labels is None and np.array_equal(sample.points, box_centers(SPECKLED[sample.id].labels))
    assert seen["val"][0].labels is not None and ROW.images()[0].ids == test.ids
    assert seen["method"].config == replace(CONFIG, seed=5)
    assert seen["run_dir"] == tmp_path / "runs" / "split-and-expand" / "training"


def test_a_row_trains_once_and_its_record_tells_all(study, tmp_path):
    record = run_row("split-and-expand", ROW, "quick")
    train, val, test = ROW.fold.of(SPECKLED)
    assert record["fold_images"] == {"train": [*train.ids], "val": [*val.ids], "test": [*test.ids]}
    assert record["images"] == list(record["metrics"]) == list(test.ids) and record["device"] == "cpu"
    curve = record["notes"]["training"]["two heads"]
    assert len(curve["loss"]) == 1 and record["training_seconds"] == round(curve["seconds"], 1)

    apart = SplitAndExpand(replace(CONFIG, seed=5)).fit(
        annotate_dots(train), val, run_dir=tmp_path / "apart", fabric=measures.fabric(), progress=False)
    found = apart.predict_stages(test[0].image)
    line = record["metrics"][test.ids[0]]
    assert line["aji"] == aji(test[0].labels, found["split"]) > 0.9
    assert (line["nuclei"], line["objects"], line["center_f1"]) == (3, 3, 1)

    folder = tmp_path / "runs" / "split-and-expand" / "training"
    (training,) = folder.glob("two-heads-*")
    before = (training / "last.ckpt").stat().st_mtime_ns
    other = run_row("split-and-expand", replace(ROW, row="z", settings={**ROW.settings, "output": "baseline"}), "quick")
    assert list(folder.glob("two-heads-*")) == [training] and (training / "last.ckpt").stat().st_mtime_ns == before
    assert other["metrics"][test.ids[0]]["aji"] == aji(test[0].labels, found["baseline"]) < line["aji"]
