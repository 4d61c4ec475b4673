import stat
import zipfile

import pytest

from nucseg.data import archives
from nucseg.errors import DataError


def make(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_a_folder_and_the_archives_in_it(tmp_path):
    release = tmp_path / "release"
    (release / "inside").mkdir(parents=True)
    make(release / "stage1.zip", {"a/b.txt": "x", "__MACOSX/a/._b.txt": "y", "a/.DS_Store": "z"})
    with archives.opened(release) as folders:
        assert folders[0] == release and folders[1].name == "stage1"
        temporary = folders[1]
        found = [p.relative_to(temporary).as_posix() for p in temporary.rglob("*") if p.is_file()]
        assert found == ["a/b.txt"]
    assert not temporary.exists()


@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "a/../../out.txt", "..\\out.txt", "C:\\out.txt"])
def test_entries_that_point_outside_are_refused(tmp_path, name):
    path = make(tmp_path / "evil.zip", {"fine.txt": "x", name: "evil"})
    with pytest.raises(DataError, match=r"refused, entry .* points outside"):
        archives.extract(path, tmp_path / "deep" / "target")
    assert not (tmp_path / "deep").exists() and not (tmp_path / "out.txt").exists()


def test_links_are_refused(tmp_path):
    path = tmp_path / "link.zip"
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(DataError, match=r"'link' is a link"):
        archives.extract(path, tmp_path / "target")


def test_absurd_sizes_are_refused(tmp_path, monkeypatch):
    bomb = make(tmp_path / "bomb.zip", {"zeros": bytes(5 * 10**6)})
    with pytest.raises(DataError, match=r"would unpack from .* to 5000000 bytes"):
        archives.extract(bomb, tmp_path / "target")
    monkeypatch.setattr(archives, "LARGEST", 5)
    with pytest.raises(DataError, match=r"big.zip: would unpack to"):
        archives.extract(make(tmp_path / "big.zip", {"a": "123456"}), tmp_path / "target")


def test_damaged_and_missing_archives(tmp_path):
    path = make(tmp_path / "a.zip", {"a.txt": "content " * 50})
    content = bytearray(path.read_bytes())
    content[40:45] = b"\xff\xff\xff\xff\xff"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a.zip: cannot be extracted"):
        archives.extract(path, tmp_path / "target")
    (tmp_path / "cut.zip").write_bytes(content[:-30])
    for name, message in (("cut.zip", "cut.zip: neither a folder nor a whole zip"), ("gone", "no such file")):
        with pytest.raises(DataError, match=message), archives.opened(tmp_path / name):
            pass
