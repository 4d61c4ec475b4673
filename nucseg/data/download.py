"""Fetch a release where a stable public address is known; elsewhere say where to ask."""

import zipfile
from dataclasses import dataclass

import pooch

from nucseg.data import roots
from nucseg.data.catalog import dataset_info
from nucseg.data.prepare import prepare
from nucseg.errors import DataError

_BROAD = "https://data.broadinstitute.org/bbbc/BBBC038"


@dataclass(frozen=True)
class Remote:
    """One file of a release.

    Parameters
    ----------
    url : str
        Its address.
    file : str
        What it is called here.
    known_hash : str, optional
        "algorithm:digits" as published; None where none is known, which is said when it is fetched.
    """

    url: str
    file: str
    known_hash: str | None = None


#: The releases that can be fetched without an account, and their files.
REMOTE = {
    "tnbc": (
        Remote("https://zenodo.org/records/2579118/files/TNBC_NucleiSegmentation.zip?download=1",
               "TNBC_NucleiSegmentation.zip", "md5:1605712a752b201b57eacc8f866adb4f"),
    ),
    "bbbc038": tuple(
        Remote(f"{_BROAD}/{file}", file)
        for file in ("stage1_train.zip", "stage1_test.zip", "stage1_solution.csv", "stage2_test_final.zip",
                     "stage2_solution_final.csv")
    ),
}


def download(name, root=None, progress=True, say=print):
    """Fetch a release and pack it.

    Files already fetched are not fetched again; a file that is broken off or has another checksum is removed.
    The images and masks are decoded while packing, which finds damage where no checksum is known.

    Parameters
    ----------
    name : str
        The dataset.
    root : path-like, optional
        Data folder; the files go to ``downloads/<name>`` in it.
    progress : bool
        Whether to show progress bars on standard error.
    say : callable
        Called with each remark.

    Returns
    -------
    pathlib.Path
        The packed archive.

    Raises
    ------
    UnknownNameError
        No such dataset.
    DataError
        No public address is known (says where to ask), no connection, or a checksum that does not match.
    """
    info = dataset_info(name)
    if info.synthetic:
        raise DataError(f"{name} is generated: there is nothing to download")
    if name not in REMOTE:
        raise DataError(f"{name} has no public address to fetch it from; ask here: {info.obtain}; "
                        f"then: nucseg data prepare {name} PATH")
    folder = roots.write_root(root) / "downloads" / name
    for remote in REMOTE[name]:
        if remote.known_hash is None:
            say(f"{remote.file}: no checksum is published; only its structure is checked")
        _fetch(remote, folder, progress, info)
    return prepare(name, folder, root, progress)


def _fetch(remote, folder, progress, info):
    fetcher = pooch.HTTPDownloader(progressbar=progress, timeout=60)
    pooch.get_logger().setLevel("WARNING")  # its advice on checksums is meant for authors
    try:
        pooch.retrieve(remote.url, remote.known_hash, fname=remote.file, path=folder, downloader=fetcher)
        if remote.known_hash is None:
            _check_structure(folder / remote.file)
    except (OSError, ValueError) as error:
        raise DataError(f"{remote.url} could not be fetched ({error}); by hand: {info.obtain}, "
                        f"then: nucseg data prepare {info.name} PATH") from error


def _check_structure(path):
    """Remove a file that is plainly not what its name says: a web page, an empty file, a damaged archive."""
    if path.suffix == ".zip":
        whole = zipfile.is_zipfile(path)
        if whole:
            with zipfile.ZipFile(path) as archive:
                whole = archive.testzip() is None
    else:
        start = path.read_bytes()[:200].lstrip()
        whole = bool(start) and not start.startswith(b"<")
    if not whole:
        path.unlink()
        raise DataError(f"the server sent something else than {path.name}")
