"""One image of a release, found but not yet read, and helpers to find them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nucseg.errors import DataError


@dataclass(frozen=True, eq=False)
class Parts:
    """What one image of a release holds.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        The pixels.
    labels : numpy.ndarray, shape (H, W), int32, optional
        Instance map, 0 = background.
    mask : numpy.ndarray, shape (H, W), uint8, optional
        Class indices.
    columns : mapping of str to value
        Columns of the table that are only known after reading.
    """

    image: np.ndarray
    labels: np.ndarray | None = None
    mask: np.ndarray | None = None
    columns: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Item:
    """One image of a release.

    Parameters
    ----------
    id : str
        Name in the packed dataset.
    columns : mapping of str to str
        Columns of the table known from names alone (split, patient, organ, tags ...).
    load : callable
        ``load() -> Parts``.
    image_path : pathlib.Path
        The image file; copied unchanged into the archive where it is 8-bit RGB PNG or JPEG already.
    """

    id: str
    columns: Mapping[str, str]
    load: Callable[[], Parts]
    image_path: Path


def files(folders, *suffixes):
    """Return all files below the folders that end in one of the suffixes (lower case), sorted by path."""
    found = {path for folder in folders for path in folder.rglob("*")
             if path.suffix.lower() in suffixes and path.is_file() and not path.name.startswith("._")
             and "__MACOSX" not in path.parts}
    return sorted(found)


def index(paths, what):
    """Return a mapping of stem to path.

    Parameters
    ----------
    paths : iterable of pathlib.Path
        The files.
    what : str
        What the files are, for the message.

    Returns
    -------
    dict of str to pathlib.Path

    Raises
    ------
    DataError
        Two files with one stem; names both.
    """
    by_stem = {}
    for path in paths:
        if path.stem in by_stem:
            raise DataError(f"{what} {path.stem!r} is there twice: {by_stem[path.stem]} and {path}")
        by_stem[path.stem] = path
    return by_stem
