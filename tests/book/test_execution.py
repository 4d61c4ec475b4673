"""Execution as a whole, on a small chapter in a copy of the repository: what runs again, what fails, what survives."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pair import pair
from places import executed

ROOT = Path(__file__).resolve().parents[2]
TEXT = """# %% tags=["parameters"]
profile = "full"

# %%
import os, sys, time
from pathlib import Path
from nucseg.study.chapter import settings
chosen = settings("tiny", profile, seconds=1)
print(profile, chosen.seconds, Path.cwd().name, sys.executable, os.environ["OMP_NUM_THREADS"])

# %%
time.sleep(chosen.seconds)
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the library and the workflow with one chapter."""
    folder = tmp_path_factory.mktemp("work") / "checkout"
    for name in ("nucseg", "workflow"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "notebooks").mkdir()
    (folder / "workflow" / "profiles" / "quick.yaml").write_text("tiny: {seconds: 0}\n")
    (folder / "_toc.yml").write_text("root: book/intro\nparts: [{chapters: [{file: notebooks/tiny}]}]\n")
    return folder


def write(checkout, text):
    (checkout / "notebooks" / "tiny.py").write_text(text)
    pair(checkout / "notebooks" / "tiny.py")


def command(code):
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, 'workflow'); {code}"]


def environment(checkout):
    return {**os.environ, "PYTHONPATH": str(checkout), "NUCSEG_DATA": str(checkout / "no-data")}


MAKE = (
    "from chapter_state import update_states; from snake import snakemake; update_states('quick'); "
    "sys.exit(snakemake('chapters', 2, profile='quick'))"
)


def make(checkout):
    """Bring the chapter up to date; returns what was printed and the exit status."""
    done = subprocess.run(
        command(MAKE), cwd=checkout, env=environment(checkout), capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr, done.returncode


def files(checkout):
    return executed("tiny", "quick", checkout / "_build")


def test_a_chapter_is_executed_once_and_again_only_for_a_reason(checkout):
    write(checkout, TEXT)
    printed, status = make(checkout)
    assert status == 0, printed
    record = json.loads(files(checkout).record.read_text())
    assert record["profile"] == "quick" and record["device"] == "CPU" and record["peak_memory_mib"] > 10
    assert len(record["cells"]) == 3 and "nucseg.study.chapter" in record["modules"]
    shown = files(checkout).notebook.read_text()
    assert f"quick 0 checkout {sys.executable} 2" in shown
    assert "injected" not in shown and "papermill" not in shown

    first = files(checkout).notebook.stat().st_mtime_ns
    for path in [*checkout.rglob("*.py"), *checkout.rglob("*.yaml"), *(checkout / "notebooks").iterdir()]:
        path.touch()
    library = checkout / "nucseg" / "study" / "chapter.py"
    library.write_text(library.read_text() + "\n# A comment.\n")
    printed, status = make(checkout)
    assert status == 0 and "executing" not in printed
    assert files(checkout).notebook.stat().st_mtime_ns == first

    library.write_text(library.read_text() + "\nCHANGED = True\n")
    printed, status = make(checkout)
    assert status == 0, printed
    assert "tiny: to be executed again, changed: nucseg.study.chapter" in printed
    assert files(checkout).notebook.stat().st_mtime_ns > first


def test_a_failure_keeps_a_log_and_no_result_and_is_repaired_by_the_next_run(checkout):
    write(checkout, TEXT + "\n# %%\nraise ValueError('on purpose')\n")
    printed, status = make(checkout)
    assert status != 0
    assert "tiny: FAILED: ValueError: on purpose" in printed
    assert "on purpose" in files(checkout).log.read_text() and "\x1b" not in files(checkout).log.read_text()
    assert "on purpose" in files(checkout).failed.read_text()
    assert not files(checkout).notebook.exists() and not files(checkout).record.exists()

    write(checkout, TEXT)
    assert make(checkout)[1] == 0
    assert files(checkout).notebook.exists() and not files(checkout).log.exists()


@pytest.mark.slow
def test_a_dead_kernel_is_a_failure_with_a_cause(checkout):
    write(checkout, TEXT + "\n# %%\nos._exit(1)\n")
    printed, status = make(checkout)
    assert status != 0
    assert "tiny: FAILED: the kernel died" in printed and "Traceback" not in printed
    assert not files(checkout).notebook.exists()


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_half_written_and_does_not_block_the_next(checkout):
    (checkout / "workflow" / "profiles" / "quick.yaml").write_text("tiny: {seconds: 30}\n")
    write(checkout, TEXT)
    pipes = {"stdout": subprocess.PIPE, "text": True}
    run = subprocess.Popen(command(MAKE), cwd=checkout, env=environment(checkout), start_new_session=True, **pipes)
    while "executing" not in run.stdout.readline():
        assert run.poll() is None
    time.sleep(3)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert not files(checkout).notebook.exists() and not files(checkout).record.exists()

    (checkout / "workflow" / "profiles" / "quick.yaml").write_text("tiny: {seconds: 0}\n")
    printed, status = make(checkout)
    assert status == 0, printed
    assert files(checkout).notebook.exists()
    assert "executing" not in make(checkout)[0]
