"""Run the experiment rows whose records are missing or out of date, as resumable jobs.

python workflow/study.py --cores 2
"""

import argparse
import sys

from build_lock import build_lock
from snake import snakemake


def main(arguments=None):
    """Run the study; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, default=2, help="processor cores to use")
    chosen = parser.parse_args(arguments)
    with build_lock("study"):
        return snakemake("study", chosen.cores)


if __name__ == "__main__":
    sys.exit(main())
