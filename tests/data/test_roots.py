import hashlib
import os

import pytest

from nucseg.data import data_root, dataset_info, roots
from nucseg.errors import DataError


def test_order_of_places(tmp_path, monkeypatch, private_cache):
    monkeypatch.setenv("NUCSEG_DATA", str(tmp_path / "env"))
    assert roots.data_roots(tmp_path / "given") == (tmp_path / "given",)
    assert roots.data_roots() == (tmp_path / "env",)
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    monkeypatch.setattr(roots, "_CHECKOUT", checkout)
    monkeypatch.setenv("NUCSEG_DATA", "")
    assert roots.data_roots() == (private_cache / "data",)
    (tmp_path / "shared" / "data").mkdir(parents=True)
    assert roots.data_roots() == (private_cache / "data",), "an installed package does not look beside itself"
    (checkout / "pyproject.toml").touch()
    assert roots.data_roots() == (tmp_path / "shared" / "data", private_cache / "data")
    assert data_root() == tmp_path / "shared" / "data"


def test_home_is_expanded():
    assert data_root("~/images") == roots.Path.home() / "images"


def test_absent_dataset_says_where_and_how(tmp_path):
    with pytest.raises(DataError, match=rf"no monuseg.zip in {tmp_path}; how to get it: nucseg data info monuseg"):
        roots.require_archive(dataset_info("monuseg"), tmp_path)


def test_the_whole_release_wins_over_the_subset(tmp_path):
    info = dataset_info("wsss4luad")
    (tmp_path / "wsss4luad_subset.zip").touch()
    assert roots.find_archive(info, tmp_path) == tmp_path / "wsss4luad_subset.zip"
    (tmp_path / "wsss4luad.zip").touch()
    assert roots.find_archive(info, tmp_path) == tmp_path / "wsss4luad.zip"


def test_checksum_is_computed_once_and_again_after_a_change(tmp_path, monkeypatch):
    file = tmp_path / "f"
    file.write_bytes(b"one")
    assert roots.file_checksum(file) == hashlib.sha256(b"one").hexdigest()
    with monkeypatch.context() as patched:
        patched.setattr(roots.hashlib, "file_digest", lambda *_: pytest.fail("computed again"))
        assert roots.file_checksum(file) == hashlib.sha256(b"one").hexdigest()
    state = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert roots.file_checksum(file) == hashlib.sha256(b"two").hexdigest()


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path, monkeypatch):
    (tmp_path / "blocked").write_text("a file, not a folder")
    monkeypatch.setattr(roots, "cache_folder", lambda: tmp_path / "blocked")
    (tmp_path / "f").write_bytes(b"x")
    assert roots.file_checksum(tmp_path / "f") == hashlib.sha256(b"x").hexdigest()


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*gone"):
        roots.file_checksum(tmp_path / "gone")


def test_write_root_takes_the_first_that_can_be_written(tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setattr(roots, "data_roots", lambda root: (first, second))
    assert roots.write_root() == first
    first.mkdir()
    monkeypatch.setattr(roots.os, "access", lambda path, mode: path != first)
    assert roots.write_root() == second
    monkeypatch.setattr(roots.os, "access", lambda path, mode: False)
    with pytest.raises(DataError, match=r"no data folder can be written"):
        roots.write_root()
