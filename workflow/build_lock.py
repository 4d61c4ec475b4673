"""One run at a time in this checkout, by a lock that the system drops when its holder ends or is killed."""

import contextlib
import fcntl

from places import BUILD


@contextlib.contextmanager
def build_lock(name, folder=BUILD / "locks"):
    """Hold a lock while the block runs, waiting for another run to end first.

    Parameters
    ----------
    name : str
        What is locked.
    folder : pathlib.Path
        Where the lock file lies.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.lock", "w", encoding="ascii") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(
                f"Another run holds the lock of {name!r}; waiting for it to end (Ctrl-C stops waiting) ...",
                flush=True,
            )
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
