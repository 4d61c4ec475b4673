"""BBBC038 (2018 Data Science Bowl): PNG images, a mask file per nucleus or run lengths in a table."""

import csv
from collections import defaultdict

import numpy as np

from nucseg.data.official.item import Item, Parts, files
from nucseg.data.reading import read_image, read_labels
from nucseg.errors import DataError

_STAGES = {"stage1_train": "stage1_train", "stage1_test": "stage1_test", "stage2_test_final": "stage2_test",
           "stage2_test": "stage2_test"}
_DARK = 100  # median gray level, 0-255, below which a gray image is taken for fluorescence


def find(folders):
    """Return the items of a release: ``<stage>/<id>/images/<id>.png`` with masks beside or in a table.

    Images without any annotation are left out: stage 1 test without its solution, and those of stage 2 that
    the solution marks as ignored.

    Parameters
    ----------
    folders : list of pathlib.Path
        Where to search, with everything below.

    Returns
    -------
    list of Item

    Raises
    ------
    DataError
        A solution table without the expected columns.
    """
    encoded, ignored = _solutions(files(folders, ".csv"))
    items = []
    for path in files(folders, ".png"):
        if path.parent.name != "images":
            continue
        name = path.stem
        masks = sorted((path.parent.parent / "masks").glob("*.png"))
        if name in ignored or not (masks or name in encoded):
            continue
        split = next((_STAGES[p.name] for p in path.parents if p.name in _STAGES), "")
        runs = None if masks else encoded[name]
        items.append(Item(name, {"split": split, "magnification": "not stated"},
                          lambda path=path, masks=masks, runs=runs: _load(path, masks, runs), path))
    return sorted(items, key=lambda item: (item.columns["split"], item.id))


def _load(image_path, mask_paths, runs):
    image, _ = read_image(image_path)
    columns = {"modality": _modality(image), "n_mask_files": len(mask_paths)}
    if runs is not None:
        return Parts(image, _from_runs(runs, image.shape[:2], image_path), columns=columns)
    labels = np.zeros(image.shape[:2], np.int32)
    overlap = 0
    for number, path in enumerate(mask_paths, start=1):
        mask = read_labels(path) > 0
        if mask.shape != labels.shape:
            raise DataError(f"{path}: has size {mask.shape}, its image {labels.shape}")
        overlap += int((labels[mask] > 0).sum())
        labels[mask] = number
    return Parts(image, labels, columns={**columns, "overlap_px": overlap})


def _modality(image):
    """Guess: gray and dark is fluorescence, gray and bright is bright field, anything else a stain."""
    if (image == image[..., :1]).all():
        return "fluorescence" if np.median(image) < _DARK else "brightfield_gray"
    return "color"


def _solutions(paths):
    encoded, ignored = defaultdict(list), set()
    for path in paths:
        if "solution" not in path.name:
            continue
        with open(path, newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            if not {"ImageId", "EncodedPixels"} <= set(reader.fieldnames or ()):
                raise DataError(f"{path}: has no columns ImageId and EncodedPixels")
            for row in reader:
                if row.get("Usage") == "Ignored":
                    ignored.add(row["ImageId"])
                elif row["EncodedPixels"].strip():
                    encoded[row["ImageId"]].append(row["EncodedPixels"])
    return encoded, ignored


def _from_runs(runs, shape, name):
    """Decode start-length pairs that count down the columns from 1."""
    flat = np.zeros(shape[0] * shape[1], np.int32)
    for number, text in enumerate(runs, start=1):
        try:
            starts, lengths = np.array(text.split(), np.int64).reshape(-1, 2).T
        except ValueError as error:
            raise DataError(f"{name}: run-length code {text[:40]!r} is not pairs of whole numbers") from error
        if (starts < 1).any() or (lengths < 0).any() or (starts - 1 + lengths > flat.size).any():
            raise DataError(f"{name}: its run-length code {text[:40]!r} leaves the image of size {shape}")
        for start, length in zip(starts - 1, lengths):
            flat[start:start + length] = number
    return flat.reshape(shape[::-1]).T
