"""How rows of DoNuSeg are measured: train on a fold, or find it trained, then score images whole and patch by patch."""

from dataclasses import replace
from itertools import product

import numpy as np

from nucseg.data import load_dataset
from nucseg.data.sample import Dataset
from nucseg.engine import fabric
from nucseg.engine.crops import tile_corners
from nucseg.methods.base import config_from_dict
from nucseg.methods.donuseg import DoNuSeg, DoNuSegConfig
from nucseg.methods.donuseg.prediction import instances
from nucseg.methods.partial_points import PartialPoints
from nucseg.metrics import ContingencyTable, aji, panoptic_quality, pixel_scores
from nucseg.study.measures.common import segmentation_metrics, training_notes
from nucseg.study.paths import runs_folder
from nucseg.supervision import centroids

METHODS = {"DoNuSeg": DoNuSeg, "WeakSeg": PartialPoints}
#: Side of the patches that are scored by themselves, and step between them, px (Wang et al. 2024, sec. 3.1).
PATCH, STEP = 256, 128


def dotted(dataset):
    """Return a dataset with dots at the centroids of nuclei, inside of them, and without masks.

    Where in a nucleus the dots of Wang et al. (2024) lie is not said.
    """
    def read(name):
        sample = dataset[name]
        return replace(sample, labels=None, points=centroids(sample.labels, inside=True))

    return Dataset(dataset.name, dataset.ids, read, dataset.groups, dataset.checksum)


def training_folder():
    """Return where the trainings of all rows are kept."""
    return runs_folder("donuseg") / "training"


def fitted(row, runner):
    """Return the method of a row, trained on its fold, now or earlier."""
    method = METHODS[row.settings["method"]]
    config = replace(config_from_dict(method.Config, row.settings["config"]), seed=row.seed)
    train, val, _ = row.fold.of(load_dataset(row.dataset))
    watched = {"watched": train} if method is DoNuSeg else {}
    return method(config).fit(dotted(train), val, run_dir=training_folder(), fabric=runner, **watched)


def patch_metrics(labels, image, predict):
    """Return the means of scores over the patches of an image, each predicted and scored by itself, as a dict of float.

    Scores are 0 where there is no match, as the release of HoVer-Net computes them; patches without a nucleus are left
    out. This is our guess of how the tables of Wang et al. (2024) were made.

    Parameters
    ----------
    labels : numpy.ndarray, shape (H, W), int
        True instances.
    image : numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    predict : callable
        Turns a patch into an instance map.
    """
    scores = []
    for row, column in product(*(tile_corners(length, PATCH, STEP) for length in labels.shape)):
        part = slice(row, row + PATCH), slice(column, column + PATCH)
        if labels[part].any():
            table = ContingencyTable.from_labels(labels[part], predict(image[part]))
            scores.append([pixel_scores(table).f1, aji(table), *panoptic_quality(table)])
    means = np.nan_to_num(np.array(scores).reshape(-1, 5)).mean(axis=0) if scores else np.full(5, np.nan)
    return dict(zip(("f1_pixel_patch", "aji_patch", "dq_patch", "sq_patch", "pq_patch"), means.tolist()))


def measure_folds(dataset, row):
    """Train the row's fold, then yield the metrics of each image; other rules of assembly come from the settings."""
    runner = fabric()
    method = fitted(row, runner)
    predict = method.predict
    if "assembly" in row.settings:
        config = replace(method.config, **row.settings["assembly"])

        def predict(image):
            return instances(method.stitched(image), config.score_threshold, config)

    for sample in dataset:
        yield sample.id, {**segmentation_metrics(sample.labels, predict(sample.image)),
                          **patch_metrics(sample.labels, sample.image, predict)}
    notes = training_notes(method, runner)
    if isinstance(method.config, DoNuSegConfig):
        notes |= {"score_threshold": method.config.score_threshold, "selection": method.log}
    return notes
