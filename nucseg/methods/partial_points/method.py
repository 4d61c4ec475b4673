"""Partial points as one method: detect, label, segment (Qu et al. 2020)."""

import logging

from nucseg.arrays import as_image
from nucseg.engine import fabric as default_fabric
from nucseg.errors import DataError, NucsegError
from nucseg.methods.base import Method
from nucseg.methods.partial_points.config import PartialPointsConfig
from nucseg.methods.partial_points.detector import detect, probability, train_detector
from nucseg.methods.partial_points.segmenter import (
    VALIDATION_IMAGE,
    instances,
    nucleus_probability,
    train_segmenter,
    weak_labels,
)
from nucseg.methods.preprocessing import Preprocessing
from nucseg.methods.stages import Images, require_labels, unet
from nucseg.supervision import merge_points

logger = logging.getLogger(__name__)


class PartialPoints(Method):
    """Nuclei segmentation from dots on a part of the nuclei (Qu et al., IEEE TMI 39(11), 2020).

    Stage 1 trains a detector on the dots there are and finds the others; stage 2 turns all dots into Voronoi and
    cluster labels, trains a segmenter on both and fine-tunes it with a dense CRF loss. Connected components of
    the segmentation are the instances; touching nuclei are not separated.

    Parameters
    ----------
    config : PartialPointsConfig, optional
        Settings; the published ones by default. ``detector=None`` leaves stage 1 out ("GT points").

    Examples
    --------
    >>> from nucseg.methods.partial_points import PartialPointsConfig
    >>> method = PartialPoints(PartialPointsConfig(detector=None, weights=None))
    """

    Config = PartialPointsConfig

    def __init__(self, config=None):
        super().__init__(config)
        self.detector = None  # of this training; not saved
        self.points: list = []  # the dots of stage 2 for each training image; not saved

    def fit(self, train, val, *, run_dir, fabric=None, progress=True, initial=None):
        """Train both stages.

        Parameters
        ----------
        train : nucseg.data.Dataset
            Samples with ``points``; see :func:`nucseg.supervision.annotate_dots`.
        val : nucseg.data.Dataset
            Samples with label maps, for choosing epochs.
        run_dir : path-like
            Receives a folder for each training stage, named by everything that the stage depends on; a stage
            that is there already is not trained again, so methods that share a folder share their stages.
        fabric : lightning_fabric.Fabric, optional
            Device and precision; by default those of :func:`nucseg.engine.fabric`.
        progress : bool
            Whether to show bars.
        initial : path-like, optional
            Self-supervised weights that every network starts from; needs ``weights=None``.

        Returns
        -------
        PartialPoints
            self.

        Raises
        ------
        DataError
            A training image without points, no dots at all, or validation images without labels.
        NucsegError
            A loss that is not finite; a damaged checkpoint.
        """
        fabric = default_fabric() if fabric is None else fabric
        images, held_out = self._prepare(train, val)
        require_labels(held_out.samples, VALIDATION_IMAGE)
        options = {"run_dir": run_dir, "fabric": fabric, "progress": progress}
        if self.config.detector is not None:
            self._fit_detector(images, held_out, initial, options)
            self.points = self._complete(self.points)
        self._fit_segmenter(images, held_out, initial, options)
        return self

    def fit_detector(self, train, val, *, run_dir, fabric=None, progress=True, initial=None):
        """Train stage 1 alone, to :meth:`detect`; arguments and errors as in :meth:`fit`.

        Validation needs dots only: samples with label maps or with all of their points.

        Returns
        -------
        PartialPoints
            self.
        """
        if self.config.detector is None:
            raise DataError("this method has no detector to train (detector=None)")
        fabric = default_fabric() if fabric is None else fabric
        images, held_out = self._prepare(train, val)
        self._fit_detector(images, held_out, initial, {"run_dir": run_dir, "fabric": fabric, "progress": progress})
        return self

    def _prepare(self, train, val):
        for sample in train:
            if sample.points is None:
                raise DataError(f"{sample.id}: a training image needs points; see nucseg.supervision.annotate_dots")
        self.preprocessing = Preprocessing.learn(train, self.config.normalization, self.config.reference)
        self.networks, self.histories = {}, {}
        images, held_out = Images.read(train, self.preprocessing), Images.read(val, self.preprocessing)
        self.points = [sample.points for sample in images.samples]
        return images, held_out

    def _fit_detector(self, images, held_out, initial, options):
        config = self.config
        self.detector = train_detector(
            images, held_out, self.preprocessing, config,
            lambda number: unet(1, config.weights, initial, config.seed, "detection", number), **options,
        )
        self.networks["detector"] = self.detector.network
        self.histories.update(self.detector.histories)

    def _fit_segmenter(self, images, held_out, initial, options):
        config = self.config
        labels = [weak_labels(*pair, config.segmenter) for pair in zip(images.pixels, self.points)]
        for name, points in zip(images.names, self.points):
            if not len(points):
                logger.warning("%s: no dots, so none of its pixels has a label", name)
        shares = (config.segmenter.voronoi_share, 1 - config.segmenter.voronoi_share)
        segmenter = train_segmenter(
            images, held_out, labels, shares, self.preprocessing, config,
            unet(2, config.weights, initial, config.seed, "segmentation"), **options,
        )
        self.networks["segmenter"] = segmenter.network
        self.histories.update(segmenter.histories)

    def _complete(self, annotated):
        """Return the dots of stage 2: the annotator's, and the detector's elsewhere."""
        found = self.detector.detections
        if not self.config.keep_annotated:
            return found
        return [merge_points(a, f, self.config.detector.r1) for a, f in zip(annotated, found)]

    def predict_maps(self, image):
        """Return the maps behind a prediction.

        Parameters
        ----------
        image : array_like, shape (H, W, 3), uint8
            RGB, of any size and colors.

        Returns
        -------
        dict of str to numpy.ndarray, shape (H, W), float32
            ``"nucleus"``: probability of nucleus; with a detector also ``"center"``: probability of a center.

        Raises
        ------
        NucsegError
            Not fitted yet.
        DataError
            Not an image.
        """
        pixels = self._colors(image)
        maps = {"nucleus": nucleus_probability(self.networks["segmenter"], pixels, self.preprocessing)}
        if "detector" in self.networks:
            maps["center"] = probability(self.networks["detector"], pixels, self.preprocessing)
        return maps

    def predict(self, image):
        """Return the nuclei of an image: connected components of the segmentation, holes filled.

        Parameters
        ----------
        image : array_like, shape (H, W, 3), uint8
            RGB, of any size and colors.

        Returns
        -------
        numpy.ndarray, shape (H, W), int32
            0 background, 1..n nuclei.

        Raises
        ------
        NucsegError
            Not fitted yet.
        DataError
            Not an image.
        """
        pixels = self._colors(image)
        prob = nucleus_probability(self.networks["segmenter"], pixels, self.preprocessing)
        return instances(prob, self.config.segmenter.min_size)

    def _colors(self, image):
        """Return an image as the segmenter expects it, once there is one."""
        self.require_fitted()
        if "segmenter" not in self.networks:
            raise NucsegError("only the detector of this method is trained, its segmenter is not: call fit")
        return self.preprocessing.colors(as_image(image))

    def detect(self, image):
        """Return the centers of nuclei that the detector finds.

        Parameters
        ----------
        image : array_like, shape (H, W, 3), uint8
            RGB, of any size and colors.

        Returns
        -------
        numpy.ndarray, shape (N, 2), float64
            Row and column, px.

        Raises
        ------
        DataError
            The method has no detector, or not an image.
        NucsegError
            Not fitted yet.
        """
        self.require_fitted()
        if "detector" not in self.networks:
            raise DataError("this method was fitted without a detector (detector=None)")
        pixels = self.preprocessing.colors(as_image(image))
        return detect(probability(self.networks["detector"], pixels, self.preprocessing), self.config.detector)

    def build_networks(self, names):
        """Return untrained networks for :meth:`load`; names are ``"detector"`` and ``"segmenter"``."""
        return {name: unet({"detector": 1, "segmenter": 2}[name], None, None, 0) for name in names}
