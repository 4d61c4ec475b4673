"""Call Snakemake as this repository wants it: quiet, going on after a failure, not stopped by an old lock."""

import subprocess
import sys

from gpu_slot import devices
from places import ROOT


def snakemake(target, cores, **config):
    """Make a target; returns the exit status.

    Parameters
    ----------
    target : str
        A rule of workflow/Snakefile.
    cores : int
        Processor cores to use.
    **config
        Values for the Snakefile.

    Notes
    -----
    Every GPU is one slot; where there is none, the slots are the cores, so that jobs still run side by side.
    Snakemake's own lock outlives a killed run; the callers hold a lock of the operating system instead.
    """
    command = [
        sys.executable,
        "-m",
        "snakemake",
        target,
        "--snakefile",
        "workflow/Snakefile",
        "--directory",
        str(ROOT),
        "--cores",
        str(cores),
        "--resources",
        f"gpu={len(devices()) or cores}",
        "--rerun-triggers",
        "mtime",
        "--rerun-incomplete",
        "--keep-going",
        "--nolock",
        "--quiet",
        "all",
    ]
    if config:
        command += ["--config", *(f"{key}={value}" for key, value in config.items())]
    return subprocess.run(command, cwd=ROOT, check=False).returncode
