"""How rows of partial points are measured: train, or find the stages trained already, then predict each image."""

from dataclasses import replace

from nucseg.data import load_dataset
from nucseg.engine import choose_precision, fabric
from nucseg.methods import PartialPoints
from nucseg.methods.base import config_from_dict
from nucseg.methods.baselines.fully_supervised import FullySupervised
from nucseg.methods.partial_points.detector import true_points
from nucseg.metrics import (
    ContingencyTable,
    DetectionScores,
    aji,
    aji_plus,
    aji_release,
    detection_scores,
    object_dice,
    object_dice_half,
    panoptic_quality,
    pixel_scores,
)
from nucseg.study.paths import runs_folder
from nucseg.supervision import annotate_dots

METHODS = {"partial points": PartialPoints, "fully supervised": FullySupervised}


def training_folder():
    """Return where the training stages of all rows are kept."""
    return runs_folder("partial-points") / "training"


def build(row):
    """Return the method of a row, not trained, its seed that of the row."""
    method = METHODS[row.settings["method"]]
    return method(replace(config_from_dict(method.Config, row.settings["config"]), seed=row.seed))


def training_sets(row):
    """Return the annotated training set and the validation set of a row."""
    source = row.settings.get("train_on", row.dataset)
    scheme = row.settings.get("train_scheme", row.scheme)
    train, val = (load_dataset(source, split, scheme=scheme) for split in ("train", "val"))
    if row.settings["method"] == "fully supervised":
        return train, val
    return annotate_dots(train, row.settings["ratio"], row.seed, row.settings.get("replacement", False)), val


def measure_segmentation(dataset, row):
    """Train the row's method, then yield the instance metrics of each image."""
    runner = fabric()
    method = build(row).fit(*training_sets(row), run_dir=training_folder(), fabric=runner)
    for sample in dataset:
        yield sample.id, segmentation_metrics(sample.labels, method.predict(sample.image))
    return training_notes(method, runner)


def segmentation_metrics(gt, pred):
    """Return the metrics of table III and their variants, as a dict of float."""
    table = ContingencyTable.from_labels(gt, pred)
    pixels, (dq, sq, pq) = pixel_scores(table), panoptic_quality(table)
    return {
        "accuracy": pixels.accuracy, "f1_pixel": pixels.f1, "precision_pixel": pixels.precision,
        "recall_pixel": pixels.recall, "object_dice": object_dice(table), "object_dice_half": object_dice_half(table),
        "aji": aji(table), "aji_release": aji_release(table), "aji_plus": aji_plus(table), "dq": dq, "sq": sq,
        "pq": pq, "nuclei": table.n, "objects": table.m,
    }


def measure_detection(dataset, row):
    """Train the row's detector, then yield its scores; precision to sigma_d are pooled over all images."""
    runner = fabric()
    method = build(row)
    method.fit_detector(*training_sets(row), run_dir=training_folder(), fabric=runner)
    radius = method.config.detector.r1
    each = {s.id: detection_scores(true_points(s), method.detect(s.image), radius) for s in dataset}
    pooled = DetectionScores.pooled(each.values())
    names = ("precision", "recall", "f1", "mu_d", "sigma_d")
    for name, scores in each.items():
        yield name, {
            **{metric: getattr(pooled, metric) for metric in names},
            **{f"{metric}_image": getattr(scores, metric) for metric in names},
            "tp": scores.tp, "fp": scores.fp, "fn": scores.fn,
        }
    return training_notes(method, runner)


def training_notes(method, runner):
    """Return learning curves, chosen epochs, device and precision of a training, as JSON values."""
    curves = {
        stage: {
            "best_epoch": history.best_epoch,
            "best_score": history.best_score,
            "loss": [round(line["loss"], 5) for line in history.epochs],
            "score": [None if line["score"] is None else round(line["score"], 5) for line in history.epochs],
            "seconds": round(sum(line["seconds"] for line in history.epochs), 1),
        }
        for stage, history in method.histories.items()
    }
    device = runner.device.type
    return {"device": device, "precision": choose_precision(device), "training": curves}
