"""Fixtures for the tests of datasets: a private cache folder, tiny pictures and tiny packed archives."""

import csv
import io
import zipfile

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's own cache folder."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("nucseg.data.roots.platformdirs.user_cache_path", lambda _: folder)
    return folder


@pytest.fixture
def picture():
    """Return a function that makes the same random RGB picture for the same number."""
    def draw(number, shape=(40, 50)):
        return np.random.default_rng(number).integers(0, 256, (*shape, 3), np.uint8)

    return draw


@pytest.fixture
def save():
    """Return a function that writes an array as an image file and makes the folders on the way."""

    def write(path, array, mode=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array, mode).save(path) if mode else Image.fromarray(array).save(path)
        return path

    return write


@pytest.fixture
def pack():
    """Return a function that writes a packed archive from rows and entries (name to array or bytes)."""

    def write(path, rows, entries, table="meta.csv"):
        with zipfile.ZipFile(path, "w") as archive:
            for name, value in entries.items():
                if not isinstance(value, bytes):
                    stream = io.BytesIO()
                    options = {"lossless": True} if name.endswith(".webp") else {}
                    Image.fromarray(value).save(stream, name.rpartition(".")[2], **options)
                    value = stream.getvalue()
                archive.writestr(name, value)
            stream = io.StringIO()
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
            archive.writestr(table, stream.getvalue())
        return path

    return write
