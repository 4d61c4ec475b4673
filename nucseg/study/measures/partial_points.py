"""How rows of partial points are measured: train, or find the stages trained already, then predict each image."""

from dataclasses import asdict, replace
from functools import partial

from nucseg.data import load_dataset
from nucseg.engine import fabric
from nucseg.methods import PartialPoints, Preprocessing
from nucseg.methods.base import config_from_dict
from nucseg.methods.baselines.fully_supervised import FullySupervised
from nucseg.methods.self_supervised import SelfSupervisedConfig, pretrain_unet
from nucseg.methods.stages import Images, fingerprint, plain
from nucseg.models import ResNet34UNet
from nucseg.study.measures.common import detection_metrics, segmentation_metrics, training_notes
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
    train, val = (load_dataset(source, part) for part in ("train", row.settings.get("select_on", "val")))
    if row.settings["method"] == "fully supervised":
        return train, val
    return annotate_dots(train, row.settings["ratio"], row.seed, row.settings.get("replacement", False)), val


def initial_weights(row, train, method, runner):
    """Return the self-supervised weights that a row starts from, trained if need be; None where it has none."""
    if "pretrain" not in row.settings:
        return None
    config = config_from_dict(SelfSupervisedConfig, row.settings["pretrain"])
    preprocessing = Preprocessing.learn(train, method.config.normalization, method.config.reference)
    images = Images.read(train, preprocessing)
    folder = training_folder() / f"pretraining-{fingerprint(plain(asdict(config)), images.fingerprint(), row.seed)}"
    pretrain_unet(
        partial(ResNet34UNet, classes=3), images.pixels, mean=preprocessing.mean, std=preprocessing.std,
        run_dir=folder, config=config, names=images.names, seed=row.seed, fabric=runner,
    )
    return folder / "best.safetensors"


def measure_segmentation(dataset, row):
    """Train the row's method, then yield instance metrics of each image, and those of its detector if it has one."""
    runner, method = fabric(), build(row)
    train, val = training_sets(row)
    initial = initial_weights(row, train, method, runner)
    method.fit(train, val, run_dir=training_folder(), fabric=runner, initial=initial)
    detected = detection_metrics(dataset, method) if "detector" in method.networks else {}
    for sample in dataset:
        yield sample.id, {**segmentation_metrics(sample.labels, method.predict(sample.image)),
                          **detected.get(sample.id, {})}
    return training_notes(method, runner)


def measure_detection(dataset, row):
    """Train the row's detector, then yield its scores on each image."""
    runner, method = fabric(), build(row)
    train, val = training_sets(row)
    initial = initial_weights(row, train, method, runner)
    method.fit_detector(train, val, run_dir=training_folder(), fabric=runner, initial=initial)
    yield from detection_metrics(dataset, method).items()
    return training_notes(method, runner)
