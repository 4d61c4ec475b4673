"""Stage 2: from dots to a segmentation network (Qu et al. 2020, sec. IV)."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nucseg.engine import RandomBatches, cut_patches, fit
from nucseg.errors import DataError
from nucseg.losses import dense_crf_loss, masked_cross_entropy
from nucseg.methods.stages import (
    adam,
    fingerprint,
    load_best,
    logits_of,
    mean_aji,
    plain,
    require_labels,
    stage_seed,
    weights_fingerprint,
)
from nucseg.postprocess import components
from nucseg.supervision import cluster_roles, refine_roles, voronoi_labels

#: What an image without a label map is called in messages.
VALIDATION_IMAGE = "a validation image of the segmenter"
#: Settings of the labels, which the labels' own fingerprint covers, and of what happens after training.
_LABELS = ("voronoi_share", "voronoi_radius", "cluster_seed", "cluster_restarts", "exchange_roles", "checkpoint")
_FINE_TUNING = ("crf_epochs", "crf_learning_rate", "crf_weight", "crf_gradient", "sigma_xy", "sigma_rgb")


@dataclass(eq=False)
class Segmenter:
    """A trained segmenter and how it came about.

    Parameters
    ----------
    network : torch.nn.Module
        At the best epoch of the last phase, or at the last one.
    histories : dict of str to nucseg.engine.History
        ``"cross-entropy"`` and, unless it was left out, ``"crf"``.
    """

    network: torch.nn.Module
    histories: dict


def weak_labels(pixels, points, config):
    """Return the two coarse labels of an image (Qu et al. 2020, sec. IV-A).

    Parameters
    ----------
    pixels : numpy.ndarray, shape (H, W, 3), uint8
        The color-normalized image.
    points : array_like, shape (N, 2)
        Row and column of the dots, px.
    config : SegmenterConfig
        How the labels are made.

    Returns
    -------
    numpy.ndarray, shape (2, H, W), int8
        Voronoi label, then cluster label: 1 nucleus, 0 background, -1 ignored. Without dots all is ignored.
    """
    roles, _ = cluster_roles(pixels, points, seed=config.cluster_seed, restarts=config.cluster_restarts)
    if config.exchange_roles:
        roles = np.where(roles == 1, 1, -1 - roles).astype(np.int8)  # 0 and -1 trade places
    voronoi = voronoi_labels(points, pixels.shape[:2], config.voronoi_radius)
    return np.stack([voronoi, refine_roles(roles, points)])


def label_loss(preprocessing, shares):
    """Return the cross-entropy against several labels, ``loss(network, batch)`` (Qu et al. 2020, eq. 5 and 6).

    Parameters
    ----------
    preprocessing : nucseg.methods.preprocessing.Preprocessing
        Standardizes the images.
    shares : sequence of float
        Weight of each label map of a batch; a label of weight 0 is not computed.

    Returns
    -------
    callable
    """

    def loss(network, batch):
        return _label_loss(_logits(network, batch, preprocessing), batch["maps"], shares)

    return loss


def crf_loss(preprocessing, shares, config):
    """Return the loss of fine-tuning, ``loss(network, batch)`` (Qu et al. 2020, eq. 10).

    Parameters
    ----------
    preprocessing : nucseg.methods.preprocessing.Preprocessing
        Standardizes the images.
    shares : sequence of float
        Weight of each label map of a batch.
    config : SegmenterConfig
        Weight and widths of the dense CRF.

    Returns
    -------
    callable
    """

    def loss(network, batch):
        logits = _logits(network, batch, preprocessing)
        prob = torch.softmax(logits, dim=1)[:, 1]
        # Interpolation may leave [0, 1] by a rounding error.
        pairs = dense_crf_loss(prob, batch["image"].clamp(0, 1), config.sigma_xy, config.sigma_rgb)
        return _label_loss(logits, batch["maps"], shares) + config.crf_gradient * config.crf_weight * pairs

    return loss


def _logits(network, batch, preprocessing):
    return network(preprocessing.standardize(batch["image"])).float()


def _label_loss(logits, maps, shares):
    return sum(share * masked_cross_entropy(logits, maps[:, k]) for k, share in enumerate(shares) if share)


def train_segmenter(train, val, labels, shares, preprocessing, config, network, *, run_dir, fabric, progress=True):
    """Train a segmenter on label maps, then fine-tune it with the dense CRF loss.

    Parameters
    ----------
    train, val : nucseg.methods.stages.Images
        Training images; samples with label maps for choosing epochs by mean AJI, in each phase separately.
    labels : sequence of numpy.ndarray, each of shape (K, H, W), int8
        K label maps of each training image.
    shares : sequence of float
        Weight of each of the K.
    preprocessing : nucseg.methods.preprocessing.Preprocessing
        Of the training set.
    config : PartialPointsConfig or FullySupervisedConfig
        Its ``segmenter``, patches and seed count.
    network : torch.nn.Module
        Two output channels, not trained yet.
    run_dir : path-like
        Receives one folder for each phase, named by what the phase depends on.
    fabric : lightning_fabric.Fabric
        Device and precision.
    progress : bool
        Whether to show bars.

    Returns
    -------
    Segmenter

    Raises
    ------
    DataError
        No pixel of any training image has a label, or a validation image has no label map.
    """
    if not any((maps >= 0).any() for maps in labels):
        raise DataError("segmenter: no pixel of the training images has a label; are there any dots?")
    own = config.segmenter
    size, least = config.patch, config.patches_per_side
    patches = cut_patches(train.names, train.pixels, labels, size=size, least=least, device=fabric.device)
    settings = _settings(train, val, labels, shares, preprocessing, config, network)
    optimizer = adam(network, own)
    batches = RandomBatches(patches, own.batch, own.augment, own.stain)
    options = {"fabric": fabric, "progress": progress, "validate_every": own.validate_every}

    def phase(name, seed, loss, epochs, settings):
        folder = Path(run_dir) / f"{name}-{fingerprint(settings, config.seed)}"
        return folder, fit(network, optimizer, batches, loss, epochs=epochs, run_dir=folder, config=plain(settings),
                           seed=seed, validate=_validation(val, preprocessing, own.min_size), **options)

    folder, first = phase("segmentation", config.seed, label_loss(preprocessing, shares), own.epochs, settings)
    histories = {"cross-entropy": first}
    if own.crf_epochs:
        # The network goes on from the last epoch with the state of its optimizer (release).
        for group in optimizer.param_groups:
            group["lr"] = own.crf_learning_rate
        settings = {**settings, **{name: getattr(own, name) for name in _FINE_TUNING}}
        seed, loss = stage_seed(config.seed, "crf"), crf_loss(preprocessing, shares, own)
        folder, histories["crf"] = phase("crf", seed, loss, own.crf_epochs, settings)
    return Segmenter(load_best(folder, network) if own.checkpoint == "best" else network.eval(), histories)


def _settings(train, val, labels, shares, preprocessing, config, network):
    """Return everything that training with cross-entropy depends on, but the seed and the code."""
    own = dataclasses.asdict(config.segmenter)
    return {
        **{name: value for name, value in own.items() if name not in _LABELS + _FINE_TUNING},
        "stage": "segmentation", "shares": list(shares), "start": weights_fingerprint(network),
        "preprocessing": preprocessing.to_dict(), "patch": [config.patch, config.patches_per_side],
        "targets": fingerprint(*train.pixels, *labels), "validation": val.fingerprint(),
    }


def nucleus_probability(network, pixels, preprocessing):
    """Return the probability of nucleus at each pixel of a color-normalized image, (H, W) float32."""
    return torch.softmax(logits_of(network, pixels, preprocessing), dim=0)[1].numpy()


def instances(prob, min_size):
    """Return the instance map of a probability map, (H, W) int32: components of prob > 0.5, holes filled."""
    return components(prob > 0.5, min_size=min_size, connectivity=8, fill_holes=True)


def _validation(val, preprocessing, min_size):
    """Return ``validate(network)``: mean AJI over the validation images."""
    require_labels(val.samples, VALIDATION_IMAGE)

    def validate(network):
        found = (instances(nucleus_probability(network, pixels, preprocessing), min_size) for pixels in val.pixels)
        return mean_aji(val.samples, found)

    return validate
