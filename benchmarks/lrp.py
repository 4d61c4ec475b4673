"""Compare layer-wise relevance propagation with a training step: ``python benchmarks/lrp.py``.

All three run the U-Net of Qu et al. (2020) in training mode on the same batch: forward and backward pass, relevance at
the input, and relevance at the first feature map, as the re-weighting loss needs it. They take turns, so that whatever
else the machine does meets all. Medians; CPU seconds, unlike seconds, hardly depend on other programs.
"""

import argparse
import time

import numpy as np
import torch

from nucseg.engine import choose_device
from nucseg.explain import relevance
from nucseg.models import ResNet34UNet


def now(device):
    if device.type == "cuda":
        torch.cuda.synchronize()
    return np.array([time.perf_counter(), time.process_time()])


def turns(jobs, device, repeats):
    """Return the median seconds and CPU seconds of each job; the first turn, which prepares much, is not counted."""
    spent = {name: [] for name in jobs}
    for _ in range(repeats + 1):
        for name, job in jobs.items():
            start = now(device)
            job()
            spent[name].append(now(device) - start)
    return {name: np.median(times[1:], axis=0) for name, times in spent.items()}


def peak(job, device):
    """Return the most memory that a job takes beside what is there before it, MiB, on a GPU."""
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    job()
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=224, help="side of an image, px")
    parser.add_argument("--batch", type=int, default=8, help="images in a batch")
    parser.add_argument("--repeats", type=int, default=7, help="timed runs of each")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options = parser.parse_args()
    device = choose_device(options.device)
    torch.manual_seed(0)
    network = ResNet34UNet(classes=2).to(device).train()
    images = torch.randn(options.batch, 3, options.size, options.size, device=device)
    start = torch.rand(options.batch, options.size, options.size, device=device)

    def step():
        network.zero_grad()
        network(images).square().mean().backward()

    jobs = {
        "forward and backward": step,
        "relevance at input": lambda: relevance(network, images, start),
        "relevance at c1": lambda: relevance(network, images, start, at="c1"),
    }
    medians = turns(jobs, device, options.repeats)
    print(f"{device}, {torch.get_num_threads()} threads, float32, {options.batch} images of {options.size} px")
    print(f"{'':<22}{'s':>8}{'ratio':>8}{'CPU s':>10}{'ratio':>8}")
    base = medians["forward and backward"]
    for name, spent in medians.items():
        ratio = spent / base
        memory = f"{peak(jobs[name], device):>10.0f} MiB" if device.type == "cuda" else ""
        print(f"{name:<22}{spent[0]:>8.3f}{ratio[0]:>8.2f}{spent[1]:>10.3f}{ratio[1]:>8.2f}{memory}")


if __name__ == "__main__":
    main()
