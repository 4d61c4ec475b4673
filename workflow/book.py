"""Make the book: check the pairs, execute what needs it, lay out the pages, build and check the site.

python workflow/book.py --profile quick --cores 2
"""

import argparse
import sys
import time

import pair
from build_lock import build_lock
from chapter_state import module_digests, update_state
from places import BUILD, chapters, shown
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
    digests = module_digests()
    for slug in chapters():
        changed = update_state(slug, profile, digests)
        if changed:
            more = f" and {len(changed) - 4} more" if len(changed) > 4 else ""
            print(f"{slug}: to be executed again, changed: {', '.join(changed[:4])}{more}", flush=True)
    # In steps: the pages are laid out from what has just been executed, and built only if they differ.
    status = (
        snakemake("chapters", cores, profile=profile) or stage([profile]) or snakemake("book", cores, profile=profile)
    )
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
