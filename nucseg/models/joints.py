"""Joining two tensors, as layers, so that relevance can be told how to divide among them (:mod:`nucseg.explain`)."""

from torch import nn


class Add(nn.Module):
    """The sum of two tensors.

    Examples
    --------
    >>> from torch import ones
    >>> Add()(ones(2), ones(2))
    tensor([2., 2.])
    """

    def forward(self, first, second):
        """Return the sum of two tensors of one shape."""
        return first + second


class Scale(nn.Module):
    """Features times factors, by which a network weighs its own features.

    Examples
    --------
    >>> from torch import ones
    >>> Scale()(ones(1, 2, 1, 1), ones(1, 2, 1, 1) / 4).flatten()
    tensor([0.2500, 0.2500])
    """

    def forward(self, features, factors):
        """Return the product of features, of any shape, and factors, of the same shape or one that broadcasts."""
        return features * factors
