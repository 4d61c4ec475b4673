"""DoNuSeg: train on dots, predict instances (Wang et al. 2024)."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from nucseg.arrays import as_image
from nucseg.engine import Scheduled, clip_gradients, fit, warm_up_rates
from nucseg.engine import fabric as default_fabric
from nucseg.errors import DataError
from nucseg.methods.base import Method
from nucseg.methods.checkpointed import Checkpointed
from nucseg.methods.donuseg.config import DoNuSegConfig
from nucseg.methods.donuseg.explanation import explain
from nucseg.methods.donuseg.log import SelectionLog
from nucseg.methods.donuseg.prediction import instances, stitch
from nucseg.methods.donuseg.pseudo_boxes import PseudoBoxes
from nucseg.methods.donuseg.training import donuseg_loss
from nucseg.methods.donuseg.windows import PatchBatches, cut_windows
from nucseg.methods.preprocessing import Preprocessing
from nucseg.methods.stages import (
    Images,
    fingerprint,
    load_best,
    mean_aji,
    plain,
    require_labels,
    seeded,
    weights_fingerprint,
)
from nucseg.models.detections import Detections
from nucseg.models.donuseg import DoNuSegNet

NAME = "donuseg"


class DoNuSeg(Method):
    """Instances from predicted boxes and a predicted mask, learned from one dot in each nucleus.

    Boxes learn from pseudo boxes, the mask from disks around dots and, as training goes on, from the class activation
    map that agrees best with these disks. The authors released no code; what the article leaves open is marked in
    :class:`DoNuSegConfig`.

    Parameters
    ----------
    config : DoNuSegConfig, optional
        Settings; the published ones by default.

    Attributes
    ----------
    log : list of dict
        What the selection did in each epoch, see :meth:`nucseg.methods.donuseg.log.SelectionLog.lines`; empty in a
        loaded method.
    """

    Config = DoNuSegConfig

    def __init__(self, config=None):
        super().__init__(config)
        self.log = []

    def fit(self, train, val, *, run_dir, fabric=None, progress=True, watched=None):
        """Train the network, keep the epoch of the best AJI on `val`, and choose the threshold of box scores there.

        A threshold that the config already holds, as after an earlier call, is kept, and epochs are judged with it
        alone; that is another training.

        Parameters
        ----------
        train : nucseg.data.Dataset
            Samples with ``points``, one in each nucleus, no smaller than a window.
        val : nucseg.data.Dataset
            Samples with label maps.
        run_dir : path-like
            Receives the folder of the training; an interrupted call goes on from there.
        fabric : lightning_fabric.Fabric, optional
            Device and precision; by default those of :func:`nucseg.engine.fabric`.
        progress : bool
            Whether to show bars.
        watched : nucseg.data.Dataset, optional
            The training images with label maps, which the log compares dynamic labels with; nothing else does.

        Returns
        -------
        DoNuSeg
            self; its config holds the chosen threshold.

        Raises
        ------
        DataError
            A training image without points or smaller than a window, no dots at all, a validation image without labels.
        """
        config, runner = self.config, default_fabric() if fabric is None else fabric
        for sample in train:
            if sample.points is None:
                raise DataError(f"{sample.id}: a training image needs points; see nucseg.supervision.annotate_dots")
        if not any(len(sample.points) for sample in train):
            raise DataError("DoNuSeg: none of the training images has a dot")
        self.networks, self.histories, self.log = {}, {}, []
        self.preprocessing = Preprocessing.learn(train, config.normalization)
        images, held_out = Images.read(train, self.preprocessing), Images.read(val, self.preprocessing)
        require_labels(held_out.samples, "a validation image")
        truth = {s.id: s.labels > 0 for s in watched or () if s.labels is not None}
        network, folder, history = self._train(images, held_out, truth, runner, Path(run_dir), progress)
        self.log = network.log.lines()
        best = load_best(folder, network).network
        self.networks, self.histories = {NAME: best}, {NAME: history}
        if config.score_threshold is None:
            scores = self._scores(best, held_out)
            self.config = replace(config, score_threshold=config.thresholds[int(np.argmax(scores))])
        return self

    def _train(self, images, held_out, truth, runner, run_dir, progress):
        config = self.config
        windows = cut_windows(images, truth, config, runner.device)
        never = config.refine_above is None  # no score is above 1
        pseudo = PseudoBoxes(windows.sides, 1.0 if never else config.refine_above, config.box_sides)
        network = seeded(self.untrained, config.seed, NAME)
        network = Checkpointed(network, log=SelectionLog(config.epochs), pseudo=pseudo)
        settings = plain({
            **asdict(config), "start": weights_fingerprint(network), "preprocessing": self.preprocessing.to_dict(),
            "targets": images.fingerprint(), "validation": held_out.fingerprint(), "watched": sorted(truth),
        })
        optimizer = torch.optim.SGD(network.parameters(), config.learning_rate, momentum=config.momentum,
                                    weight_decay=config.weight_decay)
        clip_gradients(optimizer, config.gradient_norm)
        batches = PatchBatches(windows, network.pseudo, config)
        rates = warm_up_rates(config.learning_rate, config.epochs * len(batches), config.warm_up, config.schedule)
        folder = run_dir / f"{NAME}-{fingerprint(settings)}"
        history = fit(
            network, optimizer, Scheduled(batches, optimizer, rates),
            donuseg_loss(self.preprocessing, config, network.log, network.pseudo), epochs=config.epochs, run_dir=folder,
            config=settings, seed=config.seed, fabric=runner, validate_every=config.validate_every, progress=progress,
            validate=lambda trained: max(self._scores(trained.network, held_out)),
        )
        return network, folder, history

    def untrained(self, loading=False):
        """Return a network for training, or one that is loaded into, whose first weights do not matter."""
        config = self.config
        own = replace(config.network, weights=None) if loading else config.network
        contrast = (config.contrast.channels, config.contrast.features) if config.ccl_weight else None
        return DoNuSegNet(own, contrast)

    def _scores(self, network, held_out):
        """Return the mean AJI over validation images for each threshold of box scores."""
        thresholds = self.config.thresholds if self.config.score_threshold is None else (self.config.score_threshold,)
        lowest = min(thresholds)
        found = [stitch(network, p, self.preprocessing, self.config, lowest) for p in held_out.pixels]
        return [mean_aji(held_out.samples, (instances(one, threshold, self.config) for one in found))
                for threshold in thresholds]

    def build_networks(self, names):
        """Return untrained networks for :meth:`load`; the only name is ``"donuseg"``."""
        return {name: self.untrained(loading=True) for name in names}

    def stitched(self, image, lowest=None):
        """Return what the network says of an image.

        Parameters
        ----------
        image : array_like, shape (H, W, 3), uint8
            RGB.
        lowest : float, optional
            Boxes of at most this score are left out; by default the chosen threshold.

        Returns
        -------
        nucseg.methods.donuseg.prediction.Stitched

        Raises
        ------
        NucsegError
            Not fitted yet.
        """
        self.require_fitted()
        lowest = self.config.score_threshold if lowest is None else lowest
        pixels = self.preprocessing.colors(as_image(image))
        return stitch(self.networks[NAME], pixels, self.preprocessing, self.config, lowest)

    def predict_maps(self, image):
        """Return ``{"nucleus": probability}``, (H, W) float32, of an RGB image (H, W, 3) uint8."""
        return {"nucleus": self.stitched(image).prob}

    def detect(self, image):
        """Return the boxes of an RGB image (H, W, 3) uint8 above the chosen score, as arrays, the best first."""
        found = self.stitched(image)
        return Detections(found.boxes, found.scores)

    def predict(self, image):
        """Return the instance map, (H, W) int32, of an RGB image (H, W, 3) uint8."""
        return instances(self.stitched(image), self.config.score_threshold, self.config)

    def explain(self, image, points):
        """Return the class activation maps of an image and the label that would be chosen from them.

        Parameters
        ----------
        image : array_like, shape (H, W, 3), uint8
            RGB; one patch of the size of the training, for the maps to be those of the training.
        points : array_like, shape (N, 2)
            Row and column of its dots, px.

        Returns
        -------
        Explanation
        """
        self.require_fitted()
        network = self.networks[NAME]
        device = next(network.parameters()).device
        pixels = self.preprocessing.colors(as_image(image)).transpose(2, 0, 1).astype(np.float32) / 255
        standardized = self.preprocessing.standardize(torch.from_numpy(pixels).to(device)[None])[0]
        return explain(network, standardized, points, self.config)
