"""Make the book: check the pairs, execute what needs it, lay out the pages, build and check the site.

python workflow/book.py --profile quick --cores 2
"""

import argparse
import sys
import time

import pair
from build_lock import build_lock
from build_site import main as build_site
from chapter_state import update_states
from places import BUILD, ROOT, chapters, shown
from snake import snakemake
from stage import main as stage

from nucseg.errors import NucsegError


def make(profile, cores):
    """Make the book; returns the exit status.

    Parameters
    ----------
    profile : str
        ``quick`` or ``full``.
    cores : int
        Processor cores to use.
    """
    start = time.perf_counter()
    if pair.main(["--check"]):
        return 1
    missing = [slug for slug in chapters() if not (ROOT / "notebooks" / f"{slug}.ipynb").is_file()]
    if missing:
        raise NucsegError(f"_toc.yml lists notebooks/{missing[0]}, but there is no such notebook")
    update_states(profile)
    status = snakemake("chapters", cores, profile=profile) or stage([profile]) or build_site()
    if status:
        print("The book was not made; what is wrong stands above.", file=sys.stderr)
        return status
    index = BUILD / "html" / "index.html"
    print(f"The book is ready ({time.perf_counter() - start:.0f} s): {shown(index)}\n  {index.as_uri()}")
    return 0


def main(arguments=None):
    """Make the book as the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="quick", help="settings of the chapters: quick or full")
    parser.add_argument("--cores", type=int, default=2, help="processor cores to use")
    chosen = parser.parse_args(arguments)
    try:
        with build_lock("book"):
            return make(chosen.profile, chosen.cores)
    except NucsegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
