"""How rows of the baselines are measured: train on full masks, then predict each image."""

from dataclasses import replace

from nucseg.data import load_dataset
from nucseg.engine import fabric
from nucseg.methods.base import config_from_dict
from nucseg.methods.baselines import CNN3, DIST
from nucseg.study.measures.common import segmentation_metrics, training_notes
from nucseg.study.paths import runs_folder

METHODS = {"CNN3": CNN3, "DIST": DIST}


def measure_baseline(dataset, row):
    """Train the row's baseline, then yield the instance metrics of each image."""
    runner = fabric()
    method = METHODS[row.settings["method"]]
    method = method(replace(config_from_dict(method.Config, row.settings["config"]), seed=row.seed))
    train, val = (load_dataset(row.dataset, part) for part in ("train", "val"))
    method.fit(train, val, run_dir=runs_folder("partial-points") / "training", fabric=runner)
    for sample in dataset:
        yield sample.id, segmentation_metrics(sample.labels, method.predict(sample.image))
    return training_notes(method, runner)
