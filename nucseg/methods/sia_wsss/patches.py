"""Training images with their tags, white pixels and superpixels on one device, and the random batches made of them."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from nucseg.engine import jitter_stain
from nucseg.errors import DataError
from nucseg.supervision import slic_regions, white_background

#: Values of the map of the ground.
BEYOND, TISSUE, WHITE = -1, 0, 1


@dataclass(eq=False)
class TaggedPatches:
    """Images of one size with image tags, on one device.

    Parameters
    ----------
    images : torch.Tensor, shape (P, 3, s, s), uint8
        RGB.
    tags : torch.Tensor, shape (P, C), bool
        Classes of each image.
    ground : torch.Tensor, shape (P, s, s), int8
        0 tissue, 1 white, -1 beyond the image.
    regions : torch.Tensor, shape (P, s, s), int16 or int32, optional
        Superpixels.
    names : list of str
        Ids of the images.
    """

    images: torch.Tensor
    tags: torch.Tensor
    ground: torch.Tensor
    regions: torch.Tensor | None
    names: list

    def __len__(self):
        return len(self.images)


def tag_vector(tags, classes, name):
    """Return which classes an image has, (C,) bool.

    Parameters
    ----------
    tags : mapping of str to bool, or None
        Tags of the image.
    classes : sequence of str
        Known classes, in order.
    name : str
        Of the image, for messages.

    Returns
    -------
    numpy.ndarray, shape (C,), bool

    Raises
    ------
    DataError
        No tags, a tag that is no class, or a class without a tag; names the image.
    """
    if not tags:
        raise DataError(f"{name}: the image has no tags; a training image needs one for each tissue class")
    unknown, missing = [tag for tag in tags if tag not in classes], [known for known in classes if known not in tags]
    if unknown or missing:
        what = f"unknown class {unknown[0]!r}" if unknown else f"no tag for class {missing[0]!r}"
        raise DataError(f"{name}: {what}; the classes are {', '.join(classes)}")
    return np.array([bool(tags[known]) for known in classes])


def hold_patches(images, classes, config, device):
    """Return training images on a device, padded to the size of a patch.

    Parameters
    ----------
    images : nucseg.methods.stages.Images
        Their samples have tags.
    classes : sequence of str
        Tissue classes, in order.
    config : SIAWSSSConfig
        Sizes and choices.
    device : torch.device
        Where they go.

    Returns
    -------
    TaggedPatches

    Raises
    ------
    DataError
        An image without tags, with other tags, or larger than a patch; names it. Or no image has a class.
    """
    size = config.patch
    tags = np.stack([tag_vector(sample.tags, classes, sample.id) for sample in images.samples])
    if not tags.any():
        raise DataError("SIA-WSSS: none of the training images has a class")
    for name, pixels in zip(images.names, images.pixels):
        if max(pixels.shape[:2]) > size:
            raise DataError(f"{name}: {pixels.shape[0]}x{pixels.shape[1]} pixels are more than a patch of {size}, and "
                            "tags are those of the whole image; cut tagged windows with nucseg.data.windows")

    def prepare(pixels):
        missing = [(0, size - length) for length in pixels.shape[:2]]
        ground = np.zeros(pixels.shape[:2], np.int8)
        if config.white is not None:
            ground[white_background(pixels, config.white, config.white_size)] = WHITE
        padded = np.pad(pixels, (*missing, (0, 0)), mode="edge")
        own = config.modulation
        parts = slic_regions(padded, own.area, own.compactness) if needs_regions(config) else None
        return padded.transpose(2, 0, 1), np.pad(ground, missing, constant_values=BEYOND), parts

    with ThreadPoolExecutor() as pool:  # the order of the results is that of the images
        pixels, ground, parts = zip(*pool.map(prepare, images.pixels))
    regions = None
    if needs_regions(config):
        stacked = np.stack(parts)
        regions = torch.from_numpy(stacked.astype(np.int16 if stacked.max() < 2**15 else np.int32)).to(device)
    stacked = (torch.from_numpy(array).to(device) for array in (np.stack(pixels), tags, np.stack(ground)))
    return TaggedPatches(*stacked, regions, list(images.names))


def needs_regions(config):
    """Tell whether the training looks at superpixels."""
    return config.rsm and config.segmentation_weight > 0 and config.modulation.mean == "superpixels"


class TaggedBatches:
    """Batches of flipped and recolored images, each once per epoch, for :func:`nucseg.engine.fit`.

    Calling it with an epoch's number and a generator yields dicts: ``image`` (B, 3, s, s) float32 in [0, 1]; ``tags``
    (B, C) bool; ``ground`` (B, s, s) int8; ``regions`` (B, s, s), where there are any; ``crops`` (B, K, 2) float32,
    uniform in [0, 1), which places crops; ``progress``, the share of the training that is over; ``epoch``; ``names``.

    Parameters
    ----------
    patches : TaggedPatches
        What to draw from.
    config : SIAWSSSConfig
        Sizes and changes.
    """

    def __init__(self, patches, config):
        self.patches, self.config = patches, config

    def __len__(self):
        """Batches in an epoch."""
        return math.ceil(len(self.patches) / self.config.batch)

    def __call__(self, epoch, generator):
        """Yield the batches of one epoch; all random choices come from `generator`."""
        order = torch.randperm(len(self.patches), generator=generator)
        for step, chosen in enumerate(order.split(self.config.batch), start=(epoch - 1) * len(self)):
            progress = step / (self.config.epochs * len(self))
            yield {**self._batch(chosen, generator), "epoch": epoch, "progress": progress}

    def _batch(self, chosen, generator):
        patches, device = self.patches, self.patches.images.device
        where = chosen.to(device)
        flips = (torch.rand(len(chosen), 2, generator=generator) < 0.5).to(device)
        crops = torch.rand(len(chosen), self.config.activation.crops, 2, generator=generator).to(device)
        image = flipped(patches.images[where], flips).float().div_(255)
        if self.config.stain is not None:
            image = jitter_stain(image, self.config.stain, generator)
        batch = {"image": image, "tags": patches.tags[where], "ground": flipped(patches.ground[where], flips),
                 "crops": crops, "names": [patches.names[i] for i in chosen.tolist()]}
        if patches.regions is not None:
            batch["regions"] = flipped(patches.regions[where], flips)
        return batch


def flipped(maps, flips):
    """Return maps (B, ..., H, W) turned over along rows and along columns where `flips` (B, 2) says so."""
    for column, axis in enumerate((-2, -1)):
        chosen = flips[:, column].reshape(-1, *(1,) * (maps.ndim - 1))
        maps = torch.where(chosen, maps.flip(axis), maps)
    return maps
