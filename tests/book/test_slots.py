"""Devices are shared out one by one, and no lock outlives its holder."""

import subprocess
import sys
import threading

import gpu_slot as module
import pytest
from build_lock import build_lock
from gpu_slot import devices, gpu_slot


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch):
    """Look again soon."""
    monkeypatch.setattr(module, "POLL", 0.01)


def test_two_jobs_get_two_devices_and_a_third_waits(tmp_path):
    got, free = [], threading.Event()

    def third():
        with gpu_slot(["0", "1"], tmp_path) as name:
            got.append(name)
            free.set()

    with gpu_slot(["0", "1"], tmp_path) as first:
        with gpu_slot(["0", "1"], tmp_path) as second:
            assert {first, second} == {"0", "1"}
            waiting = threading.Thread(target=third)
            waiting.start()
            assert not free.wait(0.2)
        assert free.wait(10)
        waiting.join()
        assert got == [second]


def test_without_a_device_there_is_nothing_to_wait_for(tmp_path):
    with gpu_slot([], tmp_path) as first, gpu_slot([], tmp_path) as second:
        assert first is second is None


@pytest.mark.parametrize(
    ("value", "names"), [("", []), ("-1", []), ("0", ["0"]), ("2, 5", ["2", "5"]), ("GPU-ab/1", ["GPU-ab/1"])]
)
def test_the_environment_says_which_devices(monkeypatch, value, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert devices() == names


def test_the_command_sees_its_device_and_its_exit_status_is_kept(root, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    code = "import os, sys; sys.exit(int(os.environ['CUDA_VISIBLE_DEVICES']))"
    command = [sys.executable, "workflow/gpu_slot.py", sys.executable, "-c", code]
    assert subprocess.run(command, cwd=root, check=False).returncode == 7


def test_a_lock_ends_with_its_killed_holder(root, tmp_path):
    code = (
        "import sys, time, pathlib; sys.path.insert(0, 'workflow'); from build_lock import build_lock\n"
        f"with build_lock('book', pathlib.Path({str(tmp_path)!r})): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    entered = threading.Event()

    def wait():
        with build_lock("book", tmp_path):
            entered.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not entered.wait(0.2)
    holder.kill()
    holder.wait()
    assert entered.wait(10)
    waiting.join()
