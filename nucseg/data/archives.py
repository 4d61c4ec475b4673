"""Open a release as folders: a folder as it is, a zip archive extracted safely into a temporary folder."""

import contextlib
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from nucseg.errors import DataError

#: The largest sum of file sizes that is extracted; the largest release read here has well under 10 GB.
LARGEST = 60 * 10**9
#: Files are refused when they unpack to more than this many times their size in the archive (a "zip bomb").
LARGEST_RATIO = 500
_IGNORED = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")


@contextlib.contextmanager
def opened(path):
    """Yield the folders to search for a release.

    Parameters
    ----------
    path : path-like
        A folder (zip archives directly in it are extracted too) or one zip archive.

    Yields
    ------
    list of pathlib.Path
        The folder itself, if one was given, and a temporary folder named after each archive, removed at the
        end.

    Raises
    ------
    DataError
        No such path, neither folder nor zip, or an archive that is damaged or unsafe to extract.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        folders, archives = [path], sorted(path.glob("*.zip"))
    elif zipfile.is_zipfile(path):
        folders, archives = [], [path]
    elif path.exists():
        raise DataError(f"{path}: neither a folder nor a whole zip archive")
    else:
        raise DataError(f"{path}: no such file or folder")
    with tempfile.TemporaryDirectory(prefix="nucseg-") as temporary:
        for archive in archives:
            target = Path(temporary) / archive.stem
            extract(archive, target)
            folders.append(target)
        yield folders


def extract(archive, target):
    """Extract a zip archive into a new folder, refusing what could harm.

    Parameters
    ----------
    archive : path-like
        The zip archive.
    target : path-like
        Folder to make; everything ends up inside it.

    Raises
    ------
    DataError
        Damaged or encrypted, an entry that points outside the folder or is a link, or an absurd unpacked
        size; names the archive and the entry.
    """
    target = Path(target)
    try:
        with zipfile.ZipFile(archive) as source:
            entries = [entry for entry in source.infolist() if not _ignored(entry.filename)]
            for entry in entries:
                _check(archive, entry)
            total = sum(entry.file_size for entry in entries)
            target.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(target).free
            if total > LARGEST or total > free:
                raise DataError(f"{archive}: would unpack to {total / 1e9:.1f} GB; "
                                f"the limit is {LARGEST / 1e9:.0f} GB and {free / 1e9:.1f} GB are free")
            for entry in entries:
                source.extract(entry, target)
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{archive}: cannot be extracted ({error})") from error


def _ignored(name):
    parts = PurePosixPath(name).parts
    return any(part in _IGNORED or part.startswith("._") for part in parts)


def _check(archive, entry):
    name = entry.orig_filename
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in name or "\0" in name:
        raise DataError(f"{archive}: refused, entry {name!r} points outside its folder")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise DataError(f"{archive}: refused, entry {name!r} is a link")
    if entry.flag_bits & 1:
        raise DataError(f"{archive}: entry {name!r} is encrypted; unpack it yourself and give the folder")
    if entry.file_size > 10**6 and entry.file_size > LARGEST_RATIO * max(entry.compress_size, 1):
        raise DataError(f"{archive}: refused, entry {name!r} would unpack from {entry.compress_size} "
                        f"to {entry.file_size} bytes")
