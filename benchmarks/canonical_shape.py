"""Time the combination of canonical shapes, and find out how much memory a large image takes.

The plain way computes all instances at all places with gradients and takes the maximum; ours looks for the winners
first, without gradients, and computes only them again. Both give the same numbers.
"""

import argparse
import resource
import time

import numpy as np
import torch

from nucseg.methods import CanonicalShape, CanonicalShapeConfig, Preprocessing
from nucseg.models import EncoderConfig, ShapeFamily, Transforms
from nucseg.models.canonical_shape import combined, grid_places, log_likelihood


def transforms(batch, instances):
    """Return random transforms that ask for gradients."""
    rng = torch.Generator().manual_seed(0)
    linear = torch.randn(batch, instances, 2, 2, generator=rng) + 4 * torch.eye(2)
    parts = (linear, torch.randn(batch, instances, 2, generator=rng), torch.randn(batch, instances, generator=rng))
    return Transforms(*(part.requires_grad_() for part in parts), torch.zeros(batch, instances, 1))


def plain(shape, given, places):
    """Return log p(y) from all instances, with gradients through all of them."""
    every = log_likelihood(shape, given, places.reshape(-1, 2))
    return every.amax(dim=1).reshape(len(every), *places.shape[:2])


def seconds(way, repeats):
    """Return the median time of a forward and backward pass."""
    found = []
    for _ in range(repeats):
        shape, given = ShapeFamily(1, "disk"), transforms(32, 128)
        start = time.perf_counter()
        way(shape, given, grid_places(32)).mean().backward()
        found.append(time.perf_counter() - start)
    return float(np.median(found))


def memory(side):
    """Return what predicting one image adds to the memory of the process at its peak, GiB, and the seconds."""
    method = CanonicalShape(CanonicalShapeConfig(encoder=EncoderConfig(weights=None), shape="disk"))
    method.preprocessing = Preprocessing(None, (0.5,) * 3, (0.2,) * 3)
    torch.manual_seed(0)
    method.networks = {"shapes": method.untrained().eval()}
    with torch.no_grad():
        method.networks["shapes"].encoder.heads[1].bias.fill_(3.0)  # every instance is there: the worst case
    image = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    found = method.predict_masks(image)
    spent = time.perf_counter() - start
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20, spent, len(found)


def main():
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--side", type=int, default=1024, help="of the image, px")
    options = parser.parse_args()
    added, spent, masks = memory(options.side)
    print(f"{options.side} px squared, ResNet-50: {added:.2f} GiB more at the peak, {spent:.1f} s, {masks} masks")
    slow, fast = (seconds(way, options.repeats) for way in (plain, combined))
    print(f"forward and backward, batch 32: all {slow:.2f} s, winners {fast:.2f} s, ratio {slow / fast:.1f}")


if __name__ == "__main__":
    main()
