"""Saved methods: find out which one a folder holds, and run it on image files."""

import json
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from nucseg.atomic import atomic_path
from nucseg.data.reading import read_image
from nucseg.errors import DataError
from nucseg.methods.baselines import CNN3, DIST, DeepLabV3, FullySupervised, MaskGA, MaskRCNN
from nucseg.methods.canonical_shape import CanonicalShape
from nucseg.methods.donuseg import DoNuSeg
from nucseg.methods.partial_points import PartialPoints
from nucseg.methods.sia_wsss import SIAWSSS
from nucseg.methods.split_and_expand import SplitAndExpand
from nucseg.viz.classes import class_palette

_ALL = (
    PartialPoints, FullySupervised, CNN3, DIST, MaskGA, SplitAndExpand, CanonicalShape, DeepLabV3, MaskRCNN,
    DoNuSeg, SIAWSSS,
)
#: Methods by the name that ``method.json`` holds.
METHODS = {method.__name__: method for method in _ALL}


def load_method(path):
    """Return the method that :meth:`nucseg.methods.Method.save` wrote to a folder, whichever it is.

    Parameters
    ----------
    path : path-like
        The folder.

    Returns
    -------
    nucseg.methods.Method
        Ready to predict, on the CPU.

    Raises
    ------
    DataError
        No saved method there, an unknown one, or damaged files; names the file.
    """
    description = Path(path) / "method.json"
    try:
        name = json.loads(description.read_text(encoding="utf-8"))["method"]
    except OSError as error:
        raise DataError(f"{description}: {error.strerror}; a saved method is a folder with this file") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{description}: not the description of a method ({error!r})") from error
    if name not in METHODS:
        raise DataError(f"{description}: unknown method {name!r}; known: {', '.join(METHODS)}")
    return METHODS[name].load(path)


def predict_files(method, images, folder):
    """Predict image files one by one and write their instance maps as ``<name>.labels.tif``.

    Parameters
    ----------
    method : nucseg.methods.Method
        Fitted or loaded.
    images : sequence of path-like
        Image files of any size; see :func:`nucseg.data.reading.read_image`.
    folder : path-like
        Receives the maps, int32, 0 = background; a map is written whole or not at all.

    Yields
    ------
    path : pathlib.Path
        The map that was written.
    count : int
        Number of nuclei in it.

    Raises
    ------
    DataError
        Two images of the same name, or one that cannot be read; maps written so far stay.
    NucsegError
        A map cannot be written; names it.
    """
    for target, labels in _predictions(method, images, folder, ".labels.tif"):
        with atomic_path(target) as temporary:
            tifffile.imwrite(temporary, labels, compression="zlib")
        yield target, len(np.unique(labels[labels > 0]))


def predicts_classes(method):
    """Tell whether a method gives each pixel a tissue class, instead of a nucleus."""
    return isinstance(method, SIAWSSS)


def predict_class_files(method, images, folder):
    """Predict image files one by one and write their class maps as ``<name>.classes.png``.

    Parameters
    ----------
    method : nucseg.methods.SIAWSSS
        Fitted or loaded; it knows the names of the classes.
    images : sequence of path-like
        Image files of any size; see :func:`nucseg.data.reading.read_image`.
    folder : path-like
        Receives the maps: 8-bit pictures with a palette, whose values are the places of classes among the names of
        the method, from 0; a map is written whole or not at all.

    Yields
    ------
    path : pathlib.Path
        The map that was written.
    shares : dict of str to float
        Share of the pixels of each class; of ``"background"``, too, if the method has an output for it.

    Raises
    ------
    DataError
        A method for nuclei or of more classes than there are colors, two images of the same name, or one that cannot be
        read; maps written so far stay.
    NucsegError
        A map cannot be written; names it.
    """
    if not predicts_classes(method):
        raise DataError(f"{type(method).__name__} finds nuclei, not tissue classes")
    names = [*method.config.classes, *(["background"] if method.config.background is not None else [])]
    palette = class_palette(len(method.config.classes))
    for target, labels in _predictions(method, images, folder, ".classes.png"):
        picture = Image.fromarray(labels.astype(np.uint8)).convert("L")
        picture.putpalette(palette.ravel().tolist())  # the values stay those of the map
        with atomic_path(target) as temporary:
            picture.save(temporary, format="PNG")
        counts = np.bincount(labels.ravel(), minlength=len(names))
        yield target, dict(zip(names, (counts / labels.size).tolist()))


def _predictions(method, images, folder, ending):
    """Yield where the map of each image goes, and the map."""
    images, folder = [Path(image) for image in images], Path(folder)
    targets = [folder / f"{image.stem}{ending}" for image in images]
    if len(set(targets)) < len(targets):
        raise DataError(f"{max(targets, key=targets.count).name}: two images would be written to this file")
    for image, target in zip(images, targets):
        if not image.is_file():
            raise DataError(f"{image}: no such file")
        yield target, method.predict(read_image(image)[0])
