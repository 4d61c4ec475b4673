import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from nucseg import cli


@pytest.fixture(autouse=True)
def empty_places(tmp_path, monkeypatch):
    monkeypatch.setenv("NUCSEG_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("nucseg.data.roots.platformdirs.user_cache_path", lambda _: tmp_path / "cache")


def picture(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def tnbc(tmp_path, rng):
    picture(tmp_path / "release" / "Slide_01" / "01_1.png", rng.integers(0, 256, (20, 20, 3), np.uint8))
    picture(tmp_path / "release" / "GT_01" / "01_1.png", np.eye(20, dtype=np.uint8) * 255)
    return tmp_path / "release"


def test_prepare_list_info_check(tmp_path, tnbc, capsys):
    archive = str(tmp_path / "data" / "tnbc.zip")
    assert cli.main(["data", "prepare", "tnbc", str(tnbc)]) == 0
    assert capsys.readouterr().out == archive + "\n"
    assert cli.main(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    here = {line.split()[0]: line.split()[1] for line in lines[1:-1]}
    assert here["tnbc"] == "yes" and here["monuseg"] == "no" and here["synthetic-he"] == "made"
    assert cli.main(["data", "info", "tnbc"]) == 0
    out = capsys.readouterr().out
    assert archive in out and "CC BY 4.0" in out and "Zenodo record 1175282" in out
    assert cli.main(["data", "check", "tnbc"]) == 0
    assert "tnbc: 1 of 1 images can be used, 1 nuclei" in capsys.readouterr().out


def test_check_of_a_folder_with_a_bad_image(tmp_path, rng, capsys):
    picture(tmp_path / "mine" / "a.png", rng.integers(0, 256, (20, 20, 3), np.uint8))
    (tmp_path / "mine" / "b.png").write_bytes(b"broken")
    assert cli.main(["data", "check", str(tmp_path / "mine")]) == 1
    assert "mine: 1 of 2 images can be used" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "message"), [
    (["data", "info", "x"], "no dataset 'x'; known datasets"),
    (["data", "check", "monuseg"], "dataset 'monuseg' is not here"),
    (["data", "prepare", "tnbc", "nowhere"], "nowhere: no such file or folder"),
    (["data", "download", "monuseg"], "monuseg has no public address"),
])
def test_errors_take_one_line_and_no_traceback(arguments, message, capsys):
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("nucseg: error: ") and message in captured.err
    assert captured.err.count("\n") == 1


def test_an_interrupt(monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_data_list", interrupt)
    assert cli.main(["data", "list"]) == 130
    assert capsys.readouterr().err == "nucseg: interrupted\n"


@pytest.mark.parametrize("arguments", [[], ["data"], ["data", "info"], ["nonsense"]])
def test_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit, match=r"2"):
        cli.main(arguments)
    assert "usage: nucseg" in capsys.readouterr().err


def test_help_loads_nothing_heavy():
    code = ("import sys\nfrom nucseg import cli\ntry:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
            "print([m for m in ('numpy', 'torch') if m in sys.modules])")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.endswith("[]\n") and "data" in out
