"""What every image passes before a network sees it: color normalization, then standardization."""

from dataclasses import asdict, dataclass

import numpy as np
import torch

from nucseg.data.normalization import MONUSEG_REFERENCE, ColorStatistics, color_statistics, reinhard_normalize
from nucseg.errors import DataError, UnknownNameError

NORMALIZATIONS = ("reinhard", None)


@dataclass(frozen=True)
class Preprocessing:
    """The colors that a method was trained on.

    Parameters
    ----------
    reference : nucseg.data.normalization.ColorStatistics, optional
        Images are given these statistics; None leaves their colors as they are.
    mean, std : tuple of float
        Of each channel over the (normalized) training pixels, values in [0, 1].
    """

    reference: ColorStatistics | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def learn(cls, dataset, normalization="reinhard", reference=None):
        """Return the preprocessing of a training set (Qu et al. 2020, sec. V-A).

        Parameters
        ----------
        dataset : nucseg.data.Dataset
            Training images.
        normalization : {"reinhard", None}
            Reinhard's transfer of Lab statistics, or none.
        reference : str, optional
            Id of the training image that gives its colors. By default the prostate image that the authors of
            Qu et al. name for the multi-organ images, where it is among them; else the training image whose
            mean Lab color is nearest to the mean of all.

        Returns
        -------
        Preprocessing

        Raises
        ------
        UnknownNameError
            Another normalization.
        DataError
            No images, a reference that is not among them, or images of a single color.
        """
        if normalization not in NORMALIZATIONS:
            raise UnknownNameError(f"unknown normalization {normalization!r}; known: 'reinhard', None")
        if len(dataset) == 0:
            raise DataError("there are no training images")
        statistics = None if normalization is None else _reference(dataset, reference)
        pixels, total, squares = 0, np.zeros(3), np.zeros(3)
        for sample in dataset:
            colors = _normalized(sample.image, statistics).reshape(-1, 3) / 255
            pixels, total, squares = pixels + len(colors), total + colors.sum(0), squares + (colors**2).sum(0)
        mean = total / pixels
        std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
        if not (std > 1e-6).all():  # what rounding leaves of 0 is smaller, one step of one pixel in 10**7 larger
            raise DataError(f"the training images have a channel without variation (standard deviations {std})")
        return cls(statistics, tuple(map(float, mean)), tuple(map(float, std)))

    def colors(self, image):
        """Return an image with the colors of the training set, (H, W, 3) uint8."""
        return _normalized(image, self.reference)

    def standardize(self, images):
        """Return (B, 3, H, W) images in [0, 1] with the training set's mean and deviation taken out."""
        mean, std = (torch.tensor(v, dtype=images.dtype, device=images.device)[:, None, None]
                     for v in (self.mean, self.std))
        return (images - mean) / std

    def to_dict(self):
        """Return the values as JSON types; :meth:`from_dict` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values):
        """Return the preprocessing that :meth:`to_dict` wrote."""
        reference = values["reference"]
        if reference is not None:
            reference = ColorStatistics(tuple(reference["mean"]), tuple(reference["std"]))
        return cls(reference, tuple(values["mean"]), tuple(values["std"]))


def _normalized(image, statistics):
    return image if statistics is None else reinhard_normalize(image, statistics)


def _reference(dataset, name):
    if name is None and MONUSEG_REFERENCE in dataset.ids:
        name = MONUSEG_REFERENCE
    if name is not None:
        if name not in dataset.ids:
            raise DataError(f"{name}: the reference for colors is not among the training images")
        return color_statistics(dataset[name].image)
    each = [color_statistics(sample.image) for sample in dataset]
    means = np.array([statistics.mean for statistics in each])
    return each[int(((means - means.mean(axis=0)) ** 2).sum(axis=1).argmin())]
