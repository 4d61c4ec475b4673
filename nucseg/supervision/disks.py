"""Disk labels: certain nucleus near a dot, certain background far from every dot, silence between."""

import numpy as np

from nucseg.errors import DataError
from nucseg.supervision.distance import nearest_points


def disk_labels(points, shape, r, d):
    """Return nucleus disks and far background (Wang et al. 2024, the initial label M of eq. 1).

    Parameters
    ----------
    points : array_like, shape (N, 2)
        Row and column of the dots, px; the label assumes that every nucleus has one.
    shape : tuple of int
        (H, W) of the image.
    r : float
        Pixels at most this far from a dot are nucleus, px (4 in the article).
    d : float
        Pixels farther than this from every dot are background, px (20 in the article).

    Returns
    -------
    numpy.ndarray, shape (H, W), int8
        1 nucleus, 0 background, -1 ignored. Without dots everything is background: an image whose nuclei are
        all dotted and that has no dot has no nucleus.

    Raises
    ------
    DataError
        Bad points, or radii that are not 0 <= r <= d.

    Examples
    --------
    >>> disk_labels([(0, 0)], (1, 6), r=1, d=3).tolist()
    [[1, 1, -1, -1, 0, 0]]
    """
    if not 0 <= r <= d:
        raise DataError(f"disk labels: expected 0 <= r <= d, got r={r}, d={d}")
    distance, _ = nearest_points(points, shape)
    labels = np.full(distance.shape, -1, np.int8)
    labels[distance > d] = 0
    labels[distance <= r] = 1
    return labels
