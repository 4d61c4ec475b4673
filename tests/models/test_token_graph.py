"""The graph of tokens against loops over its nodes."""

import numpy as np
import pytest
import torch

from nucseg.errors import DataError
from nucseg.models import TokenGraph, TokenGraphConfig, neighbor_messages


def tokens(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def softmax(values):
    values = np.exp(values - values.max())
    return values / values.sum()


def by_hand(heads, tails, k):
    """Eq. 1 node by node."""
    found = np.zeros_like(heads)
    for i, h in enumerate(heads):
        scores = tails @ h / np.sqrt(len(h))
        near = np.argsort(-scores)[:k]
        shares = softmax(scores[near])
        knowledge = [t @ np.tanh(h + p * t + (1 - p) * h) / np.sqrt(len(h)) for p, t in zip(shares, tails[near])]
        found[i] = softmax(np.array(knowledge)) @ tails[near]
    return found


@pytest.mark.parametrize("k", [1, 3, 9, 20])
def test_messages_are_those_of_loops(k):
    heads, tails = tokens(2, 3, 8), tokens(2, 9, 8, seed=1)
    found = neighbor_messages(heads, tails, k)
    for b in range(2):
        wanted = by_hand(heads[b].double().numpy(), tails[b].double().numpy(), k)
        np.testing.assert_allclose(found.values[b], wanted, rtol=1e-4, atol=1e-5)
    assert found.weights.shape == found.neighbors.shape == (2, 3, min(k, 9))
    torch.testing.assert_close(found.weights.sum(dim=2), torch.ones(2, 3))


def test_all_neighbors_are_dense_attention():
    """With k = N nothing is chosen: the order of the tails does not matter, and every tail counts."""
    heads, tails = tokens(1, 4, 16), tokens(1, 200, 16, seed=1)
    found, shuffled = neighbor_messages(heads, tails, 200), tails[:, torch.randperm(200)]
    torch.testing.assert_close(found.values, neighbor_messages(heads, shuffled, 200).values, rtol=1e-4, atol=1e-5)
    share = (heads @ tails.transpose(1, 2) / 4).softmax(dim=2)[..., None]
    gate = torch.tanh(2 * heads[:, :, None] + share * (tails[:, None] - heads[:, :, None]))
    dense = (torch.einsum("bjd,bijd->bij", tails, gate) / 4).softmax(dim=2) @ tails
    torch.testing.assert_close(found.values, dense, rtol=1e-4, atol=1e-5)


def test_an_inner_product_is_not_the_product_of_sums():
    """Two indices for one axis give the product of sums, which says something else and is far more spread out."""
    near, gate = tokens(1, 4, 16, 768), torch.tanh(tokens(1, 4, 16, 768, seed=1))
    inner = torch.einsum("ijkl,ijkl->ijk", near, gate).flatten()
    mixed = torch.einsum("ijkl,ijkm->ijk", near, gate).flatten()
    assert abs(np.corrcoef(inner, mixed)[0, 1]) < 0.5 and mixed.std() > 10 * inner.std()


def test_the_literal_equation():
    torch.manual_seed(0)
    graph, given, patches = TokenGraph(6, TokenGraphConfig(3, residual=False)), tokens(1, 2, 6), tokens(1, 5, 6, seed=1)
    found, same = graph(given, patches)
    heads = graph.head(given)
    heard = neighbor_messages(heads, graph.tail(torch.cat([given, patches], dim=1)), 3).values

    def leaky(values):
        return torch.where(values > 0, values, 0.01 * values)

    torch.testing.assert_close(found, leaky(graph.sum(heads + heard)) + leaky(graph.product(heard * heads)))
    assert same is patches and graph.norm is None


def test_the_stabilized_equation_has_a_shortcut_and_a_normalization():
    torch.manual_seed(0)
    graph, given = TokenGraph(6, TokenGraphConfig(step=0.0)), tokens(1, 2, 6)
    found, _ = graph(given, tokens(1, 5, 6, seed=1))
    alone = torch.nn.functional.leaky_relu(graph.sum(given)) + torch.nn.functional.leaky_relu(graph.product(given))
    torch.testing.assert_close(found, (alone - alone.mean(2, keepdim=True)) / alone.std(2, correction=0, keepdim=True),
                               rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("detach", [True, False])
def test_gradients_into_patches_can_be_stopped(detach):
    torch.manual_seed(0)
    graph, patches = TokenGraph(6, TokenGraphConfig(detach_patches=detach)), tokens(1, 5, 6).requires_grad_()
    graph(tokens(1, 2, 6, seed=1), patches)[0].square().sum().backward()
    assert (patches.grad is None or not patches.grad.any()) == detach


def test_the_full_graph_moves_patches_by_their_messages():
    torch.manual_seed(0)
    graph, given, patches = TokenGraph(6, TokenGraphConfig(4, full=True)), tokens(1, 2, 6), tokens(1, 5, 6, seed=1)
    found, moved = graph(given, patches)
    nodes = torch.cat([given, patches], dim=1)
    heard = neighbor_messages(graph.head(nodes), graph.tail(nodes), 4).values
    torch.testing.assert_close(moved, patches + 0.1 * heard[:, 2:])
    graph.config = TokenGraphConfig(4)
    torch.testing.assert_close(found, graph(given, patches)[0])


def test_bad_input():
    with pytest.raises(DataError, match="neighbors above 0"):
        TokenGraphConfig(neighbors=0)
    for heads, tails, k in ((tokens(1, 2, 6), tokens(1, 5, 7), 2), (tokens(2, 6), tokens(5, 6), 2),
                            (tokens(1, 2, 6), tokens(1, 5, 6), 0)):
        with pytest.raises(DataError, match="messages: expected"):
            neighbor_messages(heads, tails, k)
