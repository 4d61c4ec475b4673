"""MoNuSeg: H&E crops as TIFF, nuclei as polygons in Aperio XML files (Kumar et al. 2017 and 2020)."""

import numpy as np
from defusedxml import DefusedXmlException, ElementTree
from skimage.draw import polygon

from nucseg.data.official.item import Item, Parts, files, index
from nucseg.data.official.monuseg_table import monuseg_table
from nucseg.data.reading import read_image
from nucseg.errors import DataError

#: Added to the x and y of every vertex, pixels. The annotation counts pixels from 1; this reproduces the
#: label maps of earlier publications, and lies close to where the contours meet the strongest image
#: gradients.
SHIFT = -0.99


def find(folders):
    """Return the items of a release: every TIFF (or PNG) image that has an XML file of the same name.

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
        An XML file without image, or a name that occurs twice.
    """
    annotations = index(files(folders, ".xml"), "annotation")
    images = index([p for p in files(folders, ".tif", ".tiff", ".png") if p.stem in annotations], "image")
    missing = sorted(annotations.keys() - images.keys())
    if missing:
        raise DataError(f"{annotations[missing[0]]}: has no image ({len(missing)} such files)")
    table = monuseg_table()
    return [Item(name, {**table.get(name, {}), "magnification": "40x", "label_source": "xml"},
                 lambda name=name: _load(images[name], annotations[name]), images[name])
            for name in sorted(images)]


def _load(image_path, annotation_path):
    image, _ = read_image(image_path)
    polygons = read_polygons(annotation_path)
    labels, hidden = rasterize(polygons, image.shape[:2])
    return Parts(image, labels, columns={"n_polygons_in_xml": len(polygons), "n_hidden_polygons": hidden})


def read_polygons(path):
    """Return the outlines in an Aperio XML file, in file order.

    Parameters
    ----------
    path : path-like
        XML with Annotation / Regions / Region / Vertices / Vertex elements (attributes X and Y, pixels).

    Returns
    -------
    list of numpy.ndarray, shape (N, 2), float64
        x and y of the vertices of each region with three or more of them.

    Raises
    ------
    DataError
        Not well-formed, with entity declarations (refused), or a vertex that is not a number.
    """
    try:
        root = ElementTree.parse(path).getroot()
        regions = [[(float(v.get("X")), float(v.get("Y"))) for v in region.iter("Vertex")]
                   for region in root.iter("Region")]
    except (ElementTree.ParseError, DefusedXmlException, TypeError, ValueError, OSError) as error:
        raise DataError(f"{path}: not a readable Aperio annotation ({error})") from error
    outlines = [np.array(vertices) for vertices in regions if len(vertices) >= 3]
    if not all(np.isfinite(outline).all() for outline in outlines):
        raise DataError(f"{path}: a vertex is not a finite number")
    return outlines


def rasterize(polygons, shape, shift=SHIFT):
    """Fill polygons in order; a later one overwrites an earlier one where they overlap.

    Parameters
    ----------
    polygons : list of numpy.ndarray, shape (N, 2)
        x and y of the vertices, pixels.
    shape : tuple of int
        (H, W) of the image.
    shift : float
        Added to every coordinate first, pixels.

    Returns
    -------
    labels : numpy.ndarray, shape (H, W), int32
        Ids 1..n in file order, without gaps.
    hidden : int
        Polygons of which no pixel is left: covered by later ones, outside the image or too small to hold one.
    """
    labels = np.zeros(shape, np.int32)
    for number, outline in enumerate(polygons, start=1):
        rows, columns = polygon(outline[:, 1] + shift, outline[:, 0] + shift, shape)
        labels[rows, columns] = number
    kept, labels = np.unique(np.append(labels.ravel(), 0), return_inverse=True)
    return labels[:-1].reshape(shape).astype(np.int32), len(polygons) - (len(kept) - 1)
