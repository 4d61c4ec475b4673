"""What is slow to compute and needed by many rows, kept beside the trainings that it came from."""

import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from nucseg.atomic import atomic_path
from nucseg.methods.stages import fingerprint

#: What reading a file raises that is missing or damaged.
_UNREADABLE = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)


class Memory:
    """Arrays kept in a folder under the fingerprint of what they depend on.

    Parameters
    ----------
    folder : path-like
        Made when something is kept first.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def recall(self, compute, *parts):
        """Return the arrays of `compute`, a function of nothing, computed now or earlier.

        A damaged file is computed again: it holds nothing that could not be.

        Parameters
        ----------
        compute : callable
            Returns a dict of str to numpy.ndarray.
        *parts : numpy.ndarray or JSON value
            All that the arrays depend on.

        Returns
        -------
        dict of str to numpy.ndarray
        """
        path = self.folder / f"{fingerprint(*parts)}.npz"
        with suppress(*_UNREADABLE):
            return _read(path)
        found = compute()
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, **found)
        return _read(path)


def _read(path):
    with np.load(path, allow_pickle=False) as kept:
        return {name: kept[name] for name in kept}
