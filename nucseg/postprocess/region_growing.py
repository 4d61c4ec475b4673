"""Instances from probabilities of inside and boundary: seeds that grow up to the crest of the boundary."""

import numpy as np

from nucseg.errors import DataError
from nucseg.postprocess.components import components


def grow_to_boundary(inside, boundary, threshold=0.5, min_size=20):
    """Return nuclei grown from seeds until the probability of boundary stops rising.

    Kumar et al. (IEEE TMI 36(7), 2017) take seeds from the probability of inside and grow them up to the boundary.
    The rule is ours: in each round, a pixel that belongs to no nucleus joins one that reached one of its four
    neighbors in the round before, if the probability of boundary is higher here than there and outside is not the
    likeliest class. Of several nuclei that reach a pixel in one round the first gets it, in reading order of seeds.

    Parameters
    ----------
    inside, boundary : array_like, shape (H, W), float
        Probability of each class, in [0, 1]; what is missing to 1 is the probability of outside.
    threshold : float
        Seeds are 4-connected components of ``inside > threshold``, their holes filled.
    min_size : int
        Seeds of fewer pixels are dropped (ours).

    Returns
    -------
    numpy.ndarray, shape (H, W), int32
        Ids 1..n, 0 = background.

    Raises
    ------
    DataError
        Not two 2-D maps of one size with finite numbers.

    Examples
    --------
    >>> inside, boundary = [[0.1, 0.2, 0.9, 0.3, 0.0]], [[0.3, 0.7, 0.1, 0.6, 0.2]]
    >>> grow_to_boundary(inside, boundary, min_size=1).tolist()
    [[0, 1, 1, 1, 0]]
    """
    inside, boundary = np.asarray(inside), np.asarray(boundary)
    if inside.ndim != 2 or inside.shape != boundary.shape or not np.isfinite(inside + boundary).all():
        raise DataError(
            f"region growing: expected two 2-D maps of one size with finite numbers, got {inside.shape} and "
            f"{boundary.shape}"
        )
    seeds = components(inside > threshold, min_size=min_size, connectivity=4, fill_holes=True)
    # A frame of one pixel that nothing can join spares a test of the image's borders.
    width = inside.shape[1] + 2
    labels, crest = np.pad(seeds, 1).ravel(), np.pad(boundary, 1).ravel()
    free = np.pad((seeds == 0) & (1 - inside - boundary <= np.maximum(inside, boundary)), 1).ravel()
    grown = np.flatnonzero(labels)
    while len(grown):
        source = np.concatenate([grown] * 4)
        target = np.concatenate([grown - width, grown - 1, grown + 1, grown + width])
        joins = free[target] & (crest[target] > crest[source])
        owner, target = labels[source[joins]], target[joins]
        order = np.lexsort((owner, target))
        grown, first = np.unique(target[order], return_index=True)
        labels[grown] = owner[order][first]
        free[grown] = False
    return np.ascontiguousarray(labels.reshape(-1, width)[1:-1, 1:-1])
