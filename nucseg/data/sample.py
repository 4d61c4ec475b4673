"""One image with what is known about it, and an ordered set of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nucseg.arrays import as_image, as_label_map, as_points
from nucseg.errors import DataError


@dataclass(frozen=True, eq=False)
class Sample:
    """One image and its annotation.

    Parameters
    ----------
    id : str
        Name of the image, unique in its dataset.
    image : numpy.ndarray, shape (H, W, 3), uint8
        The pixels; gray, RGBA and 16-bit images are converted (see :func:`nucseg.arrays.as_image`).
    labels : numpy.ndarray, shape (H, W), int32, optional
        Instance map, 0 = background; None where only weaker annotation exists.
    group : str
        What must not be shared between training and test (patient, organ, slide); "" if unknown.
    points : numpy.ndarray, shape (N, 2), float64, optional
        Row/column of annotated dots, where the dataset provides dots rather than masks.
    mask : numpy.ndarray, shape (H, W), uint8, optional
        Semantic class per pixel (tissue datasets).
    tags : mapping of str to bool, optional
        Image-level classes (tissue datasets).
    meta : mapping
        Everything else the dataset states (organ, modality, magnification ...).

    Raises
    ------
    DataError
        An array of the wrong type or size; the message starts with the id.
    """

    id: str
    image: np.ndarray
    labels: np.ndarray | None = None
    group: str = ""
    points: np.ndarray | None = None
    mask: np.ndarray | None = None
    tags: Mapping[str, bool] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        image = as_image(self.image, f"{self.id}: image")
        object.__setattr__(self, "image", image)
        size = image.shape[:2]
        if self.labels is not None:
            object.__setattr__(self, "labels", as_label_map(self.labels, f"{self.id}: labels"))
        if self.points is not None:
            object.__setattr__(self, "points", as_points(self.points, size, f"{self.id}: points"))
        for name in ("labels", "mask"):
            array = getattr(self, name)
            if array is not None and array.shape != size:
                raise DataError(f"{self.id}: {name} has size {array.shape}, the image {size}")


class Dataset(Sequence):
    """An ordered, lazily read set of samples.

    Parameters
    ----------
    name : str
        The dataset's name, for records and messages.
    ids : sequence of str
        Image names in their fixed order.
    read : callable
        ``read(id) -> Sample``; called each time an item is asked for, nothing is cached.
    groups : mapping of str to str, optional
        Group of each id, known without reading pixels.
    checksum : str
        SHA-256 of the source (archive, folder listing or generator settings) that the samples come from.

    Raises
    ------
    DataError
        Duplicate ids.
    """

    def __init__(
        self,
        name: str,
        ids: Sequence[str],
        read: Callable[[str], Sample],
        groups: Mapping[str, str] | None = None,
        checksum: str = "",
    ):
        self.name, self.ids, self.checksum = name, tuple(ids), checksum
        self.groups = {i: (groups or {}).get(i, "") for i in self.ids}
        self._read = read
        if len(self.groups) != len(self.ids):
            repeated = sorted({i for i in self.ids if self.ids.count(i) > 1})
            raise DataError(f"{name}: duplicate ids {repeated[:5]}")

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, key):
        """Return the sample at a position or with an id; a slice gives a smaller dataset."""
        if isinstance(key, slice):
            return self.subset(self.ids[key])
        if isinstance(key, str):
            if key not in self.groups:
                raise DataError(
                    f"{self.name}: no image {key!r}; ids run from {self.ids[:1]} to {self.ids[-1:]}"
                )
            return self._read(key)
        return self._read(self.ids[key])

    def subset(self, ids):
        """Return the dataset restricted to `ids`, in that order.

        Raises
        ------
        DataError
            An id that is not in this dataset.
        """
        missing = [i for i in ids if i not in self.groups]
        if missing:
            raise DataError(
                f"{self.name}: no image {missing[0]!r} ({len(missing)} of {len(ids)} ids unknown)"
            )
        return Dataset(self.name, ids, self._read, self.groups, self.checksum)

    def __repr__(self):
        return f"Dataset({self.name!r}, {len(self)} images)"
