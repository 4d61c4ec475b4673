"""Three classes from full masks: outside, inside and the boundary of nuclei, the target of CNN3."""

import numpy as np

from nucseg.arrays import as_label_map

#: Values of the classes.
OUTSIDE, INSIDE, BOUNDARY = 0, 1, 2


def boundary_classes(labels, both_sides=True):
    """Return the class of each pixel: 0 outside, 1 inside a nucleus, 2 on the boundary of one.

    A nucleus grown by one pixel to its four sides, less the nucleus shrunk by as much, is its boundary: one pixel
    within it and one around it. The boundary of any nucleus wins over the inside of another. So it is in the code of
    the authors of Kumar et al. (IEEE TMI 36(7), 2017; sanuj/nuclei-net). The border of the image is not a boundary.

    Parameters
    ----------
    labels : array_like, shape (H, W), integer
        Instance map, 0 = background.
    both_sides : bool
        Whether the ring of background pixels around a nucleus belongs to its boundary, which is then two pixels
        wide; otherwise one.

    Returns
    -------
    numpy.ndarray, shape (H, W), int8

    Raises
    ------
    DataError
        Not a label map.

    Examples
    --------
    >>> boundary_classes([[0, 0, 1, 1, 1, 2, 2, 2]]).tolist()
    [[0, 2, 2, 1, 2, 2, 1, 1]]
    """
    labels = as_label_map(labels)
    boundary = np.zeros(labels.shape, bool)
    for first, second, differ in (
        (boundary[1:], boundary[:-1], labels[1:] != labels[:-1]),
        (boundary[:, 1:], boundary[:, :-1], labels[:, 1:] != labels[:, :-1]),
    ):
        first |= differ
        second |= differ
    if not both_sides:
        boundary &= labels > 0
    classes = np.where(labels > 0, INSIDE, OUTSIDE).astype(np.int8)
    classes[boundary] = BOUNDARY
    return classes
