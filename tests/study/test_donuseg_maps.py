"""Maps by batch norm and by scale, the error of the head that they explain; nothing of a trained network is changed."""

import copy
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
from nucseg.study.donuseg_maps import PASSES, _drawn, localization_errors, maps_by_quantile, maps_by_statistics
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


def test_a_lower_quantile_never_finds_less(trained):
    method, train = trained
    table = maps_by_quantile(method, train, quantiles=(1.0, 0.9, 0.5), batches=2)
    assert list(table.index) == [1.0, 0.9, 0.5]
    blocks = table[[f"block {n}" for n in (1, 2, 3, 4)]].to_numpy()
    assert (np.diff(blocks, axis=0) >= 0).all() and (blocks[2] > blocks[0]).any()
    as_before = maps_by_statistics(method, train, batches=2).loc["training, statistics constant"]
    assert table.loc[1.0].to_numpy() == pytest.approx(as_before.to_numpy())


def test_errors_of_a_head_that_knows_the_mean_are_those_of_a_constant(trained):
    """Without images the mean count is the best answer; one that is off by a half costs a quarter more."""
    method, train = copy.deepcopy(trained)
    head, constant = localization_errors(method, train, batches=2)
    assert head > 0 and constant > 0
    patches = [points for batch in _drawn(method, train, 2, 0) for points in batch["points"]]
    counts = np.zeros((len(patches), 4, 4))
    for own, points in zip(counts, patches):
        for row, column in points.tolist():
            own[int((row + 0.5) // 16), int((column + 0.5) // 16)] += 1
    counts = counts.clip(max=4)
    assert constant == pytest.approx(counts.var(), rel=1e-5)
    last = method.networks["donuseg"].localizer.layers[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(counts.mean() + 0.5)
    assert localization_errors(method, train, batches=2)[0] == pytest.approx(constant + 0.25, rel=1e-5)


def test_images_without_dots_have_no_disks_to_find(trained):
    method, train = trained
    empty = Dataset(train.name, train.ids, lambda name: replace(train[name], points=np.zeros((0, 2))))
    table = maps_by_statistics(method, empty, batches=1)
    assert table.drop(columns="alpha").isna().all(axis=None)
