"""Weights for features, made from their relevance."""

import torch

from nucseg.errors import DataError, UnknownNameError

_AXES = {"image": (1, 2, 3), "position": (1,)}


def feature_weights(relevance, scope="image"):
    """Return ``1 + R / max |R|``, by which the re-weighting loss multiplies features (Foo et al. 2022, eq. 1).

    Parameters
    ----------
    relevance : torch.Tensor, shape (B, C, H, W), float
        R, the relevance of a feature map, of either sign.
    scope : {"image", "position"}
        Where the largest magnitude is sought: in the whole map of an image, or among the channels of each position.

    Returns
    -------
    torch.Tensor, shape and dtype of `relevance`
        In [0, 2]; in [1, 2] if no relevance is negative; 1 where all relevance in the scope is 0.

    Raises
    ------
    UnknownNameError
        Another scope.
    DataError
        Not four axes of floats.

    Examples
    --------
    >>> feature_weights(torch.tensor([4.0, -2.0, 0.0]).reshape(1, 3, 1, 1)).flatten()
    tensor([2.0000, 0.5000, 1.0000])
    """
    if scope not in _AXES:
        raise UnknownNameError(f"scope: expected one of {', '.join(_AXES)}, got {scope!r}")
    if relevance.ndim != 4 or not relevance.is_floating_point():
        raise DataError(f"relevance: expected (B, C, H, W) floats, got {tuple(relevance.shape)} {relevance.dtype}")
    largest = relevance.abs().amax(_AXES[scope], keepdim=True)
    return 1 + relevance / torch.where(largest > 0, largest, 1)
