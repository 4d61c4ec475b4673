"""What all methods share: settings that survive JSON, and folders that say what is wrong with them."""

import json
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pytest
from method_checks import TinyNet, check_config, check_damaged, check_not_fitted, check_predictions, check_saved

from nucseg.data.normalization import ColorStatistics
from nucseg.engine import AugmentConfig, StainJitterConfig
from nucseg.errors import DataError
from nucseg.methods import DetectorConfig, Method, PartialPointsConfig, Preprocessing, SegmenterConfig
from nucseg.methods.base import config_from_dict
from nucseg.methods.baselines import FullySupervisedConfig
from nucseg.methods.partial_points import STRATEGIES
from nucseg.methods.stages import logits_of


@dataclass(frozen=True)
class Inner:
    """Settings within settings."""

    pair: tuple[float, float] = (0.9, 0.99)
    side: int | None = None


@dataclass(frozen=True)
class Outer:
    """Settings of a method that does nothing."""

    inner: Inner | None = None
    always: Inner = field(default_factory=Inner)
    names: tuple[str, ...] = ("a",)
    share: float = 0.5


class Echo(Method):
    """Knows its network from the start."""

    Config = Outer

    def fit(self, train, val, *, run_dir, fabric=None, progress=True):
        self.preprocessing = Preprocessing(None, (0.7, 0.5, 0.6), (0.2, 0.2, 0.1))
        self.networks = {"one": TinyNet(1).eval(), "two": TinyNet(2).eval()}
        return self

    def predict_maps(self, image):
        self.require_fitted()
        maps = logits_of(self.networks["one"], image, self.preprocessing)
        return {"map": maps.sigmoid()[0].numpy()}

    def predict(self, image):
        return (self.predict_maps(image)["map"] > 2).astype(np.int32)

    def build_networks(self, names):
        return {name: TinyNet({"one": 1, "two": 2}[name]) for name in names}


@pytest.fixture
def echo():
    """A method that has learned nothing but can predict."""
    return Echo(Outer(Inner((0.1, 0.2), 5), names=("x", "y"))).fit(None, None, run_dir=None)


@pytest.fixture
def image():
    """A small picture of noise."""
    return np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)


def test_the_checks_hold_for_a_method_that_does_nothing(echo, image, tmp_path):
    check_not_fitted(Echo(), tmp_path)
    check_predictions(echo, image)
    check_saved(echo, tmp_path / "saved", [image])
    check_damaged(echo, tmp_path / "damaged")


@pytest.mark.parametrize("config", [
    Outer(), Outer(Inner()), Outer(Inner((1, 2), 3), Inner(side=4), ("b", "c"), 1),
    *(PartialPointsConfig(DetectorConfig(name)) for name in STRATEGIES), PartialPointsConfig(None),
    PartialPointsConfig(
        DetectorConfig(stain=StainJitterConfig(), augment=AugmentConfig(crop=None)),
        SegmenterConfig(stain=StainJitterConfig(probability=0.5), augment=AugmentConfig.crop_only()),
        normalization=None, reference="x",
    ),
    FullySupervisedConfig(), FullySupervisedConfig(separate=True),
], ids=repr)
def test_settings_survive_json(config):
    check_config(config)


def test_types_come_back(echo, tmp_path):
    echo.save(tmp_path)
    config = Echo.load(tmp_path).config
    assert isinstance(config.inner, Inner) and config.inner.pair == (0.1, 0.2) and config.names == ("x", "y")


def test_fields_that_do_not_exist_are_refused():
    with pytest.raises(TypeError, match="no_such"):
        config_from_dict(Outer, {"no_such": 1})
    with pytest.raises(TypeError, match="nothing"):
        config_from_dict(Outer, {"inner": {"nothing": 1}})
    assert config_from_dict(Outer, {}) == Outer(), "what is missing has its default"


def test_settings_of_another_method_are_refused():
    with pytest.raises(DataError, match="Echo: expected a Outer, got Inner"):
        Echo(Inner())
    assert Echo().config == Outer()


def test_a_method_must_say_how_it_works():
    with pytest.raises(TypeError, match="abstract"):
        Method()


def test_saving_replaces_what_was_there(echo, image, tmp_path):
    echo.save(tmp_path)
    other = Echo(replace(echo.config, share=0.25)).fit(None, None, run_dir=None)
    other.preprocessing = Preprocessing(ColorStatistics((70.0, 10.0, -5.0), (9.0, 4.0, 3.0)), (0.5,) * 3, (0.1,) * 3)
    check_saved(other, tmp_path, [image])


def test_a_damaged_value_names_the_file(tmp_path, fitted):
    """Settings are checked as they are made; what they complain of is told together with the file."""
    fitted.save(tmp_path)
    content = json.loads((tmp_path / "method.json").read_text())
    content["config"]["detector"]["strategy"] = "ST-xy"
    (tmp_path / "method.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"method\.json.*unknown strategy 'ST-xy'"):
        type(fitted).load(tmp_path)
    content["config"] = asdict(fitted.config)
    content["networks"] = ["segmenter", "no such network"]
    (tmp_path / "method.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"method\.json.*no such network"):
        type(fitted).load(tmp_path)


def test_another_method_is_named_plainly(echo, tmp_path):
    echo.save(tmp_path)
    content = json.loads((tmp_path / "method.json").read_text())
    (tmp_path / "method.json").write_text(json.dumps({**content, "method": "PartialPoints"}))
    with pytest.raises(DataError, match=r"method\.json: holds a PartialPoints, not a Echo$"):
        Echo.load(tmp_path)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"method\.json"):
        Echo.load(tmp_path / "file")
