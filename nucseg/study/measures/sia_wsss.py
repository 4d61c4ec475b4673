"""How rows of SIA-WSSS are measured: one confusion matrix over all test images for every stage of the method."""

import json
from dataclasses import dataclass, field, replace
from functools import cache
from statistics import median

import numpy as np

from nucseg.data import load_dataset
from nucseg.data.sample import Dataset
from nucseg.data.synthetic import TissueConfig, synthetic_dataset
from nucseg.engine import fabric
from nucseg.methods import SIAWSSS, SIAWSSSConfig
from nucseg.methods.base import config_from_dict
from nucseg.methods.sia_wsss.explanation import explain
from nucseg.methods.sia_wsss.patches import tag_vector
from nucseg.methods.sia_wsss.prediction import predicted_classes, semantic_map
from nucseg.metrics import LocalizationScores, SemanticScores, localization_scores, semantic_scores
from nucseg.study.measures.common import training_notes
from nucseg.study.paths import runs_folder

#: Scores of tables 1 and 2.
PRINTED = ("mean_dice", "mean_iou", "mean_precision", "mean_recall")
#: Maps of :class:`nucseg.methods.sia_wsss.Explanation` that are scored.
MAPS = ("activation", "inhibition", "refined")
#: Marks maps of the true tags, which no method knows of a test image.
ORACLE = "oracle"
#: Values above it count as activated.
ACTIVATED = 0.5
#: Probability below which the gated output leaves a class out (Han et al. 2022).
GATE = 0.1


def training_folder():
    """Return where the trainings of all rows are kept."""
    return runs_folder("sia-wsss") / "training"


def tissue_part(name, part, data=None):
    """Return the training, validation or test images of a tissue dataset.

    Parameters
    ----------
    name : str
        Name of the dataset, see :func:`nucseg.data.load_dataset`.
    part : {"train", "val", "test"}
        Which images.
    data : dict, optional
        What to render of ``"synthetic-tissue"``: ``"counts"`` of the images in each part, ``"seed"``, and ``"knobs"``,
        the settings of :class:`nucseg.data.synthetic.TissueConfig`.

    Returns
    -------
    nucseg.data.Dataset
        Rendered images are kept in memory.
    """
    return load_dataset(name, part) if data is None else _rendered(name, part, json.dumps(data, sort_keys=True))


@cache
def _rendered(name, part, text):
    data = json.loads(text)
    made = synthetic_dataset(name, part, count=data["counts"][part], seed=data["seed"],
                             config=TissueConfig(**data["knobs"]))
    return Dataset(made.name, made.ids, cache(made.__getitem__), made.groups, made.checksum)


def fitted(row, runner):
    """Return the method of a row, trained now or earlier."""
    config = replace(config_from_dict(SIAWSSSConfig, row.settings["config"]), seed=row.seed)
    train, val = (tissue_part(row.dataset, part, row.settings.get("data")) for part in ("train", "val"))
    return SIAWSSS(config).fit(train, val, run_dir=training_folder(), fabric=runner)


def best_classes(maps, present):
    """Return the class with the highest of maps (C, H, W) at each pixel, (H, W) int64, among those present (C,)."""
    return np.where(present[:, None, None], maps, -1).argmax(axis=0)


@dataclass
class Tally:
    """What the stages of the method say of one image, or of several.

    Parameters
    ----------
    stages : dict of str to SemanticScores
        ``"output"``, the prediction of the method; ``"gated"``, the same without improbable classes; ``"decoder"``
        where the decoder is not the output; and each of MAPS of the predicted classes, or of the true ones (the name
        ends in ``" oracle"``).
    places : dict of str to LocalizationScores
        What each of MAPS of the true classes covers.
    tags : numpy.ndarray, shape (2,), int
        Tags that are predicted right, and all.
    """

    stages: dict
    places: dict
    tags: np.ndarray = field(default_factory=lambda: np.zeros(2, int))

    @classmethod
    def of(cls, method, sample):
        """Return what a method says of one sample with mask and tags."""
        seen, config, count = method.look(sample.image), method.config, len(method.config.classes)
        predicted = predicted_classes(seen.presence, config)
        true = tag_vector(sample.tags, config.classes, sample.id)
        labels = {"output": semantic_map(seen, config)}
        if config.output == "decoder":
            labels["gated"] = semantic_map(seen, replace(config, gate=GATE))
        elif seen.segmentation is not None:
            labels["decoder"] = semantic_map(seen, replace(config, output="decoder"))
        shown = explain(seen, true, config)
        places = {name: localization_scores(sample.mask, getattr(shown, name), ACTIVATED) for name in MAPS}
        labels |= {f"{name} {ORACLE}": best_classes(getattr(shown, name), true) for name in MAPS}
        if (predicted != true).any():  # superpixels take time
            shown = explain(seen, predicted, config)
        labels |= {name: best_classes(getattr(shown, name), predicted) for name in MAPS}
        stages = {name: semantic_scores(sample.mask, found, count) for name, found in labels.items()}
        return cls(stages, places, np.array([(predicted == true).sum(), count]))

    @classmethod
    def pooled(cls, tallies):
        """Return the tally of several images together."""
        stages = {name: SemanticScores.pooled(each.stages[name] for each in tallies) for name in tallies[0].stages}
        places = {name: LocalizationScores.pooled(each.places[name] for each in tallies) for name in MAPS}
        return cls(stages, places, sum(each.tags for each in tallies))

    def metrics(self, classes):
        """Return the scores, as a dict of float.

        Those of the output have the names of the printed ones; others end in the name of the stage. Coverage and false
        share are those of maps of the true classes.

        Parameters
        ----------
        classes : sequence of str
            Names of the classes.

        Returns
        -------
        dict
        """
        output = self.stages["output"]
        values = {name: getattr(output, name) for name in (*PRINTED, "pixel_accuracy", "frequency_weighted_iou")}
        values |= {f"iou_{_word(name)}": value for name, value in zip(classes, output.iou)}
        for stage, scores in self.stages.items():
            if stage != "output":
                values |= {f"{name}_{_word(stage)}": getattr(scores, name) for name in PRINTED}
        for name, scores in self.places.items():
            suffix = "" if name == "activation" else f"_{name}"
            values |= {f"coverage{suffix}": scores.mean_coverage, f"false_share{suffix}": scores.mean_false_share}
            for kind, each in (("coverage", scores.coverage), ("false_share", scores.false_share)):
                values |= {f"{kind}{suffix}_{_word(tissue)}": value for tissue, value in zip(classes, each)}
        return {**values, "tag_accuracy": self.tags[0] / self.tags[1]}


def _word(name):
    return name.replace(" ", "_")


def measure_stages(dataset, row):
    """Train the row's method, then yield the scores of each image alone; those of all stand in the notes.

    Parameters
    ----------
    dataset : nucseg.data.Dataset
        Test images, with masks and tags.
    row : nucseg.study.experiment.Row
        Its settings hold ``"config"``, and ``"data"`` of :func:`tissue_part`.

    Yields
    ------
    str, dict
        Id; mIoU and accuracy of the image.

    Returns
    -------
    dict
        ``pooled_metrics``, the scores of all images together and, ending in ``_by_image``, the means over images;
        ``confusion``, the matrix of each stage; curves, log, cost and size of the training.
    """
    runner, tallies = fabric(), []
    method = fitted(row, runner)
    for sample in dataset:
        tallies.append(Tally.of(method, sample))
        output = tallies[-1].stages["output"]
        yield sample.id, {"mean_iou_image": output.mean_iou, "pixel_accuracy_image": output.pixel_accuracy}
    whole = Tally.pooled(tallies)
    means = {f"{name}_by_image": _mean([getattr(each.stages["output"], name) for each in tallies]) for name in PRINTED}
    return {
        "pooled_metrics": {name: _rounded(value) for name, value in
                           (whole.metrics(method.config.classes) | means).items()},
        "confusion": {stage: scores.confusion.tolist() for stage, scores in whole.stages.items()},
        **training_notes(method, runner), **cost_notes(method, row),
        "log": [{name: _rounded(value) for name, value in line.items()} for line in method.log],
    }


def cost_notes(method, row):
    """Return the number of parameters and the seconds of a step, of the median epoch without validation if any."""
    (history,), (network,) = method.histories.values(), method.networks.values()
    images = len(tissue_part(row.dataset, "train", row.settings.get("data")))
    epochs = [line for line in history.epochs if line["score"] is None] or history.epochs
    seconds = median(line["seconds"] for line in epochs) / -(-images // method.config.batch)
    counts = {name: sum(part.numel() for part in module.parameters())
              for name, module in (("whole", network), ("transformer", network.encoder))}
    return {"parameters": counts, "seconds_per_step": round(seconds, 4), "classes": list(method.config.classes)}


def _mean(values):
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _rounded(value):
    return round(float(value), 6) if not isinstance(value, int) else value
