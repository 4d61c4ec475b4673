"""Time the dense CRF loss, forward and backward, per patch: ``python benchmarks/dense_crf.py``.

Compares the compiled kernels (on the CPU with one and with all threads, on a GPU where there is one) with plain
torch operations on the same device, for patches as they are trained on, at the published widths. Each row is the
median of several runs after a warm-up. Where pydensecrf is installed, its permutohedral lattice joins in: it
approximates the same sums in a time that grows with the pixels alone. What is timed of it is one lattice and one
filter of two channels (nucleus and background), which is all that a loss and its gradient need.
"""

import argparse
import math
import statistics
import time

import numpy as np
import torch

from nucseg.data.synthetic import HEConfig, render_he
from nucseg.losses import crf_triton, dense_crf_loss
from nucseg.losses.dense_crf import windowed_sums

try:
    import pydensecrf.densecrf as lattice_library
except ImportError:
    lattice_library = None


def patches(batch, size, seed=0):
    """Return random probabilities and synthetic stained images, because a lattice's time depends on the colors."""
    config = HEConfig(size=size, nuclei=max(1, round(38 * (size / 256) ** 2)))
    images = np.stack([render_he(config, seed + number).image for number in range(batch)])
    prob = np.random.default_rng(seed).random((batch, size, size), dtype=np.float32)
    return torch.from_numpy(prob), torch.from_numpy(images.transpose(0, 3, 1, 2) / np.float32(255))


def median_milliseconds(job, device, repeats):
    """Return the median time of a job in ms, after one run that is not counted."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        job()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def lattice_sums(prob, image, sigma_xy, sigma_rgb):
    """Build the lattice of one image and filter both channels once, inside one step of inference."""
    pixels = prob.size
    positions = np.indices(prob.shape).reshape(2, pixels) / sigma_xy
    features = np.concatenate([positions, image.reshape(3, pixels) / sigma_rgb]).astype(np.float32)
    field = lattice_library.DenseCRF(pixels, 2)
    field.setUnaryEnergy(-np.log(np.stack([1 - prob, prob]).reshape(2, pixels) + np.float32(1e-6)))
    field.addPairwiseEnergy(features, 1, lattice_library.CONST_KERNEL, lattice_library.NO_NORMALIZATION)
    return field.inference(1)


def device_times(device, options):
    """Return the ms per patch of every way to compute the loss on one device, plain torch first."""
    prob, image = (tensor.to(device) for tensor in patches(options.batch, options.size))
    widths = options.sigma_xy, options.sigma_rgb
    valid = torch.ones(prob.shape, dtype=torch.bool, device=device)

    def plain():
        windowed_sums(prob, image, valid, *widths, math.ceil(3 * options.sigma_xy))

    def step():
        y = prob.clone().requires_grad_()
        dense_crf_loss(y, image, *widths, valid=valid).backward()

    times = {"plain torch": median_milliseconds(plain, device, options.plain_repeats)}
    if device.type == "cpu":
        every = torch.get_num_threads()
        for threads in sorted({1, every}):
            torch.set_num_threads(threads)
            times[f"kernel, {threads} threads"] = median_milliseconds(step, device, options.repeats)
        torch.set_num_threads(every)
        if lattice_library is not None:
            pairs = list(zip(prob.numpy(), image.numpy()))
            times["lattice, 1 thread"] = median_milliseconds(
                lambda: [lattice_sums(*pair, *widths) for pair in pairs], device, options.repeats
            )
    elif crf_triton.available(device):
        times["kernel"] = median_milliseconds(step, device, options.repeats)
    return {name: spent / options.batch for name, spent in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=224, help="side of a patch, px")
    parser.add_argument("--batch", type=int, default=8, help="patches per batch")
    parser.add_argument("--sigma-xy", type=float, default=9, help="spatial width, px")
    parser.add_argument("--sigma-rgb", type=float, default=0.1, help="color width, colors in [0, 1]")
    parser.add_argument("--repeats", type=int, default=9, help="timed runs of each kernel")
    parser.add_argument("--plain-repeats", type=int, default=2, help="timed runs of plain torch")
    options = parser.parse_args()
    widths = f"widths {options.sigma_xy:g} px and {options.sigma_rgb:g}"
    print(f"{options.batch} patches of {options.size} px, {widths}; loss and gradient")
    for device in [torch.device("cpu")] + [torch.device("cuda", 0)] * torch.cuda.is_available():
        times = device_times(device, options)
        print(f"{device.type}, plain torch with {torch.get_num_threads()} threads" if device.type == "cpu" else device)
        for name, spent in times.items():
            print(f"  {name:<20}{spent:>10.2f} ms per patch{times['plain torch'] / spent:>8.1f} x plain")
    if lattice_library is None:
        print("permutohedral lattice: not timed, pydensecrf is not installed")
    if not torch.cuda.is_available():
        print("GPU: not timed, there is none")


if __name__ == "__main__":
    main()
