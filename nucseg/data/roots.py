"""Where the packed datasets lie, and checksums that are computed once per file."""

import contextlib
import hashlib
import os
from pathlib import Path

import platformdirs

from nucseg.atomic import write_text
from nucseg.errors import DataError, NucsegError

_CHECKOUT = Path(__file__).resolve().parents[2]


def data_roots(root=None):
    """Return the folders that are searched for packed datasets, in order.

    Parameters
    ----------
    root : path-like, optional
        Search here only. Without it: the folder in the environment variable NUCSEG_DATA only, if set; else
        ``../shared/data`` beside the checkout, if there, and then the user's cache folder.

    Returns
    -------
    tuple of pathlib.Path
        One or two folders; they need not exist.
    """
    root = root or os.environ.get("NUCSEG_DATA")
    if root:
        return (Path(root).expanduser(),)
    beside = _CHECKOUT.parent / "shared" / "data"
    cache = cache_folder() / "data"
    return (beside, cache) if (_CHECKOUT / "pyproject.toml").is_file() and beside.is_dir() else (cache,)


def data_root(root=None):
    """Return the data folder that is looked in first.

    Parameters
    ----------
    root : path-like, optional
        As :func:`data_roots`.

    Returns
    -------
    pathlib.Path
        It need not exist.
    """
    return data_roots(root)[0]


def write_root(root=None):
    """Return the first of :func:`data_roots` that can be written, where ``prepare`` puts an archive.

    Parameters
    ----------
    root : path-like, optional
        As :func:`data_roots`.

    Returns
    -------
    pathlib.Path
        It need not exist yet.

    Raises
    ------
    DataError
        None of them can be written.
    """
    roots = data_roots(root)
    for folder in roots:
        nearest = next(place for place in (folder, *folder.parents) if place.exists())
        if os.access(nearest, os.W_OK):
            return folder
    raise DataError(f"no data folder can be written: {', '.join(map(str, roots))}; "
                    "name another one with --root or the environment variable NUCSEG_DATA")


def cache_folder():
    """Return the user's cache folder for this package (not created)."""
    return platformdirs.user_cache_path("nucseg")


def find_archive(info, root=None):
    """Return the path of a dataset's packed archive, or None where it is absent.

    Parameters
    ----------
    info : DatasetInfo
        The dataset.
    root : path-like, optional
        As :func:`data_roots`.
    """
    candidates = (folder / file for folder in data_roots(root) for file in info.files)
    return next((path for path in candidates if path.is_file()), None)


def require_archive(info, root=None):
    """Return the path of a dataset's packed archive.

    Parameters
    ----------
    info : DatasetInfo
        The dataset.
    root : path-like, optional
        As :func:`data_roots`.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    DataError
        Absent; says where it was looked for and how to get it.
    """
    path = find_archive(info, root)
    if path is None:
        places = ", ".join(map(str, data_roots(root)))
        raise DataError(f"dataset {info.name!r} is not here: no {' or '.join(info.files)} in {places}; "
                        f"how to get it: nucseg data info {info.name}")
    return path


def file_checksum(path):
    """Return the SHA-256 of a file as hexadecimal digits, remembered by path, size and modification time.

    Parameters
    ----------
    path : path-like
        The file; read in pieces, so that its size does not matter.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    DataError
        The file cannot be read.
    """
    path = Path(path).resolve()
    try:
        state = path.stat()
        key = hashlib.sha256(f"{path}\0{state.st_size}\0{state.st_mtime_ns}".encode()).hexdigest()
        remembered = cache_folder() / "checksums" / key
        if remembered.is_file():
            digest = remembered.read_text(encoding="ascii").strip()
            if len(digest) == 64:
                return digest
        with open(path, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    with contextlib.suppress(NucsegError):  # a cache folder that cannot be written only costs time
        write_text(remembered, digest)
    return digest
