"""Batch norms whose statistics may count as constants in a backward pass, to explain networks while they train.

In training, a batch norm subtracts the mean over the batch and divides by the deviation. So its gradient has mean 0
over the batch and all places, in each channel. Grad-CAM, which weights channels by mean gradients, then gets next to
nothing but noise from every layer that a batch norm follows. With the statistics as constants, as in evaluation, it
does not.
"""

from contextlib import contextmanager

import torch
from torch import nn
from torch.autograd.function import once_differentiable

# Not local to a thread: backward passes on GPUs run in threads of their own.
_constant = False


@contextmanager
def constant_statistics(constant=True):
    """Let backward passes within treat the statistics of :class:`ConstantBatchNorm2d` as constants.

    Parameters
    ----------
    constant : bool
        Or as they are: functions of the activations.
    """
    global _constant
    before, _constant = _constant, constant
    try:
        yield
    finally:
        _constant = before


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, weight, bias, running_mean, running_var, momentum, eps):
        found, mean, inverse = torch.native_batch_norm(
            values, weight, bias, running_mean, running_var, True, momentum, eps
        )
        ctx.save_for_backward(values, weight, mean, inverse)
        ctx.eps = eps
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        values, weight, mean, inverse = ctx.saved_tensors
        variance = inverse.square().reciprocal() - ctx.eps
        gradients = torch.ops.aten.native_batch_norm_backward(
            gradient, values, weight, mean, variance, mean, inverse, not _constant, ctx.eps, [True, True, True]
        )
        return (*gradients, None, None, None, None)


class ConstantBatchNorm2d(nn.BatchNorm2d):
    """A batch norm like PyTorch's, except within :func:`constant_statistics`."""

    def forward(self, values):
        """Return normalized values (B, C, H, W)."""
        if not self.training:
            return super().forward(values)
        self.num_batches_tracked.add_(1)
        return _BatchNorm.apply(
            values, self.weight, self.bias, self.running_mean, self.running_var, self.momentum, self.eps
        )


def with_constant_batch_norm(network):
    """Turn all batch norms of a network into :class:`ConstantBatchNorm2d`, in place, and return it.

    Parameters
    ----------
    network : torch.nn.Module
        Its batch norms have weights and running statistics, as by default; nothing is computed differently outside of
        :func:`constant_statistics`.

    Returns
    -------
    torch.nn.Module
    """
    for part in network.modules():
        if type(part) is nn.BatchNorm2d:
            part.__class__ = ConstantBatchNorm2d
    return network
