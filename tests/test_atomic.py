"""A file is whole or absent, whatever happens in between."""

import os
import signal
import subprocess
import sys
import time

import pytest

from nucseg.atomic import atomic_path, write_json, write_text
from nucseg.errors import NucsegError


def test_replaces_only_at_the_end(tmp_path):
    target = tmp_path / "deep" / "a.txt"
    write_text(target, "old")
    with atomic_path(target) as path:
        path.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert [p.name for p in target.parent.iterdir()] == ["a.txt"]


def test_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_path(target) as path:
        path.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_full_disk_names_the_target(tmp_path):
    with (
        pytest.raises(NucsegError, match=r"cannot write .*a\.txt: No space left"),
        atomic_path(tmp_path / "a.txt"),
    ):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made_names_the_target(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NucsegError, match=r"cannot write .*file/a\.txt"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_json_refuses_nan_and_writes_nothing(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    write_text(tmp_path / "a.txt", "x")
    (tmp_path / "b.txt").write_text("x")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


def test_killed_while_writing_leaves_no_target(tmp_path):
    code = (
        "import sys, time\nfrom nucseg.atomic import atomic_path\n"
        "with atomic_path(sys.argv[1]) as path:\n"
        "    path.write_text('half'); print('writing', flush=True); time.sleep(60)\n"
    )
    target = tmp_path / "a.txt"
    process = subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.05)
    assert not target.exists()
