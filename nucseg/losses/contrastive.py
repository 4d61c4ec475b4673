"""Contrast of pixel features with the mean features of two classes (Wang et al. 2024, sec. 2.3), at linear cost."""

import torch
from torch.nn import functional as F

from nucseg.errors import DataError

#: Vectors shorter than this count as this long, so that the cosine of a zero vector is 0 and not NaN.
SHORTEST = 1e-6
_SIGNED = (torch.int8, torch.int16, torch.int32, torch.int64)


def contrastive_loss(anchor, similar, dissimilar, temperature=1.0, mean=False):
    """Return how hard similar features are to tell from dissimilar ones beside an anchor (Wang et al. 2024, eq. 7).

    With cosines c, ``s_u = c(anchor, u) / temperature`` and ``E = log sum_v exp(c(anchor, v) / temperature)``, the
    loss is the mean over u of ``softplus(E - s_u)``. This is equation 7 exactly, its inner sum does not depend on u;
    time and memory are O(N + M). Near ``log M`` at the start, it can fall by 2 / `temperature` at most.

    Parameters
    ----------
    anchor : torch.Tensor, shape (D,), float
        Feature to compare with; gets a gradient unless it is detached.
    similar : torch.Tensor, shape (N, D), float
        Features that should point where the anchor points.
    dissimilar : torch.Tensor, shape (M, D), float
        Features that should not.
    temperature : float
        Divides the cosines; above 0 (1 in the article).
    mean : bool
        Whether the mean over v takes the place of the sum, so that the loss starts near log 2 however many v there are.

    Returns
    -------
    torch.Tensor, shape (), float32 (float64 for such features)
        In nats, above 0; 0, with zero gradient, where either set is empty.

    Raises
    ------
    DataError
        Shapes that do not belong together, or a temperature that is not above 0.

    Examples
    --------
    >>> anchor, similar, dissimilar = torch.tensor([2.0, 0.0]), torch.tensor([[5.0, 0.0]]), torch.tensor([[-1.0, 0.0]])
    >>> round(contrastive_loss(anchor, similar, dissimilar).item(), 4)  # log(1 + exp(-1 - 1))
    0.1269
    """
    if anchor.ndim != 1 or any(part.ndim != 2 or part.shape[1:] != anchor.shape for part in (similar, dissimilar)):
        shapes = [tuple(part.shape) for part in (anchor, similar, dissimilar)]
        raise DataError(
            "contrast: expected anchor (D,), similar (N, D), dissimilar (M, D), got {}, {}, {}".format(*shapes)
        )
    _check_temperature(temperature)
    features = torch.cat([similar, dissimilar])
    is_similar = torch.arange(len(features), device=features.device) < len(similar)
    with torch.autocast(features.device.type, enabled=False):
        cosines = _cosines(_precise(features).T, _precise(anchor)[None])[0]
        return _contrast(cosines / temperature, is_similar, ~is_similar, mean)


def cam_guided_contrast(features, initial, dynamic, weight, temperature=1.0, detach_anchors=True, mean=False):
    """Return the loss of CAM-guided contrastive learning (Wang et al. 2024, eq. 6 and 7).

    In each image by itself, the initial label M yields the mean features of nuclei and background, the anchors; the
    dynamic label P yields the features to be pulled to the anchor of their class and away from the other anchor. The
    two terms are added, multiplied by `weight`, and averaged over the batch. A term without an anchor, without
    similar or without dissimilar features is 0. Whether sets span an image or the batch, and whether anchors are
    constants, the article does not say; it calls them ground truth.

    Parameters
    ----------
    features : torch.Tensor, shape (B, D, H, W), float
        Z, the projected features on the grid of the labels.
    initial : torch.Tensor, shape (B, H, W), signed integer
        M: 1 nucleus, 0 background, -1 ignored.
    dynamic : torch.Tensor, shape (B, H, W), signed integer
        P, with the same values.
    weight : torch.Tensor, shape (B,), float
        alpha_P of each image, 0 to 1; gets no gradient.
    temperature : float
        Divides the cosines; above 0 (1 in the article).
    detach_anchors : bool
        Whether no gradient flows through the anchors.
    mean : bool
        See :func:`contrastive_loss`.

    Returns
    -------
    torch.Tensor, shape (), float32 (float64 for such features)
        In nats; 0, with zero gradient, where no image has a term.

    Raises
    ------
    DataError
        Shapes that do not belong together, labels that are not signed integers, or a temperature that is not above 0.

    Examples
    --------
    >>> features, labels = torch.tensor([[[[3.0, -1.0, 1.0]]]]), torch.tensor([[[1, 0, -1]]])
    >>> round(cam_guided_contrast(features, labels, labels, torch.tensor([0.5])).item(), 4)  # log(1 + exp(-1 - 1))
    0.1269
    """
    _check_maps(features, initial, dynamic, weight)
    _check_temperature(temperature)
    initial, dynamic = initial.flatten(1), dynamic.flatten(1)
    with torch.autocast(features.device.type, enabled=False):
        features = _precise(features).flatten(2)
        classes = torch.stack([initial == 1, initial == 0], dim=1)
        anchors = _class_means(features.detach() if detach_anchors else features, classes)
        nuclei, background = dynamic == 1, dynamic == 0
        terms = _contrast(
            _cosines(features, anchors) / temperature,
            torch.stack([nuclei, background], dim=1),
            torch.stack([background, nuclei], dim=1),
            mean,
        )
        # A class that M lacks has a zero vector for an anchor, which every feature would be compared with.
        terms = torch.where(classes.any(dim=2), terms, 0)
        return (weight.detach().to(terms) * terms.sum(dim=1)).mean()


def _precise(values):
    """Return values in float32 at least: half precision has too few digits for cosines and sums of many pixels."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _class_means(features, classes):
    """Return the mean of features (B, D, N) over each class (B, K, N), shape (B, K, D); 0 for an empty class."""
    members = classes.to(features.dtype)
    return members @ features.transpose(1, 2) / members.sum(dim=2, keepdim=True).clamp(min=1)


def _cosines(features, anchors):
    """Return the cosines of features (..., D, N) and anchors (..., K, D), shape (..., K, N).

    Dividing the products, not the features, by the lengths of the features saves a copy of all features.
    """
    lengths = torch.linalg.vector_norm(features, dim=-2, keepdim=True).clamp(min=SHORTEST)
    return F.normalize(anchors, dim=-1, eps=SHORTEST) @ features / lengths


def _contrast(scores, similar, dissimilar, mean):
    """Return the mean softplus(E - s) of each row of scores (..., N) over its similar ones, E from its dissimilar."""
    # Without dissimilar scores E is -inf, so each softplus and its gradient are 0; without similar ones the sum is.
    others = torch.where(dissimilar, scores, -torch.inf).logsumexp(dim=-1, keepdim=True)
    if mean:
        others = others - dissimilar.sum(dim=-1, keepdim=True).clamp(min=1).to(others).log()
    each = torch.where(similar, -F.logsigmoid(scores - others), 0)
    return each.sum(dim=-1) / similar.sum(dim=-1).clamp(min=1)


def _check_temperature(temperature):
    if not temperature > 0:
        raise DataError(f"contrast: expected a temperature above 0, got {temperature}")


def _check_maps(features, initial, dynamic, weight):
    size = (features.shape[0], *features.shape[2:])
    if features.ndim != 4 or not initial.shape == dynamic.shape == size or weight.shape != size[:1]:
        shapes = [tuple(part.shape) for part in (features, initial, dynamic, weight)]
        raise DataError(
            "contrast: expected features (B, D, H, W), initial and dynamic (B, H, W), weight (B,), "
            "got {}, {}, {}, {}".format(*shapes)
        )
    if initial.dtype not in _SIGNED or dynamic.dtype not in _SIGNED:
        raise DataError(f"contrast: labels must be signed integers, got {initial.dtype} and {dynamic.dtype}")
