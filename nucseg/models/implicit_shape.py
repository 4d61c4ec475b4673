"""The canonical shape as a function of coordinates (Costa et al. 2022, sec. 2.1)."""

import torch
from torch import nn
from torch.nn import functional as F

from nucseg.errors import DataError, UnknownNameError

#: Inside the root of r, whose gradient at the origin would otherwise be undefined.
EPSILON = 1e-12
#: Radius and steepness of the disk that a shape may start from: the likelihood is 1/2 at this radius.
DISK_RADIUS, DISK_STEEPNESS = 0.5, 8.0


class ImplicitShape(nn.Module):
    """Likelihood that a place belongs to the canonical shape, by a perceptron of 88 parameters.

    Layers of 8, 4 and 1 outputs; ReLU after the first two, whose outputs are followed by the input (x, y, r). The
    last activation is minus softplus, which makes the output a log-likelihood. The shape never sees the image. Initial
    weights come from PyTorch's global generator.

    Parameters
    ----------
    start : {"random", "disk"}
        What the untrained shape is; a disk has radius 0.5.

    Raises
    ------
    UnknownNameError
        Another start.

    Examples
    --------
    >>> shape = ImplicitShape("disk")
    >>> sum(p.numel() for p in shape.parameters())
    88
    >>> shape(x=torch.tensor([0.5, 0.0]), y=torch.tensor([0.0, -0.5])).exp().tolist()
    [0.5, 0.5]
    """

    def __init__(self, start="random"):
        super().__init__()
        if start not in ("random", "disk"):
            raise UnknownNameError(f"start of the canonical shape: expected 'random' or 'disk', got {start!r}")
        self.layers = nn.ModuleList([nn.Linear(3, 8), nn.Linear(8 + 3, 4), nn.Linear(4 + 3, 1)])
        if start == "disk":
            last = self.layers[-1]
            with torch.no_grad():
                last.weight.zero_()
                last.weight[0, -1] = DISK_STEEPNESS  # the input r
                last.bias.fill_(-DISK_STEEPNESS * DISK_RADIUS)

    def forward(self, x, y):
        """Return the log-likelihood of places in canonical coordinates.

        Parameters
        ----------
        x, y : torch.Tensor, of one shape, float
            Column and row; 1 is half the side of a patch at unit scale.

        Returns
        -------
        torch.Tensor, shape of `x`, float
            At most 0.

        Raises
        ------
        DataError
            Two shapes.
        """
        # Places along the last axis: layers this narrow compute many times faster so than with places first.
        inputs = torch.stack([part.flatten() for part in (x, y, radius(x, y))])
        hidden = inputs
        for layer in self.layers[:-1]:
            hidden = torch.cat([F.relu(torch.addmm(layer.bias[:, None], layer.weight, hidden)), inputs])
        last = self.layers[-1]
        return -F.softplus(torch.addmm(last.bias[:, None], last.weight, hidden))[0].reshape(x.shape)


class FixedDisk(nn.Module):
    """A disk that is not learned: what :class:`ImplicitShape` may start from, kept (ablation)."""

    def forward(self, x, y):
        """Return the log-likelihood of places; arguments as of :meth:`ImplicitShape.forward`."""
        return -F.softplus(DISK_STEEPNESS * (radius(x, y) - DISK_RADIUS))


class ShapeFamily(nn.Module):
    """Several canonical shapes, of which every instance has its own mixture (further work of Costa et al., sec. 4).

    Parameters
    ----------
    count : int
        Number of shapes, 1 or more.
    kind : {"random", "disk", "fixed"}
        Start of learned shapes, or :class:`FixedDisk`.

    Raises
    ------
    DataError
        No shape at all.
    UnknownNameError
        Another kind.
    """

    def __init__(self, count=1, kind="random"):
        super().__init__()
        if count < 1:
            raise DataError(f"canonical shapes: expected 1 or more, got {count}")
        self.shapes = nn.ModuleList([FixedDisk() if kind == "fixed" else ImplicitShape(kind) for _ in range(count)])

    def forward(self, x, y, mixture):
        """Return the log-likelihood of places in the shapes of given mixtures.

        Parameters
        ----------
        x, y : torch.Tensor, of one shape, float
            In canonical coordinates.
        mixture : torch.Tensor, that shape or one that extends to it, and a last axis of `count`, float
            Logarithms of the share of each shape; ignored where there is one shape.

        Returns
        -------
        torch.Tensor, shape of `x`, float
        """
        if len(self.shapes) == 1:
            return self.shapes[0](x, y)
        each = torch.stack([shape(x, y) for shape in self.shapes], dim=-1)
        return torch.logsumexp(each + mixture, dim=-1)


def radius(x, y):
    """Return the distance of places (x, y) from the origin."""
    if x.shape != y.shape:
        raise DataError(f"places: x and y must have one shape, got {tuple(x.shape)} and {tuple(y.shape)}")
    return (x.square() + y.square() + EPSILON).sqrt()
