"""Maps of classes: pooled, scaled and cut into certain and uncertain parts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg.errors import DataError, UnknownNameError
from nucseg.explain import pool_maps, scaled_maps, uncertain_regions

MAPS = arrays(np.float32, (2, 3, 4, 5), elements=st.floats(-4, 4, width=16))
PRESENT = arrays(bool, (2, 3))


@given(MAPS)
def test_pooling(maps):
    found = {kind: pool_maps(torch.from_numpy(maps), kind).numpy() for kind in ("max", "average", "ranking")}
    np.testing.assert_array_equal(found["max"], maps.max(axis=(2, 3)))
    np.testing.assert_allclose(found["average"], maps.mean(axis=(2, 3)), atol=1e-5)
    ranked, weights = -np.sort(-maps.reshape(2, 3, -1)), 0.996 ** np.arange(20)
    np.testing.assert_allclose(found["ranking"], (ranked * weights).sum(axis=2) / weights.sum(), atol=1e-5)
    equal = pool_maps(torch.from_numpy(maps), "ranking", decay=1.0)
    np.testing.assert_allclose(equal, found["average"], atol=1e-5)


@given(MAPS, PRESENT)
def test_scaled_maps(maps, present):
    found = scaled_maps(torch.from_numpy(maps), torch.from_numpy(present)).numpy()
    for b, c in np.ndindex(2, 3):
        positive = np.maximum(maps[b, c], 0)
        wanted = positive / positive.max() if positive.any() and present[b, c] else np.zeros((4, 5))
        np.testing.assert_allclose(found[b, c], wanted, rtol=1e-6)
    joint = scaled_maps(torch.from_numpy(maps), torch.from_numpy(present), "joint").numpy()
    for b in range(2):
        low, high = maps[b].min(), maps[b].max()
        wanted = (maps[b] - low) / (high - low) if high > low else np.zeros_like(maps[b])
        np.testing.assert_allclose(joint[b], wanted * present[b][:, None, None], rtol=1e-5, atol=1e-6)


def test_nothing_is_subtracted_from_a_class_that_fills_the_image():
    assert scaled_maps(torch.full((1, 1, 3, 3), 5.0), torch.ones(1, 1)).eq(1).all()


@given(MAPS, PRESENT)
def test_regions_are_a_partition(maps, present):
    scaled = scaled_maps(torch.from_numpy(maps), torch.from_numpy(present))
    found, value = uncertain_regions(scaled), scaled.amax(dim=1)
    kinds = torch.stack([found.kind == kind for kind in (1, 0, -1)])
    assert (kinds.sum(dim=0) == 1).all()
    assert (kinds[0] == (value > 0.5)).all() and (kinds[1] == (value < 0.3)).all()
    assert (found.index == scaled.argmax(dim=1)).all()
    assert ((found.uncertain >= 0) == kinds[2]).all()
    seen = torch.from_numpy(present)[torch.arange(2)[:, None, None], found.index]
    assert seen[found.kind != 0].all(), "only a class of the image is certain or uncertain"


@given(MAPS)
def test_literal_thresholds_leave_nothing_uncertain(maps):
    scaled = scaled_maps(torch.from_numpy(maps), torch.ones(2, 3))
    literal = uncertain_regions(scaled, foreground=0.3, background=0.5)
    assert (literal.uncertain == -1).all()
    assert ((literal.kind == 1) == (scaled.amax(dim=1) > 0.3)).all()


def test_bad_input():
    maps = torch.zeros(1, 2, 3, 3)
    for call in (lambda: pool_maps(maps, "sum"), lambda: scaled_maps(maps, torch.ones(1, 2), "none")):
        with pytest.raises(UnknownNameError, match="known"):
            call()
    for call in (lambda: pool_maps(maps[0]), lambda: pool_maps(maps, decay=0.0), lambda: uncertain_regions(maps[0]),
                 lambda: scaled_maps(maps, torch.ones(2, 1)), lambda: uncertain_regions(maps, 1.5)):
        with pytest.raises(DataError, match="expected"):
            call()
