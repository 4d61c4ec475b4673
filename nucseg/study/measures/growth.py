"""Ways to grow a nucleus from a center that lies in none: relevance, and what it is to be better than.

Each takes (method, image, blobs, maps, rules): a fitted method, an RGB image (H, W, 3) uint8, groups of center pixels
(H, W) int, the probability maps of the image, and rules of relevance; each returns heat (H, W), cut by
:func:`nucseg.postprocess.expand_centers` at a share of its maximum near each center.
"""

import numpy as np
import torch
from scipy import ndimage
from skimage.segmentation import relabel_sequential

from nucseg.methods.split_and_expand.method import blob_relevance
from nucseg.methods.split_and_expand.reweighting import center_margin

#: Radius of a nucleus of the median area that Expand is meant for, px: half of the 300 px that count as small.
RADIUS = 7.0
#: Least probability of nucleus for growing at a lower threshold.
LOWER = 0.2


def by_relevance(method, image, blobs, maps, rules):
    """Return the relevance of each pixel (Foo et al. 2022, sec. 3.3)."""
    return method.explain(image, blobs, rules)


def by_gradient(method, image, blobs, maps, rules):
    """Return gradient times input, summed over colors, negative values cut off."""
    (network,) = method.networks.values()
    standardized = method.standardized(image).requires_grad_()
    start = torch.from_numpy(blob_relevance(blobs)).to(standardized.device)
    (gradient,) = torch.autograd.grad((center_margin(network(standardized))[0] * start).sum(), standardized)
    return (gradient * standardized.detach())[0].sum(0).clamp_min(0).cpu().numpy()


def by_disk(method, image, blobs, maps, rules):
    """Return 1 within :data:`RADIUS` of the middle of each group, 0 elsewhere."""
    heat = np.zeros(blobs.shape)
    if blobs.max():
        middles = np.array(ndimage.center_of_mass(blobs > 0, blobs, np.arange(1, blobs.max() + 1)))
        marks = np.ones(blobs.shape, bool)
        marks[tuple(np.rint(middles).astype(int).T)] = False
        heat[ndimage.distance_transform_edt(marks) <= RADIUS] = 1
    return heat


def by_probability(method, image, blobs, maps, rules):
    """Return 1 where the probability of nucleus reaches :data:`LOWER` in one piece with a group, 0 elsewhere."""
    pieces, _ = ndimage.label((maps["nucleus"] >= LOWER) | (blobs > 0), np.ones((3, 3)))
    touched = np.unique(pieces[blobs > 0])
    return np.isin(pieces, touched[touched > 0]).astype(float)


def by_nothing(method, image, blobs, maps, rules):
    """Return no heat at all, so that nothing grows: what the other ways are to be compared with."""
    return np.zeros(blobs.shape)


def take_away(labels, below):
    """Return a label map without its objects of fewer than `below` pixels, numbered anew, (H, W) int32."""
    sizes = np.bincount(labels.ravel())
    return relabel_sequential(np.where(sizes[labels] < below, 0, labels))[0].astype(np.int32)


GROWTH = {
    "nothing": by_nothing, "relevance": by_relevance, "gradient x input": by_gradient, "disk": by_disk,
    "lower threshold": by_probability,
}
