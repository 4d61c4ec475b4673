"""A saved method is found by its folder and run on files."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from nucseg import cli
from nucseg.data.reading import read_labels
from nucseg.errors import DataError
from nucseg.methods import SIAWSSS, Method, Preprocessing, SIAWSSSConfig, saved
from nucseg.methods.base import Method as BaseMethod
from nucseg.postprocess import components


@dataclasses.dataclass(frozen=True)
class DarkConfig:
    level: int = 100


class Dark(Method):
    """Nuclei are the dark spots."""

    Config = DarkConfig

    def fit(self, train, val, *, run_dir, fabric=None, progress=True):
        raise NotImplementedError

    def predict_maps(self, image):
        raise NotImplementedError

    def predict(self, image):
        return components(image.mean(axis=2) < self.config.level)

    def build_networks(self, names):
        return {}

    def require_fitted(self):
        pass


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setitem(saved.METHODS, "Dark", Dark)
    method = Dark(DarkConfig(level=60))
    method.preprocessing = Preprocessing(None, (0.5,) * 3, (0.2,) * 3)
    method.save(tmp_path / "method")
    return tmp_path / "method"


@pytest.fixture
def pictures(tmp_path):
    """One picture with two spots, one without any."""
    spots = np.full((40, 50, 3), 200, np.uint8)
    spots[5:10, 5:10], spots[20:30, 30:45] = 20, 50
    for name, pixels in (("spots", spots), ("blank", np.full((7, 9, 3), 200, np.uint8))):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return [str(tmp_path / "spots.png"), str(tmp_path / "blank.png")]


def test_command_writes_a_map_for_each_image(folder, pictures, tmp_path, capsys):
    assert cli.main(["predict", str(folder), *pictures, "--to", str(tmp_path / "maps")]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.rsplit(": ", 1)[1] for line in out] == ["2 nuclei", "0 nuclei"]
    labels = read_labels(tmp_path / "maps" / "spots.labels.tif")
    assert labels.shape == (40, 50)
    assert sorted(np.bincount(labels.ravel())[1:]) == [25, 150]


def test_load_method_gives_the_class_and_its_settings(folder):
    method = saved.load_method(folder)
    assert type(method) is Dark and method.config == DarkConfig(level=60)
    assert isinstance(method, BaseMethod)


def test_unusable_folders_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.method\.json: No such file"):
        saved.load_method(tmp_path / "nowhere")
    (tmp_path / "method.json").write_text('{"method": "Telepathy"}')
    with pytest.raises(DataError, match="unknown method 'Telepathy'; known: PartialPoints"):
        saved.load_method(tmp_path)
    (tmp_path / "method.json").write_text("[1]")
    with pytest.raises(DataError, match=r"method\.json: not the description of a method"):
        saved.load_method(tmp_path)


def test_a_bad_image_stops_after_the_good_ones(folder, pictures, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"not an image")
    assert cli.main(["predict", str(folder), pictures[0], str(tmp_path / "broken.png"), "--to", str(tmp_path)]) == 2
    assert "broken.png" in capsys.readouterr().err
    assert (tmp_path / "spots.labels.tif").is_file() and not (tmp_path / "broken.labels.tif").exists()
    assert cli.main(["predict", str(folder), "missing.png"]) == 2
    assert "missing.png: no such file" in capsys.readouterr().err


def test_two_images_of_one_name_are_refused_before_any_work(folder, pictures, tmp_path):
    with pytest.raises(DataError, match=r"spots\.labels\.tif: two images"):
        list(saved.predict_files(saved.load_method(folder), [pictures[0], pictures[0]], tmp_path / "maps"))
    assert not (tmp_path / "maps").exists()


def test_every_method_of_the_library_is_known_by_its_name():
    import nucseg.methods
    from nucseg.methods import baselines

    public = [getattr(place, name) for place in (nucseg.methods, baselines) for name in place.__all__]
    methods = {m.__name__: m for m in public if isinstance(m, type) and issubclass(m, Method) and m is not Method}
    assert methods == saved.METHODS


class Darkness(SIAWSSS):
    """The darkest pixels are of the first class, the lightest are background."""

    def predict(self, image):
        return np.digitize(image.mean(axis=2), (100, 190)).astype(np.int32)

    def build_networks(self, names):
        return {}

    def require_fitted(self):
        pass


def darkness(monkeypatch, folder, background):
    monkeypatch.setitem(saved.METHODS, "Darkness", Darkness)
    classes = ("tumor", "stroma") if background else ("tumor", "stroma", "lymphocytes")
    method = Darkness(SIAWSSSConfig(classes=classes, background=background))
    method.preprocessing = Preprocessing(None, (0.5,) * 3, (0.2,) * 3)
    method.save(folder)
    return str(folder)


@pytest.mark.parametrize("background, last", [("white", "background"), (None, "lymphocytes")])
def test_command_writes_class_maps_of_a_method_for_tissue(pictures, tmp_path, capsys, monkeypatch, background, last):
    folder = darkness(monkeypatch, tmp_path / "method", background)
    assert cli.main(["predict", folder, *pictures, "--to", str(tmp_path / "maps")]) == 0
    spots, blank = capsys.readouterr().out.splitlines()
    assert spots.endswith(f"spots.classes.png: 8.8% tumor, 0.0% stroma, 91.2% {last}")  # 175 of 2000 pixels
    assert blank.endswith(f"0.0% tumor, 0.0% stroma, 100.0% {last}") and "nuclei" not in spots + blank
    with Image.open(tmp_path / "maps" / "spots.classes.png") as picture:
        assert picture.mode == "P" and picture.size == (50, 40)
        assert np.bincount(np.asarray(picture).ravel()).tolist() == [175, 0, 1825]
        assert picture.convert("RGB").getpixel((5, 5)) == (0, 114, 178)
        assert picture.convert("RGB").getpixel((0, 0)) == ((255,) * 3 if background else (0, 158, 115))
    assert not list((tmp_path / "maps").glob("*.tif"))


def test_class_maps_need_a_method_for_tissue(folder, pictures, tmp_path):
    with pytest.raises(DataError, match="Dark finds nuclei"):
        list(saved.predict_class_files(saved.load_method(folder), pictures, tmp_path))
