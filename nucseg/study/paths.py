"""Where the study keeps its files inside the repository."""

from pathlib import Path

import nucseg
from nucseg.errors import NucsegError


def repository_root():
    """Return the root of the checkout that nucseg runs from.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    NucsegError
        nucseg was installed without its repository, so there are no notebooks, profiles or results.
    """
    root = Path(nucseg.__file__).resolve().parents[1]
    if not (root / "workflow" / "profiles").is_dir():
        raise NucsegError(
            f"{root} is not a nucseg checkout (no workflow/profiles); clone the repository and "
            "install it with 'pip install -e .' to run chapters and experiments"
        )
    return root


def results_folder(slug):
    """Return the folder of a chapter's committed results, ``results/<slug with underscores>``."""
    return repository_root() / "results" / slug.replace("-", "_")


def runs_folder(slug):
    """Return the folder of a chapter's local, uncommitted runs, ``runs/<slug with underscores>``."""
    return repository_root() / "runs" / slug.replace("-", "_")
