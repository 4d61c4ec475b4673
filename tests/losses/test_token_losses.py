"""What class tokens and patches should be to each other, against loops."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from nucseg.errors import DataError, UnknownNameError
from nucseg.losses import attraction_loss, inhibition_loss, token_cosines

PRESENT = torch.tensor([[True, False, True], [False, True, True]])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def given(seed=0):
    tokens, patches = draw(2, 3, 5, seed=seed).requires_grad_(), draw(2, 5, 4, 4, seed=seed + 1).requires_grad_()
    labels = torch.full((2, 4, 4), -1)
    labels[0, :2], labels[0, 2], labels[1, 1] = 0, 2, 1
    return tokens, patches, labels


def pairs(labels):
    return [(b, row, column, int(labels[b, row, column])) for b, row, column in np.argwhere(labels.numpy() >= 0)]


def cosine(tokens, patches, b, c, row, column):
    return cosine_similarity(tokens[b, c], patches[b, :, row, column], dim=0).item()


def test_cosines():
    tokens, patches, _ = given()
    found = token_cosines(tokens, patches)
    for b, c, row, column in np.ndindex(2, 3, 4, 4):
        assert found[b, c, row, column].item() == pytest.approx(cosine(tokens, patches, b, c, row, column), abs=1e-6)
    assert token_cosines(torch.zeros(1, 2, 5), draw(1, 5, 2, 2)).eq(0).all()


def test_inhibition_by_hand():
    tokens, patches, labels = given()
    each = [cosine(tokens, patches, b, c, row, column) for b, row, column, c in pairs(labels)]
    wanted = {"hinge": sum(max(0, value) for value in each), "opposite": sum((1 + value) / 2 for value in each)}
    for kind, total in wanted.items():
        found = inhibition_loss(tokens, patches, labels, PRESENT, kind)
        assert found.item() == pytest.approx(total / (len(each) + 1), rel=1e-5)
    several = opposite = 0.0
    for b, row, column, _ in pairs(labels):
        values = np.array([cosine(tokens, patches, b, c, row, column) for c in range(3)])
        here = PRESENT[b].numpy()
        several += np.maximum(values[here], 0).mean()
        opposite += (1 - np.abs(values[here]).mean() + np.abs(values[~here]).mean()) / 2
    found = inhibition_loss(tokens, patches, labels, PRESENT, all_present=True)
    assert found.item() == pytest.approx(several / (len(each) + 1), rel=1e-5)
    found = inhibition_loss(tokens, patches, labels, PRESENT, "opposite-sign")
    assert found.item() == pytest.approx(opposite / (len(each) + 1), rel=1e-5)


@pytest.mark.parametrize("kind", ["hinge", "opposite", "opposite-sign"])
@pytest.mark.parametrize("both", [False, True])
def test_inhibition_moves_patches_and_tokens_only_on_demand(kind, both):
    tokens, patches, labels = given()
    inhibition_loss(tokens, patches, labels, PRESENT, kind, inhibit_tokens=both).backward()
    assert (tokens.grad is not None and tokens.grad.any()) == both
    touched = patches.grad.abs().sum(dim=1) > 0
    assert touched.any() and not touched[labels < 0].any(), "only uncertain patches move"


def test_a_step_against_the_gradient_inhibits():
    tokens, patches, labels = given()
    loss = inhibition_loss(tokens, patches, labels, PRESENT)
    loss.backward()
    moved = (patches - 0.1 * patches.grad).detach()
    assert inhibition_loss(tokens, moved, labels, PRESENT) < loss


def test_attraction_by_hand():
    tokens, patches, labels = given()
    means = []
    for b, c in ((0, 0), (0, 2), (1, 1)):
        values = np.array([cosine(tokens, patches, b, c, *place) for place in np.ndindex(4, 4)]) / 0.1
        surprise = np.log(np.exp(values).sum()) - values
        means.append(surprise[(labels[b] == c).flatten().numpy()].mean())
    assert attraction_loss(tokens, patches, labels, PRESENT).item() == pytest.approx(np.mean(means), rel=1e-4)


def test_attraction_moves_tokens_alone():
    tokens, patches, labels = given()
    attraction_loss(tokens, patches, labels, PRESENT).backward()
    assert patches.grad is None or not patches.grad.any()
    assert tokens.grad[0, 0].any() and not tokens.grad[0, 1].any(), "an absent class stays"


def test_nothing_certain_and_nothing_uncertain():
    tokens, patches, labels = given()
    nothing = torch.full_like(labels, -1)
    for loss in (attraction_loss, inhibition_loss):
        found = loss(tokens, patches, nothing, PRESENT)
        found.backward()
        assert found == 0
    assert not tokens.grad.any() and not patches.grad.any()
    absent = torch.zeros(2, 3, dtype=torch.bool)
    assert attraction_loss(tokens, patches, labels, absent) == 0


def test_half_precision_gives_float32():
    tokens, patches, labels = given()
    for loss in (inhibition_loss, attraction_loss):
        found = loss(tokens.bfloat16(), patches.bfloat16(), labels, PRESENT)
        assert found.dtype == torch.float32 and found.item() == pytest.approx(
            loss(tokens, patches, labels, PRESENT).item(), rel=0.05)


def test_bad_input():
    tokens, patches, labels = given()
    with pytest.raises(UnknownNameError, match="inhibition 'none'"):
        inhibition_loss(tokens, patches, labels, PRESENT, "none")
    for call in (lambda: token_cosines(tokens, patches[:1]), lambda: token_cosines(tokens[..., :4], patches),
                 lambda: inhibition_loss(tokens, patches, labels[:1], PRESENT),
                 lambda: attraction_loss(tokens, patches, labels, PRESENT[:, :2]),
                 lambda: attraction_loss(tokens, patches, labels, PRESENT, temperature=0.0)):
        with pytest.raises(DataError, match="expected"):
            call()
