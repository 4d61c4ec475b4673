"""Region self-modulation: what eq. 3 guarantees, and its parts against scipy and loops."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy import ndimage

from nucseg.errors import DataError, UnknownNameError
from nucseg.supervision.self_modulation import box_mean, erode, modulate, pixel_labels, region_mean


def maps(seed=0, size=(2, 3, 20, 24)):
    values = torch.rand(size, generator=torch.Generator().manual_seed(seed))
    return values / values.amax(dim=(2, 3), keepdim=True)


def regions():
    rows, columns = np.mgrid[:20, :24]
    first = rows // 5 * 6 + columns // 4
    return torch.from_numpy(np.stack([first, 2 * (columns // 6)]))  # the second has gaps


MEAN = partial(region_mean, regions=regions())


def test_region_means():
    found = MEAN(maps())
    for b, c in np.ndindex(2, 3):
        for region in regions()[b].unique():
            where = regions()[b] == region
            torch.testing.assert_close(found[b, c][where], maps()[b, c][where].mean().expand(int(where.sum())))
    torch.testing.assert_close(found.mean(dim=(2, 3)), maps().mean(dim=(2, 3)))
    torch.testing.assert_close(MEAN(found), found)


def test_box_means():
    wanted = ndimage.uniform_filter(maps().numpy(), (1, 1, 3, 3), mode="constant")
    wanted /= ndimage.uniform_filter(np.ones((20, 24), np.float32), 3, mode="constant")
    np.testing.assert_allclose(box_mean(maps(), 3), wanted, rtol=1e-4)


@pytest.mark.parametrize("size", [1, 3, 7])
def test_erosion(size):
    mask = maps() > 0.15
    wanted = ndimage.binary_erosion(mask.numpy(), np.ones((1, 1, size, size), bool), border_value=1)
    np.testing.assert_array_equal(erode(mask, size), wanted)


@pytest.mark.parametrize("mean", [MEAN, partial(box_mean, size=5)])
@pytest.mark.parametrize("options", [{}, {"threshold": None}, {"binary": False}, {"erosion": 3}])
def test_the_result_is_nowhere_below_the_activation(mean, options):
    activation, inhibition = maps(), maps(1)
    found = modulate(activation, inhibition, mean, **options)
    assert (found.result >= activation).all()
    torch.testing.assert_close(found.result, torch.maximum(activation, found.confident * found.regional))
    assert found.regional.amax(dim=(2, 3)).eq(1).all() and 0 <= found.confident.min() <= found.confident.max() <= 1
    nothing = modulate(activation, torch.zeros_like(inhibition), mean, **options)
    torch.testing.assert_close(nothing.result, activation)
    if options.get("threshold", 0.3) is not None:
        everything = modulate(activation, torch.ones_like(inhibition), mean, **options)
        torch.testing.assert_close(everything.result, torch.maximum(activation, found.regional))


def test_the_confident_part_by_hand():
    inhibition = maps(1) ** 2
    found = modulate(maps(), inhibition, MEAN)
    pooled = MEAN(inhibition)
    pooled = pooled / pooled.amax(dim=(2, 3), keepdim=True)
    wanted = ndimage.binary_erosion((pooled > 0.3).numpy(), np.ones((1, 1, 7, 7), bool), border_value=1)
    np.testing.assert_array_equal(found.confident, wanted)
    torch.testing.assert_close(found.inhibition, pooled)
    kept = modulate(maps(), inhibition, MEAN, binary=False)
    torch.testing.assert_close(kept.confident, torch.where(torch.from_numpy(wanted), pooled, 0))
    own = modulate(maps(), inhibition, MEAN, threshold=None, erosion=1)
    np.testing.assert_array_equal(own.confident > 0, inhibition > inhibition.mean(dim=(2, 3), keepdim=True))


def test_the_product_can_take_activation_away():
    activation, inhibition = maps(), maps(1)
    inhibition[:, :, :, :12] = 0
    found = modulate(activation, inhibition, MEAN, fusion="product")
    wanted = torch.maximum(found.inhibition * activation, found.confident * found.regional)
    torch.testing.assert_close(found.result, wanted)
    assert found.result[0, 0, :, :8].max() == 0 < activation[0, 0, :, :8].min()


def test_the_regional_map_is_constant_in_a_region():
    found = modulate(maps(), maps(1), MEAN).regional
    for region in regions()[0].unique():
        assert found[0, 0][regions()[0] == region].unique().numel() == 1


def test_labels_of_pixels():
    present = torch.tensor([[True, False, True], [False, True, False]])
    activation = maps() * present[..., None, None]
    ignored = torch.zeros(2, 20, 24, dtype=torch.bool)
    ignored[:, :3] = True
    dense = pixel_labels(activation, present, ignored)
    assert (dense[:, :3] == -1).all() and (dense[:, 3:] >= 0).all()
    assert (dense[0, 3:] == 2 * (activation[0, 2, 3:] > activation[0, 0, 3:])).all()
    assert (dense[1, 3:] == 1).all(), "an image of one class is that class"
    value = activation[0].amax(dim=0)[3:]
    seeds, certain = (pixel_labels(activation, present, ignored, kind) for kind in ("seeds", "certain"))
    assert ((seeds[0, 3:] >= 0) == (value > 0.5)).all()
    assert ((certain[0, 3:] >= 0) == ((value > 0.5) | (value < 0.3))).all()
    assert (seeds[1, 3:] == 1).all() and (certain[1, 3:] == 1).all()
    zeros = pixel_labels(torch.zeros_like(activation), present, ignored)
    assert (zeros[0, 3:] == 0).all() and (zeros[1, 3:] == 1).all(), "never an absent class"
    assert (pixel_labels(activation, torch.zeros(2, 3), ignored) == -1).all(), "no class, no label"


def test_bad_input():
    for wrong in (regions()[:1], regions() - 1):
        with pytest.raises(DataError, match="region mean: expected"):
            region_mean(maps(), wrong)
    with pytest.raises(DataError, match="odd size, got 4"):
        erode(maps() > 0, 4)
    with pytest.raises(UnknownNameError, match="fusion 'sum'"):
        modulate(maps(), maps(), MEAN, fusion="sum")
    with pytest.raises(DataError, match="two maps"):
        modulate(maps(), maps()[:1], MEAN)
    with pytest.raises(UnknownNameError, match="labeling 'all'"):
        pixel_labels(maps(), torch.ones(2, 3), torch.zeros(2, 20, 24, dtype=torch.bool), "all")
    with pytest.raises(DataError, match="labels: expected"):
        pixel_labels(maps(), torch.ones(2, 3), torch.zeros(2, 20, 20, dtype=torch.bool))
