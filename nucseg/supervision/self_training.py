"""What a detector teaches its successor: more background, or more dots (Qu et al. 2020, stage 1)."""

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from nucseg.arrays import as_points
from nucseg.errors import DataError

_SQUARE = ndimage.generate_binary_structure(2, 2)


def confident_background(prob, low=0.1, high=0.7, area=200):
    """Return the pixels that a detector calls background (Qu et al. 2020, eq. 3).

    Background is what the detector gives almost no probability, and every large connected region of high
    probability: where no label ever held it back, the network answers 1 on blank glass.

    Parameters
    ----------
    prob : array_like, shape (H, W), float
        Probability of a nuclear center, in [0, 1].
    low : float
        Probabilities below this are background.
    high : float
        Regions are 8-connected components of probabilities above this.
    area : float
        Regions of more pixels than this are background. The release uses 200 on multi-organ images, the
        article the area of a disk of radius r1 (380).

    Returns
    -------
    numpy.ndarray, shape (H, W), bool

    Raises
    ------
    DataError
        Not a 2-D map, or thresholds that are not 0 <= low < high.

    Examples
    --------
    >>> prob = np.full((1, 8), 0.5)
    >>> prob[0, :2], prob[0, 4:7] = 0.01, 1.0
    >>> confident_background(prob, area=2).astype(int).tolist()
    [[1, 1, 0, 0, 1, 1, 1, 0]]
    """
    prob = np.asarray(prob)
    if prob.ndim != 2 or not 0 <= low < high:
        raise DataError(f"background: expected a 2-D map and 0 <= low < high, got {prob.shape}, {low} and {high}")
    regions, _ = ndimage.label(prob > high, _SQUARE)
    areas = np.bincount(regions.ravel())
    areas[0] = 0
    return (prob < low) | (areas > area)[regions]


def merge_points(annotated, detected, radius):
    """Return annotated dots together with the detections that lie farther than a radius from all of them.

    Stage 2 of Qu et al. 2020 starts from these dots; so the authors' release, while the article speaks of
    detected points only. Each round of its ST-nu strategy adds detections in the same way.

    Parameters
    ----------
    annotated : array_like, shape (N, 2)
        Row and column of the dots of the annotator, px.
    detected : array_like, shape (M, 2)
        Row and column of the dots of the detector, px.
    radius : float
        A detection this near (px, inclusive) to an annotated dot is taken for the same nucleus.

    Returns
    -------
    numpy.ndarray, shape (K, 2), float64
        The annotated dots, then the kept detections, each in their given order.

    Raises
    ------
    DataError
        Bad points, or a radius that is not positive.

    Examples
    --------
    >>> merge_points([(5, 5)], [(5, 8), (5, 30)], radius=11).tolist()
    [[5.0, 5.0], [5.0, 30.0]]
    """
    if not radius > 0:
        raise DataError(f"merge_points: radius must be positive, got {radius}")
    annotated, detected = as_points(annotated, name="annotated"), as_points(detected, name="detected")
    if not len(annotated) or not len(detected):
        return np.concatenate([annotated, detected])
    distance, _ = cKDTree(annotated).query(detected)
    return np.concatenate([annotated, detected[distance > radius]])
