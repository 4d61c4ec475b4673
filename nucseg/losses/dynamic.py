"""Cross-entropy with labels of each image that are as good as a weight says (Wang et al. 2024)."""

import torch
from torch.nn import functional as F

from nucseg.errors import DataError


def label_loss(logits, labels, weights=None):
    """Return the binary cross-entropy over labeled pixels, image by image (Wang et al. 2024, eq. 1 and 5).

    The mean over an image's labeled pixels, times its weight, averaged over all images of the batch. Without weights
    this is equation 1, the loss of the initial label; with alpha_P as weights, equation 5, that of the dynamic label.

    Parameters
    ----------
    logits : torch.Tensor, shape (B, H, W), float
        Network output before the sigmoid.
    labels : torch.Tensor, shape (B, H, W), signed integer
        1 nucleus, 0 background, -1 ignored.
    weights : torch.Tensor, shape (B,), float, optional
        Weight of each image, 0 to 1; gets no gradient. By default 1.

    Returns
    -------
    torch.Tensor, shape (), float32 (float64 for such logits)
        In nats per pixel. An image without labeled pixels adds 0 and counts in the average.

    Raises
    ------
    DataError
        Shapes that do not belong together, or labels that are not signed integers.

    Examples
    --------
    >>> logits, labels = torch.zeros(2, 1, 3), torch.tensor([[[0, 1, -1]], [[1, 1, 1]]])
    >>> round(label_loss(logits, labels, torch.tensor([1.0, 0.5])).item(), 4)  # log 2 * (1 + 0.5) / 2
    0.5199
    """
    if logits.ndim != 3 or labels.shape != logits.shape or (weights is not None and weights.shape != logits.shape[:1]):
        shapes = [None if part is None else tuple(part.shape) for part in (logits, labels, weights)]
        raise DataError(
            "label loss: expected logits and labels (B, H, W) and weights (B,) or None, got {}, {}, {}".format(*shapes)
        )
    if labels.dtype not in (torch.int8, torch.int16, torch.int32, torch.int64):
        raise DataError(f"label loss: labels must be signed integers, got {labels.dtype}")
    logits, labeled = logits.to(torch.promote_types(logits.dtype, torch.float32)), labels >= 0
    each = F.binary_cross_entropy_with_logits(logits, (labels == 1).to(logits.dtype), reduction="none")
    means = torch.where(labeled, each, 0).sum(dim=(1, 2)) / labeled.sum(dim=(1, 2)).clamp(min=1)
    return (means if weights is None else means * weights.detach().to(means)).mean()
