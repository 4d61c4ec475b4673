"""Dynamic CAM selection: maps of 2 x 3 pixels by hand, and random maps pixel by pixel."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nucseg.errors import DataError, UnknownNameError
from nucseg.supervision import disk_labels
from nucseg.supervision.dynamic_cam import agreement, binarize, select

INITIAL = torch.tensor([[1, 1, 0], [0, 0, -1]], dtype=torch.int8)
SEEDS = st.integers(0, 2**32 - 1)


def labels(*rows):
    return torch.tensor(rows, dtype=torch.int8)


def as_cam(label):
    """Return a map that binarizes to a label."""
    return torch.tensor([0.0, 1.0, 0.5])[label.long()]


def slow_agreement(candidate, initial, balanced, defined_in_both):
    """Walk over every pixel of numpy maps."""
    agree, count, present = {0: 0, 1: 0}, {0: 0, 1: 0}, set()
    for c, m in zip(candidate.ravel().tolist(), initial.ravel().tolist()):
        if m == -1:
            continue
        present.add(m)
        if c == -1 and defined_in_both:
            continue
        count[m] += 1
        agree[m] += c == m
    if balanced:
        recalls = [agree[m] / count[m] if count[m] else 0 for m in present]
        return sum(recalls) / len(recalls) if recalls else 0
    total = count[0] + count[1]
    return (agree[0] + agree[1]) / total if total else 0


def random_maps(seed, blocks=3):
    """Return maps and an initial label with few pixels, so that ties, empty classes and degenerate maps occur."""
    rng = np.random.default_rng(seed)
    cams = rng.choice([0.0, 0.1, 0.5, 0.9, 1.0], (2, blocks, 2, 3), p=rng.dirichlet(np.full(5, 0.5)))
    cams[rng.random((2, blocks)) < 0.3] = 0
    return cams.astype(np.float32), rng.choice([-1, 0, 1], (2, 2, 3), p=rng.dirichlet(np.ones(3))).astype(np.int8)


def test_binarize_has_the_edges_of_equation_three():
    cam = torch.tensor([0.0, 0.2, 0.2001, 0.5, 0.8, 0.8001, 1.0])
    binary = binarize(cam)
    assert binary.dtype == torch.int8 and binary.tolist() == [0, 0, -1, -1, -1, 1, 1]
    assert binarize(torch.tensor([0.25, 0.5, 0.75]), theta=0.5).tolist() == [0, 0, 1]
    assert binarize(torch.tensor(torch.nan)).item() == -1


def test_agreement_by_hand():
    candidate = labels([1, 0, 0], [-1, 1, 1])  # right, wrong, right; ignored, wrong, not asked
    assert agreement(candidate, INITIAL).item() == pytest.approx(2 / 5)
    assert agreement(candidate, INITIAL, defined_in_both=True).item() == pytest.approx(2 / 4)
    assert agreement(candidate, INITIAL, balanced=True).item() == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert agreement(candidate, INITIAL, balanced=True, defined_in_both=True).item() == pytest.approx(1 / 2)


def test_agreement_of_the_three_plain_candidates():
    initial = torch.tensor(disk_labels([(32, 32)], (64, 64), r=4, d=20))
    share = ((initial == 0).sum() / (initial >= 0).sum()).item()
    background = torch.zeros_like(initial)
    assert share > 0.9
    assert agreement(initial, initial).item() == agreement(initial, initial, balanced=True).item() == 1
    assert agreement(background, initial).item() == pytest.approx(share)  # the trap
    assert agreement(background, initial, balanced=True).item() == 0.5
    assert agreement(background - 1, initial).item() == 0


def test_agreement_where_a_class_is_missing():
    background, nothing = labels([0, -1, 0]), labels([-1, -1, -1])
    assert agreement(labels([0, 0, 1]), background, balanced=True).item() == 0.5
    for balanced in (False, True):
        for both in (False, True):
            assert agreement(background, nothing, balanced, both).item() == 0
    # Saying nothing about a class is no way around it.
    silent = agreement(labels([-1, 0, 0]), labels([1, 0, 0]), balanced=True, defined_in_both=True)
    assert silent.item() == 0.5


@given(SEEDS, st.booleans(), st.booleans())
def test_agreement_equals_brute_force(seed, balanced, both):
    rng = np.random.default_rng(seed)
    candidate = rng.integers(-1, 2, (4, 3, 2, 3)).astype(np.int8)
    initial = rng.integers(-1, 2, (4, 1, 2, 3)).astype(np.int8)
    ours = agreement(torch.tensor(candidate), torch.tensor(initial), balanced, both)
    expected = [[slow_agreement(c, m[0], balanced, both) for c in row] for row, m in zip(candidate, initial)]
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-6)


def test_select_by_hand():
    worse, better = labels([1, 0, 0], [-1, 1, 1]), labels([1, -1, 0], [0, -1, 1])
    chosen = select(torch.stack([as_cam(worse), as_cam(better)])[None], INITIAL[None])
    assert chosen.block.tolist() == [1]
    assert chosen.alpha.item() == pytest.approx(3 / 5)
    assert chosen.label.dtype == torch.int8 and torch.equal(chosen.label[0], better)
    assert chosen.foreground_recall.item() == pytest.approx(1 / 2)
    assert chosen.ignored.item() == pytest.approx(2 / 6)


def test_the_trap_and_the_two_ways_out():
    # Mostly background: a map with one spot off the dot beats the one that finds the dot and a little more.
    initial = torch.zeros(1, 4, 5, dtype=torch.int8)
    initial[0, 0, 0] = 1
    nearly_empty, informative = torch.zeros(4, 5), torch.zeros(4, 5)
    nearly_empty[3, 4] = 1
    informative[:2, :2] = 1
    cams = torch.stack([nearly_empty, informative])[None]
    assert select(cams, initial).block.item() == 0
    assert select(cams, initial).foreground_recall.item() == 0
    assert select(cams, initial, balanced=True).block.item() == 1
    assert select(cams, initial, least_recall=0.1).block.item() == 1
    assert select(cams[:, :1], initial).block.item() == 0


def test_maps_of_zeros_are_never_chosen():
    wrong_everywhere = labels([0, 0, 1], [1, 1, 1])
    chosen = select(torch.stack([torch.zeros(2, 3), as_cam(wrong_everywhere)])[None], INITIAL[None])
    assert chosen.block.item() == 1 and chosen.alpha.item() == 0


@pytest.mark.parametrize("least_recall, block", [(0.0, 0), (0.5, 0), (0.6, 1), (1.0, 1)])
def test_least_recall_is_inclusive(least_recall, block):
    half, all_nuclei = labels([1, 0, 0], [0, 0, 0]), labels([1, 1, 1], [1, 1, 1])
    cams = torch.stack([as_cam(half), as_cam(all_nuclei)])[None]
    assert select(cams, INITIAL[None], least_recall=least_recall).block.item() == block


def test_no_candidate_gives_a_label_that_ignores_all():
    chosen = select(torch.zeros(2, 4, 2, 3), torch.stack([INITIAL, 0 * INITIAL]))
    assert chosen.block.tolist() == [-1, -1] and chosen.alpha.tolist() == [0, 0]
    assert (chosen.label == -1).all() and chosen.label.shape == (2, 2, 3)
    assert chosen.ignored.tolist() == [1, 1]
    assert chosen.foreground_recall[0] == 0 and chosen.foreground_recall[1].isnan()


def test_an_image_without_dots_has_candidates():
    cam = as_cam(labels([1, 0, 0], [0, 0, 0]))[None, None]
    chosen = select(cam, torch.zeros(1, 2, 3, dtype=torch.int8), least_recall=0.1)
    assert chosen.block.item() == 0 and chosen.alpha.item() == pytest.approx(5 / 6)
    assert chosen.foreground_recall.isnan().all()


def test_of_equal_blocks_the_first_is_taken():
    one, other = labels([1, 0, 0], [0, 0, 0]), labels([0, 1, 0], [0, 0, 0])
    for first, second in ((one, other), (other, one)):
        cams = torch.stack([torch.zeros(2, 3), as_cam(first), as_cam(second), as_cam(first)])[None]
        chosen = select(cams, INITIAL[None])
        assert chosen.block.item() == 1 and torch.equal(chosen.label[0], first)


@given(SEEDS, st.booleans(), st.booleans(), st.sampled_from([0.0, 0.1, 0.5]))
def test_select_equals_brute_force(seed, balanced, both, least_recall):
    cams, initial = random_maps(seed)
    chosen = select(torch.tensor(cams), torch.tensor(initial), 0.8, balanced, both, least_recall)
    for k in range(len(cams)):
        nuclei, best, alpha, label = initial[k] == 1, -1, -1.0, np.full((2, 3), -1)
        for index, cam in enumerate(cams[k]):
            candidate = np.where(cam > 0.8, 1, np.where(cam < 0.3, 0, -1))
            recall = (candidate[nuclei] == 1).mean() if nuclei.any() else math.inf
            similarity = slow_agreement(candidate, initial[k], balanced, both)
            if cam.any() and recall >= least_recall and similarity > alpha + 1e-9:
                best, alpha, label = index, similarity, candidate
        assert chosen.block[k].item() == best
        assert chosen.alpha[k].item() == pytest.approx(max(alpha, 0), abs=1e-6)
        np.testing.assert_array_equal(chosen.label[k].numpy(), label)
        assert chosen.ignored[k].item() == pytest.approx((label == -1).mean())
        if nuclei.any():
            assert chosen.foreground_recall[k].item() == pytest.approx((label[nuclei] == 1).mean())


def test_one_block_for_a_batch_has_the_largest_mean():
    right, wrong = as_cam(labels([1, 0, 0], [0, 0, 0])), as_cam(labels([0, 1, 1], [1, 1, 1]))  # alphas 4/5 and 1/5
    middle = as_cam(labels([1, 0, 0], [0, 1, 1]))  # 3/5
    cams = torch.stack([torch.stack([right, middle]), torch.stack([wrong, middle])])
    initial = torch.stack([INITIAL, INITIAL])
    alone, together = select(cams, initial), select(cams, initial, scope="batch")
    assert alone.block.tolist() == [0, 1] and together.block.tolist() == [1, 1]
    assert together.alpha.tolist() == select(cams[:, 1:], initial).alpha.tolist()
    cams[1, 1] = 0  # no candidate in the second image, but still the best of the first and of the batch
    cams[0, 0] = wrong
    chosen = select(cams, initial, scope="batch")
    assert chosen.block.tolist() == [1, -1] and chosen.alpha[1] == 0 and (chosen.label[1] == -1).all()


def test_nothing_carries_a_gradient():
    cams = torch.rand(1, 2, 2, 3, requires_grad=True)
    chosen = select(cams, INITIAL[None])
    assert not any(getattr(chosen, name).requires_grad for name in vars(chosen))


def test_bad_input_is_named():
    cams = torch.rand(1, 2, 2, 3)
    with pytest.raises(DataError, match=r"\(1, 2, 2, 3\) and \(2, 3\)"):
        select(cams, INITIAL)
    with pytest.raises(DataError, match="at least one block"):
        select(cams[:, :0], INITIAL[None])
    with pytest.raises(DataError, match="least_recall <= 1, got 10"):
        select(cams, INITIAL[None], least_recall=10)
    with pytest.raises(DataError, match=r"initial must hold signed integers, got torch\.uint8"):
        select(cams, INITIAL[None].to(torch.uint8))
    with pytest.raises(UnknownNameError, match="'epoch'; known: image, batch"):
        select(cams, INITIAL[None], scope="epoch")
    for theta in (0.4, 1.0, math.nan):
        with pytest.raises(DataError, match=f"theta < 1, got {theta}"):
            select(cams, INITIAL[None], theta)
    with pytest.raises(DataError, match=r"expected floats, got torch\.int8"):
        binarize(INITIAL)
    with pytest.raises(DataError, match=r"\(2, 3\) and \(2, 2\)"):
        agreement(INITIAL, INITIAL[:, :2])
    with pytest.raises(DataError, match=r"candidate \(2, 2, 3\) and initial \(3, 2, 3\) do not belong together"):
        agreement(INITIAL.expand(2, 2, 3), INITIAL.expand(3, 2, 3))
