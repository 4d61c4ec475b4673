"""What SIA-WSSS trains on: batches, crops, labels of pixels, rates; and how tiles become an image."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nucseg.data.sample import Dataset, Sample
from nucseg.data.synthetic import TISSUE_CLASSES, TissueConfig, render_tissue
from nucseg.explain import Regions
from nucseg.methods import Preprocessing, SIAWSSSConfig
from nucseg.methods.sia_wsss import ActivationConfig, InhibitionConfig, MapConfig, ModulationConfig, training
from nucseg.methods.sia_wsss.log import TrainingLog
from nucseg.methods.sia_wsss.patches import BEYOND, TISSUE, WHITE, TaggedBatches, flipped, hold_patches
from nucseg.methods.sia_wsss.prediction import Seen, class_maps, look, output_maps, place, semantic_map
from nucseg.methods.sia_wsss.rates import FactoredRates, optimizer_of, polynomial_rates
from nucseg.methods.sia_wsss.training import (
    certainty,
    crop_corners,
    cut_crops,
    focus_losses,
    online_labels,
    segmentation_loss,
    sia_loss,
)
from nucseg.methods.stages import Images
from nucseg.models import SIANet, SIAOutput, TissueViTConfig
from nucseg.supervision import slic_regions, white_background

VIT = TissueViTConfig(width=12, depth=1, heads=2, auxiliary=1, size=64, weights=None)
CONFIG = SIAWSSSConfig(vit=VIT, activation=ActivationConfig(crop=32, crops=3), patch=64, batch=3, epochs=4, stain=None,
                       classes=TISSUE_CLASSES, decoder_channels=8)
PLAIN = Preprocessing(None, (0.0,) * 3, (1.0,) * 3)


def held(config=CONFIG):
    samples = {name: replace(render_tissue(TissueConfig(size=64, holes=1.0), seed), id=name)
               for name, seed in (("a", 0), ("b", 3), ("c", 5), ("d", 8))}
    small = samples["d"]
    samples["d"] = Sample("d", small.image[:40, :50], tags=small.tags)
    images = Images.read(Dataset("tissue", list(samples), samples.__getitem__), PLAIN)
    return images, hold_patches(images, TISSUE_CLASSES, config, "cpu")


def test_patches_hold_images_tags_white_and_superpixels():
    images, patches = held()
    assert patches.names == list("abcd") and patches.images.shape == (4, 3, 64, 64)
    for number, (sample, pixels) in enumerate(zip(images.samples, images.pixels)):
        rows, columns = pixels.shape[:2]
        np.testing.assert_array_equal(patches.images[number, :, :rows, :columns].permute(1, 2, 0), pixels)
        assert patches.tags[number].tolist() == [sample.tags[name] for name in TISSUE_CLASSES]
        inside = patches.ground[number, :rows, :columns].numpy()
        np.testing.assert_array_equal(inside == WHITE, white_background(pixels))
        assert (patches.ground[number, rows:] == BEYOND).all() and (patches.ground[number, :, columns:] == BEYOND).all()
        whole = patches.images[number].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(patches.regions[number], slic_regions(whole, compactness=20.0))
    for changes in ({"rsm": False}, {"segmentation_weight": 0.0, "output": "activation"},
                    {"modulation": ModulationConfig("box")}):
        assert held(replace(CONFIG, **changes))[1].regions is None
    assert (held(replace(CONFIG, white=None))[1].ground != WHITE).all()


def test_flips_turn_each_map_as_asked():
    maps = torch.arange(24).reshape(4, 2, 3)
    flips = torch.tensor([[False, False], [True, False], [False, True], [True, True]])
    found = flipped(maps, flips).numpy()
    for number, wanted in enumerate((maps[0], maps[1].flip(0), maps[2].flip(1), maps[3].flip(0).flip(1))):
        np.testing.assert_array_equal(found[number], wanted)
    np.testing.assert_array_equal(flipped(maps[:, None], flips)[:, 0], found)


def test_batches_turn_images_and_maps_together():
    _, patches = held()
    source = TaggedBatches(patches, CONFIG)
    batches = list(source(2, torch.Generator().manual_seed(0)))
    assert len(batches) == len(source) == 2 and [batch["progress"] for batch in batches] == [2 / 8, 3 / 8]
    assert sorted(name for batch in batches for name in batch["names"]) == list("abcd")
    turned = 0
    for batch in batches:
        assert batch["crops"].shape == (len(batch["names"]), 3, 2) and batch["epoch"] == 2
        for number, name in enumerate(batch["names"]):
            origin, whole = patches.names.index(name), []
            for rows in (False, True):
                for columns in (False, True):
                    flips = torch.tensor([[rows, columns]])
                    same = [torch.equal(flipped(source_map[origin : origin + 1], flips)[0], batch[key][number])
                            for key, source_map in (("ground", patches.ground), ("regions", patches.regions))]
                    image = flipped(patches.images[origin : origin + 1], flips)[0].float() / 255
                    if torch.allclose(image, batch["image"][number]):
                        whole.append(all(same))
                        turned += rows or columns
            assert whole == [True] and torch.equal(batch["tags"][number], patches.tags[origin])
    assert turned > 0
    again = list(source(2, torch.Generator().manual_seed(0)))
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(batches, again))


def regions(kind):
    kind = torch.tensor(kind, dtype=torch.int8)
    return Regions(kind, torch.zeros_like(kind, dtype=torch.int64))


def test_random_crops_lie_in_the_image():
    draws = torch.tensor([[[0.0, 0.0], [0.999999, 0.999999], [0.5, 0.25]]])
    found = crop_corners(draws, (64, 80), CONFIG, regions(np.zeros((1, 4, 5))))
    assert found.tolist() == [[[0, 0], [32, 48], [16, 12]]]


def test_crops_around_uncertain_patches():
    config = replace(CONFIG, activation=ActivationConfig(crop=32, crops=3, position="uncertain"))
    kind = np.zeros((2, 4, 5))
    kind[0, 1, 2] = kind[0, 3, 4] = -1
    draws = torch.tensor([[[0.0, 0.9], [0.49, 0.1], [0.51, 0.1]]] * 2)
    found = crop_corners(draws, (64, 80), config, regions(kind))
    # Patch (1, 2) has its middle at (24, 40); the crop around (3, 4), at (56, 72), is moved into the image.
    assert found[0].tolist() == [[8, 24], [8, 24], [32, 48]]
    plain = crop_corners(draws, (64, 80), CONFIG, regions(kind))
    assert torch.equal(found[1], plain[1]), "without an uncertain patch a crop lies anywhere"


def test_crops_are_cut_where_they_begin():
    maps = torch.arange(2 * 3 * 8 * 9).reshape(2, 3, 8, 9)
    corners = torch.tensor([[[0, 0], [4, 5]], [[1, 2], [3, 3]]])
    found = cut_crops(maps, corners, 4)
    assert found.shape == (2, 2, 3, 4, 4)
    np.testing.assert_array_equal(found[0, 1], maps[0, :, 4:8, 5:9])
    np.testing.assert_array_equal(found[1, 0], maps[1, :, 1:5, 2:6])


def output(activation, auxiliary):
    torch.manual_seed(0)
    count, classes, *size = activation.shape
    return SIAOutput(torch.randn(count, 5, *size), torch.randn(count, classes, 5), activation, auxiliary,
                     torch.zeros(count, classes))


def test_certainty_comes_from_the_auxiliary_map_first():
    first, second = torch.rand(1, 2, 3, 3), torch.rand(1, 2, 3, 3)
    found, present = output(first, second), torch.ones(1, 2, dtype=torch.bool)
    for progress, source in ((0.0, second), (0.49, second), (0.5, first), (1.0, first)):
        value = (source / source.amax(dim=(2, 3), keepdim=True)).amax(dim=1)
        kind = certainty(found, present, CONFIG, progress).kind
        assert ((kind == 1) == (value > 0.5)).all() and ((kind == 0) == (value < 0.3)).all()


def test_images_of_one_class_can_be_left_alone():
    activation = torch.full((2, 2, 2, 2), 0.4)
    activation[:, :, 0, 0] = 1.0
    found, present = output(activation, activation), torch.tensor([[True, False], [True, True]])
    seen = certainty(found, present, CONFIG, 0.0)
    for single in (True, False):
        config = replace(CONFIG, inhibition=InhibitionConfig(single_class=single, attraction=0.0))
        ((name, weight, loss),) = focus_losses(found, present, seen, config)
        assert (name, weight) == ("inhibition", 0.1)
        cosines = torch.nn.functional.cosine_similarity(found.tokens[:, 0, :, None, None], found.patches, dim=1)
        uncertain = cosines.clamp(min=0).flatten(1)[:, 1:]  # all but the first patch
        chosen = uncertain if single else uncertain[1:]
        assert loss.item() == pytest.approx((chosen.sum() / (chosen.numel() + 1)).item(), rel=1e-5)


def batch_of(present, ground):
    return {"image": torch.zeros(len(ground), 3, 64, 64), "tags": present, "ground": ground,
            "regions": torch.zeros(len(ground), 64, 64, dtype=torch.int16)}


def test_a_single_class_labels_all_but_white_pixels():
    ground = torch.zeros(2, 64, 64, dtype=torch.int8)
    ground[:, :9], ground[:, :, 60:] = WHITE, BEYOND
    present = torch.tensor([[False, False, True, False], [False] * 4])
    activation = torch.rand(2, 4, 4, 4) * present[..., None, None]
    found = online_labels(activation, activation, batch_of(present, ground), CONFIG)
    assert (found[0][ground[0] == TISSUE] == 2).all() and (found[0][ground[0] != TISSUE] == -1).all()
    assert (found[1] == -1).all(), "an image without classes has no label"
    with_background = replace(CONFIG, background="white")
    found = online_labels(activation, activation, batch_of(present, ground), with_background)
    assert (found[:, :9][ground[:, :9] == WHITE] == 4).all() and (found[ground == BEYOND] == -1).all()
    weak = online_labels(activation, activation, batch_of(present, ground), replace(CONFIG, background="white-or-weak"))
    assert (weak[0][ground[0] == TISSUE] == 2).all(), "in an image of one class nothing is weak"
    assert (weak[1][ground[1] == TISSUE] == 4).all()


def test_labels_follow_the_highest_map():
    activation = torch.zeros(1, 4, 4, 4)
    activation[0, 0, :, :2], activation[0, 3, :, 2:] = 1.0, 1.0
    present, ground = torch.tensor([[True, False, False, True]]), torch.zeros(1, 64, 64, dtype=torch.int8)
    plain = replace(CONFIG, rsm=False)
    found = online_labels(activation, activation, batch_of(present, ground), plain)[0]
    assert (found[:, :32] == 0).all() and (found[:, 32:] == 3).all()
    mean = replace(plain, unfused="mean")
    mixed = online_labels(activation, activation.flip(3) * 3, batch_of(present, ground), mean)[0]
    assert (mixed[:, :24] == 3).all() and (mixed[:, 40:] == 0).all(), "the mean follows the stronger map"


def test_segmentation_loss_is_a_mean_over_labeled_pixels():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 4), torch.full((2, 8, 8), -1)
    labels[0, 2:4, 1], labels[1, 0] = 1, 2
    large = torch.nn.functional.interpolate(logits, size=(8, 8), mode="bilinear").log_softmax(dim=1)
    wanted = -torch.cat([large[0, 1, 2:4, 1], large[1, 2, 0]]).mean()
    assert segmentation_loss(logits, labels).item() == pytest.approx(wanted.item(), rel=1e-5)
    assert segmentation_loss(logits, torch.full((2, 8, 8), -1)) == 0


def test_rates_and_factors():
    assert polynomial_rates(2.0, 5, schedule="fixed") == [2.0] * 5
    rates = polynomial_rates(1.0, 20, warm_up=100)
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0] and rates[4] == 1 and rates[12] == pytest.approx(0.5**0.9)
    config = replace(CONFIG, head_rate=10.0, optimizer="adamw")
    network = SIANet(4, VIT, projector=(8, 0.9))
    optimizer = optimizer_of(network, config)
    sizes = [sum(p.numel() for p in group["params"]) for group in optimizer.param_groups]
    learned = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert isinstance(optimizer, torch.optim.AdamW) and sum(sizes) == learned
    assert sizes[0] == sum(p.numel() for p in network.encoder.parameters())

    class Source(list):
        def __call__(self, epoch, generator):
            return self

    stepped = FactoredRates(Source("xyz"), optimizer, polynomial_rates(1.0, 6, schedule="polynomial"))
    seen = [[group["lr"] for group in optimizer.param_groups] for _ in stepped(2, None)]
    assert seen == [[rate, 10 * rate] for rate in stepped.rates[3:]]


def test_the_log_averages_what_there_was():
    log = TrainingLog(3)
    log.add(1, classification=torch.tensor(2.0))
    log.add(1, classification=4.0, pairs=torch.tensor(6))
    log.add(3, labeled=0.5)
    assert log.lines() == [{"epoch": 1, "classification": 3.0, "pairs": 6.0}, {"epoch": 3, "labeled": 0.5}]


class Constant(torch.nn.Module):
    """Says the same of every place: class 1, and of tokens and patches that they are alike."""

    def __init__(self):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor([-1.0, 2.0, 0.5, -3.0]))

    def forward(self, images):
        size = (len(images), 4, images.shape[2] // 16, images.shape[3] // 16)
        maps = self.logits.detach()[None, :, None, None].expand(size)
        patches = torch.ones(len(images), 5, *size[2:])
        return SIAOutput(patches, torch.ones(len(images), 4, 5), maps, maps, maps[..., 0, 0], None, None, maps)


@pytest.mark.parametrize("size", [(64, 64), (30, 7), (100, 150)])
def test_stitching_a_constant_gives_the_constant(size):
    seen = look(Constant(), np.full((*size, 3), 9, np.uint8), PLAIN, CONFIG)
    logits = np.array([-1.0, 2.0, 0.5, -3.0])
    wanted = np.exp(logits) / np.exp(logits).sum()
    for probability, values in zip(wanted, seen.segmentation):
        assert values.shape == size
        np.testing.assert_allclose(values, probability, rtol=1e-2)  # bfloat16 where the machine has it
    np.testing.assert_allclose(seen.presence, 1 / (1 + np.exp(-logits)), rtol=1e-2)
    activation, inhibition = class_maps(seen, np.array([True, True, True, False]), CONFIG)
    assert [values.unique().tolist() for values in activation[0]] == [[0], [1], [1], [0]]
    torch.testing.assert_close(inhibition[0, :3], torch.ones(3, *size))
    assert (semantic_map(seen, CONFIG) == 1).all()


def seen_of(activation, presence, segmentation):
    pixels = np.zeros((64, 64, 3), np.uint8)
    return Seen(pixels, [(0, 0)], activation, activation, np.array(presence, np.float32), segmentation)


def test_maps_are_scaled_over_all_tiles_together():
    activation = torch.zeros(2, 1, 4, 4)
    activation[0], activation[1] = 1.0, 4.0
    pixels = np.zeros((64, 96, 3), np.uint8)
    seen = Seen(pixels, [(0, 0), (0, 32)], activation, activation, np.ones(1, np.float32), None)
    found = class_maps(seen, np.array([True]), replace(CONFIG, classes=("one",)))[0][0, 0]
    assert (found[:, :32] == 0.25).all() and (found[:, 64:] == 1).all() and (found[:, 32:64] == 0.625).all()


def test_outputs():
    segmentation = np.zeros((4, 64, 64), np.float32)
    segmentation[0], segmentation[2] = 0.6, 0.4
    activation = torch.zeros(1, 4, 4, 4)
    activation[0, 1], activation[0, 3] = 1.0, 2.0
    activation[0, 3, :, :2] = -1.0
    seen = seen_of(activation, [0.05, 0.9, 0.3, 0.2], segmentation)
    assert (semantic_map(seen, CONFIG) == 0).all()
    gated = replace(CONFIG, gate=0.1)
    assert (semantic_map(seen, gated) == 2).all() and output_maps(seen, gated)[0][0].max() == 0
    maps = replace(CONFIG, output="activation")
    assert (semantic_map(seen, maps) == 1).all(), "class 3 is below the probability"
    both = semantic_map(seen, replace(maps, presence=0.1))
    assert (both == 1).all(), "of equal maps the first wins"
    activation[0, 1] = torch.tensor([2.0, 2.0, 1.0, 1.0])
    both = semantic_map(seen, replace(maps, presence=0.1))
    assert (both[:, :24] == 1).all() and (both[:, 40:] == 3).all()
    nothing = seen_of(activation, [0.1, 0.2, 0.0, 0.0], segmentation)
    assert (semantic_map(nothing, maps) == 1).all(), "the most probable class is always there"
    assert output_maps(nothing, replace(CONFIG, gate=0.5))[1].tolist() == [False, True, False, False]


def test_an_absent_class_never_wins():
    silent = replace(CONFIG, output="activation")
    seen = seen_of(torch.full((1, 4, 4, 4), -1.0), [0.0, 0.1, 0.9, 0.1], None)
    assert output_maps(seen, silent)[0].max() == 0 and (semantic_map(seen, silent) == 2).all()


class Bright(Constant):
    """Says class 1 the more, the brighter the patch is."""

    def forward(self, images):
        found = super().forward(images)
        maps = found.activation + torch.nn.functional.avg_pool2d(images.mean(dim=1, keepdim=True), 16)
        return found._replace(activation=maps)


def test_a_class_is_there_if_any_tile_shows_it():
    image = np.zeros((64, 128, 3), np.uint8)
    image[:, 96:] = 255
    presence = look(Bright(), image, PLAIN, CONFIG).presence
    np.testing.assert_allclose(presence, 1 / (1 + np.exp([0.0, -3.0, -1.5, 2.0])), rtol=2e-2)


def test_places_of_tiles_are_averaged():
    found = place(torch.tensor([[[[1.0, 1.0], [1.0, 1.0]]], [[[4.0, 4.0], [4.0, 4.0]]]]), [(0, 0), (0, 1)], (2, 3))
    np.testing.assert_array_equal(found[0], [[1, 2.5, 4], [1, 2.5, 4]])


def test_thresholds_of_the_text_are_allowed():
    literal = replace(CONFIG, maps=MapConfig(foreground=0.3, background=0.5))
    found = output(torch.rand(1, 4, 4, 4), torch.rand(1, 4, 4, 4))
    assert (certainty(found, torch.ones(1, 4, dtype=torch.bool), literal, 0.0).uncertain == -1).all()


@pytest.mark.parametrize("progress, names", [
    (0.05, {"classification", "auxiliary", "tokens"}),
    (0.15, {"classification", "auxiliary", "tokens", "contrast", "inhibition", "attraction"}),
    (0.2, {"classification", "auxiliary", "tokens", "contrast", "inhibition", "attraction", "segmentation"}),
])
def test_the_loss_is_the_weighted_sum_of_the_parts_that_have_begun(progress, names):
    config = replace(CONFIG, auxiliary_weight=0.7, token_weight=0.3)
    torch.manual_seed(0)
    network, log = SIANet(4, VIT, config.inhibition.graph, projector=(8, 0.9), decoder=(8, 4, 1)), TrainingLog(4)
    (batch, *_) = TaggedBatches(held(config)[1], config)(1, torch.Generator().manual_seed(0))
    total = sia_loss(PLAIN, config, log)(network, {**batch, "progress": progress})
    (line,) = log.lines()
    weights = {"classification": 1.0, "auxiliary": 0.7, "tokens": 0.3, "contrast": 0.5, "inhibition": 0.1,
               "attraction": 0.2, "segmentation": 0.5}
    assert {name for name in weights if name in line} == names
    assert total.item() == pytest.approx(sum(weights[name] * line[name] for name in names), rel=1e-5)
    total.backward()
    assert (network.decoder[0].weight.grad is not None) == ("segmentation" in names)
    assert (network.graph.head.weight.grad is not None) and network.encoder.tokens.grad.isfinite().all()
    scores = network(batch["image"]).activation.amax(dim=(2, 3)).double()
    tags = batch["tags"].double()
    each = tags * scores.sigmoid().log() + (1 - tags) * (1 - scores.sigmoid()).log()
    assert line["classification"] == pytest.approx(-each.mean().item(), rel=1e-4)


def test_crops_are_contrasted_by_what_they_show(monkeypatch):
    given = []
    monkeypatch.setattr(training, "token_contrast", lambda *arguments: given.append(arguments))
    torch.manual_seed(0)
    images, activation = torch.rand(2, 3, 64, 64), torch.rand(2, 4, 4, 4)
    found = output(activation, activation)._replace(projection=torch.rand(2, 4, 6))
    seen = []

    def network(cut, **options):
        assert options == {"crops": True}
        seen.append(cut)
        return torch.arange(len(cut) * 24.0).reshape(len(cut), 4, 6)

    batch = {"crops": torch.rand(2, 3, 2), "tags": torch.ones(2, 4, dtype=torch.bool)}
    kinds = regions(np.zeros((2, 4, 4)))
    training.contrast(network, images, found, activation, kinds, batch, CONFIG)
    whole, fine, shares, present, *_ = given[0]
    assert whole is found.projection and present is batch["tags"]
    torch.testing.assert_close(fine, torch.arange(144.0).reshape(2, 3, 4, 6))
    large = torch.nn.functional.interpolate(activation, size=(64, 64), mode="bilinear")
    corners = crop_corners(batch["crops"], (64, 64), CONFIG, kinds)
    for b, k in np.ndindex(2, 3):
        row, column = corners[b, k].tolist()
        part = (slice(None), slice(row, row + 32), slice(column, column + 32))
        torch.testing.assert_close(seen[0][3 * b + k], images[b][part])
        torch.testing.assert_close(shares[b, k], (large[b][part] > 0.3).float().mean(dim=(1, 2)))
