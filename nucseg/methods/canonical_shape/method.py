"""Canonical shape as a method: binary masks and counts in, instances out (Costa et al. 2022)."""

import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from nucseg.arrays import as_image
from nucseg.data.exposure import stretch_contrast, stretched
from nucseg.engine import fabric as default_fabric
from nucseg.engine import fit
from nucseg.engine.crops import RandomCrops, hold_images, instance_counts
from nucseg.engine.one_cycle import OneCycle, clip_gradients
from nucseg.errors import DataError
from nucseg.losses.shapes import (
    count_loss,
    log_cross_entropy,
    size_loss,
    smooth_dice,
    upsampled_log_likelihood,
)
from nucseg.methods.base import Method
from nucseg.methods.canonical_shape.config import CanonicalShapeConfig
from nucseg.methods.canonical_shape.shapes import PlacedShapes, render_masks
from nucseg.methods.canonical_shape.tiles import (
    likelihood_map,
    separate_patches,
    tile_likelihood,
    tiles,
    transforms_of,
)
from nucseg.methods.preprocessing import Preprocessing
from nucseg.methods.stages import Images, fingerprint, plain, seeded, weights_fingerprint
from nucseg.models.canonical_shape import CanonicalShapeNet
from nucseg.postprocess.masks import InstanceMasks, merge_contained

#: Settings that prediction alone depends on.
_PREDICTION = ("test_grid", "presence", "min_size", "merge", "overlap", "order", "margin")


class PatchPrediction(NamedTuple):
    """What a method says of one patch."""

    corner: tuple[int, int]  #: row and column of its top left pixel in the image
    prob: np.ndarray  #: (patch, patch) float32, likelihood of foreground
    masks: InstanceMasks  #: instances, which may overlap
    expected: float  #: number of instances expected, the sum of p(z)


class CanonicalShape(Method):
    """One learned shape, seen through an affine map for each instance.

    Training needs binary masks and, unless ``count_weight`` is 0, the number of instances in each patch. Both are taken
    from label maps; samples that have a class mask instead give no counts, so the count loss is left out then.

    Parameters
    ----------
    config : CanonicalShapeConfig, optional
        Settings; the published ones by default.
    """

    Config = CanonicalShapeConfig

    def fit(self, train, val, *, run_dir, fabric=None, progress=True):
        """Train encoder and shape together.

        Parameters
        ----------
        train, val : nucseg.data.Dataset
            Samples with label maps or class masks (1 and above are foreground), none smaller than a patch.
        run_dir : path-like
            Receives the folder of the training; an interrupted call goes on from there.
        fabric : lightning_fabric.Fabric, optional
            Device and precision; by default those of :func:`nucseg.engine.fabric`.
        progress : bool
            Whether to show bars.

        Returns
        -------
        CanonicalShape
            self, with the network of the last epoch.

        Raises
        ------
        DataError
            An image without a map, or smaller than a patch.
        """
        config, runner = self.config, default_fabric() if fabric is None else fabric
        self.networks, self.histories = {}, {}
        train, val = stretched(train), stretched(val)
        self.preprocessing = Preprocessing.learn(train, None)
        images, held_out = (Images.read(part, self.preprocessing) for part in (train, val))
        labels, weight = _targets(images.samples, config.count_weight)
        truth, _ = _targets(held_out.samples, 0)
        network = seeded(lambda: _network(config), config.seed, "canonical shape")
        settings = {
            **self.training_settings(), "count_weight": weight, "start": weights_fingerprint(network),
            "preprocessing": self.preprocessing.to_dict(),
            "targets": fingerprint(*images.pixels, *labels), "validation": fingerprint(*held_out.pixels, *truth),
        }
        optimizer = torch.optim.SGD(network.parameters(), config.learning_rate, momentum=config.momentum,
                                    weight_decay=config.weight_decay, nesterov=True)
        clip_gradients(optimizer, config.gradient_norm)
        held = hold_images(images.names, images.pixels, labels, least=config.patch, device=runner.device)
        batches = OneCycle(RandomCrops(held, config.patch, config.batch, config.turn, config.crops), optimizer,
                           config.learning_rate, config.epochs)
        history = fit(
            network, optimizer, batches, shape_loss(self.preprocessing, config, weight), epochs=config.epochs,
            run_dir=Path(run_dir) / f"canonical-shape-{fingerprint(settings)}", config=settings, seed=config.seed,
            fabric=runner, validate=self._validation(held_out, truth), validate_every=config.validate_every,
            progress=progress,
        )
        self.networks, self.histories = {"shapes": network.eval()}, {"shapes": history}
        return self

    def training_settings(self):
        """Return the settings that training depends on, as JSON values: rows that share them share a training."""
        return {name: value for name, value in plain(asdict(self.config)).items() if name not in _PREDICTION}

    def _validation(self, images, truth):
        """Return ``validate(network)``: the pooled Dice of the foreground of validation images on the coarse grid."""
        def validate(network):
            both = total = 0
            for pixels, labels in zip(images.pixels, truth):
                found = self._likelihood(network, pixels, self.config.grid) > 0.5
                both, total = both + (found & (labels > 0)).sum(), total + found.sum() + (labels > 0).sum()
            return 2 * both / total if total else 1.0

        return validate

    def predict_maps(self, image):
        """Return ``{"nucleus": p(y)}``, (H, W) float32, of an RGB image (H, W, 3) uint8."""
        self.require_fitted()
        pixels = self.preprocessing.colors(stretch_contrast(as_image(image)))
        return {"nucleus": self._likelihood(self.networks["shapes"], pixels, self.config.test_grid)}

    def _likelihood(self, network, pixels, grid):
        parts = tiles(pixels.shape[:2], self.config.patch, self.config.margin)
        return likelihood_map(network, pixels, parts, self.preprocessing, grid)

    def predict_shapes(self, image):
        """Return the instances of an RGB image (H, W, 3) uint8 as placed shapes, absent ones left out.

        Returns
        -------
        nucseg.methods.canonical_shape.PlacedShapes
        """
        self.require_fitted()
        pixels = self.preprocessing.colors(stretch_contrast(as_image(image)))
        parts = tiles(pixels.shape[:2], self.config.patch, self.config.margin)
        found = []
        for tile, transforms in zip(parts, transforms_of(self.networks["shapes"], pixels, parts, self.preprocessing)):
            (placed,) = PlacedShapes.of(transforms, self.config.patch)
            placed = placed.chosen(placed.presence > self.config.presence).moved(*tile.corner)
            found.append(placed.chosen(tile.owns(placed.centers)))
        return PlacedShapes.joined(found)

    def predict_masks(self, image):
        """Return the instances of an RGB image (H, W, 3) uint8 as masks that may overlap.

        Returns
        -------
        nucseg.postprocess.masks.InstanceMasks
            Merged if the config says so.
        """
        return self.masks(self.predict_shapes(image), as_image(image).shape[:2])

    def predict_patches(self, image):
        """Yield what the method says of each patch of an image taken alone, as the article evaluates it (sec. 3.1).

        Parameters
        ----------
        image : array_like, shape (H, W, 3), uint8
            The image; its contrast is stretched as a whole.

        Yields
        ------
        PatchPrediction
            Sampled on ``test_grid`` places along a side.
        """
        self.require_fitted()
        config, network = self.config, self.networks["shapes"]
        pixels = self.preprocessing.colors(stretch_contrast(as_image(image)))
        parts = separate_patches(pixels.shape[:2], config.patch)
        for tile, transforms in zip(parts, transforms_of(network, pixels, parts, self.preprocessing)):
            prob = tile_likelihood(network, transforms, config.test_grid)
            (placed,) = PlacedShapes.of(transforms, config.patch)
            present = placed.chosen(placed.presence > config.presence)
            masks = self.masks(present, (config.patch, config.patch))
            yield PatchPrediction(tile.corner, prob, masks, float(placed.presence.sum()))

    def masks(self, placed, size):
        """Return the masks of placed shapes in an image of a size (H, W), small ones left out, merged if configured."""
        config = self.config
        found = render_masks(self.networks["shapes"].shape, placed, size, step=config.patch // config.test_grid,
                             reach=config.patch)
        found = found.chosen(found.areas >= max(config.min_size, 1))
        return merge_contained(found, config.overlap, config.order) if config.merge else found

    def predict(self, image):
        """Return the instance map, (H, W) int32, of an RGB image (H, W, 3) uint8; see InstanceMasks.labels."""
        labels = self.predict_masks(image).labels()
        ids = np.unique(labels[labels > 0])  # an instance may be hidden behind others
        return np.where(labels > 0, np.searchsorted(ids, labels) + 1, 0).astype(np.int32)

    def build_networks(self, names):
        """Return untrained networks for :meth:`load`; the only name is ``"shapes"``."""
        return {name: _network(self.config, weights=None) for name in names}


def shape_loss(preprocessing, config, count_weight):
    """Return the training loss, ``loss(network, batch)``: L_BCE + L_Dice + alpha L_cnt (Costa et al. 2022, sec. 2.3).

    Parameters
    ----------
    preprocessing : nucseg.methods.preprocessing.Preprocessing
        Standardizes the images.
    config : CanonicalShapeConfig
        Patch, grid, warm-up and the size prior.
    count_weight : float
        alpha.

    Returns
    -------
    callable
    """

    def loss(network, batch):
        mask = batch["labels"] > 0
        coarse, transforms = network(preprocessing.standardize(batch["image"]), config.grid)
        with torch.autocast(coarse.device.type, enabled=False):
            log_prob = upsampled_log_likelihood(coarse, config.patch, config.interpolated)
            total = log_cross_entropy(log_prob, mask) + smooth_dice(log_prob.exp(), mask)
            if count_weight:
                rise = min(1.0, batch["epoch"] / max(config.count_warmup, 1))
                total = total + rise * count_weight * count_loss(transforms.presence, _counts(batch, transforms))
            if config.size_weight:
                prior = size_loss(transforms.linear, transforms.presence, config.size_scale)
                total = total + config.size_weight * prior
        return total

    return loss


def _counts(batch, transforms):
    """Return how many instances each patch has, no more than the encoder can place."""
    counts, slots = instance_counts(batch["labels"]), transforms.presence.shape[1]
    if (counts > slots).any():
        worst = int(counts.argmax())
        warnings.warn(f"{batch['names'][worst]}: {int(counts[worst])} nuclei, but only {slots} can be placed in a "
                      "patch; use smaller patches or more instances per cell", stacklevel=2)
    return counts.clamp(max=slots)


def _targets(samples, count_weight):
    """Return an instance map for each sample, and the weight of the count loss that they allow."""
    targets = []
    for sample in samples:
        if sample.labels is None and sample.mask is None:
            raise DataError(f"{sample.id}: canonical shape needs a label map or a binary mask")
        targets.append(sample.labels if sample.labels is not None else (sample.mask > 0).astype(np.int32))
    uncounted = next((sample.id for sample in samples if sample.labels is None), None)
    if uncounted is not None and count_weight:
        warnings.warn(f"{uncounted}: the number of nuclei is not known, so the count loss is left out (alpha = 0)",
                      stacklevel=3)
        return targets, 0.0
    return targets, count_weight


def _network(config, **changes):
    return CanonicalShapeNet(replace(config.encoder, **changes), config.shape, config.patch)
