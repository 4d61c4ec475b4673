"""Stage 1: from a few dots to a detector that finds nearly all nuclei (Qu et al. 2020, sec. III)."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from nucseg.engine import RandomBatches, cut_patches, fit
from nucseg.errors import DataError
from nucseg.losses import weighted_mse
from nucseg.methods.stages import adam, fingerprint, load_best, logits_of, plain, stage_seed, weights_fingerprint
from nucseg.metrics import DetectionScores, detection_scores
from nucseg.postprocess import points_from_map
from nucseg.supervision import (
    box_centers,
    confident_background,
    extended_gaussian_mask,
    merge_points,
)
from nucseg.supervision.gaussian_batch import extended_gaussian_masks

#: Settings that say what a round does after or before training, not how the network is trained.
_BETWEEN_ROUNDS = ("strategy", "rounds", "background_below", "saturated_above", "saturated_area")


@dataclass(eq=False)
class Detector:
    """A trained detector and how it came about.

    Parameters
    ----------
    network : torch.nn.Module
        Of the last round, at its best epoch.
    detections : list of numpy.ndarray, each of shape (N, 2), float64
        What it finds in each training image, px.
    histories : dict of str to nucseg.engine.History
        One for each round.
    masks : list of list of numpy.ndarray, each of shape (H, W), float32
        For each round the extended Gaussian mask that each training image had.
    """

    network: torch.nn.Module
    detections: list
    histories: dict = field(default_factory=dict)
    masks: list = field(default_factory=list)


def detection_loss(preprocessing, config):
    """Return the loss of stage 1, ``loss(network, batch)`` (Qu et al. 2020, eq. 1 to 3).

    Parameters
    ----------
    preprocessing : nucseg.methods.preprocessing.Preprocessing
        Standardizes the images.
    config : DetectorConfig
        Radii and weights.

    Returns
    -------
    callable
        Takes batches whose ``points`` are the annotated dots and whose ``maps`` hold 1 where self-training
        has declared background.
    """

    def loss(network, batch):
        masks = batch_masks(batch, config)
        logits = network(preprocessing.standardize(batch["image"]))[:, 0]
        weights = torch.where(masks >= config.foreground_level, config.foreground_weight, 1.0)
        return weighted_mse(torch.sigmoid(logits.float()), masks, weights)

    return loss


def batch_masks(batch, config):
    """Return the masks M that a batch is trained on, (B, h, w) float32, -1 for ignored (eq. 1 and 3)."""
    images = batch["image"]
    masks = extended_gaussian_masks(
        batch["points"], tuple(images.shape[2:]), config.r1, config.r2, config.sigma, images.device
    )
    background = masks < 0
    if not config.rest_is_background:
        background &= batch["maps"][:, 0] == 1
    masks.masked_fill_(background, 0.0)
    # Dots beyond the border of a patch must not teach that black surroundings hold nuclei.
    padding = (images == 0).all(dim=1)
    return masks.masked_fill_(padding, 0.0 if config.rest_is_background else -1.0)


def train_detector(train, val, preprocessing, config, network, *, run_dir, fabric, progress=True):
    """Train a detector, in several rounds if its strategy has them.

    Parameters
    ----------
    train : nucseg.methods.stages.Images
        Samples with ``points``, the annotated dots.
    val : nucseg.methods.stages.Images
        Samples with label maps or all dots, for choosing epochs by F1.
    preprocessing : nucseg.methods.preprocessing.Preprocessing
        Of the training set.
    config : PartialPointsConfig
        With a detector.
    network : callable
        ``network(round) -> torch.nn.Module``, a new network with one output channel.
    run_dir : path-like
        Receives one folder for each round, named by what the round depends on.
    fabric : lightning_fabric.Fabric
        Device and precision.
    progress : bool
        Whether to show bars.

    Returns
    -------
    Detector

    Raises
    ------
    DataError
        No training image has a dot, or no validation image has a nucleus.
    """
    own = config.detector
    annotated = [sample.points for sample in train.samples]
    if not any(len(points) for points in annotated):
        raise DataError("detector: none of the training images has a dot")
    dots = annotated
    background = [np.zeros(pixels.shape[:2], bool) for pixels in train.pixels]
    detector = Detector(network(0), [])
    for number in range(own.extra_rounds + 1):
        if number and own.restart:
            detector.network = network(number)
        folder, history = _train_round(
            detector.network, number, train, dots, background, val, preprocessing, config, run_dir, fabric, progress
        )
        detector.histories[f"round-{number}"] = history
        detector.masks.append([_whole_mask(d, b, own) for d, b in zip(dots, background)])
        load_best(folder, detector.network)
        maps = [probability(detector.network, pixels, preprocessing) for pixels in train.pixels]
        detector.detections = [detect(prob, own) for prob in maps]
        if own.strategy == "ST-bg":
            rules = (own.background_below, own.saturated_above, own.saturated_area)
            background = [confident_background(prob, *rules) for prob in maps]
        elif own.strategy == "ST-nu":
            dots = [merge_points(a, found, own.r1) for a, found in zip(annotated, detector.detections)]
    return detector


def _train_round(network, number, train, dots, background, val, preprocessing, config, run_dir, fabric, progress):
    """Return the run folder and the history of one round."""
    own = config.detector
    maps = [pixels[None].astype(np.int8) for pixels in background]
    patches = cut_patches(
        train.names, train.pixels, maps, dots, size=config.patch, least=config.patches_per_side, device=fabric.device
    )
    settings = {
        **{name: value for name, value in dataclasses.asdict(own).items() if name not in _BETWEEN_ROUNDS},
        "stage": "detection", "rest_is_background": own.rest_is_background, "start": weights_fingerprint(network),
        "preprocessing": preprocessing.to_dict(), "patch": [config.patch, config.patches_per_side],
        "targets": fingerprint(*train.pixels, *dots, *maps), "validation": val.fingerprint(),
    }
    folder = Path(run_dir) / f"detection-{number}-{fingerprint(settings, config.seed)}"
    history = fit(
        network, adam(network, own), RandomBatches(patches, own.batch, own.augment, own.stain),
        detection_loss(preprocessing, own), epochs=own.epochs, run_dir=folder, config=plain(settings),
        seed=stage_seed(config.seed, "detection", number), fabric=fabric, validate=_validation(val, preprocessing, own),
        validate_every=own.validate_every, progress=progress,
    )
    return folder, history


def probability(network, pixels, preprocessing):
    """Return the probability of a nuclear center at each pixel of a color-normalized image, (H, W) float32."""
    return torch.sigmoid(logits_of(network, pixels, preprocessing)[0]).numpy()


def detect(prob, config):
    """Return the dots of a probability map, (N, 2) float64 px, by the rules of a DetectorConfig."""
    return points_from_map(prob, config.threshold, config.min_area, config.max_area)


def true_points(sample):
    """Return all dots of a sample: the centers of its nuclei's boxes, or its own dots where it has no labels."""
    return sample.points if sample.labels is None else box_centers(sample.labels)


def _validation(val, preprocessing, config):
    """Return ``validate(network)``: F1 with counts pooled over the validation images (sec. V-B.2)."""
    for sample in val.samples:
        if sample.labels is None and sample.points is None:
            raise DataError(f"{sample.id}: a validation image of the detector needs a label map or dots")
    truth = [true_points(sample) for sample in val.samples]
    if not sum(map(len, truth)):
        raise DataError("detector: the validation images have no nuclei to choose an epoch by")

    def validate(network):
        found = [detect(probability(network, pixels, preprocessing), config) for pixels in val.pixels]
        return DetectionScores.pooled([detection_scores(t, f, config.r1) for t, f in zip(truth, found)]).f1

    return validate


def _whole_mask(dots, background, config):
    """Return the mask M of a whole training image, as figures show it."""
    mask = extended_gaussian_mask(dots, background.shape, config.r1, config.r2, config.sigma)
    mask[(mask < 0) & (background | config.rest_is_background)] = 0
    return mask
