"""SIA-WSSS: train on image tags, predict the tissue class of each pixel (Fan et al. 2025)."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from nucseg.arrays import as_image
from nucseg.engine import fabric as default_fabric
from nucseg.engine import fit, load_weights
from nucseg.errors import DataError
from nucseg.methods.base import Method
from nucseg.methods.checkpointed import Checkpointed
from nucseg.methods.preprocessing import Preprocessing
from nucseg.methods.sia_wsss.config import SIAWSSSConfig
from nucseg.methods.sia_wsss.explanation import explain
from nucseg.methods.sia_wsss.log import TrainingLog
from nucseg.methods.sia_wsss.patches import TaggedBatches, hold_patches, tag_vector
from nucseg.methods.sia_wsss.prediction import look, output_maps, predicted_classes, semantic_map
from nucseg.methods.sia_wsss.rates import FactoredRates, optimizer_of, polynomial_rates
from nucseg.methods.sia_wsss.training import sia_loss
from nucseg.methods.stages import Images, fingerprint, load_best, plain, seeded, weights_fingerprint
from nucseg.metrics import SemanticScores, semantic_scores
from nucseg.models.sia_wsss import SIANet

NAME = "sia"
#: Mean and standard deviation of the channels of ImageNet, which its weights were trained with.
IMAGENET = Preprocessing(None, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class SIAWSSS(Method):
    """Tissue classes of pixels from image tags, with class tokens of a vision transformer.

    Three parts, each with a switch in the config, make the rows of table 2: a graph of tokens that inhibits uncertain
    patches (``rfm``), a contrast of crops with whole images that activates more of a class (``dam``), and the fusion
    of both maps by superpixels (``rsm``). The fused map labels the pixels that a decoder learns from, which alone
    predicts. The authors released no code that we know of; what the article leaves open is marked in
    :class:`SIAWSSSConfig`. Without the three parts, without decoder (``segmentation_weight=0``), and with
    ``output="activation"``, what remains is the arg-max of class activation maps.

    Parameters
    ----------
    config : SIAWSSSConfig, optional
        Settings; the published ones by default.

    Attributes
    ----------
    log : list of dict
        What happened in each epoch, see :meth:`nucseg.methods.sia_wsss.log.TrainingLog.lines`; empty in a loaded
        method.
    """

    Config = SIAWSSSConfig

    def __init__(self, config=None):
        super().__init__(config)
        self.log = []

    def fit(self, train, val, *, run_dir, fabric=None, progress=True):
        """Train the network and keep the epoch of the best mIoU on `val`.

        Parameters
        ----------
        train : nucseg.data.Dataset
            Samples with ``tags``, no larger than a patch; an image may have a single class, or none. Their masks are
            never looked at.
        val : nucseg.data.Dataset
            Samples of any size with a class ``mask``, whose values are the places of classes among the tags; pixels
            with a higher value are not scored.
        run_dir : path-like
            Receives the folder of the training; an interrupted call goes on from there.
        fabric : lightning_fabric.Fabric, optional
            Device and precision; by default those of :func:`nucseg.engine.fabric`.
        progress : bool
            Whether to show bars.

        Returns
        -------
        SIAWSSS
            self; its config holds the names of the classes.

        Raises
        ------
        DataError
            A training image without tags, with a tag of an unknown class, or larger than a patch; no tags at all; a
            validation image without mask, or no scored pixel in any. Names the image.
        """
        runner = default_fabric() if fabric is None else fabric
        self.networks, self.histories, self.log = {}, {}, []
        images, held_out = (Images.read(part, IMAGENET) for part in (train, val))  # their colors stay as they are
        self.config = config = replace(self.config, classes=self.config.classes or _classes_of(images.samples[0]))
        _require_masks(held_out.samples, len(config.classes))
        patches = hold_patches(images, config.classes, config, runner.device)
        imagenet = config.vit.weights == "imagenet"
        self.preprocessing = IMAGENET if imagenet else Preprocessing.learn(images.samples, None)
        network = Checkpointed(seeded(self._untrained, config.seed, NAME), log=TrainingLog(config.epochs))
        settings = plain({
            **asdict(config), "start": weights_fingerprint(network), "preprocessing": self.preprocessing.to_dict(),
            "targets": fingerprint(*images.pixels, patches.tags.cpu().numpy()),
            "validation": fingerprint(*held_out.pixels, *(sample.mask for sample in held_out.samples)),
        })
        folder = Path(run_dir) / f"{NAME}-{fingerprint(settings)}"
        optimizer, batches = optimizer_of(network.network, config), TaggedBatches(patches, config)
        steps = config.epochs * len(batches)
        rates = polynomial_rates(config.learning_rate, steps, config.warm_up, config.schedule)
        history = fit(
            network, optimizer, FactoredRates(batches, optimizer, rates),
            sia_loss(self.preprocessing, config, network.log), epochs=config.epochs, run_dir=folder, config=settings,
            seed=config.seed, fabric=runner, validate_every=config.validate_every, progress=progress,
            validate=lambda trained: self._score(trained.network, held_out),
        )
        self.log = network.log.lines()
        self.networks, self.histories = {NAME: load_best(folder, network).network}, {NAME: history}
        return self

    def _untrained(self, loading=False):
        config, graph = self.config, self.config.inhibition.graph if self.config.rfm else None
        own, contrast = config.vit, config.activation
        vit = replace(own, weights=None, initial=None) if loading else own
        outputs = len(config.classes) + (config.background is not None)
        network = SIANet(
            len(config.classes), vit, graph, config.inhibition.shared_classifier,
            (contrast.channels, contrast.momentum) if config.dam and config.activation_weight else None,
            (config.decoder_channels, outputs, config.dilation) if config.segmentation_weight else None,
            config.inhibition.attention_blocks if config.inhibition.source == "attention" else 0, config.upsampling,
        )
        if vit.initial is not None:
            load_weights(vit.initial, network.encoder)
        return network

    def _score(self, network, held_out):
        """Return the mIoU of one confusion matrix over validation images."""
        found = (semantic_map(look(network, pixels, self.preprocessing, self.config), self.config)
                 for pixels in held_out.pixels)
        classes = len(self.config.classes)
        pairs = zip(held_out.samples, found)
        return SemanticScores.pooled(semantic_scores(s.mask, labels, classes) for s, labels in pairs).mean_iou

    def build_networks(self, names):
        """Return untrained networks for :meth:`load`; the only name is ``"sia"``."""
        return {name: self._untrained(loading=True) for name in names}

    def look(self, image):
        """Return what the network says of an RGB image (H, W, 3) uint8, tile by tile."""
        self.require_fitted()
        pixels = self.preprocessing.colors(as_image(image))
        return look(self.networks[NAME], pixels, self.preprocessing, self.config)

    def predict_maps(self, image):
        """Return the score of each class by its name, (H, W) float32 in [0, 1], of an RGB image (H, W, 3) uint8.

        Probabilities of the decoder, or maps of predicted classes; tags are never looked at. With an output for
        background, ``"background"`` is one more.
        """
        maps, _ = output_maps(self.look(image), self.config)
        return dict(zip((*self.config.classes, "background"), maps))

    def predict(self, image):
        """Return the tissue class of each pixel, (H, W) int32, of an RGB image (H, W, 3) uint8.

        Unlike in methods for nuclei, 0 is the first class. With an output for background, the index behind the last
        class is background.
        """
        return semantic_map(self.look(image), self.config)

    def explain(self, image, tags=None):
        """Return the maps of an image at each stage.

        Parameters
        ----------
        image : array_like, shape (H, W, 3), uint8
            RGB, of any size.
        tags : mapping of str to bool, optional
            Classes of the image. By default those predicted; with the true ones, scores of the maps are those of a
            method that knows the tags.

        Returns
        -------
        Explanation

        Raises
        ------
        DataError
            A tag of an unknown class, or a class without tag.
        NucsegError
            Not fitted yet.
        """
        seen, config = self.look(image), self.config
        if tags is None:
            present = predicted_classes(seen.presence, config)
        else:
            present = tag_vector(tags, config.classes, "explained image")
        return explain(seen, present, config)


def _classes_of(sample):
    if not sample.tags:
        raise DataError(f"{sample.id}: the image has no tags; a training image needs one for each tissue class")
    return tuple(sample.tags)


def _require_masks(samples, classes):
    for sample in samples:
        if sample.mask is None:
            raise DataError(f"{sample.id}: a validation image needs a mask of tissue classes")
    if not any((np.asarray(sample.mask) < classes).any() for sample in samples):
        raise DataError(f"SIA-WSSS: no pixel of the validation images is of one of {classes} classes")
