"""Placing and combining shapes: disks where they belong, the maximum of all and its gradients."""

import numpy as np
import pytest
import torch

from nucseg.errors import DataError
from nucseg.models import canonical_shape
from nucseg.models.affine_encoder import EncoderConfig, Transforms
from nucseg.models.canonical_shape import CanonicalShapeNet, combined, grid_places, log_likelihood
from nucseg.models.implicit_shape import ShapeFamily

#: A disk so steep that it is hard.
HARD = ShapeFamily(1, "disk")
with torch.no_grad():
    HARD.shapes[0].layers[-1].weight *= 1000
    HARD.shapes[0].layers[-1].bias *= 1000


def instances(*parts, presence=20.0):
    """Transforms of one image from (linear, center) pairs."""
    linear = torch.stack([torch.tensor(part[0]) for part in parts])
    centers = torch.stack([torch.tensor(part[1]) for part in parts])
    shift = -(linear @ centers[..., None])[..., 0]
    return Transforms(linear[None], shift[None], torch.full((1, len(parts)), presence), torch.zeros(1, len(parts), 1))


def random_transforms(batch=2, count=6, seed=0):
    rng = torch.Generator().manual_seed(seed)
    linear = torch.randn(batch, count, 2, 2, generator=rng)
    linear[..., 0, 1] = 0
    return Transforms(*(part.requires_grad_() for part in (
        linear, torch.randn(batch, count, 2, generator=rng), torch.randn(batch, count, generator=rng),
        torch.zeros(batch, count, 1))))


def mask_of(transforms, grid=128, shape=HARD):
    with torch.inference_mode():
        return (combined(shape, transforms, grid_places(grid))[0] > np.log(0.5)).numpy()


def test_a_disk_has_its_area_and_its_place():
    """Test (a) of the specification: radius 0.5 / l about the center, x to the right."""
    mask = mask_of(instances(([[4.0, 0.0], [0.0, 4.0]], [0.4, -0.25])))
    rows, columns = np.nonzero(mask)
    radius = 0.5 / 4 * 64
    assert mask.sum() == pytest.approx(np.pi * radius**2, rel=0.02)
    assert (2 * columns.mean() + 1) / 128 - 1 == pytest.approx(0.4, abs=0.005)
    assert (2 * rows.mean() + 1) / 128 - 1 == pytest.approx(-0.25, abs=0.005)


def test_a_larger_map_makes_a_smaller_object():
    areas = [mask_of(instances(([[s, 0.0], [0.0, s]], [0.0, 0.0]))).sum() for s in (1.0, 2.0)]
    assert areas[0] == pytest.approx(4 * areas[1], rel=0.02)


def test_shear_tilts_the_ellipse():
    """Test (b): y' = l21 x + y, so the ellipse is long where y falls as x rises, for positive l21."""
    for shear in (2.0, -2.0):
        rows, columns = np.nonzero(mask_of(instances(([[2.0, 0.0], [shear, 2.0]], [0.0, 0.0]))))
        assert np.sign(np.cov(columns, rows)[0, 1]) == -np.sign(shear)


def test_the_combination_is_the_largest_of_all():
    transforms, places = random_transforms(), grid_places(16)
    shape = ShapeFamily(1)
    each = log_likelihood(shape, transforms, places.reshape(-1, 2)).detach()
    found = combined(shape, transforms, places)
    assert torch.equal(found.detach(), each.amax(dim=1).reshape(2, 16, 16))
    assert (found.detach().reshape(2, 1, -1) >= each).all()


@pytest.mark.parametrize("chunk", [1, 300, 1 << 16])
def test_winners_are_enough_for_the_gradients(monkeypatch, chunk):
    monkeypatch.setattr(canonical_shape, "CHUNK", chunk)
    transforms, places, shape = random_transforms(), grid_places(9), ShapeFamily(1)
    weight = torch.randn(2, 9, 9, generator=torch.Generator().manual_seed(4))
    leaves = [*transforms[:3], *shape.parameters()]
    every = log_likelihood(shape, transforms, places.reshape(-1, 2)).amax(dim=1).reshape(2, 9, 9)
    expected = torch.autograd.grad((weight * every).sum(), leaves)
    found = torch.autograd.grad((weight * combined(shape, transforms, places)).sum(), leaves)
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_the_order_of_instances_does_not_matter():
    transforms, shape = random_transforms(), ShapeFamily(1)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    turned = Transforms(*(field[:, order] for field in transforms))
    assert torch.equal(combined(shape, transforms, grid_places(8)), combined(shape, turned, grid_places(8)))


def test_an_absent_instance_is_not_seen():
    seen = instances(([[4.0, 0.0], [0.0, 4.0]], [0.0, 0.0]), presence=-3.0)
    assert not mask_of(seen).any()


def test_a_coarse_grid_agrees_with_a_fine_one():
    """Middles of cells, so that enlarging the coarse mask keeps the centroid."""
    disk = instances(([[1.0, 0.0], [0.0, 1.0]], [0.11, -0.07]))
    with torch.inference_mode():
        soft = ShapeFamily(1, "disk")
        coarse = combined(soft, disk, grid_places(32)).exp()[:, None]
        enlarged = torch.nn.functional.interpolate(coarse, size=(128, 128), mode="bilinear", align_corners=False)
        fine = combined(soft, disk, grid_places(128)).exp()
    for one, other in zip(np.nonzero(enlarged[0, 0].numpy() > 0.5), np.nonzero(fine[0].numpy() > 0.5)):
        assert one.mean() == pytest.approx(other.mean(), abs=0.1)


def test_the_network_gives_both():
    torch.manual_seed(0)
    network = CanonicalShapeNet(EncoderConfig(backbone="resnet18", weights=None)).eval()
    log_prob, transforms = network(torch.randn(1, 3, 128, 128), 32)
    assert log_prob.shape == (1, 32, 32) and (log_prob <= 0).all() and transforms.presence.shape == (1, 128)


def test_autocast_leaves_the_shapes_alone():
    transforms, shape = random_transforms(), ShapeFamily(1)
    plain = combined(shape, transforms, grid_places(8))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(combined(shape, transforms, grid_places(8)), plain)


def test_a_grid_has_places():
    with pytest.raises(DataError, match="got 0"):
        grid_places(0)
    assert grid_places(2).tolist() == [[[-0.5, -0.5], [0.5, -0.5]], [[-0.5, 0.5], [0.5, 0.5]]]
