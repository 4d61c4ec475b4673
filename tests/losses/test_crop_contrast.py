"""The contrast of crops with whole images, against loops over pairs and negatives."""

import numpy as np
import pytest
import torch

from nucseg.errors import DataError, UnknownNameError
from nucseg.losses import token_contrast

PRESENT = torch.tensor([[True, False, True], [False, True, True], [True, True, False], [False, False, False]])
TAU, EPSILON = 0.5, 1e-4


def given(seed=0, crops=3):
    draws = torch.Generator().manual_seed(seed)
    whole, fine = torch.randn(4, 3, 6, generator=draws), torch.randn(4, crops, 3, 6, generator=draws)
    return whole, fine, torch.rand(4, crops, 3, generator=draws) ** 3


def unit(values):
    return values / np.linalg.norm(values)


def by_hand(whole, fine, shares, present):
    """One term for each present class of an image and each of its crops that shows it."""
    terms = []
    for b, c in np.argwhere(present.numpy()):
        anchor = unit(whole[b, c].numpy())

        def score(d, k, f, anchor=anchor):
            return np.exp(anchor @ unit(fine[d, k, f].numpy()) / TAU)

        for k in range(fine.shape[1]):
            if shares[b, k, c] < 0.2:
                continue
            strange = sum(score(d, j, c) for d in range(4) if not present[d, c] for j in range(fine.shape[1]))
            hidden = sum(score(b, j, c) for j in range(fine.shape[1]) if shares[b, j, c] < 0.05)
            others = sum(score(b, k, f) for f in range(3) if f != c)
            terms.append(-np.log(score(b, k, c) / (score(b, k, c) + strange + hidden + others + EPSILON)))
    return np.mean(terms), len(terms)


@pytest.mark.parametrize("seed", range(3))
def test_info_nce_by_hand(seed):
    whole, fine, shares = given(seed)
    found = token_contrast(whole, fine, shares, PRESENT)
    wanted, count = by_hand(whole, fine, shares, PRESENT)
    assert found.loss.item() == pytest.approx(wanted, rel=1e-5) and found.pairs == count


def test_single_token_by_hand():
    whole, fine, shares = given()
    means = [None if not PRESENT[b].any() else unit(whole[b, PRESENT[b]].mean(dim=0).numpy()) for b in range(4)]
    crops = {(b, k): unit(fine[b, k, PRESENT[b]].mean(dim=0).numpy()) for b in range(3) for k in range(3)}
    present, terms = torch.tensor(PRESENT.numpy()), []
    present[2] = torch.tensor([False, True, False])  # no class in common with the first
    means[2] = unit(whole[2, 1].numpy())
    crops |= {(2, k): unit(fine[2, k, 1].numpy()) for k in range(3)}
    shares[0, 0] = 0.01
    for b in range(3):
        scores = {key: np.exp(means[b] @ crop / TAU) for key, crop in crops.items()}
        strange = sum(s for (d, _), s in scores.items() if d != b and not (present[b] & present[d]).any())
        hidden = sum(s for (d, k), s in scores.items() if d == b and shares[b, k].max() < 0.05)
        terms += [-np.log(scores[b, k] / (scores[b, k] + strange + hidden + EPSILON))
                  for k in range(3) if shares[b, k].max() >= 0.2]
    found = token_contrast(whole, fine, shares, present, "single-token")
    assert found.pairs == len(terms) and found.loss.item() == pytest.approx(np.mean(terms), rel=1e-5)


def test_other_forms_by_hand():
    whole, fine, shares = given()
    cosines = np.array([unit(whole[b, c].numpy()) @ unit(fine[b, k, c].numpy()) for b, c in np.argwhere(PRESENT.numpy())
                        for k in range(3) if shares[b, k, c] >= 0.2])
    literal = np.log(np.exp(cosines / TAU) / (np.exp(cosines / TAU) + EPSILON)).mean()
    for kind, wanted in (("cosine", 1 - cosines.mean()), ("literal", literal), ("literal-negated", -literal)):
        assert token_contrast(whole, fine, shares, PRESENT, kind).loss.item() == pytest.approx(wanted, rel=2e-3)


def gradients(kind, whole, fine, shares, present):
    fine = fine.clone().requires_grad_()
    token_contrast(whole, fine, shares, present, kind).loss.backward()
    return fine.grad


def test_the_printed_equation_trains_nothing():
    """Its gradient, even with the sign of a loss, is below one percent of that of InfoNCE with 32 negatives."""
    draws = torch.Generator().manual_seed(0)
    whole, fine = torch.randn(2, 1, 256, generator=draws), torch.randn(2, 32, 1, 256, generator=draws)
    present, shares = torch.tensor([[True], [False]]), torch.ones(2, 32, 1)
    literal, contrast = (gradients(kind, whole, fine, shares, present)[0].norm()
                         for kind in ("literal-negated", "info-nce"))
    assert 0 < literal < 0.01 * contrast


def test_the_printed_sign_pushes_views_apart():
    whole, fine, shares = given()
    shares = torch.ones_like(shares)
    before = torch.nn.functional.cosine_similarity(whole[:, None], fine, dim=3)[:, :, 0]
    for kind, direction in (("literal", -1), ("literal-negated", 1), ("cosine", 1)):
        slope = gradients(kind, whole, fine, shares, PRESENT)
        moved = fine - 0.5 * slope / slope.norm()
        after = torch.nn.functional.cosine_similarity(whole[:, None], moved, dim=3)[:, :, 0]
        assert (direction * (after - before)[PRESENT[:, 0]] > 0).all()


@pytest.mark.parametrize("kind", ["info-nce", "single-token", "cosine", "literal", "literal-negated"])
def test_gradients_are_finite_where_there_is_no_pair_or_no_negative(kind):
    for present, shares in ((PRESENT, 0.1), (torch.ones(4, 3, dtype=torch.bool), 1.0), (torch.zeros(4, 3) > 0, 1.0)):
        whole, fine, like = given()
        fine.requires_grad_(), whole.requires_grad_()
        found = token_contrast(whole, fine, torch.full_like(like, shares), present, kind)
        found.loss.backward()
        assert found.loss.isfinite() and fine.grad.isfinite().all() and whole.grad.isfinite().all()
        if not found.pairs:
            assert found.loss == 0 and not fine.grad.any()
    one = torch.ones(2, 1, dtype=torch.bool)  # a single class has no other tokens
    fine = torch.randn(2, 3, 1, 6, requires_grad=True)
    token_contrast(torch.randn(2, 1, 6), fine, torch.ones(2, 3, 1), one, kind).loss.backward()
    assert fine.grad.isfinite().all()


def test_bad_input():
    whole, fine, shares = given()
    with pytest.raises(UnknownNameError, match="contrast 'none'"):
        token_contrast(whole, fine, shares, PRESENT, "none")
    for wrong in ((whole[:1], fine, shares, PRESENT), (whole, fine[..., :5], shares, PRESENT),
                  (whole, fine, shares[:, :1], PRESENT), (whole, fine, shares, PRESENT[:, :1])):
        with pytest.raises(DataError, match="token contrast: expected whole"):
            token_contrast(*wrong)
    for options in ({"temperature": 0.0}, {"epsilon": 0.0}):
        with pytest.raises(DataError, match="above 0"):
            token_contrast(whole, fine, shares, PRESENT, **options)
