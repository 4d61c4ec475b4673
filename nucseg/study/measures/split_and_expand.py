"""How rows of split and expand are measured: train both heads, or find them trained, then process their maps."""

import json
from dataclasses import replace

import numpy as np

from nucseg.data import load_dataset
from nucseg.engine import fabric
from nucseg.explain import LRPRules
from nucseg.methods import SplitAndExpand, SplitAndExpandConfig
from nucseg.methods.base import config_from_dict
from nucseg.methods.partial_points.detector import true_points
from nucseg.methods.partial_points.segmenter import instances
from nucseg.methods.stages import weights_fingerprint
from nucseg.metrics import detection_scores
from nucseg.postprocess import center_blobs, center_peaks, expand_centers, split_instances, unassigned_blobs
from nucseg.study.digest import library_digest
from nucseg.study.measures import growth
from nucseg.study.measures.common import training_notes
from nucseg.study.measures.instances import added_metrics, instance_metrics
from nucseg.study.measures.memory import Memory
from nucseg.study.paths import runs_folder
from nucseg.supervision import annotate_dots

#: Distance at which a predicted center counts as found, px.
REACH = 6.0
#: The method fitted last in this process: rows of one training follow one another, and even to find it takes a minute.
_LAST: dict = {}
_CENTERS = {"blobs": center_blobs, "peaks": center_peaks}


def training_folder():
    """Return where the trainings of all rows are kept."""
    return runs_folder("split-and-expand") / "training"


def fitted(row, runner):
    """Return the method of a row, trained on its fold with all dots, now or earlier."""
    what = (training_folder(), json.dumps(row.settings["config"], sort_keys=True), row.dataset, row.seed,
            replace(row.fold, part="test"))
    if what not in _LAST:
        config = config_from_dict(SplitAndExpandConfig, row.settings["config"])
        train, val, _ = row.fold.of(load_dataset(row.dataset))
        method = SplitAndExpand(replace(config, seed=row.seed))
        method.fit(annotate_dots(train), val, run_dir=training_folder(), fabric=runner)
        _LAST.clear()
        _LAST[what] = method
    return _LAST[what]


class Steps:
    """The three steps of prediction with every choice open, and maps and relevance kept.

    Parameters
    ----------
    method : SplitAndExpand
        Fitted.
    folder : path-like
        Keeps maps and relevance, because many rows share a training.
    """

    def __init__(self, method, folder):
        (self.network,) = method.networks.values()
        self.method, self.memory = method, Memory(folder)
        # Code, too: a row that runs again because its code has changed must not be handed what the old code made.
        code = [library_digest(name) for name in (SplitAndExpand.__module__, growth.__name__)]
        self.source = [weights_fingerprint(self.network), method.preprocessing.to_dict(), code]

    def maps(self, sample):
        """Return the probability maps ``nucleus`` and ``center`` of a sample, (H, W) float32."""
        return self.memory.recall(lambda: self.method.predict_maps(sample.image), self.source, sample.image)

    def heat(self, sample, blobs, kind, rules):
        """Return the heatmap of given groups of center pixels by one of :data:`growth.GROWTH`, (H, W) float."""
        def compute():
            return {"heat": growth.GROWTH[kind](self.method, sample.image, blobs, self.maps(sample), LRPRules(**rules))}

        return self.memory.recall(compute, self.source, sample.image, blobs, kind, rules)["heat"]

    def divided(self, sample, *, centers=None, clustering="gmm", floor=None):
        """Return what the base and Split make of a sample, and the centers.

        Parameters
        ----------
        sample : nucseg.data.Sample
            The image.
        centers : mapping, optional
            ``rule`` ("blobs" or "peaks") and its arguments; the method's blobs by default.
        clustering, floor : str, float
            Of :func:`nucseg.postprocess.split_instances`.

        Returns
        -------
        dict of str to numpy.ndarray
            ``baseline`` and ``split``, (H, W) int32.
        nucseg.postprocess.Centers
        """
        config, maps = self.method.config, self.maps(sample)
        center = np.clip(maps["center"], 0, 1)
        own = {"rule": "blobs", "threshold": config.center_threshold, "min_size": config.center_min_size}
        own = dict(centers or own)
        found = _CENTERS[own.pop("rule")](center, **own)
        baseline = instances(maps["nucleus"], config.min_size)
        divided = split_instances(baseline, center, centers=found.points, method=clustering,
                                  floor=config.floor if floor is None else floor, min_size=config.min_size)
        return {"baseline": baseline, "split": divided}, found

    def objects(self, sample, *, unassigned="point", taken_below=0, grow="relevance", rules=None, expand=None,
                **choices):
        """Return what all steps make of a sample, and the centers.

        Parameters
        ----------
        sample : nucseg.data.Sample
            The image.
        unassigned : str
            Rule of :func:`nucseg.postprocess.unassigned_blobs`.
        taken_below : int
            Nuclei below this size are taken away after Split, px, so that Expand has something to do; see
            :func:`growth.take_away`.
        grow : str
            Where the heat comes from, one of :data:`growth.GROWTH`.
        rules : mapping, optional
            Of :class:`nucseg.explain.LRPRules`.
        expand : mapping, optional
            Arguments of :func:`nucseg.postprocess.expand_centers`.
        **choices
            Of :meth:`divided`.

        Returns
        -------
        dict of str to numpy.ndarray
            ``baseline``, ``split`` and ``expand``, (H, W) int32.
        nucseg.postprocess.Centers
        """
        config, (found, centers) = self.method.config, self.divided(sample, **choices)
        center = np.clip(self.maps(sample)["center"], 0, 1)
        found["split"] = growth.take_away(found["split"], taken_below)
        alone = unassigned_blobs(found["split"], center, centers=centers, rule=unassigned)
        options = {"threshold": config.heat_threshold, "max_overlap": config.overlap, "min_size": config.min_size}
        heat = self.heat(sample, alone.blobs, grow, rules or {})
        grown = expand_centers(found["split"], center, heat, unassigned=alone, **{**options, **(expand or {})})
        return {**found, "expand": grown}, centers


def measure_steps(dataset, row):
    """Train the row's fold, then yield the metrics of one step on each image, and those of the centers."""
    runner = fabric()
    method = fitted(row, runner)
    steps, output = Steps(method, training_folder() / "maps"), row.settings["output"]
    for sample in dataset:
        process = steps.objects if output == "expand" else steps.divided
        objects, centers = process(sample, **row.settings.get("steps", {}))
        scores = detection_scores(true_points(sample), centers.points, REACH)
        areas = np.bincount(centers.blobs.ravel())[1:]
        yield sample.id, {
            **instance_metrics(sample.labels, objects[output]),
            "center_precision": scores.precision, "center_recall": scores.recall, "center_f1": scores.f1,
            "center_area": np.median(areas) if len(areas) else np.nan,
            **(added_metrics(sample.labels, objects["split"], objects["expand"]) if output == "expand" else {}),
        }
    return training_notes(method, runner)
