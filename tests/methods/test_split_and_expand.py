"""Split and expand: its losses by hand, what its two passes share, its steps, and every promise of a method."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from method_checks import (
    SEGMENTER,
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
    same_weights,
    stamps,
)
from torch.nn import functional as F

from nucseg.errors import DataError, UnknownNameError
from nucseg.losses import masked_cross_entropy
from nucseg.methods import (
    PartialPoints,
    PartialPointsConfig,
    Preprocessing,
    ReweightingConfig,
    SplitAndExpand,
    SplitAndExpandConfig,
)
from nucseg.methods.baselines import DISTConfig
from nucseg.methods.partial_points.segmenter import weak_labels
from nucseg.methods.split_and_expand import method as module
from nucseg.methods.split_and_expand import training
from nucseg.methods.split_and_expand.config import STARTS
from nucseg.methods.split_and_expand.heads import cross_entropy, margin, probability
from nucseg.methods.split_and_expand.reweighting import TwoPasses, center_margin, start_relevance
from nucseg.methods.split_and_expand.training import center_targets, two_head_loss
from nucseg.methods.stages import fingerprint, plain, seeded, weights_fingerprint
from nucseg.models import TwoHeadUNet
from nucseg.supervision import annotate_dots

BASE = PartialPointsConfig(
    detector=None, segmenter=replace(SEGMENTER, crf_epochs=0), weights=None, patch=64, patches_per_side=1
)
CONFIG = SplitAndExpandConfig(base=BASE, min_size=5, center_min_size=1)
PREPROCESSING = Preprocessing(None, (0.5, 0.4, 0.5), (0.2, 0.2, 0.2))


@pytest.fixture(scope="module")
def dotted():
    return annotate_dots(disks("a", "b"), 1.0)


@pytest.fixture(scope="module")
def fitted(dotted, val, tmp_path_factory):
    return SplitAndExpand(CONFIG).fit(
        dotted, val, run_dir=tmp_path_factory.mktemp("runs"), fabric=cpu(), progress=False
    )


@pytest.fixture
def network():
    torch.manual_seed(3)
    return TwoHeadUNet().train()


def batch(side=64):
    draws = torch.Generator().manual_seed(0)
    return {
        "image": torch.rand(2, 3, side, side, generator=draws) * 0.9 + 0.05,
        "maps": torch.randint(-1, 2, (2, 2, side, side), generator=draws, dtype=torch.int8),
        "points": [torch.tensor([[10.0, 20.0], [40.0, 41.0]]), torch.tensor([[30.0, 8.0]])],
    }


def running(network):
    return {name: value.clone() for name, value in network.named_buffers()}


def test_it_keeps_the_promises_of_a_method(fitted, tmp_path):
    image = disk_sample("x").image
    check_predictions(fitted, image)
    check_independence(fitted, [image, disk_sample("y").image])
    check_config(CONFIG)
    check_saved(fitted, tmp_path / "saved", [image])
    check_damaged(fitted, tmp_path / "damaged")
    check_not_fitted(SplitAndExpand(CONFIG), tmp_path)


def test_the_published_values_are_the_defaults():
    config = SplitAndExpandConfig()
    assert (config.base.segmenter.epochs, config.base.segmenter.learning_rate) == (150, 1e-3)
    assert (config.center_weight, config.reweighting.weight, config.center_side) == (0.5, 0.5, 3)
    assert (config.min_size, config.center_threshold, config.heat_threshold, config.overlap) == (10, 0.05, 0.1, 0.5)


def test_a_second_fit_finds_the_training_and_gives_the_same(dotted, val, tmp_path):
    config = replace(CONFIG, reweighting=None)
    first = SplitAndExpand(config).fit(dotted, val, run_dir=tmp_path, fabric=cpu(), progress=False)
    before = stamps(tmp_path, "*")
    later = replace(config, heat_threshold=0.3)
    second = SplitAndExpand(later).fit(dotted, val, run_dir=tmp_path, fabric=cpu(), progress=False)
    assert stamps(tmp_path, "*") == before and same_weights(first.networks["two heads"], second.networks["two heads"])


def test_without_reweighting_the_loss_is_that_of_both_heads(network):
    given, config = batch(), replace(CONFIG, reweighting=None)
    torch.manual_seed(0)
    value = two_head_loss(PREPROCESSING, config)(network, given)
    torch.manual_seed(0)
    nucleus, center = network(PREPROCESSING.standardize(given["image"]))
    expected = sum(0.5 * masked_cross_entropy(nucleus, given["maps"][:, k]) for k in range(2))
    expected = expected + F.cross_entropy(center, center_targets(given, 3))
    torch.testing.assert_close(value, expected)


def test_reweighting_adds_the_second_answer(network, monkeypatch):
    """With weights of one, the second pass repeats the first, so the center loss counts 0.5 + 0.5 times."""
    given = batch()
    loss = two_head_loss(PREPROCESSING, CONFIG)
    monkeypatch.setattr(TwoPasses, "weights", lambda self, start, scope: torch.ones(2, 64, 32, 32))
    torch.manual_seed(0)
    value = loss(network, given)
    torch.manual_seed(0)
    plain = two_head_loss(PREPROCESSING, replace(CONFIG, reweighting=None))(network, given)
    torch.testing.assert_close(value, plain)


def test_the_second_pass_repeats_the_first_and_leaves_no_trace(network):
    images = torch.randn(2, 3, 64, 64)
    torch.manual_seed(5)
    passes = TwoPasses(network, images)
    after_first, state = running(network), torch.get_rng_state()
    second = passes.second(torch.ones(2, 64, 32, 32))
    for one, other in zip(passes.first, second):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, after_first[name]) for name, value in network.named_buffers())
    assert torch.equal(torch.get_rng_state(), state) and all(m.training for m in network.modules())
    weights = passes.weights(start_relevance(passes.first[1], None, "probability"), "image")
    assert weights.shape == (2, 64, 32, 32) and not weights.requires_grad
    assert weights.min() >= 1 and weights.amax(dim=(1, 2, 3)).tolist() == [2, 2]
    assert all(torch.equal(value, after_first[name]) for name, value in network.named_buffers())
    assert torch.equal(torch.get_rng_state(), state)


def test_gradients_flow_through_the_second_pass(network):
    passes = TwoPasses(network, torch.randn(2, 3, 64, 64))
    passes.second(torch.full((2, 64, 32, 32), 1.5))[1].sum().backward()
    assert network.c1[0].weight.grad.abs().sum() > 0 and network.center_out.weight.grad.abs().sum() > 0


def test_where_relevance_starts():
    logits = torch.tensor([[0.0, 2.0], [1.0, -1.0]]).reshape(1, 2, 1, 2)
    targets = torch.tensor([[[1, 0]]])
    prob = torch.softmax(logits, 1)[:, 1]
    assert start_relevance(logits, targets, "margin").flatten().tolist() == [1.0, -3.0]
    assert torch.equal(start_relevance(logits, targets, "probability"), prob)
    assert start_relevance(logits, targets, "dots").flatten().tolist() == [float(prob[0, 0, 0]), 0.0]
    with pytest.raises(UnknownNameError, match="unknown start 'x'"):
        ReweightingConfig(start="x")
    with pytest.raises(DataError, match="positive weight, got 0"):
        ReweightingConfig(weight=0)


def test_black_surroundings_hold_no_centers():
    given = batch()
    given["image"][0, :, :15] = 0
    targets = center_targets(given, 3)
    assert targets[0].sum() == 9 and targets[1].sum() == 9, "the dot in row 10 lies on padding"


def test_margin_is_that_of_the_center_head():
    answer = torch.zeros(1, 2, 1, 1), torch.tensor([1.0, 4.0]).reshape(1, 2, 1, 1)
    assert center_margin(answer).item() == 3
    assert center_margin((torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 3.0))).item() == 3


def test_one_channel_says_what_two_channels_of_its_margin_say():
    draws = torch.Generator().manual_seed(0)
    one, targets = torch.randn(2, 1, 5, 6, generator=draws), torch.randint(0, 2, (2, 5, 6), generator=draws)
    below = torch.randn(2, 1, 5, 6, generator=draws)
    two = torch.cat([below, below + one], 1)
    torch.testing.assert_close(margin(one), margin(two))
    torch.testing.assert_close(probability(one), probability(two))
    torch.testing.assert_close(cross_entropy(one, targets), cross_entropy(two, targets))
    torch.testing.assert_close(cross_entropy(two, targets), F.cross_entropy(two, targets))
    for kind in STARTS:
        torch.testing.assert_close(start_relevance(one, targets, kind), start_relevance(two, targets, kind))


#: Settings by which finished trainings are found, for the settings above; a new one makes all of them start anew.
SETTINGS = {
    "base", "center_min_size", "center_side", "center_threshold", "center_weight", "floor", "min_size",
    "preprocessing", "reweighting", "stage", "start", "targets", "validation",
}
#: Fingerprints of all values but those that follow from data and random numbers, and of the names of the weights.
FINGERPRINTS = {"settings": "186c24b2382be1d5", "weights": "b8dd3e08dac20f27"}


def test_trainings_around_partial_points_are_found_again(dotted, val, tmp_path, monkeypatch):
    class Asked(Exception):
        pass

    def ask(network, *_, **options):
        raise Asked(network, options)

    monkeypatch.setattr(training, "fit", ask)
    with pytest.raises(Asked) as asked:
        SplitAndExpand(CONFIG).fit(dotted, val, run_dir=tmp_path, fabric=cpu(), progress=False)
    network, options = asked.value.args
    settings, expected = options["config"], seeded(TwoHeadUNet, 0, "two heads")
    assert set(settings) == SETTINGS and options["seed"] == 0
    assert options["run_dir"] == tmp_path / f"two-heads-{fingerprint(settings, 0)}"
    assert settings["stage"] == "two heads" and settings["start"] == weights_fingerprint(expected)
    assert same_weights(network, expected) and fingerprint(list(network.state_dict())) == FINGERPRINTS["weights"]
    learned = Preprocessing.learn(dotted, "reinhard", None)
    pixels, points = [learned.colors(s.image) for s in dotted], [s.points for s in dotted]
    labels = [weak_labels(*pair, BASE.segmenter) for pair in zip(pixels, points)]
    assert settings["preprocessing"] == plain(learned.to_dict())
    assert settings["targets"] == fingerprint(*pixels, *labels, *points)
    assert settings["validation"] == fingerprint(*(learned.colors(s.image) for s in val), *(s.labels for s in val))
    fixed = {name: value for name, value in settings.items()
             if name not in ("preprocessing", "start", "targets", "validation")}
    assert fingerprint(fixed) == FINGERPRINTS["settings"]


def test_steps_divide_a_clump_and_grow_a_missed_nucleus(fitted, monkeypatch):
    """Maps are made by hand: one object with two centers, and one center without an object."""
    nucleus, center = np.zeros((64, 64), np.float32), np.zeros((64, 64), np.float32)
    nucleus[10:20, 10:40] = 1
    for row, column in ((15, 16), (15, 33), (50, 50)):
        center[row - 1 : row + 2, column - 1 : column + 2] = 0.9
    monkeypatch.setattr(module, "two_maps", lambda *_: (nucleus, center))
    heat = np.zeros((64, 64), np.float32)
    heat[46:55, 46:55] = 1
    blobs_seen = []
    monkeypatch.setattr(SplitAndExpand, "explain", lambda self, image, blobs: blobs_seen.append(blobs) or heat)
    steps = fitted.predict_stages(disk_sample("x").image)
    assert steps["baseline"].max() == 1 and steps["split"].max() == 2 and steps["expand"].max() == 3
    assert np.array_equal(steps["split"] > 0, steps["baseline"] > 0)
    assert steps["split"][15, 16] != steps["split"][15, 33]
    assert (blobs_seen[0] > 0).sum() == 9 and blobs_seen[0][50, 50] == 1
    assert steps["expand"][50, 50] == 3 and np.array_equal(steps["expand"] * (steps["expand"] < 3), steps["split"])


def test_relevance_of_all_centers_adds_up_to_their_number(fitted):
    blobs = np.zeros((64, 64), np.int32)
    blobs[20:23, 20:23], blobs[40:45, 40:44] = 1, 2
    heat = fitted.explain(disk_sample("x").image, blobs)
    assert heat.shape == (64, 64) and heat.min() >= 0
    assert 0 < heat.sum() <= 2 * 1.001, "nothing is made from nothing; what meets no input is lost"
    assert not fitted.explain(disk_sample("x").image, np.zeros((64, 64), np.int32)).any()


def test_what_cannot_be_fitted_is_refused(dotted, val, tmp_path):
    with pytest.raises(DataError, match="needs all dots"):
        SplitAndExpand(base=PartialPoints(PartialPointsConfig(weights=None)))
    with pytest.raises(DataError, match="without the dense CRF"):
        SplitAndExpand(SplitAndExpandConfig(base=PartialPointsConfig(detector=None)))
    assert SplitAndExpand(base=PartialPoints(PartialPointsConfig(detector=None))).config.base.segmenter.crf_epochs == 0
    with pytest.raises(DataError, match="expected a PartialPoints or a MaskGA as base, got 3"):
        SplitAndExpand(base=3)
    with pytest.raises(DataError, match=r"expected a PartialPointsConfig or a MaskGAConfig as base, got DISTConfig\("):
        SplitAndExpandConfig(base=DISTConfig())
    with pytest.raises(DataError, match="a base with the settings seed, mode, detector is none of those known"):
        SplitAndExpandConfig(base={"seed": 1, "mode": "attention", "detector": None})
    method = SplitAndExpand(CONFIG)
    options = {"run_dir": tmp_path, "fabric": cpu(), "progress": False}
    with pytest.raises(DataError, match=r"^a: a training image needs points"):
        method.fit(disks("a"), val, **options)
    with pytest.raises(DataError, match="none of the training images has a dot"):
        method.fit(changed(dotted, lambda s: replace(s, points=np.zeros((0, 2)))), val, **options)
    with pytest.raises(DataError, match=r"^v: a validation image needs a label map"):
        method.fit(dotted, changed(val, lambda s: replace(s, labels=None)), **options)
