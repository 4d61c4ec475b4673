"""The contrastive loss against equation 7 as it is printed, with its double loop, and against its derivatives."""

import math

import pytest
import torch
from torch.nn import functional as F

from nucseg.errors import DataError
from nucseg.losses import cam_guided_contrast, contrastive_loss


def cosine(a, b):
    return (a * b).sum() / (a.square().sum().sqrt() * b.square().sum().sqrt())


def equation_seven(anchor, similar, dissimilar, temperature, mean=False):
    """Walk over every pair."""
    total = 0
    for u in similar:
        own = cosine(anchor, u) / temperature
        others = sum((cosine(anchor, v) / temperature).exp() for v in dissimilar)
        others = others / len(dissimilar) if mean else others
        total = total - (own - torch.log(own.exp() + others))
    return total / len(similar)


def equation_six(features, initial, dynamic, weight, temperature, detach=True):
    """Walk over images and over every pair; a term that lacks a set is left out."""
    total = 0
    for z, m, p, alpha in zip(features, initial, dynamic, weight):
        pixels = z.flatten(1).T
        for own in (1, 0):
            members = pixels[m.flatten() == own]
            similar, dissimilar = pixels[p.flatten() == own], pixels[p.flatten() == 1 - own]
            if len(members) and len(similar) and len(dissimilar):
                anchor = members.mean(dim=0)
                anchor = anchor.detach() if detach else anchor
                total = total + alpha * equation_seven(anchor, similar, dissimilar, temperature)
    return total / len(features)


def vectors(count, depth=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, depth, generator=generator, dtype=torch.float64).requires_grad_()


def batch(seed=0, shape=(3, 5, 4, 6), labels=(-1, 2)):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    maps = torch.randint(*labels, (2, shape[0], *shape[2:]), generator=generator, dtype=torch.int8)
    return features, *maps, torch.rand(shape[0], generator=generator)


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.1, 3.0])
def test_equals_the_double_loop_with_all_gradients(temperature, mean):
    parts = vectors(1)[0], vectors(5, seed=1), vectors(7, seed=2)
    fast, slow = contrastive_loss(*parts, temperature, mean), equation_seven(*parts, temperature, mean)
    torch.testing.assert_close(fast, slow, rtol=1e-12, atol=0)
    for ours, theirs in zip(torch.autograd.grad(fast, parts), torch.autograd.grad(slow, parts)):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)


def test_gradients_pass_finite_differences():
    anchor, similar, dissimilar = vectors(1)[0].detach().requires_grad_(), vectors(3, seed=1), vectors(4, seed=2)
    assert torch.autograd.gradcheck(lambda *parts: contrastive_loss(*parts, 0.5), (anchor, similar, dissimilar))


def test_derivatives_by_the_cosines():
    # Features on the unit circle beside the anchor (1, 0): the derivative by the angle t is that by the cosine times
    # -sin t, so the derivatives by the scores s = cos t can be read off.
    angles = torch.tensor([0.3, 1.0, 2.0, 0.7, 1.5], dtype=torch.float64, requires_grad=True)
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)
    contrastive_loss(torch.tensor([1.0, 0.0], dtype=torch.float64), circle[:2], circle[2:]).backward()
    scores = angles.detach().cos()
    by_score = angles.grad / -angles.detach().sin()
    energy = torch.log(scores[2:].exp().sum())
    pushes = torch.sigmoid(energy - scores[:2])
    torch.testing.assert_close(by_score[:2], -pushes / 2)
    torch.testing.assert_close(by_score[2:], torch.softmax(scores[2:], 0) * pushes.mean())


def test_many_dissimilar_features_start_near_their_logarithm():
    loss = contrastive_loss(torch.ones(2), torch.eye(2), torch.tensor([[1.0, -1.0]]).expand(30_000, 2))
    assert loss.item() == pytest.approx(math.log(30_000) - math.sqrt(0.5), abs=1e-4)


def test_only_directions_count():
    anchor, similar, dissimilar = vectors(1)[0], vectors(5, seed=1), vectors(7, seed=2)
    scaled = contrastive_loss(1e3 * anchor, 1e-3 * similar, dissimilar * torch.arange(1, 8)[:, None])
    torch.testing.assert_close(scaled, contrastive_loss(anchor, similar, dissimilar))
    features, initial, dynamic, weight = batch()
    plain = cam_guided_contrast(features, initial, dynamic, weight)
    torch.testing.assert_close(cam_guided_contrast(100 * features, initial, dynamic, weight), plain)


@pytest.mark.parametrize("counts", [(0, 4), (4, 0), (0, 0)])
def test_an_empty_set_gives_zero_with_zero_gradient(counts):
    parts = vectors(1)[0].detach().requires_grad_(), vectors(counts[0], seed=1), vectors(counts[1], seed=2)
    loss = contrastive_loss(*parts)
    loss.backward()
    assert loss.item() == 0
    assert all(part.grad is not None and (part.grad == 0).all() for part in parts)


def test_zero_vectors_have_cosine_zero():
    zero = torch.zeros(1, 2, requires_grad=True)
    loss = contrastive_loss(torch.tensor([1.0, 0.0]), zero, torch.tensor([[0.0, 1.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2)) and zero.grad.isfinite().all()
    assert contrastive_loss(zero[0], torch.eye(2), torch.eye(2)).isfinite()


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_batch_equals_the_loops_with_its_gradient(detach, temperature):
    features, initial, dynamic, weight = batch()
    fast = cam_guided_contrast(features, initial, dynamic, weight, temperature, detach_anchors=detach)
    slow = equation_six(features, initial, dynamic, weight, temperature, detach)
    torch.testing.assert_close(fast, slow)
    ours, theirs = torch.autograd.grad(fast, features)[0], torch.autograd.grad(slow, features)[0]
    torch.testing.assert_close(ours, theirs)


def test_detached_anchors_get_no_gradient():
    features, initial, dynamic, weight = batch()
    dynamic = torch.where(initial == -1, dynamic, -1)  # no pixel is in both labels
    for detach, expected in ((True, False), (False, True)):
        loss = cam_guided_contrast(features, initial, dynamic, weight, detach_anchors=detach)
        (gradient,) = torch.autograd.grad(loss, features)
        assert (gradient.movedim(1, -1)[initial != -1] != 0).any() == expected


def test_terms_without_a_set_are_left_out():
    features, initial, dynamic, weight = batch(shape=(6, 3, 3, 4))
    initial[0][initial[0] == 1] = -1  # no anchor of nuclei: one term is left
    initial[1] = -1  # no anchors
    dynamic[2] = 0  # nothing dissimilar for background, nothing similar for nuclei
    dynamic[3] = -1
    weight[4] = 0
    loss = cam_guided_contrast(features, initial, dynamic, weight)
    torch.testing.assert_close(loss, equation_six(features, initial, dynamic, weight, 1.0))
    loss.backward()
    assert features.grad.isfinite().all()
    assert [bool((gradient != 0).any()) for gradient in features.grad] == [True, False, False, False, False, True]


def test_nothing_to_contrast_gives_zero_with_zero_gradient():
    features, initial, dynamic, weight = batch()
    loss = cam_guided_contrast(features, initial, torch.zeros_like(dynamic), weight)
    loss.backward()
    assert loss.item() == 0 and (features.grad == 0).all()


def test_an_image_does_not_see_the_others():
    parts = batch()
    single = [cam_guided_contrast(*(part[k : k + 1] for part in parts)) for k in range(3)]
    torch.testing.assert_close(cam_guided_contrast(*parts), torch.stack(single).mean())


def test_training_with_it_turns_features_to_their_anchors():
    features, initial, _, weight = batch(shape=(2, 4, 5, 5), labels=(0, 2))
    features = features.detach().requires_grad_()
    optimizer = torch.optim.SGD([features], lr=20)
    before = cam_guided_contrast(features, initial, initial, weight).item()
    for _ in range(100):
        optimizer.zero_grad()
        loss = cam_guided_contrast(features, initial, initial, weight)
        loss.backward()
        optimizer.step()
    assert loss.item() < before
    nuclei, background = ((features * (initial == k)[:, None]).sum((2, 3)) for k in (1, 0))
    assert (F.cosine_similarity(nuclei, background) < -0.5).all()


def test_half_precision_counts_in_float32_and_autocast_changes_nothing():
    features, initial, dynamic, weight = batch()
    half = features.detach().bfloat16()
    expected = cam_guided_contrast(half.float(), initial, dynamic, weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = cam_guided_contrast(half, initial, dynamic, weight)
        pair = contrastive_loss(half[0, :, 0, 0], half[0, :, 1].T, half[0, :, 2].T)
    assert ours.dtype == pair.dtype == torch.float32
    torch.testing.assert_close(ours, expected, rtol=0, atol=0)


def test_the_weight_gets_no_gradient():
    features, initial, dynamic, weight = batch()
    weight.requires_grad_()
    cam_guided_contrast(features, initial, dynamic, weight).backward()
    assert weight.grad is None


def test_bad_input_is_named():
    three, four = torch.ones(3), torch.ones(2, 4)
    with pytest.raises(DataError, match=r"\(3,\), \(2, 4\)"):
        contrastive_loss(three, four, four)
    with pytest.raises(DataError, match="temperature above 0, got 0"):
        contrastive_loss(three, torch.ones(2, 3), torch.ones(2, 3), temperature=0)
    features, initial, dynamic, weight = batch()
    with pytest.raises(DataError, match=r"\(3, 5, 4, 6\), \(3, 4, 6\), \(3, 4, 5\)"):
        cam_guided_contrast(features, initial, dynamic[..., :5], weight)
    with pytest.raises(DataError, match=r"weight \(B,\), got .* \(2,\)"):
        cam_guided_contrast(features, initial, dynamic, weight[:2])
    with pytest.raises(DataError, match=r"torch\.uint8"):
        cam_guided_contrast(features, initial.to(torch.uint8), dynamic, weight)
    with pytest.raises(DataError, match="got -1"):
        cam_guided_contrast(features, initial, dynamic, weight, temperature=-1)
