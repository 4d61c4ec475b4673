"""Give each job a GPU of its own: one lock file per device, held for as long as the job runs.

    python workflow/gpu_slot.py COMMAND ...    run a command with CUDA_VISIBLE_DEVICES set to a free device

Without a GPU the command runs as it is. The operating system drops the lock of a killed job by itself.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time

from places import BUILD

POLL = 1.0  # s


def devices():
    """Return the devices to share out: CUDA_VISIBLE_DEVICES if set, else what nvidia-smi lists."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() and name.strip() != "-1"]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    )
    return listed.stdout.split() if listed.returncode == 0 else []


@contextlib.contextmanager
def gpu_slot(names=None, folder=BUILD / "locks"):
    """Yield a device that no other job of this checkout uses, or None where there is no device.

    Parameters
    ----------
    names : list of str, optional
        The devices; those of :func:`devices` if not given.
    folder : pathlib.Path
        Where the lock files lie.
    """
    names = devices() if names is None else names
    if not names:
        yield None
        return
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        while True:
            for name in names:
                stream = open(folder / f"gpu-{name.replace('/', '-')}.lock", "w", encoding="ascii")  # noqa: SIM115
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    stream.close()
                    continue
                held.enter_context(stream)
                yield name
                return
            time.sleep(POLL)


def main(command):
    """Run a command in a slot; returns its exit status."""
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    with gpu_slot() as name:
        environment = dict(os.environ) if name is None else {**os.environ, "CUDA_VISIBLE_DEVICES": name}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
