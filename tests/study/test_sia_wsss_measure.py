"""Rows of SIA-WSSS are trained for real, on tiny images, and their scores are counted again pixel by pixel."""

from dataclasses import asdict, replace
from itertools import product

import numpy as np
import pytest

from nucseg.data.synthetic import TissueConfig
from nucseg.engine import fabric
from nucseg.methods.sia_wsss import ActivationConfig, SIAWSSSConfig
from nucseg.models import TissueViTConfig
from nucseg.study import experiment
from nucseg.study.experiments import sia_wsss as declared
from nucseg.study.measures import sia_wsss as measures
from nucseg.study.tables import ALL_IMAGES, tidy

VIT = TissueViTConfig(width=24, depth=2, heads=2, stem="convolutional", stem_channels=(6, 8, 12), auxiliary=1, size=64,
                      weights=None)
TINY = SIAWSSSConfig(
    vit=VIT, activation=ActivationConfig(crop=32, crops=2, channels=8), decoder_channels=16, dilation=1, patch=64,
    epochs=1, batch=3, learning_rate=1e-3, start=0.0, segmentation_start=0.0, white_size=5, stain=None,
)
DATA = {"counts": {"train": 4, "val": 2, "test": 3}, "seed": 0, "knobs": asdict(TissueConfig(size=64, holes=1.0))}
CLASSES = 4


def row(config=TINY, seed=0):
    made = declared.declare("table 2", "f", declared.SYNTHETIC, config, seed)
    return replace(made, settings={**made.settings, "data": DATA})


def cpu():
    return fabric(device="cpu", precision="32-true")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Trainings in a temporary folder, in single precision, on the CPU."""
    folder = tmp_path_factory.mktemp("training")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nucseg.methods.tiling.choose_precision", lambda *_: "32-true")
        patch.setattr(measures, "training_folder", lambda: folder)
        patch.setattr(measures, "fabric", cpu)
        yield folder


def drain(generator):
    """Return the lines that a measurement yields and the notes that it returns."""
    lines = {}
    while True:
        try:
            image, values = next(generator)
        except StopIteration as stop:
            return lines, stop.value
        lines[image] = values


@pytest.fixture(scope="module")
def found(tiny):
    chosen = row()
    images, _ = chosen.images()
    lines, notes = drain(measures.measure_stages(images, chosen))
    return images, lines, notes, measures.fitted(chosen, cpu())


def brute_force(pairs):
    """The four printed scores by sets of pixels, over all images together."""
    truth = np.concatenate([mask.ravel() for mask, _ in pairs])
    said = np.concatenate([labels.ravel() for _, labels in pairs])
    truth, said = truth[truth < CLASSES].tolist(), said[truth < CLASSES].tolist()
    scores = []
    for kind in range(CLASSES):
        own, named = ({n for n, value in enumerate(values) if value == kind} for values in (truth, said))
        if own | named:
            both = len(own & named)
            scores.append((2 * both / (len(own) + len(named)), both / len(own | named),
                           both / len(named) if named else 0.0, both / len(own) if own else 0.0))
    return dict(zip(measures.PRINTED, np.mean(scores, axis=0)))


def test_every_stage_is_scored_over_all_images_together(found):
    images, _, notes, method = found
    pooled = notes["pooled_metrics"]
    for name, value in brute_force([(s.mask, method.predict(s.image)) for s in images]).items():
        assert pooled[name] == pytest.approx(value, abs=1e-6), name
    for stage, known in product(measures.MAPS, (True, False)):
        pairs = []
        for sample in images:
            shown = method.explain(sample.image, sample.tags if known else None)
            maps = getattr(shown, stage)
            labels = [max((i for i in range(CLASSES) if shown.present[i]), key=lambda i: values[i])
                      for values in maps.reshape(CLASSES, -1).T]
            pairs.append((sample.mask, np.array(labels)))
        suffix = f"_{stage}{'_oracle' if known else ''}"
        for name, value in brute_force(pairs).items():
            assert pooled[name + suffix] == pytest.approx(value, abs=1e-6), name + suffix


def test_maps_of_the_true_tags_cover_what_they_cover(found):
    images, _, notes, method = found
    shown = [method.explain(sample.image, sample.tags) for sample in images]
    truth = np.stack([sample.mask for sample in images])
    for name, suffix in (("activation", ""), ("refined", "_refined"), ("inhibition", "_inhibition")):
        maps, coverages, shares = np.stack([getattr(each, name) for each in shown]), [], []
        for kind in range(CLASSES):
            active, own = (maps[:, kind] > 0.5) & (truth < CLASSES), truth == kind
            coverages += [(active & own).sum() / own.sum()] if own.any() else []
            shares += [(active & ~own).sum() / active.sum()] if active.any() else []
        assert notes["pooled_metrics"][f"coverage{suffix}"] == pytest.approx(np.mean(coverages), abs=1e-6)
        assert notes["pooled_metrics"][f"false_share{suffix}"] == pytest.approx(np.mean(shares), abs=1e-6)


def test_images_alone_and_their_mean(found):
    images, lines, notes, method = found
    assert list(lines) == list(images.ids)
    for sample in images:
        own = brute_force([(sample.mask, method.predict(sample.image))])
        assert lines[sample.id]["mean_iou_image"] == pytest.approx(own["mean_iou"])
    mean = np.mean([values["mean_iou_image"] for values in lines.values()])
    assert notes["pooled_metrics"]["mean_iou_by_image"] == pytest.approx(mean, abs=1e-6)


def test_notes_tell_what_the_training_was(found):
    images, _, notes, method = found
    scored = sum((sample.mask < CLASSES).sum() for sample in images)
    assert {np.sum(matrix) for matrix in notes["confusion"].values()} == {scored}
    assert set(notes["confusion"]) == {"output", "gated", *measures.MAPS, *(f"{n} oracle" for n in measures.MAPS)}
    assert notes["training"]["sia"]["best_epoch"] == 1 and notes["log"][0]["epoch"] == 1
    assert {"classification", "contrast", "inhibition", "attraction", "segmentation"} <= set(notes["log"][0])
    assert notes["parameters"]["whole"] > notes["parameters"]["transformer"] > 0
    # Four images in batches of three are two steps.
    assert notes["seconds_per_step"] == pytest.approx(method.histories["sia"].epochs[0]["seconds"] / 2, abs=1e-3)
    right = sum((method.explain(s.image).present == list(s.tags.values())).sum() for s in images)
    assert notes["pooled_metrics"]["tag_accuracy"] == pytest.approx(right / (3 * CLASSES), abs=1e-6)


def test_a_record_is_written_with_pooled_scores_and_the_training_is_found_again(tiny, found, monkeypatch):
    monkeypatch.setattr(experiment, "results_folder", lambda slug: tiny / "results")
    record = experiment.run_row("sia-wsss", row())
    assert record["pooled_metrics"] == {
        name: None if np.isnan(value) else value for name, value in found[2]["pooled_metrics"].items()}
    table = tidy({"one": record})
    whole = table[table.image.eq(ALL_IMAGES)].set_index("metric").value
    assert whole["mean_iou"] == record["pooled_metrics"]["mean_iou"] and whole["coverage"] >= 0
    assert len(list(tiny.glob("sia-*"))) == 1
    stages = record["notes"]["training"].values()
    assert record["training_seconds"] == pytest.approx(sum(stage["seconds"] for stage in stages), abs=0.051)


def test_maps_as_output_are_scored_beside_the_decoder(tiny):
    chosen = row(replace(TINY, output="refined"))
    images, _ = chosen.images()
    _, notes = drain(measures.measure_stages(images, chosen))
    assert notes["confusion"]["output"] == notes["confusion"]["refined"]
    assert "decoder" in notes["confusion"] and "gated" not in notes["confusion"]


def test_a_map_of_absent_classes_never_wins():
    maps = np.zeros((3, 1, 2), np.float32)
    maps[2] = 1
    assert measures.best_classes(maps, np.array([False, True, False])).tolist() == [[1, 1]]
    assert measures.best_classes(maps, np.array([False, True, True])).tolist() == [[2, 2]]
