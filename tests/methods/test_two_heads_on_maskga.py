"""Split and expand around MaskGA-Net: its losses by hand, its stages, what chooses an epoch, and every promise."""

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
    cpu,
    disk_sample,
    disks,
    network_of,
    same_weights,
    stamps,
)

from nucseg.engine import AugmentConfig, load_weights
from nucseg.errors import DataError
from nucseg.methods import Preprocessing, ReweightingConfig, SplitAndExpand, SplitAndExpandConfig
from nucseg.methods.baselines import MaskGA, MaskGAConfig, maskga_stages
from nucseg.methods.baselines.maskga_stages import first_labels
from nucseg.methods.saved import load_method
from nucseg.methods.split_and_expand import method as module
from nucseg.methods.split_and_expand.config import maskga_base_config
from nucseg.methods.split_and_expand.maskga import two_head_maskga_loss
from nucseg.methods.split_and_expand.reweighting import TwoPasses
from nucseg.methods.stages import Images
from nucseg.metrics import aji
from nucseg.models import TwoHeadMaskGA, TwoHeadMaskGANet
from nucseg.supervision import annotate_dots, box_centers, corrected_labels

BASE = MaskGAConfig(
    width=2, channels=8, superpixel_area=40, copies=1, epochs=1, learning_rate=0.01,
    augment=AugmentConfig(resize=(1, 1), affine=0, rotation=(0, 0), crop=32),
)  # fmt: skip
CONFIG = SplitAndExpandConfig(base=BASE, min_size=5, center_min_size=1)
PLAIN = replace(CONFIG, reweighting=None)
PREPROCESSING = Preprocessing(None, (0.5, 0.4, 0.5), (0.2, 0.2, 0.2))
TRAIN, VAL = annotate_dots(disks("a", "b"), 1.0), disks("v", "w")

pytestmark = pytest.mark.usefixtures("float32")


def fit(config, folder):
    return SplitAndExpand(config).fit(TRAIN, VAL, run_dir=folder, fabric=cpu(), progress=False)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, float32):
    """Both stages, with re-weighting; tests must not change it."""
    run_dir = tmp_path_factory.mktemp("run")
    return fit(CONFIG, run_dir), run_dir


@pytest.fixture
def network():
    torch.manual_seed(3)
    return TwoHeadMaskGANet(width=4, channels=8).train()


def batch(side=40):
    draws = torch.Generator().manual_seed(0)
    label = torch.rand(2, side, side, generator=draws) < 0.3
    marks = torch.randint(0, 3, (2, side, side), generator=draws)
    return {
        "image": torch.rand(2, 3, side, side, generator=draws) * 0.9 + 0.05,
        "maps": torch.stack([label.to(torch.int8), marks.to(torch.int8)], 1),
        "points": [torch.tensor([[10.0, 20.0], [30.0, 31.0]]), torch.tensor([[30.0, 8.0]])],
    }


def loss_by_hand(answer, given):
    """MaskGA-Net's loss with the published weights, then the cross-entropy of 3x3 squares, in double precision."""
    nucleus, center, attended = (part.detach().double().numpy() for part in answer)
    label, marks = given["maps"].numpy().swapaxes(0, 1)
    product = np.clip(attended / (1 + np.exp(-nucleus[:, 0])), 1e-7, 1 - 1e-7)
    base = -0.8 * np.mean(np.log(np.where(label == 1, product, 1 - product)))
    base += np.mean([(1 - a[m == 1]).mean() + 0.4 * (1 - a[m == 2]).mean() for a, m in zip(attended, marks)])
    squares = np.zeros(label.shape)
    for number, dots in enumerate(given["points"]):
        for row, column in dots.int().tolist():
            squares[number, row - 1 : row + 2, column - 1 : column + 2] = 1
    signed = np.where(squares == 1, center[:, 0], -center[:, 0])
    return base, np.mean(np.log1p(np.exp(-signed)))


def test_it_keeps_the_promises_of_a_method(fitted, tmp_path):
    method, _ = fitted
    image = disk_sample("x").image
    check_predictions(method, image)
    check_independence(method, [image, disk_sample("y").image])
    check_config(CONFIG)
    check_saved(method, tmp_path / "saved", [image])
    check_damaged(method, tmp_path / "damaged")
    check_not_fitted(SplitAndExpand(CONFIG), tmp_path)
    loaded = load_method(tmp_path / "saved")
    assert loaded.config == CONFIG and isinstance(loaded.networks["two heads"], TwoHeadMaskGA)
    assert list(method.predict_maps(image)) == ["nucleus", "center"]
    assert list(method.predict_stages(image)) == ["baseline", "split", "expand", "relevance"]


def test_the_published_values_are_the_defaults():
    base = maskga_base_config()
    assert (base.epochs, base.learning_rate, base.batch, base.weight_decay) == (150, 1e-3, 2, 5e-4)
    assert (base.rate_factor, base.patience, base.corrections, base.mode) == (0.5, 4, 1, "attention")
    assert base.augment.resize != (1, 1) and base.augment.affine and base.augment.rotation != (0, 0)
    assert base.augment.horizontal_flip and base.augment.vertical_flip


def test_without_reweighting_the_loss_is_that_of_maskga_and_of_the_squares(network):
    given = batch()
    with torch.no_grad():
        value = two_head_maskga_loss(PREPROCESSING, PLAIN)(network, given)
        answer = network(PREPROCESSING.standardize(given["image"]), labels=given["maps"][:, 0])
    assert value.item() == pytest.approx(sum(loss_by_hand(answer, given)), rel=1e-4)


def test_reweighting_adds_the_second_answer(network, monkeypatch):
    given, weights = batch(), torch.full((2, 4, 20, 20), 1.01)
    config = replace(CONFIG, center_weight=0.25, reweighting=ReweightingConfig(weight=0.75))
    monkeypatch.setattr(TwoPasses, "weights", lambda *_: weights)
    with torch.no_grad():
        value = two_head_maskga_loss(PREPROCESSING, config)(network, given)
        passes = TwoPasses(network, PREPROCESSING.standardize(given["image"]), labels=given["maps"][:, 0])
        (base, first), second = loss_by_hand(passes.first, given), passes.second(weights)
        _, again = loss_by_hand((*second[:2], passes.first[2]), given)
    assert abs(again - first) > 1e-3
    assert value.item() == pytest.approx(base + 0.25 * first + 0.75 * again, rel=1e-4)


def test_the_second_pass_repeats_the_first_and_leaves_no_trace(network):
    images = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    passes = TwoPasses(network, images, labels=torch.ones(2, 40, 40))
    after_first = {name: value.clone() for name, value in network.named_buffers()}
    second = passes.second(torch.ones(2, 4, 20, 20))
    for one, other in zip(passes.first[:2], second[:2]):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    weights = passes.weights(torch.sigmoid(passes.first[1][:, 0].detach()), "image")
    assert weights.shape == (2, 4, 20, 20) and not weights.requires_grad
    assert weights.min() >= 1 and weights.amax(dim=(1, 2, 3)).tolist() == [2, 2]
    assert all(torch.equal(value, after_first[name]) for name, value in network.named_buffers())
    passes.second(weights)[1].sum().backward()
    assert network.segmentation.stem[0].weight.grad.abs().sum() > 0
    assert network.segmentation.center_head.out.weight.grad.abs().sum() > 0


def test_every_stage_has_its_folder_and_its_labels(fitted):
    method, run_dir = fitted
    before = stamps(run_dir, "*")
    names = ("superpixels", "corrected-1")
    assert sorted(n.rsplit("-", 1)[0] for n in before) == sorted(f"two-heads-{name}" for name in names)
    assert tuple(method.histories) == names
    again = fit(replace(CONFIG, heat_threshold=0.3, overlap=0.7), run_dir)
    first = fit(replace(CONFIG, base=replace(BASE, corrections=0, seed=7, select="aji", min_size=3)), run_dir)
    assert stamps(run_dir, "*") == before, "nothing was trained again"
    assert same_weights(again.networks["two heads"], method.networks["two heads"])
    assert not same_weights(first.networks["two heads"], method.networks["two heads"])
    for folder in run_dir.iterdir():
        parts = {name.split(".")[0] for name in network_of(folder)}
        assert parts == {"segmentation", "attention"}


def test_labels_are_corrected_by_the_nucleus_head(tmp_path, monkeypatch):
    seen, known = [], corrected_labels

    def spy(labels, prob):
        seen.append((labels, prob))
        return known(labels, prob)

    monkeypatch.setattr(maskga_stages, "corrected_labels", spy)
    fit(PLAIN, tmp_path)
    (folder,) = tmp_path.glob("two-heads-superpixels-*")
    network = TwoHeadMaskGANet(2, 8)
    load_weights(folder / "best.safetensors", network)
    preprocessing = Preprocessing.learn(TRAIN, None, None)
    images = Images.read(TRAIN, preprocessing)
    assert len(seen) == 4  # two training images, two validation images
    for pixels, own, (labels, prob) in zip(images.pixels, first_labels(images, BASE), seen):
        np.testing.assert_array_equal(labels, own[0])
        image = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float() / 255
        with torch.no_grad():
            nucleus = network.eval().segmentation(preprocessing.standardize(image))[0]
        np.testing.assert_allclose(prob, torch.sigmoid(nucleus)[0, 0], atol=1e-4)


def test_the_epoch_is_chosen_by_split_and_the_rate_follows_the_loss(tmp_path, monkeypatch):
    losses, checked = [], maskga_stages.validation_loss

    def noted(check, network, images, labels):
        assert not network.training
        with pytest.MonkeyPatch.context() as patch:
            patch.delattr(TwoPasses, "weights")  # no re-weighting here
            losses.append(checked(check, network, images, labels))
        return 1.0

    monkeypatch.setattr(maskga_stages, "validation_loss", noted)
    config = replace(CONFIG, center_threshold=0.6, base=replace(BASE, corrections=0, epochs=3, patience=0))
    method = fit(config, tmp_path)
    found = [aji(s.labels, method.predict_stages(s.image)["split"]) for s in VAL]
    history = method.histories["superpixels"]
    assert history.best_score == pytest.approx(np.nan_to_num(found, nan=1.0).mean())
    assert history.best_score == max(line["score"] for line in history.epochs)
    (folder,) = tmp_path.iterdir()
    rate = torch.load(folder / "last.ckpt", weights_only=True)["state"]["optimizer"]["param_groups"][0]["lr"]
    assert rate == pytest.approx(0.01 / 4)  # after the second and the third epoch
    assert len(losses) == 3 and np.isfinite(losses).all()


def test_the_validation_loss_is_that_of_the_dots_of_validation_images(network):
    network.eval()
    images = Images.read(VAL, PREPROCESSING)
    labels, expected = first_labels(images, BASE), []
    for sample, maps in zip(VAL, labels, strict=True):
        given = {
            "image": torch.from_numpy(sample.image.transpose(2, 0, 1).copy())[None].float() / 255,
            "maps": torch.from_numpy(maps)[None], "points": [torch.from_numpy(box_centers(sample.labels)).round()],
        }  # fmt: skip
        with torch.no_grad():
            answer = network(PREPROCESSING.standardize(given["image"]), labels=given["maps"][:, 0])
        expected.append(sum(loss_by_hand(answer, given)))
    with torch.no_grad():
        found = maskga_stages.validation_loss(two_head_maskga_loss(PREPROCESSING, PLAIN), network, images, labels)
    assert found == pytest.approx(np.mean(expected), rel=1e-4)


def test_relevance_is_computed_on_tiles_as_large_as_those_of_prediction(fitted, monkeypatch):
    method, tiles, known = fitted[0], [], module.tiled_relevance

    def spy(*args, **options):
        tiles.append(options["tile"])
        return known(*args, **options)

    monkeypatch.setattr(module, "tiled_relevance", spy)
    blobs = np.zeros((64, 64), np.int32)
    blobs[20:23, 20:23], blobs[40:45, 40:44] = 1, 2
    heat = method.explain(disk_sample("x").image, blobs)
    assert tiles == [maskga_stages.TILE] == [1024]
    assert heat.shape == (64, 64) and heat.dtype == np.float32 and heat.min() >= 0
    assert 0 < heat.sum() <= 2 * 1.001, "nothing is made from nothing; what meets no input is lost"


def test_a_maskga_is_taken_as_it_is():
    assert SplitAndExpand(base=MaskGA(BASE)).config == SplitAndExpandConfig(base=BASE)
    alone = replace(BASE, mode="segmentation")
    assert SplitAndExpand(PLAIN, base=MaskGA(alone)).config == replace(PLAIN, base=alone)


def test_segmentation_alone_has_no_attention_net(tmp_path):
    method = fit(replace(PLAIN, base=replace(BASE, mode="segmentation", corrections=0)), tmp_path)
    check_predictions(method, disk_sample("x").image)
    (folder,) = tmp_path.iterdir()
    assert not any(name.startswith("attention") for name in network_of(folder))


def test_what_cannot_be_fitted_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"^a: a validation image needs a label map"):
        unlabeled = changed(TRAIN, lambda sample: replace(sample, labels=None))
        SplitAndExpand(CONFIG).fit(TRAIN, unlabeled, run_dir=tmp_path, fabric=cpu(), progress=False)
    with pytest.raises(DataError, match="64x64 pixels are less than a patch of 250"):
        fit(replace(CONFIG, base=replace(BASE, patch=250)), tmp_path)
    assert not list(tmp_path.iterdir())
