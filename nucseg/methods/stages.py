"""What the training stages of all methods share: images in memory, networks, fingerprints and run folders."""

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from nucseg.engine.checkpoint import load_weights
from nucseg.engine.tiles import predict_tiled
from nucseg.errors import DataError
from nucseg.metrics import aji
from nucseg.models import ResNet34UNet
from nucseg.seeding import generator


@dataclass(frozen=True, eq=False)
class Images:
    """Color-normalized images of a dataset, in memory.

    Parameters
    ----------
    names : tuple of str
        Ids.
    pixels : list of numpy.ndarray, each of shape (H, W, 3), uint8
        In the colors of the training set.
    samples : list of nucseg.data.Sample
        As read, for labels and dots.
    """

    names: tuple
    pixels: list
    samples: list

    @classmethod
    def read(cls, dataset, preprocessing):
        """Return the images of a dataset, normalized by `preprocessing`.

        Raises
        ------
        DataError
            The dataset is empty.
        """
        samples = list(dataset)
        if not samples:
            raise DataError(f"{dataset.name}: there are no images")
        return cls(tuple(s.id for s in samples), [preprocessing.colors(s.image) for s in samples], samples)

    def fingerprint(self):
        """Return the fingerprint of pixels, labels and dots."""
        truth = (array for s in self.samples for array in (s.labels, s.points) if array is not None)
        return fingerprint(*self.pixels, *truth)


def require_labels(samples, what):
    """Raise DataError, naming the image, unless every sample has a label map."""
    for sample in samples:
        if sample.labels is None:
            raise DataError(f"{sample.id}: {what} needs a label map")


def mean_aji(samples, predictions):
    """Return the mean AJI of predicted label maps over samples; 1 where neither map has a nucleus."""
    scores = [aji(sample.labels, labels) for sample, labels in zip(samples, predictions)]
    return float(np.mean(np.nan_to_num(scores, nan=1.0)))


def unet(classes, weights, initial, seed, *names):
    """Return a ResNet-34 U-Net whose random weights follow from a seed and names.

    Parameters
    ----------
    classes : int
        Channels of the output.
    weights : {"imagenet", None}
        Of the encoder.
    initial : path-like, optional
        Self-supervised weights of the same network (see :mod:`nucseg.methods.self_supervised`).
    seed : int
        Seed of the run.
    *names : str or int
        What the network is for.

    Raises
    ------
    DataError
        Both ImageNet and self-supervised weights are asked for.
    """
    if weights is not None and initial is not None:
        raise DataError(f"a network starts from {weights} weights or from {initial}, not from both")
    network = seeded(partial(ResNet34UNet, classes, weights), seed, *names)
    if initial is not None:
        from nucseg.methods.self_supervised import load_pretrained

        load_pretrained(network, initial)
    return network


def seeded(build, seed, *names):
    """Return ``build()``, a network whose random weights follow from a seed and names."""
    torch.manual_seed(stage_seed(seed, "network", *names))
    return build()


def stage_seed(seed, *names):
    """Return the seed of one stage of a run, so that no two stages draw the same batches."""
    return int(generator(seed, *names).integers(2**63 - 1))


def adam(network, config):
    """Return the optimizer of Qu et al. (2020, sec. V-B) with the rates of a config."""
    return torch.optim.Adam(
        network.parameters(), config.learning_rate, betas=config.betas, weight_decay=config.weight_decay, fused=True
    )


def logits_of(network, image, preprocessing):
    """Return what a network says of one color-normalized image, (C, H, W) float32; tiles as released by Qu et al."""
    return predict_tiled(network, image, mean=preprocessing.mean, std=preprocessing.std)


def load_best(run_dir, network):
    """Put the weights of a stage's best epoch into its network, in evaluation mode, and return it."""
    load_weights(Path(run_dir) / "best.safetensors", network)
    return network.eval()


def fingerprint(*parts):
    """Return 16 hexadecimal digits that change with any of the parts, to name the folder of a training stage.

    Parameters
    ----------
    *parts : numpy.ndarray or JSON value
        What the stage depends on.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        else:
            digest.update(json.dumps(part, sort_keys=True).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def weights_fingerprint(network):
    """Return the fingerprint of a network's weights and buffers."""
    state = network.state_dict()
    return fingerprint(list(state), *(tensor.detach().cpu().numpy() for tensor in state.values()))


def plain(settings):
    """Return settings as JSON would hold them, so that they compare equal after a checkpoint."""
    return json.loads(json.dumps(settings))
