"""Random geometric augmentation of batches that live on the device."""

from dataclasses import dataclass

import torch

from nucseg.engine.warp import compose
from nucseg.errors import DataError


@dataclass(frozen=True)
class AugmentConfig:
    """Ranges of a random warp; the defaults are those of Qu et al. (2020) for detection.

    Segmentation adds ``elastic=True``.  ``AugmentConfig.crop_only(size)`` leaves the random crop alone.
    Sources: Qu et al., IEEE TMI 39(11), 2020, and the authors' release (huiqu18/WeaklySegPartialPoints).
    """

    resize: tuple[float, float] = (0.8, 1.25)  # range of the factor; smaller images are padded with black (release)
    horizontal_flip: float = 0.5  # probability (release)
    vertical_flip: float = 0.5  # probability (release)
    affine: float = 0.3  # largest change of each of the four linear coefficients, no unit (release)
    rotation: tuple[float, float] = (-90.0, 90.0)  # degrees, counterclockwise (release)
    elastic: bool = False  # whether to warp by B-splines; only segmentation does (release)
    # Cells of the control lattice per axis; cubic splines put cells + 3 control points there.  The release asks its
    # registration library for 6, which that library takes as cells.
    elastic_cells: int = 6
    elastic_sigma: float = 15.0  # standard deviation of a control point's displacement per axis, pixels (release)
    crop: int | None = 224  # side of the square cut from 250-pixel patches, pixels (release); None keeps the size

    def __post_init__(self):
        ordered = self.resize[0] <= self.resize[1] and self.rotation[0] <= self.rotation[1]
        if not (ordered and self.resize[0] > 0):
            raise DataError(f"resize {self.resize}, rotation {self.rotation}: expected (low, high), factors above 0")
        if not (0 <= self.horizontal_flip <= 1 and 0 <= self.vertical_flip <= 1):
            raise DataError(
                f"horizontal_flip {self.horizontal_flip}, vertical_flip {self.vertical_flip}: expected probabilities"
            )
        if not 0 <= self.affine < 0.5:  # at 0.5 the matrix may be singular
            raise DataError(f"affine: expected 0 or more and less than 0.5, got {self.affine}")
        if self.elastic_cells < 1 or not self.elastic_sigma >= 0:
            raise DataError(
                f"elastic_cells {self.elastic_cells}, elastic_sigma {self.elastic_sigma}: expected 1 cell or more and "
                "0 pixels or more"
            )
        if self.crop is not None and self.crop < 1:
            raise DataError(f"crop: expected 1 pixel or more, or None, got {self.crop}")

    @classmethod
    def crop_only(cls, crop=224):
        """Return the settings that change nothing but take a random crop.

        Parameters
        ----------
        crop : int, optional
            Side of the crop in pixels; None keeps the size, which makes the warp the identity.

        Returns
        -------
        AugmentConfig
        """
        return cls((1.0, 1.0), 0.0, 0.0, 0.0, (0.0, 0.0), crop=crop)


def sample_warp(batch, size, config, generator, device=None):
    """Draw a random warp for each image of a batch.

    The same number of values is drawn whatever the ranges, so closing one range leaves the other parts as they were.

    Parameters
    ----------
    batch : int
        Number of images, 1 or more.
    size : tuple of int
        (H, W) of the images in pixels, at least the crop.
    config : AugmentConfig
        What may happen to them.
    generator : torch.Generator
        The only source of randomness.  One on the CPU gives the same warps for every device.
    device : torch.device or str, optional
        Where the images are; by default, where the generator is.

    Returns
    -------
    Warp

    Raises
    ------
    DataError
        No image, or images smaller than the crop.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> warp = sample_warp(2, (250, 250), AugmentConfig(), generator)
    >>> images, dots = torch.zeros(2, 3, 250, 250), [[[125.0, 125.0]], [[99.0, 140.0], [130.0, 110.0]]]
    >>> warp.image(images).shape, [tuple(moved.shape) for moved in warp.points(dots)]
    (torch.Size([2, 3, 224, 224]), [(1, 2), (2, 2)])
    """
    crop = tuple(size) if config.crop is None else (config.crop, config.crop)
    if batch < 1 or min(size) < 1 or crop[0] > size[0] or crop[1] > size[1]:
        raise DataError(f"{batch} images of {tuple(size)} pixels: expected 1 or more, no smaller than the crop {crop}")
    options = {"dtype": torch.float64, "device": generator.device}
    draws = torch.rand(batch, 10, generator=generator, **options)
    low, high = (torch.tensor(ends, **options) for ends in zip(config.resize, config.rotation))
    scale, angle = (low + (high - low) * draws[:, :2]).unbind(1)
    control = None
    if config.elastic:
        points = config.elastic_cells + 3
        control = torch.randn(batch, 2, points, points, generator=generator, **options) * config.elastic_sigma
    probabilities = torch.tensor([config.vertical_flip, config.horizontal_flip], **options)
    return compose(
        size,
        crop,
        scale=scale,
        flip=draws[:, 2:4] < probabilities,
        jitter=config.affine * (2 * draws[:, 4:8] - 1).reshape(-1, 2, 2),
        angle=angle,
        corner=draws[:, 8:10],
        control=control,
        device=device,
    )
