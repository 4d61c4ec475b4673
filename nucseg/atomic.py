"""Files that are either whole or absent: write beside the target, then rename."""

import contextlib
import json
import os
import tempfile
from pathlib import Path

from nucseg.errors import NucsegError


@contextlib.contextmanager
def atomic_path(target):
    """Yield a temporary path that becomes `target` when the block ends without an error.

    Parameters
    ----------
    target : path-like
        The file to write; its folder is made if needed. An existing file is replaced only at the end.

    Yields
    ------
    pathlib.Path
        A path in the same folder, ending with the target's own suffix; removed if the block fails.

    Raises
    ------
    NucsegError
        The folder is read-only, the disk is full, or the operating system refuses otherwise; names the target.
    """
    target = Path(target)
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem}.", suffix=f".part{target.suffix}", dir=target.parent
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except OSError as error:
        raise NucsegError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(target, text):
    """Write a UTF-8 text file whole or not at all (errors as :func:`atomic_path`)."""
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8")


def write_json(target, value):
    """Write `value` as indented JSON, whole or not at all (errors as :func:`atomic_path`)."""
    write_text(target, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
