"""Pictures of label maps as RGB arrays: outlines, fills, weak labels, one color per instance, crops."""

from colorsys import hsv_to_rgb
from dataclasses import replace

import numpy as np
from scipy import ndimage
from skimage.segmentation import expand_labels

from nucseg.arrays import as_image, as_label_map, as_points
from nucseg.data.sample import Sample
from nucseg.errors import DataError
from nucseg.viz.style import CYCLE, rgb


def outline_mask(labels, width=1):
    """Return the pixels of every instance that lie along its edge.

    A pixel belongs to the outline when a pixel with another label lies within `width` steps (a step goes up,
    down, left or right).  Outlines lie inside their instance, so two touching instances keep a line each.
    The image border is not an edge.

    Parameters
    ----------
    labels : array_like, shape (H, W)
        Instance label map, 0 = background.
    width : int
        Thickness of the line in pixels, at least 1.

    Returns
    -------
    numpy.ndarray, shape (H, W), bool

    Raises
    ------
    DataError
        Not a label map, or a width below 1.

    Examples
    --------
    >>> square = np.zeros((6, 6), int)
    >>> square[1:5, 1:5] = 1
    >>> int(outline_mask(square).sum())
    12
    """
    labels = as_label_map(labels)
    if int(width) != width or width < 1:
        raise DataError(f"width: an outline is at least 1 pixel wide, got {width}")
    steps = np.abs(np.arange(-width, width + 1))
    diamond = steps[:, None] + steps[None, :] <= width
    lowest = ndimage.minimum_filter(labels, footprint=diamond, mode="nearest")
    highest = ndimage.maximum_filter(labels, footprint=diamond, mode="nearest")
    return (labels > 0) & (lowest != highest)


def outline(image, labels, color="ground_truth", width=1):
    """Draw the outline of every instance on a copy of an image.

    Parameters
    ----------
    image : array_like, shape (H, W, 3), uint8
        The picture to draw on.
    labels : array_like, shape (H, W)
        Instance label map (or mask), 0 = background.
    color : str or sequence of float
        See :func:`nucseg.viz.rgb`.
    width : int
        Thickness of the line in pixels; see :func:`outline_mask` for where it lies.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8

    Raises
    ------
    DataError
        Image and label map differ in size or are not what they should be.
    """
    image, labels = _same_size(image, labels)
    drawn = image.copy()
    drawn[outline_mask(labels, width)] = rgb(color)
    return drawn


def fill(image, labels, color="nucleus", alpha=0.4):
    """Tint the pixels of a mask or of a label map on a copy of an image.

    Parameters
    ----------
    image : array_like, shape (H, W, 3), uint8
        The picture to draw on.
    labels : array_like, shape (H, W)
        Mask or instance label map, 0 = left as it is.
    color : str or sequence of float, optional
        See :func:`nucseg.viz.rgb`; None gives every instance its color of :func:`instance_colors`.
    alpha : float
        0 leaves the image as it is, 1 hides it.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8

    Raises
    ------
    DataError
        Image and label map differ in size, or `alpha` is outside 0 to 1.
    """
    image, labels = _same_size(image, labels)
    paint = instance_colors(labels) if color is None else np.broadcast_to(rgb(color), image.shape)
    return _blend(image, paint, labels > 0, alpha)


def weak_label_image(label, image=None, alpha=0.6):
    """Show a weak label map: nucleus, background and ignored pixels in the palette's colors.

    Parameters
    ----------
    label : array_like, shape (H, W)
        Weak label map: 1 nucleus, 0 background, -1 ignored.
    image : array_like, shape (H, W, 3), uint8, optional
        When given, nucleus and background tint this image and ignored pixels show it unchanged.
    alpha : float
        Strength of the tint, 0 to 1; without an image the colors are always opaque.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8

    Raises
    ------
    DataError
        A value other than 1, 0 and -1, or an image of another size.

    Examples
    --------
    >>> weak_label_image([[1, 0, -1]])[0, 0].tolist()
    [230, 159, 0]
    """
    label = np.asarray(label)
    if label.ndim != 2 or label.size == 0 or label.dtype.kind not in "bif":
        raise DataError(f"label: a weak label map has two axes and numbers, got {label.shape}, {label.dtype}")
    stray = label[~np.isin(label, (-1, 0, 1))]
    if stray.size:
        raise DataError(f"label: a weak label is 1, 0 or -1, got {stray[0]} ({stray.size} such pixels)")
    colors = np.stack([rgb("background"), rgb("nucleus"), rgb("ignored")])
    paint = colors[label.astype(np.int8)]
    if image is None:
        return paint
    image, _ = _same_size(image, label >= 0)
    return _blend(image, paint, label >= 0, alpha)


def instance_colors(labels, gap=3):
    """Give every instance a color that none of its neighbors has.

    Instances take the first free color of the book's cycle in the order of their ids, so the same label map
    always gets the same picture.  The background is black.

    Parameters
    ----------
    labels : array_like, shape (H, W)
        Instance label map, 0 = background.
    gap : float
        Instances up to about twice this many pixels apart count as neighbors.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8
    """
    labels = as_label_map(labels)
    ids, dense = np.unique(labels, return_inverse=True)
    dense = dense.reshape(labels.shape).astype(np.int32)
    if ids[0] != 0:
        ids, dense = np.r_[0, ids], dense + 1
    neighbors = _neighbors(expand_labels(dense, gap), len(ids))
    chosen = np.full(len(ids), -1)
    for index in range(1, len(ids)):
        taken = {chosen[other] for other in neighbors[index]}
        # Start at a color that depends on the id: far-apart instances then differ too, most of the time.
        start = (index - 1) % len(CYCLE)
        beyond = range(len(CYCLE), len(CYCLE) + len(taken) + 1)
        order = [*(np.arange(len(CYCLE)) + start) % len(CYCLE), *beyond]
        chosen[index] = next(color for color in order if color not in taken)
    table = np.array([_cycle_color(color) for color in range(chosen.max(initial=0) + 1)], np.uint8)
    painted = table[chosen][dense]
    painted[dense == 0] = 0
    return painted


def crop(item, row, column, size):
    """Cut a window out of a sample or of an image-like array.

    Parameters
    ----------
    item : Sample or array_like, shape (H, W) or (H, W, C)
        A sample is cut with everything it holds; its points are shifted and those outside dropped. For bare
        points use :func:`crop_points`.
    row, column : int
        Top-left pixel of the window.
    size : int or (int, int)
        Height and width of the window in pixels; one number for a square.

    Returns
    -------
    Sample or numpy.ndarray
        The same kind as `item`; arrays are copies, label ids stay as they are.

    Raises
    ------
    DataError
        The window does not lie inside the image.
    """
    if isinstance(item, Sample):
        arrays = {
            name: crop(getattr(item, name), row, column, size)
            for name in ("image", "labels", "mask")
            if getattr(item, name) is not None
        }
        if item.points is not None:
            arrays["points"] = crop_points(item.points, row, column, size)
        return replace(item, **arrays)
    array = np.asarray(item)
    height, width = _window(size)
    if array.ndim not in (2, 3):
        raise DataError(f"item: expected an array of shape (H, W) or (H, W, C), got shape {array.shape}")
    if row < 0 or column < 0 or row + height > array.shape[0] or column + width > array.shape[1]:
        raise DataError(
            f"item: a window of {height}x{width} pixels at row {row}, column {column} "
            f"does not lie inside an image of {array.shape[0]}x{array.shape[1]}"
        )
    return array[row : row + height, column : column + width].copy()


def crop_points(points, row, column, size):
    """Return the points inside a window, in the window's own coordinates.

    Parameters
    ----------
    points : array_like, shape (N, 2)
        Row and column in pixels.
    row, column : int
        Top-left pixel of the window.
    size : int or (int, int)
        Height and width of the window in pixels.

    Returns
    -------
    numpy.ndarray, shape (M, 2), float64

    Examples
    --------
    >>> crop_points([[12, 15], [40, 40]], row=10, column=10, size=8).tolist()
    [[2.0, 5.0]]
    """
    moved = as_points(points) - np.array([row, column])
    nearest = np.floor(moved + 0.5)
    return moved[((nearest >= 0) & (nearest < _window(size))).all(axis=1)]


def _window(size):
    height, width = (size, size) if np.isscalar(size) else size
    if height < 1 or width < 1:
        raise DataError(f"size: a window has at least one pixel, got {size}")
    return int(height), int(width)


def _same_size(image, labels):
    image, labels = as_image(image), as_label_map(labels)
    if image.shape[:2] != labels.shape:
        raise DataError(f"image and labels must have one size, got {image.shape[:2]} and {labels.shape}")
    return image, labels


def _blend(image, paint, where, alpha):
    if not 0 <= alpha <= 1:
        raise DataError(f"alpha: expected a number from 0 to 1, got {alpha}")
    blended = image.copy()
    mixed = (1 - alpha) * image[where].astype(float) + alpha * paint[where]
    blended[where] = np.round(mixed).astype(np.uint8)
    return blended


def _neighbors(dense, count):
    """Return for each index 0..count-1 the set of other indices that touch it, diagonals included."""
    neighbors = [set() for _ in range(count)]
    last = slice(None, -1), slice(1, None)
    for first, second in (
        (dense[last[0]], dense[last[1]]),
        (dense[:, last[0]], dense[:, last[1]]),
        (dense[last[0], last[0]], dense[last[1], last[1]]),
        (dense[last[0], last[1]], dense[last[1], last[0]]),
    ):
        differ = (first != second) & (first > 0) & (second > 0)
        for a, b in np.unique(np.stack([first[differ], second[differ]], axis=1), axis=0).tolist():
            neighbors[a].add(b)
            neighbors[b].add(a)
    return neighbors


def _cycle_color(index):
    """Return the cycle's color, and beyond its end a bright color from evenly spread hues."""
    if index < len(CYCLE):
        return rgb(CYCLE[index])
    golden = 0.618034
    return rgb(hsv_to_rgb((index * golden) % 1.0, 0.55, 0.95))
