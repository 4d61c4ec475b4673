"""The segmentation network of partial points, trained on full masks: the reference of Qu et al. (2020)."""

from dataclasses import dataclass, field

import numpy as np

from nucseg.arrays import as_image
from nucseg.engine import fabric as default_fabric
from nucseg.methods.base import Method
from nucseg.methods.partial_points.config import SegmenterConfig
from nucseg.methods.partial_points.segmenter import instances, nucleus_probability, train_segmenter
from nucseg.methods.preprocessing import Preprocessing
from nucseg.methods.stages import Images, require_labels, unet
from nucseg.supervision import voronoi_edges
from nucseg.supervision.points import box_centers


@dataclass(frozen=True)
class FullySupervisedConfig:
    """Settings of the fully supervised reference (Qu et al. 2020, sec. V-C)."""

    segmenter: SegmenterConfig = field(default_factory=lambda: SegmenterConfig(epochs=200, crf_epochs=0))  # sec. V-B.3
    separate: bool = False  # cut the masks along the Voronoi edges of the dots; a variant of our own
    normalization: str | None = "reinhard"  # of colors, or None (sec. V-A)
    reference: str | None = None  # id of the training image that gives its colors; see Preprocessing.learn
    patch: int = 250  # side of training patches, px (sec. V-A)
    patches_per_side: int = 4  # along each side of a training image (sec. V-A)
    weights: str | None = "imagenet"  # of the encoder (sec. V-B); None starts from random weights
    seed: int = 0  # of all random choices


class FullySupervised(Method):
    """Binary masks, the same network, the same components, and no separation of touching nuclei.

    Parameters
    ----------
    config : FullySupervisedConfig, optional
        Settings; the published ones by default.
    """

    Config = FullySupervisedConfig

    def fit(self, train, val, *, run_dir, fabric=None, progress=True, initial=None):
        """Train on masks.

        Parameters
        ----------
        train, val : nucseg.data.Dataset
            Samples with label maps.
        run_dir : path-like
            Receives the folder of the training; an interrupted call goes on from there.
        fabric : lightning_fabric.Fabric, optional
            Device and precision; by default those of :func:`nucseg.engine.fabric`.
        progress : bool
            Whether to show bars.
        initial : path-like, optional
            Self-supervised weights to start from; needs ``weights=None``.

        Returns
        -------
        FullySupervised
            self.

        Raises
        ------
        DataError
            An image without a label map.
        """
        config = self.config
        require_labels(train, "full supervision")
        self.networks, self.histories = {}, {}
        self.preprocessing = Preprocessing.learn(train, config.normalization, config.reference)
        images, held_out = Images.read(train, self.preprocessing), Images.read(val, self.preprocessing)
        segmenter = train_segmenter(
            images, held_out, [self._mask(sample) for sample in images.samples], (1.0,), self.preprocessing, config,
            unet(2, config.weights, initial, config.seed, "segmentation"), run_dir=run_dir,
            fabric=default_fabric() if fabric is None else fabric, progress=progress,
        )
        self.networks, self.histories = {"segmenter": segmenter.network}, segmenter.histories
        return self

    def _mask(self, sample):
        mask = (sample.labels > 0).astype(np.int8)
        if self.config.separate:
            mask[voronoi_edges(box_centers(sample.labels), mask.shape)] = 0
        return mask[None]

    def predict_maps(self, image):
        """Return ``{"nucleus": probability}``, (H, W) float32, of an RGB image (H, W, 3) uint8."""
        self.require_fitted()
        pixels = self.preprocessing.colors(as_image(image))
        return {"nucleus": nucleus_probability(self.networks["segmenter"], pixels, self.preprocessing)}

    def predict(self, image):
        """Return the instance map, (H, W) int32, of an RGB image (H, W, 3) uint8."""
        return instances(self.predict_maps(image)["nucleus"], self.config.segmenter.min_size)

    def build_networks(self, names):
        """Return untrained networks for :meth:`load`; the only name is ``"segmenter"``."""
        return {name: unet(2, None, None, 0) for name in names}
