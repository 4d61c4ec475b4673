"""Layer-wise relevance propagation through convolutional networks, in one backward pass per batch.

The layers may be convolutions, transposed ones too, batch norms, ReLU, dropout, bilinear ``Upsample``, max-pooling,
residual blocks of torchvision (elsewhere :class:`nucseg.models.Add`), :class:`nucseg.models.Scale`, whose factors get
nothing, concatenation, slices and mirrored borders. Anything else between the images and the explained output is
refused.

The network runs once more, in the modes it is in, as a replica that shares its weights: its gradients, running
statistics, hooks and modes stay as they are, and so do the random generators. In training mode batch norms therefore
take the statistics of the batch, and dropout drops what the *next* pass of the network would drop; to explain a pass
that is over, give the generators the state they had before it. Computed without autocast.
"""

from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from zennit.types import ConvolutionTranspose

from nucseg.errors import DataError
from nucseg.explain.passes import Trace, replica
from nucseg.explain.rules import LRPRules, composite


def relevance(network, images, start, *, at="input", rules=None, output=None):
    """Return how much each value of the input, or of a feature map, contributed to a network's answer.

    Relevance is put on the logit margin and handed down to what contributed (Bach et al. 2015); the total stays the
    same as long as something contributed. Linear in `start`. By default at least 0 if `start` is. A feature map that
    is read twice, as ``at="c1"`` of :class:`nucseg.models.ResNet34UNet` by the pooling and by the skip, gets the sum.
    Foo et al. (2022) say "LRP alpha1"; :class:`LRPRules` tells what that is taken for.

    Parameters
    ----------
    network : torch.nn.Module
        In any mode; it stays as it is.
    images : torch.Tensor, shape (B, channels, H, W), float
        What the network takes, of the precision of its weights.
    start : torch.Tensor, shape (B, H, W), float
        Relevance of each pixel's margin, of either sign, any unit; the result has the same unit.
    at : str
        ``"input"``, or the name of the module whose output is asked for, as in ``network.named_modules()``.
    rules : LRPRules, optional
        By default ``LRPRules()``.
    output : callable, optional
        Takes what the network returns, returns the margin (B, H, W): at every pixel the same weighted sum of logits of
        one convolution. By default channel 1 minus channel 0, or the only channel.

    Returns
    -------
    torch.Tensor, shape of `images` or of the feature map, dtype of `images`
        Without gradient.

    Raises
    ------
    DataError
        Images or start that are not finite floats or not of the shape above, a layer or an operation without a rule,
        an output that is not as described, a feature map that the margin does not come from, relevance that overflows.
    UnknownNameError
        No module of the name `at`.

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    >>> start = torch.zeros(1, 8, 8)
    >>> start[0, 4, 4] = 1
    >>> int(relevance(network, torch.ones(1, 1, 8, 8), start).count_nonzero()) <= 9
    True
    """
    for name, values, axes in (("images", images, 4), ("start", start, 3)):
        if values.ndim != axes or not values.is_floating_point() or not values.isfinite().all():
            raise DataError(f"{name}: expected {axes} axes of finite floats, got {tuple(values.shape)} {values.dtype}")
    with _undisturbed(images.device):
        images = images.detach().clone().requires_grad_()
        return _propagate(replica(network), images, start.detach().clone().to(images), at, rules or LRPRules(), output)


def _propagate(network, images, start, at, rules, output):
    with composite(rules, images).context(network), Trace(network, at) as trace:
        margin = _margin(network(images), output, start)
        head, target = trace.head(margin), trace.target(images)
        trace.merge_batch_norms()
        weights, start = _logits_start(margin, start, head.edge)
        incoming = _through_head(head, weights, start, rules, images)
        (result,) = torch.autograd.grad(head.source, target, incoming, allow_unused=True)
    if result is None:
        raise DataError(f"at: {at} is not on the way from the images to the explained output")
    if not result.isfinite().all():
        raise DataError(f"relevance: too large for {result.dtype}; the rule 'epsilon' needs a larger stabilizer")
    return result


@contextmanager
def _undisturbed(device):
    """Compute with gradients, in full precision, and put the random generators back."""
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast(device.type, enabled=False))
        yield


def _margin(answer, output, start):
    if output is None:
        shape = tuple(getattr(answer, "shape", ()))
        if len(shape) != 4 or shape[1] not in (1, 2):
            raise DataError(
                f"network: expected an output of one or two channels, got {shape or type(answer).__name__}; "
                "name the margin by output="
            )
        margin = answer[:, -1] - answer[:, 0] if shape[1] == 2 else answer[:, 0]
    else:
        margin = output(answer)
    if margin.shape != start.shape:
        raise DataError(f"start: expected the shape of the margin, {tuple(margin.shape)}, got {tuple(start.shape)}")
    if margin.grad_fn is None:
        raise DataError("output: the margin does not depend on the images")
    return margin


def _logits_start(margin, start, edge):
    """Return the weight of each logit channel in the margin, and the relevance on the logits' grid (B, 1, h, w)."""
    (slopes,) = torch.autograd.grad(margin, edge, torch.ones_like(margin), retain_graph=True)
    used = slopes.movedim(1, -1)[slopes.ne(0).any(1)]
    if len(used) != margin.numel() or not torch.allclose(used, used[:1]):
        raise DataError("output: the margin must be the same weighted sum of logits at every pixel, one logit map each")
    weights = used[0]
    (spread,) = torch.autograd.grad(margin, edge, start)
    largest = weights.abs().argmax()
    return weights, spread[:, largest, None] / weights[largest]


def _through_head(head, weights, start, rules, images):
    """Hand relevance through the last convolution, its filters merged into the one that computes the margin."""
    layer, axis = replica(head.module), 1 if isinstance(head.module, ConvolutionTranspose) else 0
    shape = [-1 if i == axis else 1 for i in range(layer.weight.ndim)]
    merged = (layer.weight * weights.reshape(shape)).sum(axis, keepdim=True)
    layer.weight, layer.bias, layer.out_channels = nn.Parameter(merged, requires_grad=False), None, 1
    source = images if head.source is images else head.source.detach().requires_grad_()
    with composite(rules, images).context(layer):
        (incoming,) = torch.autograd.grad(layer(source), source, start)
    return incoming
