"""Time the dense CRF loss, forward and backward: ``python benchmarks/dense_crf.py [--device cuda]``.

Compares the compiled kernel on one core and on all cores with plain torch operations, for patches as they are
trained on, at the published widths. Each row is the median of several runs after a warm-up, per patch.
"""

import argparse
import statistics
import time

import numpy as np
import torch

from nucseg.losses import dense_crf_loss
from nucseg.losses.dense_crf import windowed_sums


def patches(batch, size, seed=0):
    """Return random probabilities and colors that vary as much as those of a stained slide."""
    rng = np.random.default_rng(seed)
    prob = rng.random((batch, size, size), dtype=np.float32)
    image = np.clip(rng.normal(0.7, 0.15, (batch, 3, size, size)), 0.01, 1).astype(np.float32)
    return torch.from_numpy(prob), torch.from_numpy(image)


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=224, help="side of a patch, px")
    parser.add_argument("--batch", type=int, default=8, help="patches per batch")
    parser.add_argument("--sigma-xy", type=float, default=9, help="spatial width, px")
    parser.add_argument("--sigma-rgb", type=float, default=0.1, help="color width, colors in [0, 1]")
    parser.add_argument("--repeats", type=int, default=9, help="timed runs of the kernel")
    parser.add_argument("--device", default="cpu", help="torch device")
    options = parser.parse_args()
    device = torch.device(options.device)
    prob, image = (tensor.to(device) for tensor in patches(options.batch, options.size))
    widths = options.sigma_xy, options.sigma_rgb

    def step():
        y = prob.clone().requires_grad_()
        dense_crf_loss(y, image, *widths).backward()

    radius = int(np.ceil(3 * options.sigma_xy))
    print(f"{options.batch} patches of {options.size} px, widths {widths}, radius {radius}, {device}; ms per patch")
    if device.type == "cpu":
        cores = torch.get_num_threads()
        for threads in sorted({1, cores}):
            torch.set_num_threads(threads)
            spent = median_milliseconds(step, device, options.repeats)
            print(f"  {f'kernel, {threads} threads':<24}{spent / options.batch:>9.1f}")
    valid = torch.ones(prob.shape, dtype=torch.bool, device=device)
    spent = median_milliseconds(lambda: windowed_sums(prob, image, valid, *widths, radius), device, 1)
    print(f"  {'plain torch':<24}{spent / options.batch:>9.1f}")


if __name__ == "__main__":
    main()
