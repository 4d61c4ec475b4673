"""The feature re-weighting loss: explain the centers, strengthen what speaks for them, ask again (Foo et al. 2022)."""

from contextlib import contextmanager

import torch
from torch import nn

from nucseg.explain import feature_weights, relevance
from nucseg.methods.split_and_expand.heads import cross_entropy, margin, probability


def center_margin(answer):
    """Return the margin of the center head, (B, H, W), from what a network with two heads returns."""
    return margin(answer[1])


def start_relevance(logits, targets, kind):
    """Return what relevance starts from at each pixel (Foo et al. 2022, sec. 3.2, which leaves it open).

    Parameters
    ----------
    logits : torch.Tensor, shape (B, 2, H, W) or (B, 1, H, W), float
        Of the center head.
    targets : torch.Tensor, shape (B, H, W), int64
        1 on the squares around dots.
    kind : {"margin", "probability", "dots"}
        The logit of yes minus that of no, of either sign; the probability of a center; the same on the squares alone.

    Returns
    -------
    torch.Tensor, shape (B, H, W), float32
    """
    logits = logits.detach().float()
    if kind == "margin":
        return margin(logits)
    prob = probability(logits)
    return prob if kind == "probability" else prob * targets


class TwoPasses:
    """Run a network twice on one batch, the second time with weighted features.

    The second pass takes the batch statistics and the dropout masks of the first and leaves the running statistics
    alone, so that both passes differ by the weights only.

    Parameters
    ----------
    network : torch.nn.Module
        One of :mod:`nucseg.models.two_heads`, possibly wrapped for training. What is weighted is the output of its
        stem, before pooling, wherever that is read: by the pooling and, in the U-Net, by both heads' skips.
    images : torch.Tensor, shape (B, 3, H, W), float32
        Standardized.
    **arguments
        What else the network is given in the first pass.
    """

    def __init__(self, network, images, **arguments):
        self.network, self.images = network, images
        self.random = _random_state(images.device)
        with _observed(network) as self.statistics:
            self.first = network(images, **arguments)

    def weights(self, start, scope):
        """Return the weights of the features, from relevance that starts at the center head (eq. 1)."""
        with _random(self.random, self.images.device):
            module = getattr(self.network, "module", self.network)
            found = relevance(module, self.images, start, at=module.weighted, output=center_margin)
        return feature_weights(found, scope)

    def second(self, weights):
        """Return the answer of the network with weighted features."""
        with _random(self.random, self.images.device), _replayed(self.statistics):
            return self.network(self.images, weights)


def reweighting_loss(passes, targets, config):
    """Return the cross-entropy of the center head after re-weighting (Foo et al. 2022, eq. 2, second term).

    Parameters
    ----------
    passes : TwoPasses
        After the first pass.
    targets : torch.Tensor, shape (B, H, W), int64
        1 on the squares around dots.
    config : ReweightingConfig
        What relevance starts from and how it is scaled.

    Returns
    -------
    torch.Tensor, scalar
        No gradient flows through the weights.
    """
    weights = passes.weights(start_relevance(passes.first[1], targets, config.start), config.scope)
    return cross_entropy(passes.second(weights)[1], targets)


def center_loss(passes, targets, config):
    """Return the loss of the center head (Foo et al. 2022, eq. 2).

    Parameters
    ----------
    passes : TwoPasses
        After the first pass.
    targets : torch.Tensor, shape (B, H, W), int64
        1 on the squares around dots.
    config : SplitAndExpandConfig
        Its ``center_weight`` and ``reweighting``; without the latter there is but the cross-entropy of the first pass.

    Returns
    -------
    torch.Tensor, shape (), float32
    """
    plain, again = cross_entropy(passes.first[1], targets), config.reweighting
    if again is None:
        return plain
    return config.center_weight * plain + again.weight * reweighting_loss(passes, targets, again)


@contextmanager
def _observed(network):
    """Collect mean and variance of what reaches each batch norm, in a dict that fills during the pass."""
    statistics = {}

    def note(norm, arguments):
        values = arguments[0].detach().float()
        statistics[norm] = values.mean((0, 2, 3)), values.var((0, 2, 3), unbiased=False)

    handles = [m.register_forward_pre_hook(note) for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    try:
        yield statistics
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _replayed(statistics):
    """Let each batch norm use given statistics and update nothing."""
    kept = {norm: (norm.running_mean, norm.running_var, norm.training) for norm in statistics}
    try:
        for norm, (mean, variance) in statistics.items():
            norm.running_mean, norm.running_var, norm.training = mean, variance, False
        yield
    finally:
        for norm, (mean, variance, training) in kept.items():
            norm.running_mean, norm.running_var, norm.training = mean, variance, training


def _random_state(device):
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextmanager
def _random(state, device):
    """Set the random generators for a block, and put them back where they were."""
    before = _random_state(device)
    try:
        _set_random(state, device)
        yield
    finally:
        _set_random(before, device)


def _set_random(state, device):
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
