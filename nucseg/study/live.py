"""What chapters need to train live: small pieces of datasets, and a place for training stages."""

import tempfile
from contextlib import contextmanager

from nucseg.data import load_dataset
from nucseg.data.sample import Dataset
from nucseg.errors import DataError
from nucseg.study.paths import runs_folder
from nucseg.viz import crop


def windows(name, split, count, side):
    """Return the first images of a split, each cut to a window in its middle and kept in memory.

    Parameters
    ----------
    name, split : str
        See :func:`nucseg.data.load_dataset`.
    count : int
        Number of images, 1 or more; all if there are fewer.
    side : int
        Largest side of the window, px.

    Returns
    -------
    nucseg.data.Dataset
        Label ids stay as they are; nuclei at the border of a window are cut off with it.

    Raises
    ------
    DataError
        A count or a side below 1.
    """
    if count < 1 or side < 1:
        raise DataError(f"{name}: expected at least 1 image and 1 px, got {count} and {side}")
    whole = load_dataset(name, split)[:count]
    samples = {}
    for sample in whole:
        size = tuple(min(side, length) for length in sample.image.shape[:2])
        row, column = ((length - part) // 2 for length, part in zip(sample.image.shape, size))
        samples[sample.id] = crop(sample, row, column, size)
    return Dataset(whole.name, whole.ids, samples.__getitem__, whole.groups, whole.checksum)


@contextmanager
def workplace(slug, profile):
    """Yield a folder for training stages: that of the study on the full profile, else one that goes away again.

    Parameters
    ----------
    slug : str
        The chapter.
    profile : str
        On ``"full"``, stages that the study has trained are found, and those trained here are kept for it.

    Yields
    ------
    pathlib.Path or str
    """
    if profile == "full":
        yield runs_folder(slug) / "training"
        return
    local = runs_folder(slug)
    local.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=local, prefix=f"{profile}-") as folder:
        yield folder
