"""Targets of dense boxes against a loop over locations and boxes; losses with known values."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nucseg.errors import DataError
from nucseg.losses import FCOSLossConfig, fcos_loss, fcos_targets
from nucseg.models import DenseBoxes, decode_boxes, level_locations
from nucseg.supervision import pseudo_boxes

#: Levels of an image of 64 px.
SHAPES = ((16, 16), (8, 8), (4, 4), (2, 2))
COUNTS = [rows * columns for rows, columns in SHAPES]


def by_hand(boxes, shapes, limits=(8, 16, 32), radius=1.5):
    """The rules of FCOS word by word: box, distances and centerness of every location."""
    bounds = [0, *limits, math.inf]
    answers = []
    for number, (stride, (rows, columns)) in enumerate(zip((4, 8, 16, 32), shapes)):
        for row in range(rows):
            for column in range(columns):
                y, x = stride * row + (stride - 1) / 2, stride * column + (stride - 1) / 2
                best, chosen = math.inf, (-1, (0, 0, 0, 0), 0)
                for own, (top, left, bottom, right) in enumerate(boxes):
                    up, back, down, on = y - top, x - left, bottom - y, right - x
                    largest = max(up, back, down, on)
                    if min(up, back, down, on) <= 0 or not bounds[number] < largest <= bounds[number + 1]:
                        continue
                    away = max(abs(y - (top + bottom) / 2), abs(x - (left + right) / 2))
                    if radius is not None and away >= radius * stride:
                        continue
                    area = (bottom - top) * (right - left)
                    if area < best:
                        centerness = math.sqrt(min(up, down) / max(up, down) * min(back, on) / max(back, on))
                        best, chosen = area, (own, (up, back, down, on), centerness)
                answers.append(chosen)
    return [list(part) for part in zip(*answers)]


@st.composite
def box_lists(draw):
    edges = st.integers(-40, 300).map(lambda quarter: quarter / 4)
    spans = st.tuples(edges, edges, edges, edges).map(lambda e: [*np.minimum(e[:2], e[2:]), *np.maximum(e[:2], e[2:])])
    return draw(st.lists(spans, max_size=8))


@settings(max_examples=100, deadline=None)
@given(box_lists(), st.sampled_from([1.5, 0.5, None]), st.sampled_from([(8, 16, 32), (32, 64, 128)]))
def test_targets_follow_the_rules(boxes, radius, limits):
    found = fcos_targets(torch.tensor(boxes).reshape(-1, 4), SHAPES, FCOSLossConfig(limits, radius))
    matched, distances, centerness = by_hand(boxes, SHAPES, limits, radius)
    assert found.matched.tolist() == matched and found.matched.dtype == torch.int64
    torch.testing.assert_close(found.distances, torch.tensor(distances, dtype=torch.float32))
    torch.testing.assert_close(found.centerness, torch.tensor(centerness, dtype=torch.float32))


def test_targets_of_pseudo_boxes():
    points = np.random.default_rng(0).uniform(0, 63, (30, 2))
    boxes = pseudo_boxes(points, (64, 64))
    found = fcos_targets(torch.tensor(boxes), SHAPES)
    matched, distances, _ = by_hand(boxes.astype(np.float32).astype(float), SHAPES)
    assert found.matched.tolist() == matched and max(matched) > 0
    np.testing.assert_allclose(found.distances, distances, atol=1e-4)


@pytest.mark.parametrize("side, level", [(10, 0), (24, 1), (56, 2)])
def test_the_size_of_a_box_chooses_its_level(side, level):
    stride = (4, 8, 16)[level]
    middle = 4 * stride + (stride - 1) / 2 if level < 2 else stride + (stride - 1) / 2  # of a cell of that level
    half = side / 2
    found = fcos_targets(torch.tensor([[middle - half, middle - half, middle + half, middle + half]]), SHAPES)
    parts = found.matched.split(COUNTS)
    first = next(number for number, part in enumerate(parts) if (part == 0).any())
    assert first == level
    assert found.centerness.max() == 1 and found.centerness.split(COUNTS)[level].max() == 1


def test_with_the_limits_of_torchvision_a_nucleus_is_learned_on_the_finest_level():
    """24 px, with distances of up to 32 px at stride 4: the 3 x 3 locations within 6 px of its center."""
    middle = 4 * 7 + 1.5
    box = torch.tensor([[middle - 12, middle - 12, middle + 12, middle + 12]])
    found = fcos_targets(box, SHAPES, FCOSLossConfig(limits=(32, 64, 128)))
    expected = torch.full((16, 16), -1)
    expected[6:9, 6:9] = 0
    assert torch.equal(found.matched[:256].reshape(16, 16), expected) and (found.matched[256:] == -1).all()
    assert found.centerness[7 * 16 + 7] == 1


@settings(max_examples=50, deadline=None)
@given(box_lists())
def test_with_the_default_limits_the_radius_binds_on_the_last_level_only(boxes):
    boxes = torch.tensor(boxes).reshape(-1, 4)
    near, anywhere = (fcos_targets(boxes, SHAPES, FCOSLossConfig(radius=radius)).matched for radius in (1.5, None))
    assert torch.equal(near[: -COUNTS[-1]], anywhere[: -COUNTS[-1]])


def test_the_smaller_of_two_boxes_wins_where_both_claim():
    config = FCOSLossConfig(limits=(32, 64, 128))
    boxes = torch.tensor([[10.0, 10.0, 34.0, 34.0], [12.0, 12.0, 33.0, 33.0]])
    alone = [fcos_targets(box[None], SHAPES, config).matched >= 0 for box in boxes]
    assert (alone[0] & alone[1]).any()
    both = fcos_targets(boxes, SHAPES, config).matched
    assert (both[alone[1]] == 1).all() and (both[alone[0] & ~alone[1]] == 0).all()
    assert torch.equal(both >= 0, alone[0] | alone[1])
    flipped = fcos_targets(boxes.flip(0), SHAPES, config).matched
    assert torch.equal(flipped, torch.where(both >= 0, 1 - both, both))


def perfect(boxes, sure=20.0):
    """What a network says that has learned its targets by heart."""
    targets = [fcos_targets(own, SHAPES) for own in boxes]
    positive = torch.stack([each.matched for each in targets]) >= 0
    distances = torch.stack([each.distances for each in targets]).clone()
    distances[~positive] = 1.0
    logits = torch.where(positive, sure, -sure)
    centerness = torch.logit(torch.stack([each.centerness for each in targets]), eps=1e-6)
    return DenseBoxes(logits, distances, centerness, SHAPES)


#: Boxes far enough apart for each to get locations, of two images.
TRUTH = [
    torch.tensor([[1.0, 2.0, 11.0, 13.0], [20.0, 20.0, 43.0, 45.0], [2.0, 40.0, 15.0, 55.0], [48.0, 3.0, 62.0, 17.0]]),
    torch.tensor([[5.0, 5.0, 60.0, 58.0]]),
]


def test_encoding_and_decoding_give_the_boxes_back():
    for own, found in zip(TRUTH, decode_boxes(perfect(TRUTH))):
        order = torch.cdist(own, found.boxes).argmin(dim=1)
        assert sorted(order.tolist()) == list(range(len(own))) and len(found.boxes) == len(own)
        torch.testing.assert_close(found.boxes[order], own)


def test_perfect_predictions_have_no_loss_but_the_entropy_of_centerness():
    losses = fcos_loss(perfect(TRUTH), TRUTH)
    share = torch.cat([each.centerness[each.matched >= 0] for each in (fcos_targets(own, SHAPES) for own in TRUTH)])
    entropy = -(torch.xlogy(share, share) + torch.xlogy(1 - share, 1 - share)).mean()
    assert losses.classification < 1e-6 and losses.box < 1e-5
    torch.testing.assert_close(losses.centerness, entropy, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(losses.total, losses.classification + losses.box + losses.centerness)


def test_losses_by_hand():
    """One box, one positive location: half-sure logits everywhere, and a box that is twice as wide."""
    middle = 4 * 8 + 1.5
    box = torch.tensor([[middle - 2, middle - 2, middle + 2, middle + 2]])
    config = FCOSLossConfig(radius=0.5)
    targets = fcos_targets(box, SHAPES, config)
    assert (targets.matched >= 0).sum() == 1
    total = sum(COUNTS)
    distances = torch.tensor([2.0, 4.0, 2.0, 4.0]).expand(1, total, 4)
    found = DenseBoxes(torch.zeros(1, total), distances, torch.zeros(1, total), SHAPES)
    losses = fcos_loss(found, [box], config)
    focal = math.log(2) * 0.25 * (0.25 + 0.75 * (total - 1))  # -log 0.5 times 0.5^2, and alpha or 1 - alpha
    assert losses.classification.item() == pytest.approx(focal, rel=1e-5)
    assert losses.box.item() == pytest.approx(1 - 16 / 32, rel=1e-5)  # the enclosing box is the wide one itself
    assert losses.centerness.item() == pytest.approx(math.log(2), rel=1e-5)


def test_all_terms_are_shared_among_the_positive_locations_of_the_batch():
    generator = torch.Generator().manual_seed(0)
    total = sum(COUNTS)
    found = DenseBoxes(
        torch.randn(2, total, generator=generator), torch.rand(2, total, 4, generator=generator) * 20,
        torch.randn(2, total, generator=generator), SHAPES,
    )
    both = fcos_loss(found, TRUTH)
    sums, counts = torch.zeros(3), 0
    for number, own in enumerate(TRUTH):
        one = DenseBoxes(*(part[number : number + 1] for part in found[:3]), SHAPES)
        count = int((fcos_targets(own, SHAPES).matched >= 0).sum())
        sums, counts = sums + torch.stack(list(fcos_loss(one, [own]))) * count, counts + count
    torch.testing.assert_close(torch.stack(list(both)), sums / counts)


@pytest.mark.parametrize("boxes", [[torch.zeros(0, 4)] * 2, [torch.zeros(0, 4), TRUTH[1]]])
def test_images_without_boxes_have_a_finite_loss_and_gradient(boxes):
    total = sum(COUNTS)
    parts = [torch.zeros(2, total), torch.ones(2, total, 4), torch.zeros(2, total)]
    for part in parts:
        part.requires_grad_()
    losses = fcos_loss(DenseBoxes(*parts, SHAPES), boxes)
    losses.total.backward()
    assert torch.isfinite(losses.total) and losses.classification > 0
    assert all(torch.isfinite(part.grad).all() for part in parts)
    if not len(boxes[1]):
        assert losses.box == 0 and losses.centerness == 0


def test_descent_finds_the_boxes():
    """Free logits and distances, trained by the loss alone, decode to the truth."""
    total = sum(COUNTS)
    spacing = level_locations(SHAPES)[1]
    logits, raw, middle = (torch.zeros(1, total, *more, requires_grad=True) for more in ((), (4,), ()))
    steps = torch.optim.Adam([logits, raw, middle], lr=0.1)
    for _ in range(200):
        found = DenseBoxes(logits, spacing[:, None] * raw.exp(), middle, SHAPES)
        steps.zero_grad()
        fcos_loss(found, TRUTH[:1]).total.backward()
        steps.step()
    (found,) = decode_boxes(found)
    order = torch.cdist(TRUTH[0], found.boxes).argmin(dim=1)
    assert len(found.boxes) == len(TRUTH[0])
    torch.testing.assert_close(found.boxes[order], TRUTH[0], atol=1, rtol=0)


def test_bad_input_is_named():
    found = perfect(TRUTH)
    with pytest.raises(DataError, match="2 images and boxes of 1"):
        fcos_loss(found, TRUTH[:1])
    with pytest.raises(DataError, match="dense boxes"):
        fcos_loss(found._replace(distances=found.distances[..., :3]), TRUTH)
    for bad, message in (
        (torch.zeros(3), r"shape \(N, 4\), got \(3,\)"), (torch.zeros(2, 5), r"\(2, 5\)"),
        (torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 4.0, 1.0, 3.0]]), "number 1 is"),
        (torch.tensor([[0.0, 0.0, 1.0, math.nan]]), "number 0 is"),
    ):
        with pytest.raises(DataError, match=message):
            fcos_targets(bad, SHAPES)
    for limits in ((8, 16), (8, 8, 16), (16, 8, 32)):
        with pytest.raises(DataError, match="expected 3 rising ones for 4 levels"):
            fcos_targets(TRUTH[0], SHAPES, FCOSLossConfig(limits))
    with pytest.raises(DataError, match="expected 4 levels"):
        fcos_targets(TRUTH[0], SHAPES[:3], FCOSLossConfig((8, 16)))
