"""The checks of all methods are a module beside their tests; methods that several tests share are fitted once."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from method_checks import DETECTOR, SEGMENTER, TINY, cpu, disks, tiny_unet

from nucseg.methods import PartialPoints
from nucseg.methods.baselines import fully_supervised
from nucseg.methods.baselines.fully_supervised import FullySupervised, FullySupervisedConfig
from nucseg.methods.partial_points import method as partial_points
from nucseg.supervision import annotate_dots


@pytest.fixture
def tiny(monkeypatch):
    """Methods build a tiny network where they would build a U-Net."""
    for module in (partial_points, fully_supervised):
        monkeypatch.setattr(module, "unet", tiny_unet)


@pytest.fixture(scope="module")
def float32():
    """Prediction computes in float32 also where the machine has bfloat16, so that two ways can be compared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nucseg.engine.tiles.choose_precision", lambda *_: "32-true")
        yield


@pytest.fixture(scope="session")
def train():
    """Four images with a part of their dots."""
    return annotate_dots(disks("a", "b", "c", "d"), 0.5)


@pytest.fixture(scope="session")
def val():
    """Two images with all their masks."""
    return disks("v", "w")


def _fit(method, train, val):
    with tempfile.TemporaryDirectory() as folder:  # checkpoints of U-Nets are too large to be kept
        return method.fit(train, val, run_dir=folder, fabric=cpu(), progress=False)


@pytest.fixture(scope="session")
def fitted(train, val):
    """Partial points with tiny networks; tests must not change it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partial_points, "unet", tiny_unet)
        return _fit(PartialPoints(TINY), train, val)


@pytest.fixture(scope="session")
def fitted_unets(train, val):
    """Partial points with its own networks, one round and no fine-tuning; tests must not change it."""
    config = replace(TINY, detector=replace(DETECTOR, rounds=0), segmenter=replace(SEGMENTER, crf_epochs=0))
    return _fit(PartialPoints(config), train, val)


@pytest.fixture(scope="session")
def fitted_on_masks(val):
    """The fully supervised reference with a tiny network; tests must not change it."""
    segmenter = replace(SEGMENTER, crf_epochs=0)
    config = FullySupervisedConfig(segmenter=segmenter, weights=None, patch=64, patches_per_side=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fully_supervised, "unet", tiny_unet)
        return _fit(FullySupervised(config), disks("a", "b", "c", "d"), val)
