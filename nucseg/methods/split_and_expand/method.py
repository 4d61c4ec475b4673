"""Split and expand around a base method (Foo et al. 2022)."""

import dataclasses
from functools import partial

import numpy as np
import torch

from nucseg.arrays import as_image
from nucseg.engine import fabric as default_fabric
from nucseg.errors import DataError
from nucseg.explain import tiled_relevance
from nucseg.methods.base import Method
from nucseg.methods.baselines.maskga import MaskGA, MaskGAConfig
from nucseg.methods.baselines.maskga_stages import TILE
from nucseg.methods.partial_points import PartialPoints
from nucseg.methods.preprocessing import Preprocessing
from nucseg.methods.split_and_expand.config import SplitAndExpandConfig
from nucseg.methods.split_and_expand.maskga import train_two_heads_in_stages
from nucseg.methods.split_and_expand.reweighting import center_margin
from nucseg.methods.split_and_expand.training import split, train_two_heads, two_maps
from nucseg.methods.stages import Images, seeded
from nucseg.models import TwoHeadMaskGA, TwoHeadUNet
from nucseg.postprocess import expand_centers, unassigned_blobs


class SplitAndExpand(Method):
    """A second head finds centers; they divide clumps, and explaining them grows nuclei that the base missed.

    Around :class:`nucseg.methods.PartialPoints` there is one training; around
    :class:`nucseg.methods.baselines.MaskGA` one for each of its stages, with labels that the nucleus head corrects in
    between. ``networks`` and predictions are the same for both, ``histories`` are named by the stages.

    Parameters
    ----------
    config : SplitAndExpandConfig, optional
        Settings; the published ones by default.
    base : PartialPoints or MaskGA, optional
        A method whose settings, but for the dense CRF, replace ``config.base``. It is not trained by this one, nor has
        it to be.

    Raises
    ------
    DataError
        Another base, one with a detector, or settings with the dense CRF.

    Examples
    --------
    >>> from nucseg.methods import PartialPoints, PartialPointsConfig
    >>> method = SplitAndExpand(base=PartialPoints(PartialPointsConfig(detector=None, weights=None)))
    >>> method.config.base.weights is None
    True
    """

    Config = SplitAndExpandConfig

    def __init__(self, config=None, base=None):
        super().__init__(config)
        if base is not None:
            if not isinstance(base, (PartialPoints, MaskGA)):
                raise DataError(f"SplitAndExpand: expected a PartialPoints or a MaskGA as base, got {base!r}")
            own = base.config
            if isinstance(base, PartialPoints):
                own = dataclasses.replace(own, segmenter=dataclasses.replace(own.segmenter, crf_epochs=0))
            self.config = dataclasses.replace(self.config, base=own)
        if self._on_maskga:
            return
        if self.config.base.detector is not None:
            raise DataError("SplitAndExpand: the base needs all dots (detector=None)")
        if self.config.base.segmenter.crf_epochs:
            raise DataError("SplitAndExpand: both heads are trained without the dense CRF (crf_epochs=0)")

    @property
    def _on_maskga(self):
        return isinstance(self.config.base, MaskGAConfig)

    def fit(self, train, val, *, run_dir, fabric=None, progress=True):
        """Train both heads on dots.

        Parameters
        ----------
        train : nucseg.data.Dataset
            Samples with ``points``, on all nuclei.
        val : nucseg.data.Dataset
            Samples with label maps, for choosing the epoch by the AJI of Split.
        run_dir : path-like
            Receives the folder of the training, with MaskGA one for each of its stages; an interrupted call goes on
            from there.
        fabric : lightning_fabric.Fabric, optional
            Device and precision; by default those of :func:`nucseg.engine.fabric`.
        progress : bool
            Whether to show bars.

        Returns
        -------
        SplitAndExpand
            self.

        Raises
        ------
        DataError
            A training image without points, no dots at all, or validation images without labels.
        """
        base = self.config.base
        for sample in train:
            if sample.points is None:
                raise DataError(f"{sample.id}: a training image needs points; see nucseg.supervision.annotate_dots")
        if not any(len(sample.points) for sample in train):
            raise DataError("SplitAndExpand: none of the training images has a dot")
        self.networks, self.histories = {}, {}
        self.preprocessing = Preprocessing.learn(train, base.normalization, base.reference)
        images, held_out = Images.read(train, self.preprocessing), Images.read(val, self.preprocessing)
        options = {"run_dir": run_dir, "fabric": default_fabric() if fabric is None else fabric, "progress": progress}
        if self._on_maskga:
            network, histories = train_two_heads_in_stages(
                images, held_out, self.preprocessing, self.config, **options
            )
        else:
            network = seeded(lambda: TwoHeadUNet(base.weights), self.config.seed, "two heads")
            network, history = train_two_heads(
                images, held_out, self.preprocessing, self.config, network, **options
            )
            histories = {"two heads": history}
        self.networks, self.histories = {"two heads": network}, histories
        return self

    def predict_maps(self, image):
        """Return the probability maps ``nucleus`` and ``center``, (H, W) float32, of an RGB image (H, W, 3) uint8."""
        self.require_fitted()
        pixels = self.preprocessing.colors(as_image(image))
        return dict(zip(("nucleus", "center"), two_maps(self.networks["two heads"], pixels, self.preprocessing)))

    def predict(self, image):
        """Return the instance map after Split and Expand, (H, W) int32, of an RGB image (H, W, 3) uint8."""
        return self.predict_stages(image)["expand"]

    def predict_stages(self, image):
        """Return what each step makes of an image.

        Parameters
        ----------
        image : array_like, shape (H, W, 3), uint8
            RGB.

        Returns
        -------
        dict of str to numpy.ndarray, shape (H, W)
            ``"baseline"``, ``"split"`` and ``"expand"``: instance maps, int32; ``"relevance"``: float32, of the
            centers that lie in no object, summed over colors.

        Raises
        ------
        NucsegError
            Not fitted yet.
        DataError
            Not an image.
        """
        maps = self.predict_maps(image)
        baseline, divided, blobs = split(maps["nucleus"], maps["center"], self.config)
        center = np.clip(maps["center"], 0, 1)
        alone = unassigned_blobs(baseline, center, centers=blobs)
        heat = self.explain(image, alone.blobs)
        expanded = expand_centers(
            divided, center, heat, unassigned=alone, threshold=self.config.heat_threshold,
            max_overlap=self.config.overlap, min_size=self.config.min_size,
        )
        return {"baseline": baseline, "split": divided, "expand": expanded, "relevance": heat}

    def standardized(self, image):
        """Return an RGB image (H, W, 3) uint8 as the network takes it, (1, 3, H, W) float32, on its device."""
        self.require_fitted()
        device = next(self.networks["two heads"].parameters()).device
        pixels = self.preprocessing.colors(as_image(image)).transpose(2, 0, 1).astype(np.float32) / 255
        return self.preprocessing.standardize(torch.from_numpy(pixels).to(device)[None])

    def explain(self, image, blobs, rules=None):
        """Return the relevance of each pixel for given groups of center pixels (Foo et al. 2022, sec. 3.3).

        Parameters
        ----------
        image : array_like, shape (H, W, 3), uint8
            RGB.
        blobs : numpy.ndarray, shape (H, W), int
            Groups of pixels, 0 = none; the relevance of each is 1 in all, divided among its pixels.
        rules : nucseg.explain.LRPRules, optional
            How layers hand relevance down.

        Returns
        -------
        numpy.ndarray, shape (H, W), float32
            Summed over colors.
        """
        standardized, network = self.standardized(image)[0], self.networks["two heads"]
        start = torch.from_numpy(blob_relevance(blobs)).to(standardized.device)
        # The gates of MaskGA-Net weigh channels by what is in a tile, so tiles are those of its prediction.
        tile = {"tile": TILE} if self._on_maskga else {}
        heat = tiled_relevance(network, standardized, start, rules=rules, output=center_margin, **tile)
        return heat.sum(0).cpu().numpy()

    def build_networks(self, names):
        """Return untrained networks for :meth:`load`; the only name is ``"two heads"``."""
        base = self.config.base
        build = partial(TwoHeadMaskGA, base.width, base.channels) if self._on_maskga else TwoHeadUNet
        return {name: build() for name in names}


def blob_relevance(blobs):
    """Return relevance 1 for each group of pixels, divided evenly among them, (H, W) float32; 0 is no group.

    Parameters
    ----------
    blobs : numpy.ndarray, shape (H, W), int
        Number of each pixel's group.
    """
    return np.where(blobs > 0, 1 / np.bincount(blobs.ravel())[blobs], 0).astype(np.float32)
