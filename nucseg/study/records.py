"""Run records: what was run, on what, how long it took and what came out."""

import importlib.metadata
import json
import math
import platform
import resource
import sys
import time
from contextlib import contextmanager

from nucseg.atomic import write_json
from nucseg.errors import DataError

#: Packages whose versions can change a number.
TRACKED = (
    "nucseg",
    "numpy",
    "scipy",
    "scikit-image",
    "scikit-learn",
    "numba",
    "pillow",
    "torch",
    "torchvision",
)


def versions():
    """Return the versions of Python and of every tracked package that is installed, as a dict of str."""
    found = {"python": platform.python_version()}
    for package in TRACKED:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def peak_memory_mib():
    """Return the peak resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


@contextmanager
def measured():
    """Yield a dict that holds ``seconds`` and ``peak_memory_mib`` once the block has ended."""
    cost, start = {}, time.perf_counter()
    yield cost
    cost["seconds"] = round(time.perf_counter() - start, 3)
    cost["peak_memory_mib"] = round(peak_memory_mib(), 1)


def write_record(path, record):
    """Write a record as JSON, whole or not at all; a NaN is stored as null.

    Parameters
    ----------
    path : path-like
        Where to write.
    record : dict
        JSON values; ``metrics`` maps image id to metric name to float.
    """
    write_json(path, _without_nan(record))


def read_record(path):
    """Return a record written by :func:`write_record`.

    Raises
    ------
    DataError
        The file is missing, is not JSON, or holds no metrics; names the file.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such record") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable record ({error})") from error
    if not isinstance(record, dict) or not isinstance(record.get("metrics"), dict):
        raise DataError(f"{path}: a record is an object with 'metrics', this one is not")
    return record


def _without_nan(value):
    if isinstance(value, dict):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
