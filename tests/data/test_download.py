import hashlib
import http.server
import threading
import zipfile

import numpy as np
import pytest
from PIL import Image

from nucseg.data import download as module
from nucseg.data import load_dataset
from nucseg.errors import DataError, UnknownNameError


@pytest.fixture
def release(tmp_path, picture):
    folder = tmp_path / "served"
    for part in ("Slide_01", "GT_01"):
        (folder / part).mkdir(parents=True)
    Image.fromarray(picture(1)).save(folder / "Slide_01" / "01_1.png")
    Image.fromarray(np.full((40, 50), 255, np.uint8)).save(folder / "GT_01" / "01_1.png")
    with zipfile.ZipFile(folder / "tnbc.zip", "w") as archive:
        for file in folder.rglob("*.png"):
            archive.write(file, file.relative_to(folder))
    return (folder / "tnbc.zip").read_bytes()


@pytest.fixture
def serve(monkeypatch):
    """Return a function that serves content on the loopback address; `missing` bytes are announced, never sent."""
    servers = []

    def start(content, missing=0, status=200):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.server.requests += 1
                self.send_response(status)
                self.send_header("Content-Length", str(len(content) + missing))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.requests = 0
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server, f"http://127.0.0.1:{server.server_port}/file"

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def remote(monkeypatch, url, known_hash=None):
    monkeypatch.setitem(module.REMOTE, "tnbc", (module.Remote(url, "tnbc_release.zip", known_hash),))


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file()) if folder.exists() else []


@pytest.mark.parametrize("known", [True, False])
def test_fetched_checked_and_packed(tmp_path, monkeypatch, serve, release, picture, known):
    server, url = serve(release)
    remote(monkeypatch, url, "sha256:" + hashlib.sha256(release).hexdigest() if known else None)
    said = []
    path = module.download("tnbc", tmp_path / "data", progress=False, say=said.append)
    assert path == tmp_path / "data" / "tnbc.zip"
    assert np.array_equal(load_dataset("tnbc", root=tmp_path / "data")[0].image, picture(1))
    assert bool(said) != known
    module.download("tnbc", tmp_path / "data", progress=False, say=said.append)
    assert server.requests == 1, "a file that is there is not fetched again"


def test_a_wrong_checksum_leaves_nothing(tmp_path, monkeypatch, serve, release):
    _, url = serve(release)
    remote(monkeypatch, url, "sha256:" + "0" * 64)
    with pytest.raises(DataError, match=r"could not be fetched .*by hand: Zenodo"):
        module.download("tnbc", tmp_path / "data", progress=False)
    assert files(tmp_path / "data") == []


@pytest.mark.parametrize("known", [True, False])
def test_a_transfer_that_breaks_off_leaves_nothing(tmp_path, monkeypatch, serve, release, known):
    _, url = serve(release[:-100], missing=100)
    remote(monkeypatch, url, "sha256:" + hashlib.sha256(release).hexdigest() if known else None)
    with pytest.raises(DataError, match=r"could not be fetched"):
        module.download("tnbc", tmp_path / "data", progress=False, say=lambda _: None)
    assert files(tmp_path / "data") == []


@pytest.mark.parametrize("content", [b"<html>sign in first</html>", b""])
def test_a_page_instead_of_an_archive_is_not_kept(tmp_path, monkeypatch, serve, release, content):
    _, url = serve(content)
    remote(monkeypatch, url)
    with pytest.raises(DataError):
        module.download("tnbc", tmp_path / "data", progress=False, say=lambda _: None)
    assert files(tmp_path / "data") == []
    _, url = serve(release)
    remote(monkeypatch, url)
    assert module.download("tnbc", tmp_path / "data", progress=False, say=lambda _: None).is_file()


def test_an_error_of_the_server(tmp_path, monkeypatch, serve):
    _, url = serve(b"gone", status=404)
    remote(monkeypatch, url)
    with pytest.raises(DataError, match=r"404"):
        module.download("tnbc", tmp_path / "data", progress=False, say=lambda _: None)
    assert files(tmp_path / "data") == []


@pytest.mark.parametrize(("name", "error", "message"), [
    ("monuseg", DataError, r"no public address .*monuseg.grand-challenge.org"),
    ("synthetic-he", DataError, r"is generated"), ("x", UnknownNameError, r"no dataset 'x'"),
])
def test_nothing_to_fetch(name, error, message):
    with pytest.raises(error, match=message):
        module.download(name)
