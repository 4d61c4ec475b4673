"""BCSS-WSSS, LUAD-HistoSeg, WSSS4LUAD: training patches tagged by name, validation and test with masks."""

import re

import numpy as np

from nucseg.data.catalog import dataset_info
from nucseg.data.official.item import Item, Parts, files
from nucseg.data.reading import read_image, read_indices
from nucseg.errors import DataError

#: Folder names in circulation -> split.
_FOLDERS = {"train": "train", "training": "train", "1.training": "train", "1.training_examples": "train",
            "val": "val", "valid": "val", "validation": "val", "2.validation": "val",
            "test": "test", "testing": "test", "3.testing": "test"}


def parse_tags(name, count):
    """Return the tags in a training patch's file name.

    Parameters
    ----------
    name : str
        File name; the tags stand between its last "[" and the next "]", with or without blanks and commas.
    count : int
        How many tags the dataset has.

    Returns
    -------
    tuple of bool

    Raises
    ------
    DataError
        No brackets, or another number of 0s and 1s.

    Examples
    --------
    >>> parse_tags("1031280-2300-27920-[1 0 0 1].png", 4)
    (True, False, False, True)
    >>> parse_tags("TCGA-A1-A0SK-DX1_xmin45749_ymin25055_MPP-0.2500+0[1101].png", 4)
    (True, True, False, True)
    """
    _, bracket, rest = name.rpartition("[")
    inside, closed, _ = rest.partition("]")
    tags = [c for c in inside if c in "01"]
    if not bracket or not closed or len(tags) != count:
        raise DataError(f"{name}: expected {count} tags such as [{' '.join('10' * count)[:2 * count - 1]}] "
                        f"in the file name, got {inside if bracket and closed else 'none'!r}")
    return tuple(c == "1" for c in tags)


def find_bcss(folders):
    """Return the items of BCSS-WSSS; see :func:`find`."""
    return find(folders, dataset_info("bcss-wsss"))


def find_luad(folders):
    """Return the items of LUAD-HistoSeg; see :func:`find`."""
    return find(folders, dataset_info("luad-histoseg"))


def find_wsss4luad(folders):
    """Return the items of WSSS4LUAD; see :func:`find`."""
    return find(folders, dataset_info("wsss4luad"))


def find(folders, info):
    """Return the items of a release: training patches with tags, validation and test images with class masks.

    Parameters
    ----------
    folders : list of pathlib.Path
        Where to search.
    info : DatasetInfo
        The dataset, for its classes.

    Returns
    -------
    list of Item
        Ids begin with the split, because file names may repeat between splits.

    Raises
    ------
    DataError
        A training name without tags, or a validation or test image without mask.
    """
    items = []
    for path in files(folders, ".png"):
        folder = path.parent
        split = _FOLDERS.get(folder.name.lower())
        if split == "train":
            tags = dict(zip(info.classes, parse_tags(path.name, len(info.classes))))
            name = path.name.rpartition("[")[0].rstrip("-_ ")
            columns = {**{k: str(int(v)) for k, v in tags.items()}, "patient": _patient(name)}
            items.append(_item(path, None, name, split, columns, info))
        elif folder.name.lower() == "img" and folder.parent.name.lower() in _FOLDERS:
            split, mask = _FOLDERS[folder.parent.name.lower()], folder.parent / "mask" / path.name
            if not mask.is_file():
                raise DataError(f"{path}: has no mask {mask}")
            items.append(_item(path, mask, path.stem, split, {"patient": _patient(path.stem)}, info))
    return sorted(items, key=lambda item: (("train", "val", "test").index(item.columns["split"]), item.id))


def _patient(name):
    """BCSS names begin with a TCGA barcode, LUAD training names are <patient>-<x>-<y>; others say nothing."""
    match = re.match(r"(TCGA-[^-]+-[^-]+)-", name) or re.fullmatch(r"(\d+)-\d+-\d+", name)
    return match.group(1) if match else ""


def _item(path, mask, name, split, columns, info):
    columns = {"split": split, **columns, "has_mask": str(int(mask is not None)), "source_name": path.name,
               "magnification": info.magnification}
    return Item(f"{split}_{name}", columns, lambda: _load(path, mask, info), path)


def _load(path, mask_path, info):
    image, _ = read_image(path)
    if mask_path is None:
        return Parts(image)
    mask = read_indices(mask_path)
    if mask.shape != image.shape[:2]:
        raise DataError(f"{mask_path}: has size {mask.shape}, its image {image.shape[:2]}")
    if mask.max() > info.background:
        raise DataError(f"{mask_path}: holds index {mask.max()}; {info.name} has 0 to {info.background}")
    shares = np.bincount(mask.ravel(), minlength=info.background + 1) / mask.size
    columns = {name: str(int(shares[k] > 0)) for k, name in enumerate(info.classes)}
    columns |= {f"{name}_frac": f"{shares[k]:.4f}" for k, name in enumerate(info.classes)}
    return Parts(image, mask=mask, columns=columns)
