"""Square windows cut from larger tissue images, each with the tags that its own mask gives."""

import functools

import numpy as np

from nucseg.data.sample import Dataset, Sample
from nucseg.errors import DataError


def windows(dataset, size=224, stride=None, min_class_share=0.01, masks=None):
    """Return a dataset of windows, tagged by their masks.

    A window lies at every `stride` pixels; the last one in each direction is moved inward to end at the
    border. An image smaller than `size` is extended with white pixels of the background class. Windows in
    which no class reaches `min_class_share` (nothing but glass) are left out.

    Parameters
    ----------
    dataset : Dataset
        Tissue images with masks; ``meta["classes"]`` names the classes in mask-index order and
        ``meta["background_index"]`` is the index that means no tissue.
    size : int
        Side of a window, pixels.
    stride : int, optional
        Step between windows, pixels; `size` if not given.
    min_class_share : float
        A tag is set where its class covers at least this share of the window's pixels, in (0, 1].
    masks : callable, optional
        ``masks(id) -> array`` returning a mask without decoding the image, if the caller has a fast way.

    Returns
    -------
    Dataset
        Ids are ``<image id>@<row>,<column>`` of the top-left corner; the group is the image's group, or the
        image id where that is unknown, so that group-aware folds never divide the windows of one image.

    Raises
    ------
    DataError
        A size, stride or share out of range, or an image without a mask.
    """
    stride = size if stride is None else stride
    if size < 1 or stride < 1 or not 0 < min_class_share <= 1:
        raise DataError(f"windows: need size >= 1, stride >= 1 and 0 < min_class_share <= 1, "
                        f"got {size}, {stride}, {min_class_share}")
    masks = masks or (lambda i: dataset[i].mask)
    pixels = min_class_share * size * size
    classes = dataset[0].meta["classes"] if len(dataset) else ()
    groups = {}
    for i in dataset.ids:
        mask = masks(i)
        if mask is None:
            raise DataError(f"{dataset.name}: {i} has no mask to cut windows by")
        for row in _starts(mask.shape[0], size, stride):
            for column in _starts(mask.shape[1], size, stride):
                if any(_tags(mask[row:row + size, column:column + size], classes, pixels).values()):
                    groups[f"{i}@{row},{column}"] = dataset.groups[i] or i

    # Neighboring windows are mostly read one after the other: do not decode their image again for each.
    parent = functools.lru_cache(maxsize=2)(dataset.__getitem__)

    def read(window):
        return _window(parent, window, size, pixels, groups[window])

    return Dataset(f"{dataset.name}/windows-{size}-{stride}", tuple(groups), read, groups, dataset.checksum)


def _window(read_parent, name, size, pixels, group):
    parent, _, corner = name.rpartition("@")
    row, column = map(int, corner.split(","))
    sample = read_parent(parent)
    kept = {key: sample.meta[key] for key in ("classes", "background_index")}
    mask = _cut(sample.mask, row, column, size, kept["background_index"])
    return Sample(
        id=name, image=_cut(sample.image, row, column, size, 255), mask=mask, group=group,
        tags=_tags(mask, kept["classes"], pixels),
        meta={"image": parent, "row": row, "column": column, **kept},
    )


def _starts(length, size, stride):
    last = max(length - size, 0)
    return [*range(0, last, stride), last]


def _tags(mask, classes, pixels):
    counts = np.bincount(mask.ravel(), minlength=len(classes))
    return {name: bool(counts[index] >= pixels) for index, name in enumerate(classes)}


def _cut(array, row, column, size, fill):
    part = array[row:row + size, column:column + size].copy()
    short = [(0, size - part.shape[0]), (0, size - part.shape[1])] + [(0, 0)] * (array.ndim - 2)
    return np.pad(part, short, constant_values=fill) if any(pad for _, pad in short) else part
