"""Ways to grow a nucleus from a center that lies in none: relevance, and what it is to be better than.

Each takes (method, image, blobs, maps, rules): a fitted method, an RGB image (H, W, 3) uint8, groups of center pixels
(H, W) int, the probability maps of the image, and rules of relevance; each returns heat (H, W), cut by
:func:`nucseg.postprocess.expand_centers` at a share of its maximum near each center.
"""

import numpy as np
import torch
from scipy import ndimage

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
    device = next(network.parameters()).device
    pixels = method.preprocessing.colors(image).transpose(2, 0, 1).astype(np.float32) / 255
    standardized = method.preprocessing.standardize(torch.from_numpy(pixels).to(device)[None]).requires_grad_()
    areas = np.bincount(blobs.ravel())
    start = torch.from_numpy(np.where(blobs > 0, 1 / areas[blobs], 0).astype(np.float32)).to(device)
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


GROWTH = {
    "relevance": by_relevance, "gradient x input": by_gradient, "disk": by_disk, "lower threshold": by_probability,
}
