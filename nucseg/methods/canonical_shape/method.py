"""Canonical shape as a method: binary masks and counts in, instances out (Costa et al. 2022)."""

import warnings
from dataclasses import replace

import numpy as np
from skimage.segmentation import relabel_sequential

from nucseg.arrays import as_image
from nucseg.methods.canonical_shape.config import CanonicalShapeConfig
from nucseg.methods.canonical_shape.likelihood import likelihood_map, tile_likelihood, transforms_of
from nucseg.methods.canonical_shape.shapes import PlacedShapes, render_masks
from nucseg.methods.canonical_shape.training import instance_maps, shape_loss
from nucseg.methods.crop_method import CropMethod
from nucseg.methods.tiling import separate_patches, tiles
from nucseg.models import CanonicalShapeNet
from nucseg.postprocess import merge_contained


class CanonicalShape(CropMethod):
    """One learned shape, seen through an affine map for each instance.

    Training needs binary masks and, unless ``count_weight`` is 0, the number of instances in each patch. Both are taken
    from label maps; samples that have a class mask instead give no counts, so the count loss is left out then.

    Parameters
    ----------
    config : CanonicalShapeConfig, optional
        Settings; the published ones by default.
    """

    Config = CanonicalShapeConfig
    network_name = "shapes"
    prediction_settings = ("test_grid", "presence", "min_size", "merge", "overlap", "order", "margin")

    def fit(self, train, val, *, run_dir, fabric=None, progress=True):
        """Train encoder and shape together; see :meth:`nucseg.methods.crop_method.CropMethod.fit`.

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
            self, with the network of the last epoch, and ``count_weight`` 0 where counts are not known.

        Raises
        ------
        DataError
            An image without a map, or smaller than a patch.
        """
        uncounted = instance_maps(list(train))[1] if self.config.count_weight else None
        if uncounted is not None:
            warnings.warn(f"{uncounted}: the number of nuclei is not known, so the count loss is left out (alpha = 0)",
                          stacklevel=2)
            self.config = replace(self.config, count_weight=0.0)
        return super().fit(train, val, run_dir=run_dir, fabric=fabric, progress=progress)

    def targets(self, samples):
        """Return an instance map for each sample, (H, W) int32; one instance where only a class mask is there."""
        return instance_maps(samples)[0]

    def untrained(self, loading=False):
        """Return a network whose encoder has the weights of the config, or random ones to be loaded into."""
        encoder = replace(self.config.encoder, weights=None) if loading else self.config.encoder
        return CanonicalShapeNet(encoder, self.config.shape, self.config.patch)

    def loss(self, network, batch):
        """Return the loss of a batch; see :func:`nucseg.methods.canonical_shape.training.shape_loss`."""
        return shape_loss(network, batch, self.preprocessing, self.config)

    def nucleus_map(self, network, pixels, grid=None):
        """Return p(y) of a prepared image, (H, W) float32; on the grid of training unless another is given."""
        parts = tiles(pixels.shape[:2], self.config.patch, self.config.margin)
        return likelihood_map(network, pixels, parts, self.preprocessing, self.config.grid if grid is None else grid)

    def predict_maps(self, image):
        """Return ``{"nucleus": p(y)}``, (H, W) float32, of an RGB image (H, W, 3) uint8."""
        pixels = self.prepared(image)
        return {"nucleus": self.nucleus_map(self.networks["shapes"], pixels, self.config.test_grid)}

    def predict_shapes(self, image):
        """Return the instances of an RGB image (H, W, 3) uint8 as placed shapes, absent ones left out.

        Returns
        -------
        nucseg.methods.canonical_shape.PlacedShapes
        """
        pixels = self.prepared(image)
        parts = tiles(pixels.shape[:2], self.config.patch, self.config.margin)
        found = []
        for tile, transforms in zip(parts, transforms_of(self.networks["shapes"], pixels, parts, self.preprocessing)):
            placed = self._present(transforms)[0].moved(*tile.corner)
            found.append(placed.chosen(tile.owns(placed.centers)))
        return PlacedShapes.joined(found)

    def _present(self, transforms):
        """Return the instances of a tile that are present, and the sum of p(z) of all of them."""
        (placed,) = PlacedShapes.of(transforms, self.config.patch)
        return placed.chosen(placed.presence > self.config.presence), float(placed.presence.sum())

    def predict_masks(self, image):
        """Return the instances of an RGB image (H, W, 3) uint8 as masks that may overlap.

        Returns
        -------
        nucseg.postprocess.InstanceMasks
            Merged if the config says so.
        """
        return self.masks(self.predict_shapes(image), as_image(image).shape[:2])

    def alone(self, network, pixels):
        """Return p(y), instances and the sum of p(z) of a patch; see :meth:`CropMethod.alone`."""
        parts = separate_patches(pixels.shape[:2], self.config.patch)
        (transforms,) = transforms_of(network, pixels, parts, self.preprocessing)
        prob = tile_likelihood(network, transforms, self.config.test_grid)
        present, expected = self._present(transforms)
        return prob, self.masks(present, prob.shape), expected

    def masks(self, placed, size):
        """Return the masks of placed shapes in an image of a size (H, W), small ones left out, merged if configured."""
        config = self.config
        found = render_masks(self.networks["shapes"].shape, placed, size, step=config.patch // config.test_grid,
                             reach=config.patch)
        found = found.chosen(found.areas >= max(config.min_size, 1))
        return merge_contained(found, config.overlap, config.order) if config.merge else found

    def predict(self, image):
        """Return the instance map, (H, W) int32, of an RGB image (H, W, 3) uint8; see InstanceMasks.labels."""
        # An instance may be hidden behind others, so ids may have gaps.
        return relabel_sequential(self.predict_masks(image).labels())[0].astype(np.int32)
