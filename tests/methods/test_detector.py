"""Stage 1: masks pixel by pixel, rounds with answers put into the detector's mouth, and trainings cut short."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from method_checks import DETECTOR, TINY, changed, cpu, disks, network_of, same_weights, stamps, tiny_unet

from nucseg.engine import AugmentConfig
from nucseg.errors import DataError, NucsegError, UnknownNameError
from nucseg.methods import DetectorConfig, Preprocessing
from nucseg.methods.partial_points import STRATEGIES, train_detector
from nucseg.methods.partial_points import detector as stage
from nucseg.methods.stages import Images
from nucseg.postprocess import points_from_map
from nucseg.supervision import annotate_dots, extended_gaussian_mask

#: Dots of two small images and what self-training says of their background.
DOTS = [torch.tensor([[10.0, 12.0], [31.25, 3.5]]), torch.zeros(0, 2)]


def still(strategy="ext-GM", maps=None, value=0.5):
    """A batch that was not warped, and settings of a strategy."""
    maps = torch.zeros(2, 1, 40, 36, dtype=torch.int8) if maps is None else maps
    config = replace(DETECTOR, strategy=strategy)
    return {"image": torch.full((2, 3, 40, 36), value), "maps": maps, "points": DOTS}, config


def equation_one(dots, shape, r1=5.0, r2=10.0, sigma=1.5):
    """Walk over every pixel."""
    mask = np.full(shape, -1.0)
    for row, column in np.ndindex(*shape):
        distance = min((math.dist((row, column), dot) for dot in dots), default=math.inf)
        if distance < r2:
            mask[row, column] = math.exp(-(distance**2) / (2 * sigma**2)) if distance < r1 else 0
    return mask


EXPECTED = np.stack([equation_one(dots.tolist(), (40, 36)) for dots in DOTS])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_masks_without_background(strategy):
    masks = stage.batch_masks(*still(strategy)).numpy()
    rest = 0 if strategy in ("Full", "GM") else -1
    np.testing.assert_allclose(masks, np.where(EXPECTED < 0, rest, EXPECTED), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_background_replaces_nothing_but_ignored_pixels(strategy):
    """Everything is declared background in the worst case, and bumps and rings stay."""
    for share in (0.5, 1.0):
        maps = (torch.rand(2, 1, 40, 36, generator=torch.Generator().manual_seed(0)) < share).to(torch.int8)
        masks = stage.batch_masks(*still(strategy, maps)).numpy()
        np.testing.assert_allclose(masks[EXPECTED >= 0], EXPECTED[EXPECTED >= 0], rtol=1e-4, atol=1e-6)
        elsewhere = 0 if strategy in ("Full", "GM") else np.where(maps[:, 0] == 1, 0, -1)[EXPECTED < 0]
        assert (masks[EXPECTED < 0] == elsewhere).all()


def test_the_loss_is_equation_2():
    batch, config = still()
    preprocessing, seen = Preprocessing(None, (0.5, 0.4, 0.2), (0.1, 0.2, 0.5)), []
    logits = torch.randn(2, 1, 40, 36, generator=torch.Generator().manual_seed(1)).requires_grad_()

    def network(images):
        seen.append(images)
        return logits

    loss = stage.detection_loss(preprocessing, config)(network, batch)
    prob, total, count = torch.sigmoid(logits.detach()).double().numpy()[:, 0], 0.0, 0
    for place in np.ndindex(2, 40, 36):
        if EXPECTED[place] >= 0:
            total += (10 if EXPECTED[place] >= 0.05 else 1) * (prob[place] - EXPECTED[place]) ** 2
            count += 1
    assert loss.item() == pytest.approx(total / count, rel=1e-5)
    loss.backward()
    assert (logits.grad[:, 0].numpy()[EXPECTED < 0] == 0).all(), "ignored pixels do not pull"
    assert (logits.grad[:, 0].numpy()[EXPECTED >= 0] != 0).all()
    torch.testing.assert_close(seen[0][0, :, 0, 0], torch.tensor([0.0, 0.5, 0.6]))


def test_a_batch_without_dots_has_no_loss_unless_the_rest_is_background():
    for strategy in ("ext-GM", "GM"):
        batch, config = still(strategy)
        logits = torch.zeros(2, 1, 40, 36, requires_grad=True)
        loss = stage.detection_loss(Preprocessing(None, (0.5,) * 3, (0.1,) * 3), config)
        value = loss(lambda images, logits=logits: logits, {**batch, "points": [DOTS[1], DOTS[1]]})
        value.backward()
        assert value.item() == (0.25 if strategy == "GM" else 0)
        assert bool((logits.grad != 0).any()) == (strategy == "GM")


def test_nothing_is_to_be_found_where_there_is_no_image():
    """Without this the defaults put one in seven pixels of all bumps where the network sees only black."""
    batch, config = still()
    batch["image"][:, :, 20:] = 0
    masks = stage.batch_masks(batch, config)
    assert not (masks[:, 20:] > 0).any()


class Lesson:
    """Training images and options, with what the detector says in each round under control."""

    def __init__(self, monkeypatch, folder, train=None, val=None):
        self.train = annotate_dots(disks("a", "b", "c", "d"), 0.5) if train is None else train
        self.val = disks("v", "w") if val is None else val
        self.monkeypatch, self.folder, self.asked = monkeypatch, folder, []

    def __call__(self, strategy="ext-GM", folder="", seed=0, patch=64, **changes):
        config = replace(TINY, detector=replace(DETECTOR, strategy=strategy, **changes), seed=seed, patch=patch)
        preprocessing = Preprocessing.learn(self.train)
        self.images = Images.read(self.train, preprocessing)
        held_out = Images.read(self.val, preprocessing)

        def network(number):
            self.asked.append(number)
            return tiny_unet(1, None, None, seed, "detection", number)

        return train_detector(
            self.images, held_out, preprocessing, config, network, run_dir=self.folder / folder, fabric=cpu(),
            progress=False,
        )

    def answers(self, *rounds):
        """Let the detector of each round answer with ``rounds[k](pixels)``."""
        networks = []

        def probability(network, pixels, preprocessing):
            if not any(network is known for known in networks):
                networks.append(network)
            return rounds[len(networks) - 1](pixels)

        self.monkeypatch.setattr(stage, "probability", probability)

    @property
    def dots(self):
        return [sample.points for sample in self.train]


@pytest.fixture
def lesson(monkeypatch, tmp_path):
    """Four images of 64 px with half of their dots."""
    return Lesson(monkeypatch, tmp_path)


def only(points):
    """Give these dots to the image of that name and none to the others."""
    return lambda sample: replace(sample, points=np.array(points.get(sample.id, ())).reshape(-1, 2))


def ring_mask(points, shape=(64, 64)):
    return extended_gaussian_mask(points, shape, 5.0, 10.0, 1.5)


def blocks(*places):
    """A map of 5 x 5 px detections on doubtful ground."""
    prob = np.full((64, 64), 0.2, np.float32)
    for row, column in places:
        prob[row - 2 : row + 3, column - 2 : column + 3] = 0.6
    return prob


def test_background_of_each_round_comes_from_the_round_before(lesson):
    first, second = np.full((64, 64), 0.5, np.float32), np.full((64, 64), 0.5, np.float32)
    first[:, :20] = 0.01
    first[40:60, 40:60] = 1.0  # 400 px of saturation
    second[:10] = 0.05
    second[40:60, 40:50] = 1.0  # 200 px are not more than 200
    lesson.answers(lambda _: first, lambda _: second, lambda _: first)
    detector = lesson("ST-bg", rounds=2)
    assert list(detector.histories) == ["round-0", "round-1", "round-2"] and lesson.asked == [0, 1, 2]
    columns, rows = np.meshgrid(np.arange(64), np.arange(64))
    background = (columns < 20) | ((rows >= 40) & (rows < 60) & (columns >= 40) & (columns < 60))
    for number, declared in enumerate((np.zeros((64, 64), bool), background, rows < 10)):
        for dots, mask in zip(lesson.dots, detector.masks[number]):
            expected = ring_mask(dots)
            np.testing.assert_array_equal(mask, np.where((expected < 0) & declared, 0, expected))


def test_background_reaches_the_batches(lesson, monkeypatch):
    """What the loss sees in the second round is the mask of the whole image, where nothing moves."""
    seen = []
    original = stage.batch_masks
    monkeypatch.setattr(stage, "batch_masks", lambda *given: seen.append((given[0], original(*given))) or seen[-1][1])
    lesson.answers(*[lambda _: np.tile(np.where(np.arange(64) < 30, 0.01, 0.5).astype(np.float32), (64, 1))] * 2)
    detector = lesson("ST-bg", augment=AugmentConfig.crop_only(crop=None))
    names = list(lesson.train.ids)
    for number, part in enumerate((seen[:2], seen[2:])):
        checked = set()
        for batch, masks in part:
            for name, mask in zip(batch["names"], masks):
                whole = detector.masks[number][names.index(name.partition("@")[0])]
                np.testing.assert_allclose(mask.numpy(), whole, rtol=1e-4, atol=1e-6)
                checked.add(name)
        assert len(checked) == 4


def test_new_dots_are_far_from_the_annotated_ones_and_not_accumulated(lesson):
    """Each round finds a nucleus 4 px from an annotated dot, which is known already, and one that is new."""
    lesson.train = changed(lesson.train, only({name: [(20, 20), (50, 12)] for name in "abcd"}))
    lesson.answers(
        lambda _: blocks((20, 24), (20, 40)), lambda _: blocks((50, 8), (55, 55)), lambda _: blocks((9, 9), (9, 50))
    )
    detector = lesson("ST-nu", rounds=2)
    for number, new in enumerate(([], [(20, 40)], [(55, 55)])):
        for mask in detector.masks[number]:
            np.testing.assert_array_equal(mask, ring_mask([(20, 20), (50, 12), *new]))
    assert detector.detections[0].tolist() == [[9, 9], [9, 50]]


def test_a_detection_at_r1_is_known_and_beyond_it_new(lesson):
    lesson.train = changed(lesson.train, only({name: [(20, 20)] for name in "abcd"}))
    lesson.answers(*[lambda _: blocks((20, 25), (26, 20))] * 2)
    (mask, *_) = lesson("ST-nu").masks[1]
    np.testing.assert_array_equal(mask, ring_mask([(20, 20), (26, 20)]))


@pytest.mark.parametrize("strategy", ["Full", "GM"])
def test_full_and_gm_leave_nothing_ignored_and_have_one_round(lesson, strategy):
    detector = lesson(strategy, rounds=3)
    assert list(detector.histories) == ["round-0"] and len(detector.masks) == 1
    for dots, mask in zip(lesson.dots, detector.masks[0]):
        np.testing.assert_array_equal(mask, np.maximum(ring_mask(dots), 0))


def test_strategies_share_their_first_round(lesson):
    plain = lesson("ext-GM", "shared")
    before = stamps(lesson.folder / "shared", "*")
    assert len(before) == 1 and next(iter(before)).startswith("detection-0-")
    for strategy in ("ST-bg", "ST-nu"):
        detector = lesson(strategy, "shared")
        assert stamps(lesson.folder / "shared", "detection-0-*") == before, "the first round was not trained again"
        assert detector.histories["round-0"] == plain.histories["round-0"]
        alone = lesson(strategy, f"alone {strategy}")
        assert same_weights(detector.network, alone.network)
        names = {path.name for path in (lesson.folder / f"alone {strategy}").iterdir()}
        assert before.keys() < names and names <= {path.name for path in (lesson.folder / "shared").iterdir()}
    lesson("GM", "shared")
    assert len(stamps(lesson.folder / "shared", "detection-0-*")) == 2, "GM has a first round of its own"


@pytest.mark.parametrize("changes", [
    {"r1": 4.0}, {"sigma": 1.0}, {"foreground_weight": 5.0}, {"epochs": 2}, {"batch": 4}, {"learning_rate": 0.01},
    {"threshold": 0.4}, {"augment": AugmentConfig(crop=40)}, {"seed": 1},
])
def test_other_settings_are_another_stage(lesson, changes):
    lesson()
    lesson(**changes)
    assert len(stamps(lesson.folder, "detection-0-*")) == 2


def test_one_network_goes_through_all_rounds_without_restart(lesson):
    lesson("ST-bg", "on", rounds=2, restart=False)
    assert lesson.asked == [0]
    lesson("ST-bg", "anew", rounds=2)
    assert lesson.asked == [0, 0, 1, 2]
    on, anew = (set(stamps(lesson.folder / run, "detection-2-*")) for run in ("on", "anew"))
    assert len(on) == len(anew) == 1 and on != anew


def test_the_same_seed_gives_the_same_weights(lesson):
    first, again, other = lesson("ST-bg", "one"), lesson("ST-bg", "two"), lesson("ST-bg", "three", seed=1)
    assert same_weights(first.network, again.network) and not same_weights(first.network, other.network)
    assert all(np.array_equal(a, b) for a, b in zip(first.detections, again.detections))


@pytest.mark.parametrize("strategy, step", [("ST-bg", 1), ("ST-bg", 4), ("ST-bg", 5), ("ST-nu", 7), ("ST-nu", 8)])
def test_a_training_cut_short_ends_the_same(lesson, monkeypatch, strategy, step):
    """Two rounds of two epochs of two steps; the step that fails may be the first of an epoch or of a round."""
    whole = lesson(strategy, "whole", epochs=2)
    count, original = [0], stage.detection_loss

    def dying(*given):
        loss = original(*given)

        def counted(network, batch):
            count[0] += 1
            if count[0] == step:
                raise KeyboardInterrupt
            return loss(network, batch)

        return counted

    monkeypatch.setattr(stage, "detection_loss", dying)
    with pytest.raises(KeyboardInterrupt):
        lesson(strategy, "cut", epochs=2)
    resumed = lesson(strategy, "cut", epochs=2)
    assert count[0] == 8 + (2 if step % 2 == 0 else 1), "only the epoch that was cut short is repeated"
    assert same_weights(whole.network, resumed.network)
    assert stamps(lesson.folder / "whole", "*").keys() == stamps(lesson.folder / "cut", "*").keys()
    for name in stamps(lesson.folder / "whole", "*"):
        one, other = (network_of(lesson.folder / run / name) for run in ("whole", "cut"))
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_the_truth_of_validation_images_chooses_the_epoch_and_nothing_else(lesson):
    lesson("ext-GM", epochs=3)
    (first,) = lesson.folder.glob("detection-0-*")
    lesson.val = changed(lesson.val, lambda sample: replace(sample, labels=np.roll(sample.labels, 20, axis=1)))
    lesson("ext-GM", epochs=3)
    (second,) = set(lesson.folder.glob("detection-0-*")) - {first}
    one, other = network_of(first), network_of(second)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_detections_are_those_of_the_best_epoch(lesson):
    detector = lesson("ext-GM", epochs=2)
    for pixels, found in zip(lesson.images.pixels, detector.detections):
        prob = stage.probability(detector.network, pixels, Preprocessing.learn(lesson.train))
        assert prob.shape == (64, 64) and prob.dtype == np.float32 and 0 <= prob.min() <= prob.max() <= 1
        np.testing.assert_array_equal(found, points_from_map(prob, 0.35, 12, 200))
    assert not detector.network.training


def test_validation_is_f1_of_pooled_counts(lesson):
    """The first image is answered perfectly, the second with nothing: half of 12 nuclei, no false ones."""
    images = Images.read(lesson.val, Preprocessing.learn(lesson.train))

    def prob(pixels):
        if np.array_equal(pixels, images.pixels[0]):
            return (lesson.val["v"].labels > 0).astype(np.float32)
        return np.zeros(pixels.shape[:2], np.float32)

    lesson.answers(prob)
    detector = lesson("ext-GM")
    assert detector.histories["round-0"].best_score == pytest.approx(2 * 6 / (2 * 6 + 0 + 6))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_dot_in_one_image_is_enough(lesson, strategy):
    lesson.train = changed(lesson.train, only({"b": [(30, 30)]}))
    detector = lesson(strategy)
    rest = 0 if strategy in ("Full", "GM") else -1
    assert [mask.max() for mask in detector.masks[0]] == [rest, 1, rest, rest]
    assert math.isfinite(detector.histories["round-0"].epochs[0]["loss"])


def test_no_dot_at_all_is_refused(lesson):
    lesson.train = changed(lesson.train, only({}))
    with pytest.raises(DataError, match="none of the training images has a dot"):
        lesson()


def test_a_validation_image_without_nuclei_counts_but_all_of_them_do_not(lesson):
    lesson.val = disks("v", "w", counts={"w": 0})
    assert 0 <= lesson().histories["round-0"].best_score <= 1
    lesson.val = disks("v", "w", counts={"v": 0, "w": 0})
    with pytest.raises(DataError, match="validation images have no nuclei"):
        lesson()


def test_dots_are_truth_enough_for_validation(lesson):
    with_masks = lesson("ext-GM", "masks").histories["round-0"].best_score
    lesson.val = annotate_dots(lesson.val)
    assert lesson("ext-GM", "dots").histories["round-0"].best_score == with_masks


def test_a_validation_image_without_any_truth_is_named(lesson):
    lesson.val = changed(lesson.val, lambda sample: replace(sample, labels=None))
    with pytest.raises(DataError, match=r"^v: "):
        lesson()


def test_images_smaller_than_a_patch_are_named(lesson):
    with pytest.raises(DataError, match=r"^a: 64x64 pixels are less than a patch of 65"):
        lesson(patch=65)
    with pytest.raises(DataError, match="no smaller than the crop"):
        lesson(augment=AugmentConfig(crop=65))


def test_a_loss_that_is_not_finite_stops_with_the_names_of_the_images(lesson, monkeypatch):
    monkeypatch.setattr(stage, "weighted_mse", lambda prob, *_: prob.sum() * math.nan)
    with pytest.raises(NucsegError, match=r"epoch 1, step 1: the loss is nan \(images: [abcd]@0,0, [abcd]@0,0\)"):
        lesson()


@pytest.mark.parametrize("changes, message", [
    ({"epochs": 0}, "epochs, batch and validate_every of 1 or more"), ({"batch": 0}, "batch"),
    ({"learning_rate": 0}, "positive learning_rate"), ({"validate_every": 0}, "validate_every"),
    ({"rounds": -1}, "rounds must be 0 or more, got -1"),
])
def test_settings_that_cannot_train_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        DetectorConfig(**changes)


def test_unknown_strategies_are_refused():
    with pytest.raises(UnknownNameError, match="unknown strategy 'st-bg'; known: Full, GM, ext-GM, ST-nu, ST-bg"):
        DetectorConfig("st-bg")


def test_the_defaults_are_the_published_settings():
    config = DetectorConfig()
    assert (config.strategy, config.rounds, config.r1, config.r2, config.sigma) == ("ST-bg", 3, 11, 22, 11 / 4)
    assert (config.epochs, config.batch, config.learning_rate, config.weight_decay) == (80, 16, 1e-3, 1e-4)
    assert (config.threshold, config.min_area, config.max_area, config.saturated_area) == (0.35, 12, 200, 200)
    assert config.augment == AugmentConfig() and config.stain is None
    assert [replace(config, strategy=name).extra_rounds for name in STRATEGIES] == [0, 0, 0, 3, 3]
