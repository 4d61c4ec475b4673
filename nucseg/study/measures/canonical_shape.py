"""How rows of canonical shape are measured: patches taken alone, pixels and instances pooled (Costa et al. 2022)."""

import json
from dataclasses import replace

import numpy as np

from nucseg.data import load_dataset
from nucseg.data.splits import image_folds
from nucseg.engine import fabric
from nucseg.errors import DataError
from nucseg.methods import CanonicalShape
from nucseg.methods.base import config_from_dict
from nucseg.methods.baselines import DeepLabV3, MaskRCNN
from nucseg.methods.canonical_shape.shapes import LEVEL, SMALLEST_HALF, enclosing_half, sampled
from nucseg.metrics.contingency import ContingencyTable
from nucseg.metrics.f1 import TEN_THRESHOLDS, MatchCounts, match_counts, match_counts_greedy
from nucseg.study.measures.common import training_notes
from nucseg.study.paths import runs_folder

METHODS = {"canonical shape": CanonicalShape, "DeepLabV3": DeepLabV3, "Mask R-CNN": MaskRCNN}
#: One of so many parts of the training images is kept for validation.
PARTS = 10
#: Scores of table 1, and those kept of single images.
PRINTED = ("iou", "dice", "f1_50", "f1_mean")
ALONE = ("dice", "f1_50", "f1_mean", "nuclei", "objects")
#: The networks fitted last in this process, by everything that training depends on.
_LAST: dict = {}


def training_folder():
    """Return where the trainings of all rows are kept."""
    return runs_folder("canonical-shape") / "training"


def training_sets(dataset):
    """Return training and validation images: nine tenths and one tenth of stage 1 train, by image, or a set's own."""
    if dataset != "bbbc038":
        return load_dataset(dataset, "train"), load_dataset(dataset, "val")
    whole = load_dataset(dataset, "stage1_train", scheme="stages")
    kept = image_folds(whole.ids, PARTS)[0].val
    return whole.subset([i for i in whole.ids if i not in kept]), whole.subset(kept)


def fitted(row, runner):
    """Return the method of a row, trained now or earlier, with the row's settings of prediction."""
    method = METHODS[row.settings["method"]]
    config = replace(config_from_dict(method.Config, row.settings["config"]), seed=row.seed)
    what = (row.dataset, method.__name__, json.dumps(method(config).training_settings(), sort_keys=True))
    if what not in _LAST:
        train, val = training_sets(row.dataset)
        _LAST.clear()
        _LAST[what] = method(config).fit(train, val, run_dir=training_folder(), fabric=runner)
    found = method(config)
    found.preprocessing, found.networks, found.histories = (
        getattr(_LAST[what], name) for name in ("preprocessing", "networks", "histories")
    )
    return found


class Scores:
    """What one image, or several, give: pixels and matched instances, counted over patches."""

    def __init__(self):
        self.pixels = np.zeros(3, np.int64)  # in both, in the truth, predicted
        self.matches = {name: np.zeros((3, len(TEN_THRESHOLDS)), np.int64) for name in ("", "_exclusive", "_greedy")}
        self.patch_f1, self.counts = [], []

    def add_patch(self, labels, prediction):
        """Count one patch: its label map and what was predicted."""
        truth, found = labels > 0, prediction.prob > 0.5
        self.pixels += ((truth & found).sum(), truth.sum(), found.sum())
        table = ContingencyTable.from_masks(labels, prediction.masks.stack())
        flat = ContingencyTable.from_labels(labels, prediction.masks.labels())
        whole = match_counts(table)
        for name, counts in (("", whole), ("_exclusive", match_counts(flat)), ("_greedy", match_counts_greedy(table))):
            self.matches[name] += np.stack(counts)
        self.patch_f1.append(whole.f1)
        self.counts.append((table.n, table.m, prediction.expected))

    def add(self, other):
        """Count what another one has counted."""
        self.pixels += other.pixels
        for name, counts in other.matches.items():
            self.matches[name] += counts
        self.patch_f1 += other.patch_f1
        self.counts += other.counts

    def metrics(self):
        """Return the scores, as a dict of float; NaN where there is nothing to score."""
        both, truth, found = self.pixels.tolist()
        union = truth + found - both
        numbers = np.array(self.counts, float).reshape(-1, 3)
        values = {
            "iou": both / union if union else np.nan, "dice": 2 * both / (truth + found) if truth + found else np.nan,
            "nuclei": numbers[:, 0].sum(), "objects": numbers[:, 1].sum(), "expected": numbers[:, 2].sum(),
            "count_error": np.abs(numbers[:, 2] - numbers[:, 0]).mean() if len(numbers) else np.nan,
        }
        for name, counts in self.matches.items():
            f1 = MatchCounts(*counts).f1
            values |= {f"f1_50{name}": f1[4], f"f1_mean{name}": f1.mean()}
            if not name:
                values |= {f"f1_{round(100 * t)}": value for t, value in zip(TEN_THRESHOLDS, f1)}
        each = np.array(self.patch_f1).reshape(-1, len(TEN_THRESHOLDS))
        defined = each[~np.isnan(each).any(axis=1)]
        return {**values, "f1_50_patches": defined[:, 4].mean() if len(defined) else np.nan,
                "f1_mean_patches": defined.mean() if len(defined) else np.nan}


def score_image(method, sample):
    """Return the Scores of all patches of a sample."""
    side, scores = method.config.patch, Scores()
    for prediction in method.predict_patches(sample.image):
        row, column = prediction.corner
        scores.add_patch(sample.labels[row : row + side, column : column + side], prediction)
    return scores


def measure_patches(dataset, row):
    """Train the row's method, then yield the scores of each image; see :func:`pooled_scores`."""
    runner = fabric()
    method = fitted(row, runner)

    def scored():
        for sample in dataset:
            if sample.labels is None or min(sample.labels.shape) < method.config.patch:
                raise DataError(f"{sample.id}: needs a label map of at least {method.config.patch} px along each side")
            yield sample, score_image(method, sample)

    notes = yield from pooled_scores(scored())
    notes |= training_notes(method, runner)
    if isinstance(method, CanonicalShape):
        family = method.networks["shapes"].shape
        notes["shape"] = describe_shapes(family.shapes)
        # So few that the record can hold them: whoever reads it can draw the shapes at any resolution.
        notes["shape_parameters"] = [[value for part in shape.parameters() for value in part.flatten().tolist()]
                                     for shape in family.shapes]
    return notes


def pooled_scores(scored):
    """Yield what a record keeps of each image, and return what it keeps of all.

    The scores that the article prints are pooled over all patches: the same for every image. Names that end in
    ``_image`` are of the image alone.

    Parameters
    ----------
    scored : iterable of (nucseg.data.Sample, Scores)
        Every image.

    Yields
    ------
    str, dict
        Id and scores.

    Returns
    -------
    dict
        ``pooled``, all scores over all images; ``modalities``, the same for the images of each modality.
    """
    pooled, groups, own = Scores(), {}, {}
    for sample, scores in scored:
        own[sample.id] = scores.metrics()
        pooled.add(scores)
        groups.setdefault(sample.meta.get("modality", "all"), Scores()).add(scores)
    whole = pooled.metrics()
    for image, metrics in own.items():
        yield image, {**{name: whole[name] for name in PRINTED}, **{f"{name}_image": metrics[name] for name in ALONE}}
    return {"pooled": _plain(whole), "modalities": {name: _plain(scores.metrics()) for name, scores in groups.items()}}


def describe_shapes(shapes):
    """Return radius, eccentricity and center of the region where each canonical shape has a likelihood above 1/2.

    Moments of the region are those of an ellipse with semi-axes twice the square roots of their eigenvalues.

    Parameters
    ----------
    shapes : iterable of torch.nn.Module
        Such as :class:`nucseg.models.ImplicitShape`.

    Returns
    -------
    list of dict
        ``area_radius`` (of the disk of the same area), ``eccentricity`` (0 for a disk), ``x``, ``y`` and ``half`` (half
        the side of an area that contains the region), all None where the region is empty or has no border; ``peak``
        (the largest likelihood near the origin).
    """
    found = []
    for shape in shapes:
        half = enclosing_half([shape])
        values = dict.fromkeys(("area_radius", "eccentricity", "x", "y", "half"))
        prob, x, y = sampled([shape], half if np.isfinite(half) else SMALLEST_HALF)
        inside = prob > LEVEL
        if np.isfinite(half) and inside.any():
            small, large = np.linalg.eigvalsh(np.cov(np.stack([x[inside], y[inside]])))
            values = {"area_radius": float(np.sqrt(inside.sum() / np.pi) * (x[0, 1] - x[0, 0])),
                      "eccentricity": float(np.sqrt(max(0.0, 1 - small / large))),
                      "x": float(x[inside].mean()), "y": float(y[inside].mean()), "half": half}
        found.append({**values, "peak": float(prob.max())})
    return found


def _plain(values):
    return {name: None if np.isnan(value) else round(float(value), 6) for name, value in values.items()}
