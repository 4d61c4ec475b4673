"""The two noisy labels of MaskGA-Net: superpixels that hold a dot, and thin lines between the dots.

The constants are those of the release of Guo et al. 2021 (RuoyuGuo/MaskGA_Net).
"""

import numpy as np
from scipy.spatial import Voronoi
from skimage.draw import line
from skimage.segmentation import slic

from nucseg.arrays import as_image, as_pixels
from nucseg.errors import DataError
from nucseg.supervision.distance import image_size

#: Number of superpixels by the number of dots, for each size of image (release): the area of the image, px, then
#: pairs (dots, superpixels); a number of superpixels holds below its number of dots.
SEGMENTS = (
    (1000 * 1000, ((1000, 2000), (1500, 3000), (np.inf, 5000))),  # MoNuSeg
    (512 * 512, ((200, 700), (np.inf, 1000))),  # TNBC
)


def segments_for(count, shape):
    """Return how many superpixels an image is cut into (release of Guo et al. 2021).

    The release has one table for images of 1000 x 1000 px and one for 512 x 512 px. An image of another size takes
    the table whose area is nearer to its own, by ratio, and dots and superpixels in proportion to the area.

    Parameters
    ----------
    count : int
        Number of dots in the image.
    shape : tuple of int
        (H, W) of the image.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    DataError
        A negative number of dots, or not the size of an image.

    Examples
    --------
    >>> segments_for(570, (1000, 1000)), segments_for(80, (512, 512)), segments_for(80, (256, 256))
    (2000, 700, 250)
    """
    if count < 0:
        raise DataError(f"superpixels: expected 0 dots or more, got {count}")
    height, width = image_size(shape)
    area, table = min(SEGMENTS, key=lambda entry: abs(np.log(height * width / entry[0])))
    share = height * width / area
    segments = next(segments for limit, segments in table if count < limit * share)
    return max(1, round(segments * share))


def superpixel_labels(image, points, segments=None, compactness=30.0):
    """Return the superpixel label of dots (Guo et al. 2021, and its release).

    The image is cut into superpixels by SLIC (Achanta et al. 2012) in Lab colors; those that hold a dot are nucleus,
    all others are background, none is ignored.

    Parameters
    ----------
    image : array_like, shape (H, W, 3), uint8
        The image, whole (not a patch).
    points : array_like, shape (N, 2)
        Row and column of the dots, px.
    segments : int, optional
        About how many superpixels there will be; by default :func:`segments_for` the number of dots.
    compactness : float
        Weight of nearness against color in SLIC, no unit; the higher, the squarer.

    Returns
    -------
    numpy.ndarray, shape (H, W), int8
        1 nucleus, 0 background; without dots all is background.

    Raises
    ------
    DataError
        Bad image or points, less than one superpixel, or a compactness that is not positive.

    Examples
    --------
    >>> halves = np.zeros((4, 8, 3), np.uint8)
    >>> halves[:, 4:] = 200
    >>> superpixel_labels(halves, [(1, 1)], segments=2)[0].tolist()
    [1, 1, 1, 1, 0, 0, 0, 0]
    """
    image = as_image(image)
    pixels = as_pixels(points, image.shape[:2])
    segments = segments_for(len(pixels), image.shape) if segments is None else segments
    if segments < 1 or not compactness > 0:
        raise DataError(
            f"superpixels: expected 1 segment or more and a positive compactness, got {segments} and {compactness}"
        )
    parts = slic(image, n_segments=segments, compactness=compactness, start_label=1, channel_axis=-1)
    return np.isin(parts, parts[tuple(pixels.T)]).astype(np.int8)


def dot_edge_labels(points, shape):
    """Return dots and the lines between them, the label of the attention net (Guo et al. 2021, and its release).

    The edges of the Voronoi cells are drawn as lines one pixel wide, unlike the two of
    :func:`nucseg.supervision.voronoi_edges`; a dot under a line is lost.

    Parameters
    ----------
    points : array_like, shape (N, 2)
        Row and column of the dots, px; each is moved to the nearest pixel center.
    shape : tuple of int
        (H, W) of the image.

    Returns
    -------
    numpy.ndarray, shape (H, W), int8
        2 edge, 1 dot, 0 neither; unlike other weak labels, 0 says nothing about a pixel. One dot has no edges.

    Raises
    ------
    DataError
        Bad points, or points outside the image.

    Examples
    --------
    >>> dot_edge_labels([(0, 1), (0, 5)], (1, 7)).tolist()
    [[0, 1, 0, 2, 0, 1, 0]]
    """
    size = image_size(shape)
    pixels = np.unique(as_pixels(points, size), axis=0)
    labels = np.zeros(size, np.int8)
    labels[tuple(pixels.T)] = 1
    for start, end in _cell_edges(pixels, size):
        rows, columns = line(*start, *end)
        inside = (rows >= 0) & (rows < size[0]) & (columns >= 0) & (columns < size[1])
        labels[rows[inside], columns[inside]] = 2
    return labels


def _cell_edges(pixels, size):
    """Return the ends of the edges between cells, (E, 2, 2) int, rows and columns, also outside the image."""
    if len(pixels) < 2:
        return np.zeros((0, 2, 2), int)
    # Four dots far outside bound every cell, and their own edges stay outside the image.
    middle, far = np.array(size) / 2, 10 * sum(size)
    frame = middle + far * np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])
    diagram = Voronoi(np.concatenate([pixels, frame]))
    between = (diagram.ridge_points < len(pixels)).all(axis=1)
    return np.rint(diagram.vertices).astype(int)[np.array(diagram.ridge_vertices)[between]]
