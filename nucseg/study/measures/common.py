"""What the measurements of all chapters yield: instance metrics, detection metrics, notes on the training."""

from nucseg.engine import choose_precision
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


def detection_metrics(dataset, method):
    """Return the metrics of table I for each image; precision to sigma_d are pooled over all of them."""
    radius = method.config.detector.r1
    each = {s.id: detection_scores(true_points(s), method.detect(s.image), radius) for s in dataset}
    pooled = DetectionScores.pooled(each.values())
    names = ("precision", "recall", "f1", "mu_d", "sigma_d")
    return {
        image: {
            **{metric: getattr(pooled, metric) for metric in names},
            **{f"{metric}_image": getattr(scores, metric) for metric in names},
            "tp": scores.tp, "fp": scores.fp, "fn": scores.fn,
        }
        for image, scores in each.items()
    }


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
