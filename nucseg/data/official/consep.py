"""CoNSeP: PNG images with MATLAB label files (Graham et al. 2019)."""

import numpy as np
from scipy.io import loadmat

from nucseg.arrays import as_label_map
from nucseg.data.official.item import Item, Parts, files
from nucseg.data.reading import read_image
from nucseg.errors import DataError


def find(folders):
    """Return the items of a release: ``Train`` and ``Test``, each with ``Images/*.png`` and ``Labels/*.mat``.

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
        An image without label file.
    """
    items = []
    for path in files(folders, ".png"):
        split = path.parent.parent.name.lower()
        if path.parent.name.lower() != "images" or split not in ("train", "test"):
            continue
        labels = path.parent.parent / "Labels" / f"{path.stem}.mat"
        if not labels.is_file():
            raise DataError(f"{path}: has no label file {labels}")
        columns = {"organ": "Colon", "split": split, "magnification": "40x"}
        items.append(Item(path.stem, columns, lambda path=path, labels=labels: _load(path, labels), path))
    return sorted(items, key=_number)


def _load(image_path, label_path):
    return Parts(read_image(image_path)[0], read_instance_map(label_path))


def _number(item):
    digits = item.id.rpartition("_")[2]
    return item.columns["split"] != "train", int(digits) if digits.isdigit() else 0, item.id


def read_instance_map(path):
    """Return the ``inst_map`` of a CoNSeP label file as (H, W) int32.

    Parameters
    ----------
    path : path-like
        A MATLAB file; whole numbers stored as decimals are accepted.

    Returns
    -------
    numpy.ndarray, shape (H, W), int32

    Raises
    ------
    DataError
        Not a MATLAB file, without ``inst_map``, or ids that are not whole numbers.
    """
    try:
        content = loadmat(path, variable_names=["inst_map"])
    except Exception as error:
        # scipy raises whatever its parser met in a damaged file.
        raise DataError(f"{path}: not a readable MATLAB file ({error})") from error
    if "inst_map" not in content:
        raise DataError(f"{path}: has no variable inst_map")
    values = np.asarray(content["inst_map"])
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and (values == np.round(values)).all()):
            raise DataError(f"{path}: inst_map has ids that are not whole numbers")
        values = values.astype(np.int64)
    return as_label_map(values, f"{path}: inst_map")
