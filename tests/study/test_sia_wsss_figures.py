"""What the chapter on SIA-WSSS draws and computes: maps, regions, neighbors, losses, the audit, records."""

from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from nucseg.data.sample import Dataset, Sample
from nucseg.data.synthetic import TISSUE_CLASSES, TissueConfig, render_tissue
from nucseg.engine import fabric
from nucseg.losses import token_contrast
from nucseg.methods import SIAWSSS, SIAWSSSConfig
from nucseg.methods.sia_wsss import ActivationConfig, InhibitionConfig, ModulationConfig
from nucseg.metrics import localization_scores
from nucseg.models import TissueViTConfig, TokenGraphConfig
from nucseg.study import sia_wsss_curves as curves
from nucseg.study import sia_wsss_figures as study
from nucseg.study import sia_wsss_pipeline as pipeline
from nucseg.study import sia_wsss_records as records
from nucseg.study.dice_bounds import dice_bounds
from nucseg.study.tables import ALL_IMAGES, RUN_COLUMNS, published
from nucseg.viz import class_colors, rgb

VIT = TissueViTConfig(width=24, depth=2, heads=2, stem="convolutional", stem_channels=(6, 8, 12), auxiliary=1, size=64,
                      weights=None)
TINY = SIAWSSSConfig(
    vit=VIT, activation=ActivationConfig(crop=32, crops=2, channels=8), modulation=ModulationConfig(erosion=3),
    inhibition=InhibitionConfig(graph=TokenGraphConfig(neighbors=4)), decoder_channels=16, dilation=1, patch=64,
    epochs=2, batch=3, learning_rate=1e-3, start=0.0, segmentation_start=0.0, white_size=5,
)
SAMPLES = {name: replace(render_tissue(TissueConfig(size=64), seed), id=name)
           for name, seed in {"a": 0, "b": 3, "c": 5, "d": 8}.items()}
DATASET = Dataset("tissue", list(SAMPLES), SAMPLES.__getitem__)


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    assert not plt.get_fignums(), "a figure was left open"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nucseg.methods.tiling.choose_precision", lambda *_: "32-true")
        runner = fabric(device="cpu", precision="32-true")
        yield SIAWSSS(TINY).fit(DATASET, DATASET, run_dir=tmp_path_factory.mktemp("run"), fabric=runner, progress=False)


def titles(figure):
    return [axis.get_title() or axis.get_title("left") for axis in figure.axes]


def test_most_mixed_puts_many_and_equal_classes_first():
    masks = {"one": [[0, 0]], "uneven": [[0, 1, 1, 1]], "even": [[0, 1, 0, 1]], "white": [[0, 1, 2, 4]]}
    samples = [Sample(name, np.zeros((1, len(mask[0]), 3), np.uint8), mask=np.array(mask))
               for name, mask in masks.items()]
    assert [one.id for one in study.most_mixed(samples, 4)] == ["white", "even", "uneven", "one"]
    assert study.most_mixed(samples, 4, whole=1) == []


def test_segmentations_hide_what_is_not_scored(fitted):
    sample = SAMPLES["a"]
    mask = sample.mask.copy()
    mask[:5] = 4
    figure = study.show_segmentations([replace(sample, mask=mask)] * 2, {"predicted": fitted.predict}, TISSUE_CLASSES)
    assert titles(figure) == ["image", "truth", "predicted", "", "", ""]
    painted = figure.axes[2].images[0].get_array()
    assert (painted[:5] == 255).all()
    assert (painted[5:] == class_colors(fitted.predict(sample.image))[5:])[mask[5:] < 4].all()
    seen = {*np.unique(mask).tolist(), *np.unique(fitted.predict(sample.image)[mask < 4]).tolist()}
    named = [name for index, name in enumerate((*TISSUE_CLASSES, "white, not scored")) if index in seen]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == named


def test_grid_maps_are_those_of_the_explanation_before_they_are_enlarged(fitted):
    sample = SAMPLES["b"]
    grid, found = study.grid_maps(fitted, sample), fitted.explain(sample.image, sample.tags)
    assert grid.shape == (4, 4, 4)
    enlarged = torch.nn.functional.interpolate(torch.from_numpy(grid)[None], size=(64, 64), mode="bilinear")[0].numpy()
    assert np.allclose(enlarged, found.activation, atol=1e-5)
    absent = [index for index, name in enumerate(TISSUE_CLASSES) if not sample.tags[name]]
    assert not grid[absent].any()


def test_the_diagram_shows_every_stage(fitted):
    sample = SAMPLES["c"]
    found, grid = fitted.explain(sample.image, sample.tags), study.grid_maps(fitted, sample)
    pictures = pipeline.pipeline_pictures(sample, found, grid, fitted.predict(sample.image), 0, 4)
    assert set(pictures) == set(pipeline.PLACES) == set(pipeline.TITLES)
    assert (pictures["decoder"][sample.mask == 4] == 255).all()
    figure = pipeline.show_pipeline(pictures)
    assert titles(figure) == [pipeline.TITLES[name] for name in pictures]
    for axis in figure.axes:  # nothing hangs over the edge, and no two panels overlap
        box = axis.get_position()
        assert min(box.x0, box.y0) >= 0 and max(box.x1, box.y1) <= 1
    boxes = [axis.get_position() for axis in figure.axes]
    assert not any(a.overlaps(b) for number, a in enumerate(boxes) for b in boxes[:number])


def test_failures_are_measured_on_the_map_that_is_shown(fitted):
    figure = study.show_failures(list(SAMPLES.values()), {"tiny": fitted}, TISSUE_CLASSES)
    held = [index for index in range(4) if any((one.mask == index).any() for one in SAMPLES.values())]
    assert len(figure.axes) == 3 * len(held)
    assert titles(figure)[1::3] == [TISSUE_CLASSES[index] for index in held]
    sample = next(one for one in SAMPLES.values() if (one.mask == held[0]).any())
    maps = fitted.explain(sample.image, sample.tags).activation
    scores = localization_scores(sample.mask, maps)
    assert titles(figure)[2] == (f"tiny\ncovers {scores.coverage[held[0]]:.0%}, "
                                 f"false {np.nan_to_num(scores.false_share[held[0]], nan=1):.0%}")
    table = study.failure_table({"tiny": scores}, TISSUE_CLASSES)
    assert table.loc[("tiny", "coverage"), "mean"] == scores.mean_coverage
    assert table.loc[("tiny", "false share"), TISSUE_CLASSES[held[0]]] == pytest.approx(
        scores.false_share[held[0]], nan_ok=True)


def test_certainty_is_shown_as_printed_and_as_ours():
    maps = np.array([[[0.1, 0.4, 0.9]], [[0.0, 0.2, 0.1]]])
    figure = study.show_certainty(maps)
    printed, ours = (axis.images[0].get_array()[0] for axis in figure.axes[1:3])
    assert (printed == [rgb("background"), rgb("nucleus"), rgb("nucleus")]).all()
    assert (ours == [rgb("background"), rgb("ignored"), rgb("nucleus")]).all()
    assert [patch.get_x() for patch in figure.axes[3].patches] == [0.5, 0.3, 0, 0.3, 0]


def test_what_tokens_hear_adds_up(fitted):
    weights, tokens = study.heard_patches(fitted, SAMPLES["d"])
    assert weights.shape == (4, 4, 4) and ((~np.isnan(weights)).sum(axis=(1, 2)) <= 4).all()
    assert np.nansum(weights, axis=(1, 2)) + tokens == pytest.approx(np.ones(4), abs=1e-5)
    figure = study.show_heard(SAMPLES["d"], weights, TISSUE_CLASSES)
    there = "present" if SAMPLES["d"].tags["stroma"] else "absent"
    assert titles(figure)[-1] == f"stroma\n({there})" and len(figure.axes) == 6


def test_stages_have_a_row_for_each_class(fitted):
    sample = SAMPLES["a"]
    found = fitted.explain(sample.image, sample.tags)
    figure = study.show_stages(sample, found, TISSUE_CLASSES)
    present = [index for index in range(4) if found.present[index]]
    assert len(figure.axes) == 6 * len(present) and titles(figure)[1:6] == list(study.STAGES.values())
    assert np.array_equal(figure.axes[5].images[0].get_array(), found.refined[present[0]])


def test_only_the_product_takes_away(fitted):
    maps = study.fusions(fitted, SAMPLES["b"])
    assert (maps["max"] >= maps["A"]).all() and (maps["product"] <= maps["max"]).all()
    assert np.array_equal(maps["max"], fitted.explain(SAMPLES["b"].image, SAMPLES["b"].tags).refined)


def test_printed_contrast_is_idle_and_curves_are_those_of_the_loss():
    table = curves.compare_contrasts(images=8, crops=2, channels=32)
    assert table.loc["as printed", "loss"] == pytest.approx(-table.loc["as printed, negated", "loss"])
    assert (table.relative[["as printed", "as printed, negated"]] < 0.01).all() and table.relative.iloc[-1] == 1
    whole = torch.eye(6)[:1, None].expand(2, 1, 6)  # the second image lacks the class: its crops are negatives
    for kind in curves.KINDS:
        for cosine in (-0.5, 0.8):
            own = torch.tensor([cosine, (1 - cosine**2) ** 0.5, 0, 0, 0, 0])
            crops = torch.stack([own.expand(3, 6), torch.eye(6)[2].expand(3, 6)])[:, :, None]
            found = token_contrast(whole, crops, torch.ones(2, 3, 1), torch.tensor([[True], [False]]), kind)
            (expected,) = curves.contrast_curve(kind, np.array([cosine]), negatives=3)
            assert float(found.loss) == pytest.approx(expected, abs=1e-5), kind
    assert len(curves.show_contrasts().axes[0].get_lines()) == len(curves.KINDS)


def test_going_on_starts_at_the_trained_network_and_leaves_it_alone(fitted):
    before = {name: value.clone() for name, value in fitted.networks["sia"].state_dict().items()}
    samples = list(SAMPLES.values())
    table = curves.continue_training(fitted, DATASET, samples, (0.0, 5.0), steps=4, every=2, rate=0.01)
    assert table.weight.tolist() == [0, 0, 0, 5, 5, 5] and table.step.tolist() == [0, 2, 4] * 2
    assert all(torch.equal(before[name], value) for name, value in fitted.networks["sia"].state_dict().items())
    assert not fitted.networks["sia"].training and fitted.networks["sia"].decoder is not None
    pairs = [localization_scores(one.mask, fitted.explain(one.image, one.tags).activation) for one in samples]
    whole = type(pairs[0]).pooled(pairs)
    start = table[table.step == 0]
    assert start.coverage.tolist() == pytest.approx([whole.mean_coverage] * 2, abs=1e-3)
    assert start.false_share.tolist() == pytest.approx([whole.mean_false_share] * 2, abs=1e-3)
    figure = curves.show_continued(table)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["weight 0", "weight 5"]


def test_the_log_is_drawn(fitted):
    figure = curves.show_log(fitted.log)
    left, right = ([line.get_label() for line in axis.get_lines()] for axis in figure.axes)
    assert left == ["classification", "contrast", "inhibition", "attraction", "segmentation"]
    assert right == ["foreground", "uncertain", "labeled"]


def test_failures_are_counted_by_class():
    places = {title: SimpleNamespace(coverage=coverage, false_share=false) for title, coverage, false in (
        ("max pooling", (0.1, 0.5, 0.2), (0.3, np.nan, 0.1)), ("average pooling", (0.2, 0.4, 0.3), (0.2, 0.5, 0.2)))}
    assert study.compare_failures(places, "abc") == (
        "Of 3 classes, average pooling covers more of 2 and is more often false for 1")


def test_audit_names_the_rows_above_a_bound():
    table = curves.audit_table(dice_bounds(published(study.PAPER)))
    assert (table.excess[~table.possible] > 0).all() and len(table) == 19
    figure = curves.show_audit(table, study.NAMES)
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert len(texts) == (~table.possible).sum() and "HistoSegNet, BCSS" in texts


@pytest.fixture
def recorded(monkeypatch):
    """Records of two rows: b is better than a by 0.1, 0.2 and 0.3; c than a by 0.1 in a single seed."""
    lines = []
    for row, values in {"a: baseline": (0.5, 0.5, 0.5), "b: RFM": (0.6, 0.7, 0.8), "c: DAM": (0.6,)}.items():
        for seed, value in enumerate(values):
            for metric, number in (("mean_iou", value), ("mean_precision", value + 0.1), ("mean_recall", value)):
                lines.append({"experiment": "table 2, short", "row": row, "dataset": "synthetic-tissue", "seed": seed,
                              "image": ALL_IMAGES, "metric": metric, "value": number})
            lines.append({**lines[-1], "image": "one", "metric": "mean_iou", "value": 0.0})
    table = pd.DataFrame(lines).reindex(columns=list(RUN_COLUMNS))
    monkeypatch.setattr(records, "runs", lambda slug: table)


def test_orders_are_judged_by_their_spread(recorded):
    table = records.orders(["synthetic-tissue", "wsss4luad"])
    assert table.article.tolist() == ["+0.245", "+0.257", "+0.019", "+0.014", "+0.290"]
    assert table["synthetic, short"].tolist() == ["+0.200 ± 0.100", "+0.100", "not run", "not run", "not run"]
    assert table["synthetic: verdict"].tolist() == ["as in the article", "undecided", "not run", "not run", "not run"]
    assert set(table["WSSS4LUAD: verdict"]) == {"not run"}


def test_judge_and_text_by_hand():
    assert records.judge([-0.1, -0.2, -0.3]) == "reversed"
    assert records.judge([0.3, -0.2, 0.1]) == records.judge([0.3, 0.3]) == "undecided"
    assert records.judge([np.nan]) == records.text([]) == "not run"
    assert records.text([0.5, np.nan]) == "0.500" and records.text([1, 3], sign=True) == "+2.000 ± 1.414"


def test_balance_and_stages_say_what_is_missing(recorded):
    table = records.balance(["synthetic-tissue"])
    assert table.loc["b: RFM"].tolist() == ["+0.048", "+0.100 ± 0.000"]
    assert table.loc["f: RFM + DAM + RSM"].tolist() == ["+0.013", "not run"]
    shown = records.stages("table 2, short", "synthetic-tissue", {"mIoU": "mean_iou", "A": "coverage"})
    assert shown.loc["b: RFM"].tolist() == ["0.700 ± 0.100", "not run", 3]
    assert shown.loc["d: RFM + DAM"].tolist() == ["not run", "not run", 0] and len(shown) == 5
    only = records.stages("table 2, short", "synthetic-tissue", only=lambda row: row.startswith("a"))
    assert list(only.index) == ["a: baseline"]
    figure = records.show_balance(["synthetic-tissue", "wsss4luad"])
    assert [[text.get_text() for text in axis.texts] for axis in figure.axes] == [
        ["a", "b", "c", "d", "f"], ["a", "b", "c"], ["not run"]]


def test_every_stage_has_its_means(recorded, monkeypatch):
    lines = [{"experiment": "table 2, short", "row": "b: RFM", "dataset": "synthetic-tissue", "seed": seed,
              "image": ALL_IMAGES, "metric": metric, "value": value}
             for seed in range(2) for metric, value in (
                 ("mean_dice_refined_oracle", 0.8), ("coverage_refined", 0.3 + seed / 10), ("coverage", 0.1))]
    table = pd.concat([records.runs("sia-wsss"), pd.DataFrame(lines)]).reindex(columns=list(RUN_COLUMNS))
    monkeypatch.setattr(records, "runs", lambda slug: table)
    shown = records.every_stage("table 2, short", "synthetic-tissue")
    assert list(shown.index) == [("a: baseline", "decoder"), ("b: RFM", "A"), ("b: RFM", "R"), ("b: RFM", "decoder"),
                                 ("c: DAM", "decoder")]
    assert shown.loc[("b: RFM", "R")].tolist() == ["0.800 ± 0.000", "-", "-", "-", "0.350 ± 0.071", "-"]
    assert shown.loc[("b: RFM", "decoder"), "mIoU"] == "0.700 ± 0.100"
    assert shown.loc[("b: RFM", "A"), "coverage"] == "0.100 ± 0.000"
    assert records.every_stage("table 2, short", "elsewhere").empty


def test_moves_are_differences_over_seeds(recorded):
    table = records.moves("synthetic-tissue", metrics=("mean_recall", "coverage"))
    assert list(table.index) == ["a to b", "a to c", "c to d", "d to f", "a to f"]
    assert table.loc["a to b"].tolist() == ["+0.200 ± 0.100", "not run", 3]
    assert table.loc["a to c"].tolist() == ["+0.100", "not run", 1]
    assert table.loc["d to f"].tolist() == ["not run", "not run", 0]


def test_choices_are_compared_with_the_row_that_they_change(recorded, monkeypatch):
    lines = [{"experiment": experiment, "row": row, "dataset": "synthetic-tissue", "seed": seed, "image": ALL_IMAGES,
              "metric": "mean_iou", "value": value} for experiment, row, seed, value in (
                 ("table 2, short", "f: RFM + DAM + RSM", 0, 0.6), ("table 2, short", "f: RFM + DAM + RSM", 1, 0.8),
                 ("ambiguities, short", "no attraction", 1, 0.7), ("ambiguities, short", "eq. 2 negated", 0, 0.7),
                 ("ambiguities, short", "row b labeled by mean", 2, 0.85))]
    table = pd.concat([records.runs("sia-wsss"), pd.DataFrame(lines)]).reindex(columns=list(RUN_COLUMNS))
    monkeypatch.setattr(records, "runs", lambda slug: table)
    changes, spread = records.choice_effects()
    assert changes.to_dict() == pytest.approx({"no attraction": -0.1, "row b labeled by mean": 0.05,
                                               "eq. 2 negated": 0.1})
    assert list(changes) == sorted(changes) and spread == pytest.approx(0.02**0.5)
    monkeypatch.setattr(records, "runs", lambda slug: pd.DataFrame(columns=RUN_COLUMNS))
    changes, spread = records.choice_effects()
    assert changes.empty and np.isnan(spread)


def test_difficulty_is_drawn_over_the_core(monkeypatch):
    empty = pd.DataFrame(columns=RUN_COLUMNS)
    monkeypatch.setattr(records, "runs", lambda slug: empty)
    assert [text.get_text() for text in records.show_difficulty().axes[0].texts] == ["not run"]
    lines = [{"experiment": "difficulty, short", "row": f"{row}, core {core}", "dataset": "synthetic-tissue", "seed": 0,
              "image": ALL_IMAGES, "metric": "mean_iou", "value": core / 2}
             for row in ("a: baseline", "f: RFM + DAM + RSM") for core in (0.8, 0.3)]
    monkeypatch.setattr(records, "runs", lambda slug: pd.DataFrame(lines).reindex(columns=list(RUN_COLUMNS)))
    figure = records.show_difficulty()
    line = figure.axes[0].get_lines()[0]
    assert line.get_xdata().tolist() == [0.3, 0.8] and line.get_ydata().tolist() == [0.15, 0.4]


def test_costs_and_peaks_come_from_the_first_record(monkeypatch, tmp_path):
    rows = [SimpleNamespace(experiment=experiment, dataset="d", row="a", seed=seed)
            for experiment in ("table 1, short", "table 2, short") for seed in range(3)]
    monkeypatch.setattr(records, "rows", lambda slug: rows)
    monkeypatch.setattr(records, "record_path", lambda slug, row: tmp_path / f"{row.experiment[6]}{row.seed}.json")
    assert records.costs("table 2, short", "d").empty and records.peaks("table 2, short", "d").empty

    def record(path):
        seed = int(path.stem[1])
        training = {"sia": {"score": [None, 0.3, None, seed / 2, None, 0.4], "best_epoch": 4}}
        notes = {"parameters": {"whole": 2_000_000}, "seconds_per_step": 0.5, "training": training}
        return {"notes": notes, "training_seconds": 60.0 * seed, "peak_memory_mib": 900.0, "device": "cpu"}

    for name in ("10", "21", "22"):  # of table 2, the seeds 1 and 2
        (tmp_path / f"{name}.json").touch()
    monkeypatch.setattr(records, "read_record", record)
    assert records.costs("table 2, short", "d").loc["a"].tolist() == [2.0, 0.5, 60.0, 900.0, "cpu"]
    assert records.peaks("table 2, short", "d").loc["a"].tolist() == [6, 4, 0.5, 0.4]


def test_printed_scores_have_the_names_of_ours():
    assert set(study.METRICS) == set(published(study.PAPER).metric) < set(study.NAMES)
