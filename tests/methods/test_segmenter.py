"""Stage 2: losses against double loops and shares, two phases that share one optimizer, and trainings cut short."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from method_checks import SEGMENTER, TINY, changed, cpu, disk_sample, disks, network_of, same_weights, stamps, tiny_unet

from nucseg.engine import AugmentConfig
from nucseg.errors import DataError, UnknownNameError
from nucseg.losses import masked_cross_entropy
from nucseg.methods import Preprocessing, SegmenterConfig
from nucseg.methods.partial_points import segmenter as stage
from nucseg.methods.partial_points import train_segmenter, weak_labels
from nucseg.methods.stages import Images
from nucseg.metrics import aji
from nucseg.supervision import box_centers, cluster_labels, cluster_roles, refine_roles, voronoi_labels

PREPROCESSING = Preprocessing(None, (0.7, 0.5, 0.6), (0.2, 0.2, 0.1))


def batch(count=2, side=7, seed=0):
    """Images and two label maps of noise."""
    draws = torch.Generator().manual_seed(seed)
    image = torch.rand(count, 3, side, side, generator=draws)
    maps = torch.randint(-1, 2, (count, 2, side, side), generator=draws, dtype=torch.int8)
    return {"image": image, "maps": maps}


def logits_like(given, seed=1):
    draws = torch.Generator().manual_seed(seed)
    shape = (len(given["image"]), 2, *given["image"].shape[2:])
    return torch.randn(shape, generator=draws).requires_grad_()


def pulled(loss, given, logits):
    """Return the loss and its gradient at each logit."""
    value = loss(lambda images: logits, given)
    return value.item(), torch.autograd.grad(value, logits)[0]


def test_the_voronoi_label_comes_first():
    sample = disk_sample("a")
    dots = box_centers(sample.labels)
    config = SegmenterConfig(voronoi_radius=3, cluster_seed=4, cluster_restarts=2)
    labels = weak_labels(sample.image, dots, config)
    assert labels.shape == (2, 64, 64) and labels.dtype == np.int8
    np.testing.assert_array_equal(labels[0], voronoi_labels(dots, (64, 64), radius=3))
    np.testing.assert_array_equal(labels[1], cluster_labels(sample.image, dots, seed=4, restarts=2))
    rows, columns = dots.astype(int).T
    assert (labels[0][rows, columns] == 1).all()


def test_exchanged_roles_swap_the_clusters_without_dots():
    sample = disk_sample("a")
    dots = box_centers(sample.labels)
    config = SegmenterConfig(cluster_restarts=1)
    roles, _ = cluster_roles(sample.image, dots, seed=0, restarts=1)
    swapped = roles.copy()
    swapped[roles == 0], swapped[roles == -1] = -1, 0
    plain, exchanged = (weak_labels(sample.image, dots, replace(config, exchange_roles=e)) for e in (False, True))
    np.testing.assert_array_equal(exchanged[0], plain[0])
    np.testing.assert_array_equal(exchanged[1], refine_roles(swapped, dots))
    assert (exchanged[1] != plain[1]).any()


@pytest.mark.parametrize("dots", [(), [(30, 30)]])
def test_an_image_without_dots_has_no_label_and_one_with_a_dot_has(dots):
    labels = weak_labels(disk_sample("a").image, np.array(dots).reshape(-1, 2), SEGMENTER)
    assert labels.shape == (2, 64, 64)
    if len(dots):
        rows, columns = np.mgrid[:64, :64]
        np.testing.assert_array_equal(labels[0] == 1, np.hypot(rows - 30, columns - 30) <= 2)
        assert not (labels[0] == 0).any(), "one dot has no neighbor to keep apart from"
    else:
        assert (labels == -1).all()


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_shares_weigh_the_labels(share):
    given = batch()
    logits = logits_like(given)
    value, gradient = pulled(stage.label_loss(PREPROCESSING, (share, 1 - share)), given, logits)
    expected = 0.0
    prob = torch.softmax(logits.detach().double(), dim=1).numpy()
    for weight, label in zip((share, 1 - share), given["maps"].numpy().swapaxes(0, 1)):
        places = np.argwhere(label >= 0)
        expected -= weight * np.mean([math.log(prob[i, label[i, r, c], r, c]) for i, r, c in places])
    assert value == pytest.approx(expected, rel=1e-5)
    ignored = given["maps"] < 0
    nowhere = ignored[:, 0] & ignored[:, 1] if 0 < share < 1 else ignored[:, 0 if share else 1]
    assert torch.equal((gradient == 0).all(dim=1), nowhere)


@pytest.mark.parametrize("share, unused", [(1.0, 1), (0.0, 0)])
def test_a_label_of_no_weight_does_not_matter(share, unused):
    given = batch()
    logits = logits_like(given)
    loss = stage.label_loss(PREPROCESSING, (share, 1 - share))
    value, gradient = pulled(loss, given, logits)
    given["maps"][:, unused] = 1 - given["maps"][:, unused].abs()
    again, same = pulled(loss, given, logits)
    assert value == again and torch.equal(gradient, same)
    alone = masked_cross_entropy(logits, given["maps"][:, 1 - unused])
    assert torch.equal(gradient, torch.autograd.grad(alone, logits)[0])


def test_a_batch_without_labels_pulls_nowhere():
    given = batch()
    given["maps"].fill_(-1)
    value, gradient = pulled(stage.label_loss(PREPROCESSING, (0.5, 0.5)), given, logits_like(given))
    assert value == 0 and (gradient == 0).all()


def test_images_are_standardized_for_the_network_and_not_for_the_colors():
    seen, given = [], batch()
    logits = logits_like(given)

    def network(images):
        seen.append(images)
        return logits

    for loss in (stage.label_loss(PREPROCESSING, (1, 0)), stage.crf_loss(PREPROCESSING, (1, 0), SEGMENTER)):
        loss(network, given)
    for images in seen:
        for channel, (mean, std) in enumerate(zip(PREPROCESSING.mean, PREPROCESSING.std)):
            torch.testing.assert_close(images[:, channel], (given["image"][:, channel] - mean) / std)


def test_the_crf_term_equals_a_loop_over_all_pairs():
    given = batch(side=6)
    given["image"][0, :, :2] = 0  # black surroundings take no part
    logits = logits_like(given)
    config = replace(SEGMENTER, sigma_xy=2.0, sigma_rgb=0.3, crf_weight=0.7, crf_gradient=1.0)
    plain, _ = pulled(stage.label_loss(PREPROCESSING, (0.5, 0.5)), given, logits)
    value, _ = pulled(stage.crf_loss(PREPROCESSING, (0.5, 0.5), config), given, logits)
    prob = torch.softmax(logits.detach(), dim=1)[:, 1].double().numpy()
    colors, energies = given["image"].double().numpy(), []
    for index in range(2):
        places = [p for p in np.ndindex(6, 6) if colors[index, :, p[0], p[1]].any()]
        energy = sum(
            prob[index][p] * (1 - prob[index][q])
            * math.exp(-math.dist(p, q) ** 2 / (2 * 2.0**2))
            * math.exp(-math.dist(colors[index, :, *p], colors[index, :, *q]) ** 2 / (2 * 0.3**2))
            for p in places for q in places
        )
        energies.append(energy / len(places))
    assert value - plain == pytest.approx(0.7 * np.mean(energies), rel=1e-4)


def test_the_factor_doubles_the_crf_part_of_the_gradient_and_nothing_else():
    given = batch(side=9)
    logits = logits_like(given)
    _, labels_alone = pulled(stage.label_loss(PREPROCESSING, (0.5, 0.5)), given, logits)
    config = replace(SEGMENTER, crf_weight=3.0)
    parts = []
    for factor in (0.0, 1.0, 2.0):
        loss = stage.crf_loss(PREPROCESSING, (0.5, 0.5), replace(config, crf_gradient=factor))
        parts.append(pulled(loss, given, logits)[1] - labels_alone)
    torch.testing.assert_close(parts[2], 2 * parts[1], rtol=1e-4, atol=1e-6)
    assert (parts[0] == 0).all() and (parts[1].abs() > 1e-4).any()


def test_colors_a_hair_above_one_are_taken():
    given = batch()
    given["image"][0, 0, 0, 0] = 1.0000002
    value, _ = pulled(stage.crf_loss(PREPROCESSING, (0.5, 0.5), SEGMENTER), given, logits_like(given))
    assert math.isfinite(value)


TRAIN = disks("a", "b", "c", "d")


@cache
def labels_of_all_dots():
    return [weak_labels(sample.image, box_centers(sample.labels), SEGMENTER) for sample in TRAIN]


class Lesson:
    """Training images with labels from all dots."""

    def __init__(self, folder):
        self.folder, self.train, self.val, self.labels = folder, TRAIN, disks("v", "w"), list(labels_of_all_dots())
        self.steps = 2  # of an epoch: four patches, two in a batch

    def __call__(self, folder="", seed=0, patch=64, shares=(0.5, 0.5), labels=None, **changes):
        config = replace(TINY, segmenter=replace(SEGMENTER, **changes), seed=seed, patch=patch)
        preprocessing = Preprocessing.learn(self.train, None)
        images, held_out = Images.read(self.train, preprocessing), Images.read(self.val, preprocessing)
        return train_segmenter(
            images, held_out, self.labels if labels is None else labels, shares, preprocessing, config,
            tiny_unet(2, None, None, seed, "segmentation"), run_dir=self.folder / folder, fabric=cpu(), progress=False,
        )


@pytest.fixture
def lesson(tmp_path):
    """Four images of 64 px with their two labels."""
    return Lesson(tmp_path)


def checkpoint(folder):
    return torch.load(next(folder) / "last.ckpt", weights_only=True)["state"]


def test_fine_tuning_goes_on_with_the_optimizer_at_a_lower_rate(lesson, monkeypatch):
    starts, original = [], stage.fit

    def watched(network, optimizer, *rest, **options):
        state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        memory = {i: {k: v.clone() for k, v in m.items()} for i, m in optimizer.state_dict()["state"].items()}
        starts.append((state, memory, [group["lr"] for group in optimizer.param_groups]))
        return original(network, optimizer, *rest, **options)

    monkeypatch.setattr(stage, "fit", watched)
    found = lesson(epochs=3, crf_epochs=2, learning_rate=1e-2, crf_learning_rate=1e-3)
    assert list(found.histories) == ["cross-entropy", "crf"]
    assert [len(history.epochs) for history in found.histories.values()] == [3, 2]
    first, second = (checkpoint(lesson.folder.glob(f"{name}-*")) for name in ("segmentation", "crf"))
    assert [rates for _, _, rates in starts] == [[1e-2], [1e-3]] and starts[0][1] == {}
    weights, memory, _ = starts[1]
    assert all(torch.equal(weights[name], tensor) for name, tensor in first["network"].items()), "from the last epoch"
    for number, kept in first["optimizer"]["state"].items():
        assert all(torch.equal(memory[number][name], kept[name]) for name in kept)
    assert first["optimizer"]["param_groups"][0]["lr"] == 1e-2
    assert second["optimizer"]["param_groups"][0]["lr"] == 1e-3
    steps = {int(kept["step"]) for kept in second["optimizer"]["state"].values()}
    assert steps == {(3 + 2) * lesson.steps}


def test_the_crf_phase_uses_the_crf_loss(lesson, monkeypatch):
    calls, original = [], stage.dense_crf_loss
    monkeypatch.setattr(
        stage, "dense_crf_loss", lambda *given: calls.append([tuple(g.shape) for g in given[:2]] + list(given[2:]))
        or original(*given),
    )
    lesson(epochs=2, crf_epochs=3, sigma_xy=1.5, sigma_rgb=0.2)
    assert calls == [[(2, 48, 48), (2, 3, 48, 48), 1.5, 0.2]] * 3 * lesson.steps


def test_trainings_with_and_without_fine_tuning_share_the_first_phase(lesson):
    without = lesson(crf_epochs=0)
    before = stamps(lesson.folder, "*")
    assert len(before) == 1 and list(without.histories) == ["cross-entropy"]
    for changes in ({}, {"crf_weight": 0.1}, {"sigma_xy": 3.0}, {"crf_learning_rate": 1e-6}, {"crf_gradient": 1.0}):
        found = lesson(**changes)
        assert found.histories["cross-entropy"] == without.histories["cross-entropy"]
    assert stamps(lesson.folder, "segmentation-*") == before, "not trained again"
    assert len(stamps(lesson.folder, "crf-*")) == 5


@pytest.mark.parametrize("changes", [
    {"epochs": 2}, {"batch": 4}, {"learning_rate": 0.01}, {"augment": AugmentConfig(crop=40)}, {"seed": 1},
    {"shares": (1, 0)}, {"min_size": 6},
])
def test_other_settings_are_another_stage(lesson, changes):
    lesson(crf_epochs=0)
    lesson(crf_epochs=0, **changes)
    assert len(stamps(lesson.folder, "segmentation-*")) == 2


def test_other_labels_are_another_stage(lesson):
    lesson(crf_epochs=0)
    lesson.labels[0] = lesson.labels[0].copy()
    lesson.labels[0][1, 5, 5] = 1 - abs(lesson.labels[0][1, 5, 5])
    lesson(crf_epochs=0)
    assert len(stamps(lesson.folder, "segmentation-*")) == 2


def test_a_voronoi_share_of_one_ignores_the_cluster_label(lesson):
    """Whatever the cluster label says, the weights come out the same."""
    first = lesson("first", shares=(1.0, 0.0))
    noise = [np.stack([label[0], np.random.default_rng(0).integers(-1, 2, label[1].shape)]).astype(np.int8)
             for label in lesson.labels]
    second = lesson("second", shares=(1.0, 0.0), labels=noise)
    assert same_weights(first.network, second.network)
    assert not same_weights(first.network, lesson("third", labels=noise).network)


@pytest.mark.parametrize("step", [1, 4, 5, 8])
def test_a_training_cut_short_ends_the_same(lesson, monkeypatch, step):
    """Two epochs of two steps in each phase; the step that fails may be the first of an epoch or of a phase."""
    whole, count = lesson("whole", epochs=2, crf_epochs=2), [0]
    original = stage._label_loss

    def dying(*given):
        count[0] += 1
        if count[0] == step:
            raise KeyboardInterrupt
        return original(*given)

    monkeypatch.setattr(stage, "_label_loss", dying)
    with pytest.raises(KeyboardInterrupt):
        lesson("cut", epochs=2, crf_epochs=2)
    resumed = lesson("cut", epochs=2, crf_epochs=2)
    assert count[0] == 8 + (2 if step % 2 == 0 else 1), "only the epoch that was cut short is repeated"
    assert same_weights(whole.network, resumed.network)
    for name in ("segmentation", "crf"):
        one, other = (checkpoint((lesson.folder / run).glob(f"{name}-*")) for run in ("whole", "cut"))
        assert all(torch.equal(one["network"][key], other["network"][key]) for key in one["network"])
        assert one["optimizer"]["param_groups"] == other["optimizer"]["param_groups"]
        scores = [[(line["loss"], line["score"]) for line in state["history"]["epochs"]] for state in (one, other)]
        assert scores[0] == scores[1]


def test_the_same_seed_gives_the_same_weights(lesson):
    first, again, other = lesson("one"), lesson("two"), lesson("three", seed=1)
    assert same_weights(first.network, again.network) and not same_weights(first.network, other.network)


def test_the_truth_of_validation_images_chooses_the_epoch_and_nothing_else(lesson):
    lesson(epochs=2)
    first = {path.name: network_of(path) for path in lesson.folder.iterdir()}
    lesson.val = changed(lesson.val, lambda sample: replace(sample, labels=np.roll(sample.labels, 20, axis=1)))
    lesson(epochs=2)
    second = {path.name: network_of(path) for path in lesson.folder.iterdir() if path.name not in first}
    assert len(first) == len(second) == 2
    for one, other in zip(sorted(first), sorted(second)):
        assert one.partition("-")[0] == other.partition("-")[0]
        assert all(torch.equal(first[one][name], second[other][name]) for name in first[one])


def test_the_best_or_the_last_epoch(lesson, monkeypatch):
    """The first epoch of each phase is made the best."""
    monkeypatch.setattr(stage, "mean_aji", lambda *_: -next(clock))
    clock = iter(range(1000))
    best = lesson(epochs=2, crf_epochs=3)
    before = stamps(lesson.folder, "*")
    clock = iter(range(1000))
    last = lesson(epochs=2, crf_epochs=3, checkpoint="last")
    assert stamps(lesson.folder, "*") == before, "both are one training"
    assert best.histories["crf"].best_epoch == 1 and not same_weights(best.network, last.network)
    weights = checkpoint(lesson.folder.glob("crf-*"))["network"]
    assert all(torch.equal(tensor, last.network.state_dict()[name]) for name, tensor in weights.items())
    assert not best.network.training and not last.network.training
    with pytest.raises(UnknownNameError, match="unknown checkpoint 'first'; known: best, last"):
        SegmenterConfig(checkpoint="first")


def test_validation_is_the_mean_aji_of_what_would_be_predicted(lesson):
    found = lesson(crf_epochs=0)
    preprocessing = Preprocessing.learn(lesson.train, None)
    scores = []
    for sample in lesson.val:
        prob = stage.nucleus_probability(found.network, sample.image, preprocessing)
        assert prob.shape == (64, 64) and prob.dtype == np.float32
        scores.append(aji(sample.labels, stage.instances(prob, SEGMENTER.min_size)))
    assert found.histories["cross-entropy"].best_score == pytest.approx(np.mean(scores))


def test_instances_are_filled_components_above_one_half():
    prob = np.zeros((12, 12), np.float32)
    prob[1:6, 1:6], prob[3, 3] = 0.9, 0.1  # a ring of 24 px around a hole
    prob[8:10, 8:10] = 0.51  # 4 px
    prob[6, 6] = 0.9  # touches the ring by a corner
    prob[0, 8:12] = 0.5  # not more than a half
    labels = stage.instances(prob, 4)
    assert labels.dtype == np.int32 and labels.max() == 2
    assert (labels == labels[1, 1]).sum() == 26 and labels[3, 3] == labels[6, 6] == labels[1, 1]
    assert stage.instances(prob, 5).max() == 1 and stage.instances(prob, 26).max() == 0


def test_one_image_with_a_label_is_enough(lesson):
    lesson.labels = [label if index == 2 else np.full_like(label, -1) for index, label in enumerate(lesson.labels)]
    assert math.isfinite(lesson().histories["cross-entropy"].epochs[0]["loss"])


def test_what_cannot_be_trained_on_is_named(lesson):
    with pytest.raises(DataError, match="no pixel of the training images has a label"):
        lesson(labels=[np.full_like(label, -1) for label in lesson.labels])
    with pytest.raises(DataError, match=r"^a: 64x64 pixels are less than a patch of 65"):
        lesson(patch=65)
    lesson.val = changed(lesson.val, lambda sample: replace(sample, labels=None))
    with pytest.raises(DataError, match=r"^v: a validation image of the segmenter needs a label map"):
        lesson()
    assert not list(lesson.folder.iterdir()), "said before anything is trained"


def test_a_validation_image_without_nuclei_may_be_predicted_right(lesson, monkeypatch):
    lesson.val = disks("v", "w", counts={"w": 0})
    empty = lesson.val["w"].image
    monkeypatch.setattr(
        stage, "nucleus_probability",
        lambda network, pixels, _: np.full(pixels.shape[:2], 0.0 if np.array_equal(pixels, empty) else 0.9),
    )
    assert math.isfinite(lesson().histories["crf"].best_score)


@pytest.mark.parametrize("changes, message", [
    ({"voronoi_share": 1.5}, "voronoi_share must be between 0 and 1, got 1.5"),
    ({"voronoi_share": -0.1}, "voronoi_share"), ({"crf_epochs": -1}, "crf_epochs and crf_weight must be 0 or more"),
    ({"crf_weight": -1.0}, "crf_weight"), ({"epochs": 0}, "epochs"), ({"batch": 0}, "batch"),
    ({"learning_rate": -1.0}, "learning_rate"),
])
def test_settings_that_cannot_train_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        SegmenterConfig(**changes)


def test_the_defaults_are_the_published_settings():
    config = SegmenterConfig()
    assert (config.voronoi_share, config.voronoi_radius, config.cluster_restarts) == (0.5, 2, 10)
    assert (config.epochs, config.batch, config.learning_rate) == (100, 8, 1e-4)
    assert (config.crf_epochs, config.crf_learning_rate, config.crf_weight) == (20, 1e-5, 0.005)
    assert (config.sigma_xy, config.sigma_rgb, config.crf_gradient, config.min_size) == (9, 0.1, 2, 20)
    assert config.augment == AugmentConfig(elastic=True) and config.stain is None and not config.exchange_roles
