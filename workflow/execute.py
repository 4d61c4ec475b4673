"""Execute one chapter with papermill and write down what it took.

    python workflow/execute.py SLUG --profile quick

The executed notebook and its record appear whole or not at all; a failed execution leaves a log and the notebook
up to the failing cell in _build/executed/<profile>/failed/ instead.
"""

import argparse
import ast
import os
import re
import sys
import tempfile
import threading
import time
from pathlib import Path

import nbformat
import papermill
import psutil
from chapter_state import chapter_state, data_present, module_digests
from gpu_slot import gpu_slot
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from pair import notebook_text
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from places import ROOT, executed, shown

from nucseg.atomic import write_json, write_text
from nucseg.errors import NucsegError
from nucseg.study.records import versions

#: The largest executed notebook, in MB: pages must load on a phone.
LIMIT_MB = 1.5
#: Asked of the kernel after the last cell.
_PROBE = """{
    "modules": sorted(m for m in __import__("sys").modules if m.split(".")[0] == "nucseg"),
    "gpu": (lambda torch: [torch.cuda.get_device_name(), torch.cuda.max_memory_allocated() / 2**20]
            if torch is not None and torch.cuda.is_initialized() else None)(__import__("sys").modules.get("torch")),
}"""


class MemoryWatch(threading.Thread):
    """Keep the peak resident memory of this process's children, in MiB."""

    def __init__(self, interval=0.2):
        super().__init__(daemon=True)
        self.peak, self._interval, self._done = 0.0, interval, threading.Event()

    def run(self):
        """Sample until stopped."""
        while not self._done.wait(self._interval):
            total = 0
            for child in psutil.Process().children(recursive=True):
                try:
                    total += child.memory_info().rss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total / 2**20)

    def stop(self):
        """Stop sampling and return the peak."""
        self._done.set()
        self.join()
        return self.peak


class ThisPython(KernelSpecManager):
    """Whatever kernels are installed elsewhere, ``python3`` is the Python that runs this."""

    def get_kernel_spec(self, kernel_name):
        """Return the kernel specification with this interpreter."""
        specification = super().get_kernel_spec("python3")
        specification.argv = [sys.executable, "-m", "ipykernel_launcher", "--log-level=40", "-f", "{connection_file}"]
        return specification


class Client(PapermillNotebookClient):
    """Papermill's client; asks the kernel, after the last cell, what of nucseg it used and on which device."""

    answer = None

    def papermill_execute_cells(self):
        """Execute the cells, then ask."""
        super().papermill_execute_cells()
        asked = self.kc.execute("", silent=True, store_history=False, user_expressions={"probe": _PROBE})
        reply = self.wait_for_reply(asked)
        data = reply["content"].get("user_expressions", {}).get("probe", {}).get("data")
        # The kernel answers with the printed form of plain lists, text and numbers.
        Client.answer = ast.literal_eval(data["text/plain"]) if data else {"modules": [], "gpu": None}


class Engine(NBClientEngine):
    """Papermill's engine on this Python."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, start_timeout=60, **kwargs):
        """Execute with :class:`Client`."""
        del kwargs
        # Sockets in a folder of their own: kernels that start side by side can be given the same TCP port.
        with tempfile.TemporaryDirectory(prefix="kernel-", ignore_cleanup_errors=True) as folder:
            manager = AsyncKernelManager(
                kernel_name=kernel_name,
                kernel_spec_manager=ThisPython(),
                connection_file=f"{folder}/kernel.json",
                transport="ipc",
                ip=f"{folder}/socket",
            )
            Client(nb_man, km=manager, startup_timeout=start_timeout, kernel_name=kernel_name, timeout=None).execute()


def environment(profile, threads, device):
    """Return the variables that a chapter's kernel is started with.

    Parameters
    ----------
    profile : str
        Only the full profile sees a GPU.
    threads : int
        Threads for numerical libraries.
    device : str or None
        The GPU to use.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {
        **{name: str(threads) for name in names},
        "NUCSEG_BOOK": "1",
        "TQDM_DISABLE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "CUDA_VISIBLE_DEVICES": device if profile == "full" and device is not None else "",
    }


def execute(slug, profile, threads=1, device=None):
    """Execute a chapter and write its notebook, record and state.

    Parameters
    ----------
    slug, profile : str
        The chapter and the profile.
    threads : int
        Threads for numerical libraries.
    device : str, optional
        The GPU to use.

    Returns
    -------
    dict
        The record.

    Raises
    ------
    NucsegError
        A cell failed, the kernel died, or the result is too large; a log and the notebook so far have been kept.
    """
    files = executed(slug, profile)
    digests, data = module_digests(), data_present()
    os.environ.update(environment(profile, threads, device))
    notebook, seconds, peak = _run(files, ROOT / "notebooks" / f"{slug}.ipynb", profile)
    answer = Client.answer
    record = {
        "chapter": slug,
        "profile": profile,
        "seconds": round(seconds, 1),
        "cells": [round(cell.metadata.papermill.duration or 0.0, 2) for cell in _code(notebook)],
        "peak_memory_mib": round(peak),
        "threads": threads,
        "device": answer["gpu"][0] if answer["gpu"] else "CPU",
        "gpu_memory_mib": round(answer["gpu"][1]) if answer["gpu"] else None,
        "versions": versions(),
        "data": sorted(data),
        "modules": answer["modules"],
        "stderr": _stderr(notebook),
    }
    text = notebook_text(_cleaned(notebook))
    if len(text) > LIMIT_MB * 1e6:
        _keep_failure(files, text, f"{len(text) / 1e6:.1f} MB, more than {LIMIT_MB}: fewer or smaller figures, please")
    for path in (files.log, files.failed):
        path.unlink(missing_ok=True)
    used = {name: digests.get(name, "gone") for name in answer["modules"]}
    write_json(files.state, chapter_state(slug, profile, used))
    write_json(files.record, record)
    write_text(files.notebook, text)
    return record


def _run(files, source, profile):
    """Return the executed notebook, its seconds and its peak memory in MiB."""
    papermill_engines.register("nucseg", Engine)
    watch, start = MemoryWatch(), time.perf_counter()
    watch.start()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "executed.ipynb"
        problem = None
        try:
            papermill.execute_notebook(
                source,
                copy,
                parameters={} if profile == "full" else {"profile": profile},
                engine_name="nucseg",
                kernel_name="python3",
                cwd=ROOT,
                progress_bar=False,
                request_save_on_cell_execute=False,
            )
        except PapermillExecutionError as error:
            problem = str(error)
        except DeadKernelError:
            problem = "the kernel died; most often the memory was not enough"
        except RuntimeError as error:
            problem = f"the kernel did not start: {error}"
        peak = watch.stop()
        text = copy.read_text(encoding="utf-8") if copy.is_file() else None
    if problem is not None:
        _keep_failure(files, text, problem)
    return nbformat.reads(text, as_version=4), time.perf_counter() - start, peak


def _code(notebook):
    """The chapter's own code cells: not the one in which papermill passes parameters."""
    return [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", ())
    ]


def _cleaned(notebook):
    """Drop times, paths and passed parameters, which belong to one machine and one moment."""
    notebook.metadata.pop("papermill", None)
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", ())]
    for cell in notebook.cells:
        for name in ("papermill", "execution", "exception"):
            cell.metadata.pop(name, None)
    return notebook


def _stderr(notebook):
    """Number (from 1, code cells only) and first line of each message that a cell wrote to its error stream."""
    found = []
    for number, cell in enumerate(_code(notebook), 1):
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr" and output.text.strip():
                found.append(f"cell {number}: {output.text.strip().splitlines()[0][:200]}")
    return found


def _keep_failure(files, notebook, problem):
    """Write the log and the notebook so far, and raise the last line of the problem."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", problem).strip()
    write_text(files.log, text + "\n")
    if notebook is not None:
        write_text(files.failed, notebook)
    where = f"  log: {shown(files.log)}" + (f"   notebook: {shown(files.failed)}" if notebook is not None else "")
    raise NucsegError(f"{text.splitlines()[-1][:300]}\n{where}")


def main(arguments=None):
    """Execute the chapter named on the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slug")
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args(arguments)
    slug, files = chosen.slug, executed(chosen.slug, chosen.profile)
    print(f"{slug}: executing ({chosen.profile})", flush=True)
    try:
        with gpu_slot(None if chosen.profile == "full" else []) as device:
            record = execute(slug, chosen.profile, chosen.threads, device)
    except NucsegError as error:
        print(f"{slug}: FAILED: {error}", file=sys.stderr, flush=True)
        return 1
    for line in record["stderr"]:
        print(f"{slug}: note, {line}", flush=True)
    size = files.notebook.stat().st_size / 1e6
    print(
        f"{slug}: done in {record['seconds']:.0f} s, {record['peak_memory_mib']} MiB, {size:.1f} MB",
        flush=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
