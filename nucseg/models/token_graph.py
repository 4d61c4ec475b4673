"""A directed graph of class and patch tokens, and class tokens regularized by it (Fan et al. 2025, eq. 1)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from nucseg.errors import DataError


@dataclass(frozen=True)
class TokenGraphConfig:
    """Settings of :class:`TokenGraph`; the article gives none of these numbers."""

    neighbors: int = 16  # k, tails that a head hears of (ours)
    residual: bool = True  # shortcut and normalization around eq. 1 (ours, after Yang et al. 2024), or eq. 1 alone
    step: float = 0.1  # weight of what comes from the graph beside the shortcut (ours, after Yang et al. 2024)
    detach_patches: bool = True  # no gradient from tails into patch tokens (ours, after Yang et al. 2024)
    full: bool = False  # whether patch tokens are heads too and take up `step` times their messages (ours: no)

    def __post_init__(self):
        if self.neighbors < 1 or not self.step >= 0:
            raise DataError(f"token graph: expected neighbors above 0 and a step of 0 or more, got {self.neighbors}, "
                            f"{self.step}")


class Messages(NamedTuple):
    """What H heads hear of their k neighbors."""

    values: torch.Tensor  #: (B, H, D), float32, a of eq. 1: tails summed by weight
    weights: torch.Tensor  #: (B, H, k), float32, knowledge weights, which sum to 1
    neighbors: torch.Tensor  #: (B, H, k), int64, places of the tails


def neighbor_messages(heads, tails, neighbors):
    """Return what each head hears of the tails that suit it best (Fan et al. 2025, sec. 2.1 and eq. 1).

    Scores are inner products by the root of D, p their softmax over the k largest. An edge is
    ``e = p t + (1 - p) h``, its knowledge weight the softmax of ``t . tanh(h + e)`` by the root of D: the article has
    no root, but sums of hundreds of terms make the softmax a maximum (ours). The article calls a both the weight and
    what is aggregated; here it is the sum of tails by weight (ours).

    Parameters
    ----------
    heads : torch.Tensor, shape (B, H, D), float
        h.
    tails : torch.Tensor, shape (B, N, D), float
        t.
    neighbors : int
        k; all N tails if there are fewer.

    Returns
    -------
    Messages

    Raises
    ------
    DataError
        Shapes that do not belong together, or fewer than one neighbor.
    """
    if heads.ndim != 3 or tails.ndim != 3 or heads.shape[::2] != tails.shape[::2] or neighbors < 1:
        raise DataError("messages: expected heads (B, H, D), tails (B, N, D) and neighbors above 0, got "
                        f"{tuple(heads.shape)}, {tuple(tails.shape)}, {neighbors}")
    with torch.autocast(heads.device.type, enabled=False):  # near ties would be broken by rounding
        heads, tails = heads.float(), tails.float()
        root = heads.shape[2] ** 0.5
        best = (heads @ tails.transpose(1, 2) / root).topk(min(neighbors, tails.shape[1]), dim=2)
        batch = torch.arange(len(heads), device=heads.device)[:, None, None]
        near, share = tails[batch, best.indices], best.values.softmax(dim=2)[..., None]
        edges = share * near + (1 - share) * heads[:, :, None]
        knowledge = (near * torch.tanh(heads[:, :, None] + edges)).sum(dim=3) / root
        weights = knowledge.softmax(dim=2)
        return Messages((weights[..., None] * near).sum(dim=2), weights, best.indices)


class TokenGraph(nn.Module):
    """Class tokens that hear of the patches that suit them (Fan et al. 2025, eq. 1).

    Parameters
    ----------
    width : int
        D, channels of a token.
    config : TokenGraphConfig, optional
        Choices.
    """

    def __init__(self, width, config=None):
        super().__init__()
        self.config = TokenGraphConfig() if config is None else config
        self.head, self.tail = nn.Linear(width, width), nn.Linear(width, width)
        self.sum, self.product = nn.Linear(width, width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-6) if self.config.residual else None

    def forward(self, tokens, patches):
        """Return the tokens after the graph.

        Parameters
        ----------
        tokens : torch.Tensor, shape (B, C, D), float
            T, class tokens.
        patches : torch.Tensor, shape (B, N, D), float
            P, patch tokens.

        Returns
        -------
        torch.Tensor, shape (B, C, D)
            Q, class tokens regularized by the graph.
        torch.Tensor, shape (B, N, D)
            Patch tokens, as they were unless the graph is full.
        """
        config, classes = self.config, tokens.shape[1]
        nodes = torch.cat([tokens, patches.detach() if config.detach_patches else patches], dim=1)
        heads = self.head(nodes if config.full else tokens)
        heard = neighbor_messages(heads, self.tail(nodes), config.neighbors).values.to(tokens.dtype)
        if config.full:
            patches = patches + config.step * heard[:, classes:]
        head, message = heads[:, :classes], heard[:, :classes]
        if not config.residual:
            return F.leaky_relu(self.sum(head + message)) + F.leaky_relu(self.product(message * head)), patches
        added = F.leaky_relu(self.sum(tokens + config.step * (head + message)))
        return self.norm(added + F.leaky_relu(self.product(tokens + config.step * message * head))), patches
