"""Numbers that describe an annotated image: sizes, crowding and contrast of its nuclei."""

import numba
import numpy as np

from nucseg.arrays import as_image, as_label_map
from nucseg.errors import DataError


def nuclear_areas(labels):
    """Return the area of every nucleus.

    Parameters
    ----------
    labels : numpy.ndarray, shape (H, W)
        Instance map, 0 = background, gaps in the ids allowed.

    Returns
    -------
    numpy.ndarray, shape (n,), int64
        Areas in pixels, in ascending order of the ids that occur; empty where there are no nuclei.

    Examples
    --------
    >>> nuclear_areas(np.array([[0, 7, 7], [3, 0, 0]]))
    array([1, 2])
    """
    return np.bincount(_ranks(as_label_map(labels)).ravel())[1:]


def foreground_fraction(labels):
    """Return the share of pixels that belong to a nucleus, 0 to 1."""
    return float(np.count_nonzero(as_label_map(labels))) / np.size(labels)


def touching_share(labels):
    """Return the share of nuclei that touch another one.

    A nucleus touches another if one of its pixels has a pixel of another id among its eight neighbors.

    Parameters
    ----------
    labels : numpy.ndarray, shape (H, W)
        Instance map, 0 = background.

    Returns
    -------
    float
        0 to 1; nan if there are no nuclei.

    Examples
    --------
    >>> touching_share(np.array([[1, 0, 0, 0], [0, 2, 0, 4]]))
    0.6666666666666666
    """
    ranks = _ranks(as_label_map(labels))
    n = int(ranks.max())
    if n == 0:
        return float("nan")
    touches = np.zeros(n + 1, bool)
    ahead = (slice(None, -1), slice(1, None))
    whole = (slice(None), slice(None))
    back = (slice(1, None), slice(None, -1))
    for rows, columns in ((whole, ahead), (ahead, whole), (ahead, ahead), (ahead, back)):
        first, second = ranks[rows[0], columns[0]], ranks[rows[1], columns[1]]
        contact = (first != second) & (first > 0) & (second > 0)
        touches[first[contact]] = True
        touches[second[contact]] = True
    return float(touches.sum() / n)


def nucleus_background_contrast(image, labels, radius=3):
    """Return how much nuclei differ from the background next to them (Qu et al. 2020, Fig. 9, "nuclei-bg-diff").

    For each nucleus the mean color inside is compared with the mean color of the background pixels (of no
    nucleus) within `radius` of it; the absolute difference is averaged over red, green and blue, and over
    nuclei with their area as weight. Nuclei with no background pixel that near are left out.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        The pixels.
    labels : numpy.ndarray, shape (H, W)
        Instance map, 0 = background.
    radius : int
        Width of the ring in pixels, 1 or more (the paper uses 3, its released code 5).

    Returns
    -------
    float
        0 to 255 gray levels; nan if no nucleus has background beside it.

    Raises
    ------
    DataError
        Image and labels differ in size, or `radius` is below 1.
    """
    if radius < 1:
        raise DataError(f"radius must be at least 1 px, got {radius}")
    image, ranks = _checked_pair(image, labels)
    inside, areas = _means_inside(image, ranks)
    span = np.arange(-int(radius), int(radius) + 1)
    rows, columns = np.nonzero(span[:, None] ** 2 + span[None, :] ** 2 <= radius**2)
    offsets = np.stack([rows, columns], axis=1) - int(radius)
    sums, counts = _ring_sums(image, ranks, offsets, len(areas))
    seen = counts > 0
    if not seen.any():
        return float("nan")
    difference = np.abs(inside[seen] - sums[seen] / counts[seen, None]).mean(axis=1)
    return float(np.average(difference, weights=areas[seen]))


def nucleus_deviation(image, labels):
    """Return how uneven nuclei are inside (Qu et al. 2020, Fig. 9, "nuclei-std").

    The standard deviation of the pixel values inside each nucleus is averaged over red, green and blue, and
    over nuclei with their area as weight.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        The pixels.
    labels : numpy.ndarray, shape (H, W)
        Instance map, 0 = background.

    Returns
    -------
    float
        Gray levels, 0 or more; nan if there are no nuclei.

    Raises
    ------
    DataError
        Image and labels differ in size.
    """
    image, ranks = _checked_pair(image, labels)
    inside, areas = _means_inside(image, ranks)
    if len(areas) == 0:
        return float("nan")
    squares = np.stack([_class_sums(image[..., c].astype(float) ** 2, ranks) for c in range(3)], axis=1)
    variance = np.maximum(squares / areas[:, None] - inside**2, 0)
    return float(np.average(np.sqrt(variance).mean(axis=1), weights=areas))


def image_statistics(image, labels):
    """Return the numbers above for one image.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        The pixels.
    labels : numpy.ndarray, shape (H, W)
        Instance map, 0 = background.

    Returns
    -------
    dict of str to float
        ``nuclei`` (count), ``density`` (nuclei per megapixel), ``median_area`` (px; nan if there are none),
        ``foreground`` and ``touching`` (shares, 0 to 1), ``contrast`` and ``deviation`` (gray levels).

    Raises
    ------
    DataError
        Image and labels differ in size.
    """
    areas = nuclear_areas(labels)
    return {
        "nuclei": float(len(areas)),
        "density": 1e6 * len(areas) / np.size(labels),
        "median_area": float(np.median(areas)) if len(areas) else float("nan"),
        "foreground": foreground_fraction(labels),
        "touching": touching_share(labels),
        "contrast": nucleus_background_contrast(image, labels),
        "deviation": nucleus_deviation(image, labels),
    }


def _ranks(labels):
    """Replace ids by 1..n in ascending order, 0 stays; int32."""
    if labels.max() <= labels.size:
        present = np.bincount(labels.ravel()) > 0
        present[0] = False
        return (np.cumsum(present, dtype=np.int32) * present).astype(np.int32)[labels]
    ids = np.unique(labels)
    return np.searchsorted(ids[ids > 0], labels, side="right").astype(np.int32)


def _checked_pair(image, labels):
    image, labels = as_image(image), as_label_map(labels)
    if image.shape[:2] != labels.shape:
        raise DataError(f"image and labels must have one size, got {image.shape[:2]} and {labels.shape}")
    return image, _ranks(labels)


def _class_sums(values, ranks):
    return np.bincount(ranks.ravel(), weights=values.ravel())[1:]


def _means_inside(image, ranks):
    areas = np.bincount(ranks.ravel())[1:]
    sums = np.stack([_class_sums(image[..., c], ranks) for c in range(3)], axis=1)
    return sums / areas[:, None], areas


@numba.njit(cache=True)
def _ring_sums(image, ranks, offsets, n):
    """Add up the background pixels around each nucleus, each pixel once per nucleus that it is near to."""
    sums, counts = np.zeros((n, 3)), np.zeros(n)
    height, width = ranks.shape
    near = np.empty(len(offsets), np.int32)
    for row in range(height):
        for column in range(width):
            if ranks[row, column] != 0:
                continue
            found = 0
            for k in range(len(offsets)):
                r, c = row + offsets[k, 0], column + offsets[k, 1]
                if r < 0 or c < 0 or r >= height or c >= width or ranks[r, c] == 0:
                    continue
                rank = ranks[r, c]
                new = True
                for j in range(found):
                    if near[j] == rank:
                        new = False
                        break
                if new:
                    near[found] = rank
                    found += 1
                    counts[rank - 1] += 1
                    for channel in range(3):
                        sums[rank - 1, channel] += image[row, column, channel]
    return sums, counts
