"""Canonical shape keeps the promises of a method, and its placed shapes lie where they say."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from method_checks import (
    changed,
    check_config,
    check_damaged,
    check_independence,
    check_not_fitted,
    check_predictions,
    check_saved,
    check_sizes_and_kinds,
    cpu,
    disk_sample,
    disks,
    same_weights,
)

from nucseg.data.sample import Sample
from nucseg.errors import DataError, UnknownNameError
from nucseg.methods import CanonicalShape, CanonicalShapeConfig
from nucseg.methods.canonical_shape import PlacedShapes, render_masks
from nucseg.methods.canonical_shape.shapes import extent
from nucseg.methods.canonical_shape.training import shape_loss
from nucseg.methods.tiling import separate_patches, tiles
from nucseg.models.affine_encoder import EncoderConfig, Transforms
from nucseg.models.canonical_shape import CanonicalShapeNet, combined, grid_places
from nucseg.models.implicit_shape import ShapeFamily

ENCODER = EncoderConfig(backbone="resnet18", weights=None, expected=3.0)
TINY = CanonicalShapeConfig(
    encoder=ENCODER, shape="disk", patch=64, grid=16, test_grid=64, epochs=2, batch=2, validate_every=1, margin=8
)
IMAGES = [disk_sample(name).image for name in "xyz"]


@pytest.fixture(scope="module", autouse=True)
def float32():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nucseg.methods.tiling.choose_precision", lambda *_: "32-true")
        yield


def fit(config, train, val, folder):
    return CanonicalShape(config).fit(train, val, run_dir=folder, fabric=cpu(), progress=False)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return fit(TINY, disks("a", "b", "c"), disks("v"), tmp_path_factory.mktemp("run"))


def test_it_keeps_the_promises_of_a_method(fitted, tmp_path):
    check_predictions(fitted, IMAGES[0])
    check_independence(fitted, IMAGES)
    check_sizes_and_kinds(fitted, IMAGES[0])
    check_saved(fitted, tmp_path / "saved", IMAGES)
    check_damaged(fitted, tmp_path / "damaged")
    check_not_fitted(CanonicalShape(TINY), tmp_path)
    check_config(TINY)


def test_defaults_are_those_of_the_article():
    config = CanonicalShapeConfig()
    assert (config.patch, config.grid, config.test_grid, config.epochs) == (128, 32, 128, 50)
    assert (config.learning_rate, config.momentum, config.count_weight, config.overlap) == (1e-2, 0.9, 1e-2, 0.5)
    assert config.shape == "disk"
    assert config.encoder.backbone == "resnet50" and config.encoder.weights == "imagenet"


def test_an_interrupted_training_ends_the_same(tmp_path):
    train, val = disks("a", "b", "c"), disks("v")
    whole = fit(TINY, train, val, tmp_path / "whole")

    class Stop(Exception):
        pass

    def stopping(network, batch, *rest):
        if batch["epoch"] == 2 and batch["step"] == 2:
            raise Stop
        return shape_loss(network, batch, *rest)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr("nucseg.methods.canonical_shape.method.shape_loss", stopping)
        fit(TINY, train, val, tmp_path / "broken")
    resumed = fit(TINY, train, val, tmp_path / "broken")
    assert same_weights(whole.networks["shapes"], resumed.networks["shapes"])
    assert len(list((tmp_path / "broken").iterdir())) == 1


def test_settings_of_prediction_share_a_training(tmp_path):
    train, val = disks("a"), disks("v")
    one = replace(TINY, epochs=1)
    for config in (one, replace(one, merge=False, test_grid=16, presence=0.3, order="union", overlap=0.7)):
        fit(config, train, val, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    fit(replace(one, count_weight=0.0), train, val, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
def test_it_learns_disks_and_that_they_are_round(tmp_path):
    from nucseg.metrics import f1_at_iou
    from nucseg.study.measures.canonical_shape import describe_shapes

    config = replace(TINY, epochs=60, batch=4, validate_every=60)
    method = fit(config, disks(*map(str, range(24))), disks("v"), tmp_path)
    scores = [f1_at_iou(disk_sample(name).labels, method.predict(disk_sample(name).image), [0.5]) for name in "xyzuvw"]
    assert np.mean(scores) > 0.6
    (shape,) = describe_shapes(method.networks["shapes"].shape.shapes)
    assert shape["eccentricity"] < 0.5 and shape["area_radius"] is not None


def test_the_loss_is_the_sum_of_its_parts():
    torch.manual_seed(0)
    network, config = CanonicalShapeNet(ENCODER, "disk", 64).eval(), replace(TINY, count_warmup=4)
    sample = disk_sample("x")
    batch = {"image": torch.from_numpy(sample.image).permute(2, 0, 1)[None] / 255, "names": ["x"], "step": 1,
             "labels": torch.from_numpy(sample.labels)[None], "epoch": 2}

    class Same:
        @staticmethod
        def standardize(images):
            return images

    with torch.inference_mode():
        values = {alpha: shape_loss(network, batch, Same, replace(config, count_weight=alpha)).item()
                  for alpha in (0.0, 0.01)}
        _, transforms = network(batch["image"], 16)
    expected = (torch.sigmoid(transforms.presence).sum().item() - 6) ** 2
    assert values[0.01] - values[0.0] == pytest.approx(0.5 * 0.01 * expected, rel=1e-4)


def test_binary_masks_are_enough_but_give_no_count(tmp_path):
    def binary(sample):
        return Sample(sample.id, sample.image, mask=(sample.labels > 0).astype(np.uint8))

    train, val = changed(disks("a", "b"), binary), changed(disks("v"), binary)
    with pytest.warns(UserWarning, match=r"a: the number of nuclei is not known.*alpha = 0"):
        fit(replace(TINY, epochs=1), train, val, tmp_path)
    uncounted = replace(TINY, epochs=1, count_weight=0.0)
    labeled = fit(uncounted, disks("a", "b"), disks("v"), tmp_path / "labels")
    assert same_weights(fit(uncounted, train, val, tmp_path / "masks").networks["shapes"], labeled.networks["shapes"])


def test_more_nuclei_than_slots_are_reported(tmp_path):
    def crowded(sample):
        rows, columns = np.mgrid[:64, :64] // 4
        return replace(sample, labels=(1 + 16 * rows + columns).astype(np.int32))

    with pytest.warns(UserWarning, match=r"a@0,0: 256 nuclei, but only 32 can be placed"):
        fit(replace(TINY, epochs=1, batch=1), changed(disks("a"), crowded), disks("v"), tmp_path)


def test_patches_without_nuclei_are_learned_from(tmp_path):
    method = fit(replace(TINY, epochs=1), disks("a", "b", counts={"a": 0, "b": 0}), disks("v"), tmp_path)
    assert np.isfinite([line["loss"] for line in method.histories["shapes"].epochs]).all()


def test_unusable_samples_are_named(tmp_path):
    with pytest.raises(DataError, match="a: canonical shape needs a label map or a binary mask"):
        fit(TINY, changed(disks("a"), lambda s: replace(s, labels=None)), disks("v"), tmp_path)
    with pytest.raises(DataError, match="64x64 pixels are less than a crop of 128"):
        fit(replace(TINY, patch=128, test_grid=128), disks("a"), disks("v"), tmp_path)


@pytest.mark.parametrize("changes, error", [
    ({"shape": "square"}, UnknownNameError), ({"order": "up"}, UnknownNameError),
    ({"interpolated": "x"}, UnknownNameError), ({"grid": 0}, DataError), ({"grid": 30}, DataError),
    ({"count_weight": -1.0}, DataError), ({"margin": 64}, DataError), ({"learning_rate": 0.0}, DataError),
    ({"overlap": 0.0}, DataError),
])
def test_wrong_settings_are_refused(changes, error):
    with pytest.raises(error):
        CanonicalShapeConfig(**changes)


# --- placed shapes ---


def one(row, column, semi_axes, degrees=0.0, presence=1.0):
    """An ellipse of the disk of radius 1/2, its long axis at an angle."""
    angle = np.radians(degrees)
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    linear = (0.5 / np.array(semi_axes, float))[:, None] * axes
    return PlacedShapes(np.array([[row, column]], float), linear[None], np.array([presence]), np.zeros((1, 1)))


def ellipse(size, row, column, semi_axes, degrees):
    rows, columns = np.mgrid[: size[0], : size[1]]
    angle = np.radians(degrees)
    along = (columns - column) * np.cos(angle) + (rows - row) * np.sin(angle)
    across = (rows - row) * np.cos(angle) - (columns - column) * np.sin(angle)
    return np.hypot(along / semi_axes[0], across / semi_axes[1]) < 1


DISK = ShapeFamily(1, "disk")


@pytest.mark.parametrize("row, column, axes, degrees", [
    (30.0, 40.0, (12, 6), 30), (5.5, 70.25, (20, 5), 110), (-2.0, 50.0, (9, 9), 0), (44.0, 1.0, (25, 3), 179),
])
def test_masks_are_the_ellipses_that_the_numbers_say(row, column, axes, degrees):
    placed = one(row, column, axes, degrees)
    (mask,) = render_masks(DISK, placed, (60, 90)).stack()
    truth = ellipse((60, 90), row, column, axes, degrees)
    assert (mask ^ truth).sum() <= 0.02 * truth.sum() + 3
    np.testing.assert_allclose(placed.semi_axes(0.5), [axes])
    if axes[0] != axes[1]:
        assert placed.angles()[0] == pytest.approx(degrees)


def test_masks_of_patches_are_what_the_network_combines():
    """Two ways to the same pixels: windows in pixels, and a grid over -1 to 1."""
    rng = torch.Generator().manual_seed(1)
    linear = torch.randn(1, 5, 2, 2, generator=rng) + 4 * torch.eye(2)
    linear[..., 0, 1] = 0
    transforms = Transforms(linear, torch.randn(1, 5, 2, generator=rng), torch.randn(1, 5, generator=rng) + 2,
                            torch.zeros(1, 5, 1))
    (placed,) = PlacedShapes.of(transforms, 128)
    for step, grid in ((1, 128), (4, 32)):
        with torch.inference_mode():
            prob = combined(DISK, Transforms(*(f[:, :1] for f in transforms)), grid_places(grid)).exp()[:, None]
            prob = torch.nn.functional.interpolate(prob, size=(128, 128), mode="bilinear", align_corners=False)[0, 0]
        masks = render_masks(DISK, placed.chosen([0]), (128, 128), step=step)
        expected = prob.numpy() > 0.5
        assert (masks.stack()[0] ^ expected).sum() <= 2  # single precision on two ways
        union = render_masks(DISK, placed, (128, 128), step=step).union()
        assert union[expected].all()


def test_an_absent_instance_has_no_pixel():
    assert render_masks(DISK, one(20, 20, (8, 8), presence=0.5), (40, 40)).areas.tolist() == [0]


def test_drawing_in_parts_changes_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    linear = np.eye(2) * rng.uniform(0.03, 0.1, (50, 1, 1)) + rng.normal(0, 0.01, (50, 2, 2))
    placed = PlacedShapes(rng.uniform(-5, 95, (50, 2)), linear, rng.uniform(0.4, 1, 50), np.zeros((50, 1)))
    whole = render_masks(DISK, placed, (80, 90))
    assert len(whole) == 50
    for together in (1, 7):
        monkeypatch.setattr("nucseg.methods.canonical_shape.shapes.TOGETHER", together)
        parts = render_masks(DISK, placed, (80, 90))
        np.testing.assert_allclose(parts.values.toarray(), whole.values.toarray(), atol=1e-5)
    assert len(render_masks(DISK, placed.chosen(slice(0)), (80, 90))) == 0


def test_values_are_likelihoods():
    placed = one(20, 20, (8, 8), presence=0.9)
    found = render_masks(DISK, placed, (41, 41)).values.toarray().reshape(41, 41)
    assert found[20, 20] == pytest.approx(0.9 / (1 + np.exp(-4)), rel=1e-5)
    assert found[found > 0].min() > 0.5


def test_the_extent_of_shapes():
    assert extent(DISK) == pytest.approx(0.5, abs=0.05)
    everywhere, nowhere = ShapeFamily(1, "disk"), ShapeFamily(1, "disk")
    with torch.no_grad():
        everywhere.shapes[0].layers[-1].weight.zero_()
        nowhere.shapes[0].layers[-1].bias.fill_(50.0)
    assert extent(everywhere) == float("inf") and extent(nowhere) == 0.0
    assert render_masks(everywhere, one(50, 50, (4, 4)), (100, 100), reach=10).areas.tolist() == [21 * 21]


# --- tiles ---


@pytest.mark.parametrize("size", [(128, 128), (64, 300), (1024, 1000), (129, 250), (1, 1)])
def test_tiles_own_every_place_once(size):
    parts = tiles(size, 128, 16)
    rng = np.random.default_rng(0)
    centers = rng.uniform(-40, 1100, (500, 2))
    assert (np.sum([tile.owns(centers) for tile in parts], axis=0) == 1).all()
    covered = np.zeros(size, int)
    for tile in parts:
        inside, own = tile.own_window(size)
        covered[inside] += 1
        assert covered[inside].shape == tuple(part.stop - part.start for part in own)
        assert all(part.start >= 0 and part.stop <= 128 for part in own)
    assert (covered == 1).all()


def test_tiles_share_their_margins():
    corners = sorted({tile.corner[0] for tile in tiles((1024, 128), 128, 16)})
    assert corners[0] == 0 and corners[-1] == 1024 - 128 and max(np.diff(corners)) <= 96


def test_separate_patches_cover_the_image_and_own_all_they_see():
    parts = separate_patches((256, 320), 128)
    assert [tile.corner for tile in parts] == [(r, c) for r in (0, 128) for c in (0, 128, 192)]
    assert all(tile.owns(np.array([[-5.0, 900.0]])).all() for tile in parts)


def test_patches_taken_alone_agree_with_a_small_image(fitted):
    (prediction,) = fitted.predict_patches(IMAGES[0])
    assert prediction.corner == (0, 0)
    np.testing.assert_array_equal(prediction.prob, fitted.predict_maps(IMAGES[0])["nucleus"])
    np.testing.assert_array_equal(prediction.masks.labels(), fitted.predict_masks(IMAGES[0]).labels())
    assert prediction.expected > 0


def test_merging_leaves_the_foreground(fitted):
    apart = CanonicalShape(replace(TINY, merge=False))
    apart.preprocessing, apart.networks = fitted.preprocessing, fitted.networks
    for image in IMAGES:
        np.testing.assert_array_equal(fitted.predict_masks(image).union(), apart.predict_masks(image).union())
