"""One door to every dataset by name."""

from dataclasses import replace

from nucseg.data import roots
from nucseg.data.catalog import dataset_info, names
from nucseg.data.packed import PackedArchive
from nucseg.data.sample import Dataset
from nucseg.data.windows import windows
from nucseg.errors import DataError, UnknownNameError


def available(root=None):
    """Return the names of the datasets that can be loaded here: the generators and the archives present.

    Parameters
    ----------
    root : path-like, optional
        As in :func:`load_dataset`.

    Returns
    -------
    tuple of str
    """
    infos = map(dataset_info, names())
    return tuple(info.name for info in infos if info.synthetic or roots.find_archive(info, root))


def load_dataset(name, split=None, root=None, *, scheme=None):
    """Return a dataset, or one split of it; pixels are read when a sample is asked for.

    Parameters
    ----------
    name : str
        See ``nucseg.data.catalog.names()``.
    split : str, optional
        A split of the scheme; None gives every image that the scheme divides.
    root : path-like, optional
        Folder of packed archives; see :func:`nucseg.data.roots.data_roots` for the default.
    scheme : str, optional
        Which division ("qu2019", "kumar2017" ...); the first one listed for the dataset if not given.

    Returns
    -------
    Dataset

    Raises
    ------
    UnknownNameError
        Unknown dataset, scheme or split; lists the valid ones.
    DataError
        The dataset is absent (says where it was looked for) or damaged.
    """
    info = dataset_info(name)
    scheme, division = info.scheme(scheme)
    if split is not None and split not in division.splits:
        raise UnknownNameError(
            f"{name} ({scheme}) has no split {split!r}; its splits: {', '.join(division.splits)}"
        )
    if info.synthetic:
        from nucseg.data.synthetic import synthetic_dataset

        return synthetic_dataset(name, split)
    archive = _archive(info, root)
    if scheme == "windows":
        return _windows(info, archive, split)
    rules = division.splits.values() if split is None else (division.splits[split],)
    chosen = [i for i, row in archive.rows.items()
              if any(row.get(column, "") in values for column, values in rules)]
    if not chosen:
        raise DataError(f"{archive.path}: no image of {name} is in split {split or 'any'} of {scheme}")
    return _dataset(info, archive, chosen, split)


def load_archive(name, root=None):
    """Return every image of a packed archive, whatever its split.

    Parameters
    ----------
    name : str
        A dataset that is read, not generated.
    root : path-like, optional
        As in :func:`load_dataset`.

    Returns
    -------
    Dataset

    Raises
    ------
    UnknownNameError
        No such dataset.
    DataError
        Absent or damaged.
    """
    info = dataset_info(name)
    archive = _archive(info, root)
    return _dataset(info, archive, tuple(archive.rows), None)


def _archive(info, root):
    return PackedArchive(roots.require_archive(info, root), info.classes)


def _dataset(info, archive, ids, split):
    extra = {"classes": info.classes, "background_index": info.background} if info.classes else {}

    def read(sample_id):
        sample = archive.read(sample_id)
        return replace(sample, meta={**sample.meta, **extra})

    title = info.name if split is None else f"{info.name}/{split}"
    return Dataset(title, ids, read, archive.groups(), roots.file_checksum(archive.path))


def _windows(info, archive, split):
    """Windows of WSSS4LUAD; training patches have no masks, so train and val divide its validation images."""
    validation, test = (
        sorted(i for i, row in archive.rows.items() if row["split"] == official and archive.has(i, "mask"))
        for official in ("val", "test")
    )
    train = [i for n, i in enumerate(validation) if n % 4 != 1]
    parts = {"train": train, "val": validation[1::4], "test": test}
    chosen = [i for part in parts for i in parts[part]] if split is None else parts[split]
    whole = _dataset(info, archive, chosen, split)
    return windows(whole, masks=lambda i: archive.array(i, "mask"))
