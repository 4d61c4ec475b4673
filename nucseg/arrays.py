"""Checks that every public function applies to the arrays it is given.

Label maps are 2-D integer arrays (0 = background, any positive ids, gaps allowed), points are (N, 2) rows and
columns in pixels, images are (H, W, 3) uint8.  Each check returns the array in its canonical dtype or raises
:class:`~nucseg.errors.DataError` with the name and the offending value.
"""

import numpy as np

from nucseg.errors import DataError


def as_label_map(array, name="labels"):
    """Return an instance label map as a C-contiguous int32 array.

    Parameters
    ----------
    array : array_like, shape (H, W)
        Integer (or bool) label map, 0 = background, positive ids in any order, gaps allowed.
    name : str
        How the array is called in an error message.

    Returns
    -------
    numpy.ndarray, shape (H, W), int32

    Raises
    ------
    DataError
        Not 2-D, empty, not of an integer type, a negative id, or an id above 2**31 - 1.
    """
    array = np.asarray(array)
    if array.ndim != 2 or array.size == 0:
        raise DataError(
            f"{name}: a label map has two non-empty axes (rows, columns), got shape {array.shape}"
        )
    if array.dtype.kind not in "bui":
        raise DataError(
            f"{name}: a label map holds integers, got dtype {array.dtype}; round and cast it first"
        )
    if array.dtype.kind == "i" and array.min() < 0:
        raise DataError(f"{name}: ids must be 0 (background) or positive, got {array.min()}")
    if array.dtype.itemsize >= 4 and array.max() > np.iinfo(np.int32).max:
        raise DataError(f"{name}: ids must fit in 32 bits, got {array.max()}")
    return np.ascontiguousarray(array, dtype=np.int32)


def as_label_pair(gt, pred):
    """Return ground truth and prediction as int32 label maps of one size.

    Raises
    ------
    DataError
        Either is not a label map (see :func:`as_label_map`) or their shapes differ.
    """
    gt, pred = as_label_map(gt, "gt"), as_label_map(pred, "pred")
    if gt.shape != pred.shape:
        raise DataError(f"gt and pred must have one size, got {gt.shape} and {pred.shape}")
    return gt, pred


def as_points(points, shape=None, name="points"):
    """Return points as an (N, 2) float64 array of row/column pixel coordinates.

    Parameters
    ----------
    points : array_like, shape (N, 2)
        Row and column in pixels; (0, 0) is the center of the top-left pixel. An empty list means no points.
    shape : tuple of int, optional
        (H, W) of the image; when given, every point must round to a pixel inside it.
    name : str
        How the array is called in an error message.

    Returns
    -------
    numpy.ndarray, shape (N, 2), float64

    Raises
    ------
    DataError
        Wrong shape, not numeric, NaN or infinite coordinates, or a point outside the image.
    """
    points = np.asarray(points)
    if points.size == 0:
        return np.zeros((0, 2))
    if points.ndim != 2 or points.shape[1] != 2 or points.dtype.kind not in "uif":
        raise DataError(
            f"{name}: expected numbers of shape (N, 2), got shape {points.shape}, dtype {points.dtype}"
        )
    points = points.astype(np.float64)
    bad = ~np.isfinite(points).all(axis=1)
    if shape is not None:
        nearest = np.floor(points + 0.5)
        bad |= (nearest < 0).any(axis=1) | (nearest >= np.asarray(shape[:2])).any(axis=1)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        where = "" if shape is None else f" for an image of {shape[0]}x{shape[1]} pixels"
        raise DataError(
            f"{name}: {int(bad.sum())} of {len(points)} points lie outside or are not finite{where}; "
            f"the first is number {first} at (row, column) = ({points[first, 0]:g}, {points[first, 1]:g})"
        )
    return points


def as_pixels(points, shape, name="points"):
    """Return the pixels nearest to points, as an (N, 2) int64 array, checked against the image size.

    Raises
    ------
    DataError
        As :func:`as_points`.
    """
    return np.floor(as_points(points, shape, name) + 0.5).astype(np.int64)


def as_image(image, name="image"):
    """Return an image as (H, W, 3) uint8.

    Gray images are replicated over three channels, an alpha channel is dropped, 16-bit images are scaled by
    1/257 (65535 becomes 255).

    Parameters
    ----------
    image : array_like, shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8, uint16 or bool
        The pixels.
    name : str
        How the image is called in an error message (a file name, say).

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8

    Raises
    ------
    DataError
        Any other shape or dtype (float images have no agreed range; convert them first), or an empty image.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.size == 0 or image.shape[2] not in (1, 3, 4):
        raise DataError(
            f"{name}: expected an image of shape (H, W), (H, W, 3) or (H, W, 4), got {image.shape}"
        )
    if image.dtype == np.bool_:
        image = image.astype(np.uint8) * np.uint8(255)
    elif image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif image.dtype != np.uint8:
        raise DataError(f"{name}: expected 8- or 16-bit unsigned pixels, got dtype {image.dtype}")
    image = image[..., :3]
    return np.ascontiguousarray(np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image)
