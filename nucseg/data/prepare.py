"""Turn an official release into a packed dataset, whole or not at all."""

import csv
import io
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from nucseg.atomic import atomic_path
from nucseg.data import archives, roots
from nucseg.data.catalog import dataset_info
from nucseg.data.official import bbbc038, consep, cryonuseg, monuseg, tissue, tnbc
from nucseg.errors import DataError

_READERS = {
    "monuseg": monuseg.find, "tnbc": tnbc.find, "cryonuseg": cryonuseg.find, "consep": consep.find,
    "bbbc038": bbbc038.find, "wsss4luad": tissue.find_wsss4luad, "bcss-wsss": tissue.find_bcss,
    "luad-histoseg": tissue.find_luad,
}
_STAMP = (1980, 1, 1, 0, 0, 0)  # one fixed time, so that equal input gives an equal archive
_STALE = 3600  # seconds since the last write after which an unfinished archive is taken for abandoned


def prepare(name, path, root=None, progress=True):
    """Convert an official release into a packed archive in the data folder.

    An existing archive is replaced only when the new one is whole; an interrupted run leaves nothing behind
    and is simply started again.

    Parameters
    ----------
    name : str
        The dataset.
    path : path-like
        The release: a folder (zip archives directly in it are read too) or a zip archive.
    root : path-like, optional
        The data folder; see :func:`nucseg.data.roots.write_root`.
    progress : bool
        Whether to show a progress bar on standard error.

    Returns
    -------
    pathlib.Path
        The archive.

    Raises
    ------
    UnknownNameError
        No such dataset.
    DataError
        A generator, a path that does not hold the official layout, or a damaged file (named).
    """
    info = dataset_info(name)
    if info.synthetic:
        raise DataError(f"{name} is generated: there is nothing to prepare")
    target = roots.write_root(root) / info.files[0]
    with archives.opened(path) as folders:
        items = _READERS[name](folders)
        if not items:
            raise DataError(f"{path}: nothing in the official layout of {name} found; expected {info.layout}")
        twice = [i for i, n in Counter(item.id for item in items).items() if n > 1]
        if twice:
            raise DataError(f"{path}: {len(twice)} image names occur twice, the first is {twice[0]!r}")
        _remove_leftovers(target)
        with atomic_path(target) as temporary:
            _write(temporary, items, info, progress)
    return target


def _remove_leftovers(target):
    """A killed run cannot clean up after itself: a later one does (see nucseg.atomic for the name)."""
    for leftover in target.parent.glob(f".{target.stem}.*.part{target.suffix}"):
        if time.time() - leftover.stat().st_mtime > _STALE:  # a younger one may belong to a run going on
            leftover.unlink(missing_ok=True)


def _write(path, items, info, progress):
    rows = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for item in tqdm(items, desc=f"preparing {info.name}", unit="image", disable=not progress):
            parts = item.load()
            suffix, encoded = _encode_image(parts.image, item.image_path)
            _add(archive, f"images/{item.id}{suffix}", encoded)
            height, width = parts.image.shape[:2]
            row = {"id": item.id, **item.columns, "height": height, "width": width}
            if parts.labels is not None:
                labels = _relabeled(parts.labels, parts.image, item.id)
                _add(archive, f"labels/{item.id}.png", _encode_png(labels))
                row |= _label_columns(labels)
            if parts.mask is not None:
                _add(archive, f"masks/{item.id}.png", _encode_png(parts.mask, info.palette))
            rows.append({**row, **parts.columns})
        _add(archive, "meta.csv", _table(rows))


def _add(archive, name, content):
    entry = zipfile.ZipInfo(name, _STAMP)
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


def _encode_image(image, source):
    """The file itself where it is 8-bit RGB PNG or JPEG already (exact and fast), lossless WebP otherwise."""
    if source.suffix.lower() in (".png", ".jpg", ".jpeg"):
        with Image.open(source) as picture:
            plain = picture.mode == "RGB" and picture.format in ("PNG", "JPEG")
        if plain:
            return (".png" if picture.format == "PNG" else ".jpg"), Path(source).read_bytes()
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "WEBP", lossless=True, quality=60, method=4, exact=True)
    return ".webp", stream.getvalue()


def _encode_png(indices, palette=()):
    stream = io.BytesIO()
    picture = Image.fromarray(indices)
    if palette:
        picture = Image.fromarray(indices.astype(np.uint8)).convert("L")
        picture.putpalette([value for color in palette for value in color])
    picture.save(stream, "PNG", optimize=False)
    return stream.getvalue()


def _relabeled(labels, image, name):
    if labels.shape != image.shape[:2]:
        raise DataError(f"{name}: its label map has size {labels.shape}, its image {image.shape[:2]}")
    ids, renumbered = np.unique(np.append(labels.ravel(), 0), return_inverse=True)
    if len(ids) - 1 > np.iinfo(np.uint16).max:
        raise DataError(f"{name}: {len(ids) - 1} nuclei do not fit in a 16-bit map")
    return renumbered[:-1].reshape(labels.shape).astype(np.uint16)


def _label_columns(labels):
    areas = np.bincount(labels.ravel())[1:]
    return {
        "n_instances": len(areas),
        "min_area_px": int(areas.min()) if len(areas) else "",
        "median_area_px": float(np.median(areas)) if len(areas) else "",
        "foreground_fraction": f"{(labels > 0).mean():.4f}",
    }


def _table(rows):
    columns = list(dict.fromkeys(key for row in rows for key in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode("utf-8")
