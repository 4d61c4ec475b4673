"""TNBC: PNG images and binary PNG masks in folders per patient (Naylor et al. 2018, Zenodo 1175282)."""

import re

import numpy as np
from scipy import ndimage

from nucseg.data.official.item import Item, Parts, files
from nucseg.data.reading import read_image, read_labels
from nucseg.errors import DataError

_SPLITS = (("train", range(1, 7)), ("val", range(7, 9)), ("test", range(9, 12)))


def find(folders):
    """Return the items of a release: each ``Slide_XX`` image with the ``GT_XX`` mask of the same name.

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
        An image without mask.
    """
    items = []
    for path in files(folders, ".png"):
        match = re.fullmatch(r"slide_0*(\d+)", path.parent.name, re.IGNORECASE)
        if match is None:
            continue
        mask = path.parent.parent / re.sub("slide", "GT", path.parent.name, flags=re.IGNORECASE) / path.name
        if not mask.is_file():
            raise DataError(f"{path}: has no mask {mask}")
        patient = int(match.group(1))
        split = next((name for name, patients in _SPLITS if patient in patients), "")
        items.append(Item(path.stem, {
            "organ": "Breast (triple-negative cancer)", "patient": str(patient), "split_qu2019": split,
            "magnification": "40x",
        }, lambda path=path, mask=mask: _load(path, mask), path))
    return items


def _load(image_path, mask_path):
    """Instances are the 8-connected components: 4-connection breaks off fragments of 1-2 pixels."""
    image, _ = read_image(image_path)
    labels, _ = ndimage.label(read_labels(mask_path) > 0, structure=np.ones((3, 3)))
    return Parts(image, labels.astype(np.int32))
