"""What batch norms do to maps: only blocks that a batch norm follows can tell passes apart, and nothing is changed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nucseg.data.sample import Dataset
from nucseg.engine import fabric
from nucseg.methods import DoNuSeg, DoNuSegConfig
from nucseg.methods.donuseg import ContrastConfig
from nucseg.models import FCOSConfig
from nucseg.study import live
from nucseg.study.donuseg_maps import PASSES, maps_by_statistics
from nucseg.study.measures.donuseg import dotted

CONFIG = DoNuSegConfig(
    network=FCOSConfig(backbone="resnet18", weights=None, channels=32, mask_channels=32, tower=1, hidden=16, reduced=4,
                       pooled=2, grid=4),
    contrast=ContrastConfig(channels=8), patch=64, window=64, stride=64, epochs=1, batch=2, warm_up=0,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    train = live.windows("synthetic-he", "train", 2, 96)
    run = {"run_dir": tmp_path_factory.mktemp("run"), "fabric": fabric(device="cpu", precision="32-true")}
    return DoNuSeg(CONFIG).fit(dotted(train), train, progress=False, **run), dotted(train)


def test_only_blocks_before_a_batch_norm_differ(trained):
    method, train = trained
    before = {name: value.clone() for name, value in method.networks["donuseg"].state_dict().items()}
    table = maps_by_statistics(method, train, batches=2)
    assert list(table.index) == list(PASSES) and list(table.columns) == [*(f"block {n}" for n in (1, 2, 3, 4)), "alpha"]
    assert ((table >= 0) & (table <= 1)).all(axis=None)
    constant, through = table.iloc[1], table.iloc[2]
    assert constant["block 4"] == through["block 4"]
    assert not np.array_equal(constant.to_numpy(), through.to_numpy())
    for name, value in method.networks["donuseg"].state_dict().items():
        torch.testing.assert_close(value, before[name])
    assert maps_by_statistics(method, train, batches=2).equals(table), "the same seed, the same batches"


def test_images_without_dots_have_no_disks_to_find(trained):
    method, train = trained
    empty = Dataset(train.name, train.ids, lambda name: replace(train[name], points=np.zeros((0, 2))))
    table = maps_by_statistics(method, empty, batches=1)
    assert table.drop(columns="alpha").isna().all(axis=None)
