"""Packed datasets: one zip archive of images, label maps or class masks and a table, never extracted.

Layout: ``images/<id>.webp`` (or .jpg, .png) 8-bit RGB; ``labels/<id>.png`` 16-bit instance map, 0 =
background; ``masks/<id>.png`` 8-bit class indices (palette or gray); ``meta.csv`` (or ``labels.csv``) with a
row per image.
"""

import csv
import io
import os
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from nucseg.data.sample import Sample
from nucseg.errors import DataError

_FOLDERS = {"images": "image", "labels": "labels", "masks": "mask"}
TABLES = ("meta.csv", "labels.csv")


class PackedArchive:
    """Reads the samples of one packed archive; safe to share between threads and across fork or pickling.

    Parameters
    ----------
    path : path-like
        The zip archive.
    classes : sequence of str
        Names of the table columns that hold image-level tags (0/1), in bit order.

    Raises
    ------
    DataError
        Not a whole zip archive, or without a table; the message names the file.
    """

    def __init__(self, path, classes=()):
        self.path, self.classes = Path(path), tuple(classes)
        self._handle = None
        self._entries = {}
        for name in self._zip().namelist():
            parts = PurePosixPath(name)
            if len(parts.parts) == 2 and parts.parts[0] in _FOLDERS:
                self._entries.setdefault(parts.stem, {})[_FOLDERS[parts.parts[0]]] = name
        self.rows = self._read_table()

    def __getstate__(self):
        return {**self.__dict__, "_handle": None}

    def _zip(self):
        """The open archive of this process; a forked child opens its own, no file position is shared."""
        if self._handle is None or self._handle[0] != os.getpid():
            try:
                self._handle = (os.getpid(), zipfile.ZipFile(self.path))
            except (OSError, zipfile.BadZipFile) as error:
                raise DataError(f"{self.path}: not a whole zip archive ({error}); prepare again") from error
        return self._handle[1]

    def _bytes(self, name):
        try:
            return self._zip().read(name)
        except (OSError, zipfile.BadZipFile, KeyError, EOFError, RuntimeError) as error:
            raise DataError(f"{self.path}: cannot read {name} ({error}); prepare it again") from error

    def _read_table(self):
        present = [name for name in TABLES if name in self._zip().namelist()]
        if not present:
            raise DataError(f"{self.path}: has no meta.csv; a packed dataset is made by: nucseg data prepare")
        rows = list(csv.DictReader(io.StringIO(self._bytes(present[0]).decode("utf-8"))))
        if not rows or "id" not in rows[0]:
            raise DataError(f"{self.path}: {present[0]} has no rows or no column 'id'")
        rows = {row["id"]: row for row in rows}
        missing = [i for i in rows if "image" not in self._entries.get(i, {})]
        if missing:
            raise DataError(f"{self.path}: {present[0]} lists {missing[0]!r}, but there is no such image")
        return rows

    def has(self, sample_id, part):
        """Whether the archive holds ``part`` ("labels" or "mask") for an image."""
        return part in self._entries[sample_id]

    def array(self, sample_id, part):
        """Return the pixels of one part ("image", "labels" or "mask"), None where the archive has none.

        Parameters
        ----------
        sample_id : str
            Name of the image.
        part : {"image", "labels", "mask"}
            Which pixels.

        Returns
        -------
        numpy.ndarray, shape (H, W, 3) or (H, W), uint8 or uint16, optional
            RGB, instance ids or class indices.

        Raises
        ------
        DataError
            A damaged entry, or a mask or label map stored as a color picture.
        """
        name = self._entries[sample_id].get(part)
        if name is None:
            return None
        try:
            with Image.open(io.BytesIO(self._bytes(name))) as picture:
                # Palette masks hold the class as index: converting to RGB would lose it.
                pixels = np.array(picture.convert("RGB") if part == "image" else picture)
        except DataError:
            raise
        except Exception as error:  # decoders raise whatever they met in a damaged file
            raise DataError(f"{self.path}: cannot decode {name} ({error})") from error
        if part != "image" and pixels.ndim != 2:
            raise DataError(f"{self.path}: {name} is a color picture, expected one index per pixel")
        return pixels.astype(np.uint8) if part == "mask" else pixels

    def read(self, sample_id):
        """Return the :class:`~nucseg.data.sample.Sample` with an id."""
        row = self.rows[sample_id]
        tags = {name: row[name] == "1" for name in self.classes if row.get(name, "") != ""}
        return Sample(
            id=sample_id, image=self.array(sample_id, "image"), labels=self.array(sample_id, "labels"),
            mask=self.array(sample_id, "mask"), group=group_of(row), tags=tags or None, meta=parse_row(row),
        )

    def groups(self):
        """Return the group of every id, from the table alone."""
        return {sample_id: group_of(row) for sample_id, row in self.rows.items()}


def group_of(row):
    """Return the group of a table row: its patient, or the patient part of a TCGA barcode, or ""."""
    if row.get("patient"):
        return row["patient"]
    fields = row["id"].split("-")
    return "-".join(fields[:3]) if fields[0] == "TCGA" and len(fields) >= 3 else ""


def parse_row(row):
    """Return a table row with its numbers parsed and empty fields left out; id and patient stay text."""
    return {key: value if key in ("id", "patient") else _number(value)
            for key, value in row.items() if key and value not in ("", None)}


def _number(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
