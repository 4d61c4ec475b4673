"""A user's own images as a dataset: a folder of images, with label maps and points beside."""

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nucseg.data.points_io import POINT_SUFFIXES, read_points
from nucseg.data.reading import IMAGE_SUFFIXES, LABEL_SUFFIXES, read_image, read_labels
from nucseg.data.roots import file_checksum
from nucseg.data.sample import Dataset, Sample
from nucseg.errors import DataError


@dataclass(frozen=True)
class FolderScan:
    """The files of a folder, matched by name; nothing decoded yet.

    Parameters
    ----------
    path : pathlib.Path
        The folder.
    images, labels, points : mapping of str to pathlib.Path
        Files by stem; label and point files without an image are left out.
    groups : mapping of str to str
        Content of groups.csv, if there.
    notes : tuple of str
        What was left out, and why.
    """

    path: Path
    images: Mapping[str, Path]
    labels: Mapping[str, Path]
    points: Mapping[str, Path]
    groups: Mapping[str, str]
    notes: tuple[str, ...]


def from_folder(path, pixel_size=None):
    """Return a folder of one's own images as a dataset.

    Expected are ``images/`` (or images directly in the folder) and, both optional, ``labels/`` with instance
    maps and ``points/`` with point files, matched by stem: images/a.png, labels/a.tif, points/a.csv. A
    ``groups.csv`` with columns image and group (the patient, say) is used where it is there. See
    :func:`nucseg.data.points_io.read_points` for the kinds of point file.

    Parameters
    ----------
    path : path-like
        The folder.
    pixel_size : float, optional
        Micrometers per pixel, for point tables in micrometers.

    Returns
    -------
    Dataset
        Sorted by name. A damaged file raises DataError when its sample is read; ``check_dataset(path)`` lists
        all of them at once.

    Raises
    ------
    DataError
        No such folder, no images, or two files with one stem; names them.
    """
    scan = scan_folder(path)

    def read(name):
        image, notes = read_image(scan.images[name])
        shape = image.shape[:2]
        labels = points = None
        if name in scan.labels:
            labels = read_labels(scan.labels[name])
            if labels.shape != shape:
                raise DataError(f"{scan.labels[name]}: has size {labels.shape}, its image {shape}")
        if name in scan.points:
            points = read_points(scan.points[name], shape, pixel_size)
        meta = {"path": str(scan.images[name]), "notes": notes}
        return Sample(name, image, labels, scan.groups.get(name, ""), points, meta=meta)

    return Dataset(scan.path.name, tuple(scan.images), read, scan.groups, _checksum(scan))


def scan_folder(path):
    """Return which images, label maps and point files a folder holds (see :func:`from_folder`).

    Parameters
    ----------
    path : path-like
        The folder.

    Returns
    -------
    FolderScan

    Raises
    ------
    DataError
        As :func:`from_folder`.
    """
    path = Path(path).expanduser().resolve()
    if not path.is_dir():
        raise DataError(f"{path}: no such folder")
    place = path / "images" if (path / "images").is_dir() else path
    notes = []
    images = _by_stem(place, IMAGE_SUFFIXES, "image", notes)
    if not images:
        raise DataError(f"{place}: holds no images ({', '.join(IMAGE_SUFFIXES)})")
    found = {}
    for kind, suffixes in (("labels", LABEL_SUFFIXES), ("points", POINT_SUFFIXES)):
        files = _by_stem(path / kind, suffixes, kind, notes)
        for stem in sorted(files.keys() - images.keys()):
            notes.append(f"{kind}/{files[stem].name} left out: no image of that name")
        found[kind] = {stem: file for stem, file in files.items() if stem in images}
        if found[kind] and len(found[kind]) < len(images):
            notes.append(f"{len(images) - len(found[kind])} of {len(images)} images have no file in {kind}/")
    return FolderScan(path, images, found["labels"], found["points"], _groups(path, images), tuple(notes))


def _by_stem(folder, suffixes, kind, notes):
    files = {}
    if not folder.is_dir():
        return files
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or file.is_dir() or file.name == "groups.csv":
            continue
        if file.suffix.lower() not in suffixes:
            notes.append(f"{file.name} left out: not a known kind of {kind} file")
        elif file.stem in files:
            raise DataError(f"{folder}: two {kind} files of one name: {files[file.stem].name}, {file.name}")
        else:
            files[file.stem] = file
    return files


def _groups(path, images):
    table = path / "groups.csv"
    if not table.is_file():
        return {}
    with open(table, newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        if not {"image", "group"} <= set(reader.fieldnames or ()):
            raise DataError(f"{table}: its header must name image and group, got {reader.fieldnames}")
        groups = {Path(row["image"]).stem: row["group"] for row in reader}
    unknown = sorted(groups.keys() - images.keys())
    if unknown:
        raise DataError(f"{table}: names an image that is not there: {unknown[0]!r}")
    return groups


def _checksum(scan):
    digest = hashlib.sha256()
    for kind in (scan.images, scan.labels, scan.points):
        for file in kind.values():
            digest.update(f"{file.relative_to(scan.path).as_posix()}\0{file_checksum(file)}\n".encode())
    return digest.hexdigest()
