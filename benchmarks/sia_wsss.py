"""Time a training step of SIA-WSSS with and without its parts, and find out how much memory it takes.

The step is the published one: ViT-B/16, batches of 16 images of 224 px, late enough in the training for every part of
the loss. On a CPU, memory is what the whole process takes at its peak, which contains more than tensors.
"""

import argparse
import resource
import time
from dataclasses import replace

import numpy as np
import torch

from nucseg.engine import fabric
from nucseg.methods import SIAWSSS, Preprocessing, SIAWSSSConfig
from nucseg.methods.sia_wsss.log import TrainingLog
from nucseg.methods.sia_wsss.rates import optimizer_of
from nucseg.methods.sia_wsss.training import sia_loss

CLASSES = ("tumor", "stroma", "lymphocytes", "necrosis")


def batch_of(config, device):
    """Return a random batch; what it shows does not matter for the time."""
    rng, size = torch.Generator().manual_seed(0), config.patch
    tags = torch.rand(config.batch, len(CLASSES), generator=rng) < 0.6
    tags[:, 0] = True
    squares = torch.arange(size) // 12
    regions = (squares[:, None] * 19 + squares).expand(config.batch, size, size)
    batch = {
        "image": torch.rand(config.batch, 3, size, size, generator=rng), "tags": tags,
        "ground": torch.zeros(config.batch, size, size, dtype=torch.int8), "regions": regions.contiguous(),
        "crops": torch.rand(config.batch, config.activation.crops, 2, generator=rng),
    }
    return {**{name: values.to(device) for name, values in batch.items()}, "names": [], "epoch": 1, "progress": 0.9}


def stepper(config, runner):
    """Return a function that takes one training step."""
    network = SIAWSSS(config).build_networks(["sia"])["sia"].to(memory_format=torch.channels_last)
    network, optimizer = runner.setup(network, optimizer_of(network, config))
    loss = sia_loss(Preprocessing(None, (0.5,) * 3, (0.2,) * 3), config, TrainingLog(1).to(runner.device))
    batch = batch_of(config, runner.device)

    def step():
        optimizer.zero_grad()
        runner.backward(loss(network, batch))
        optimizer.step()
        if runner.device.type == "cuda":
            torch.cuda.synchronize()

    return step


def peak(device):
    """Return the most memory so far, GiB: of tensors on a GPU, of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main():
    """Print the memory that the whole method takes at its peak, then medians of seconds, both ways timed in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    runner, base = fabric(), SIAWSSSConfig(classes=CLASSES)
    whole = replace(base, vit=replace(base.vit, weights=None))
    steps = {"row f: the whole method": stepper(whole, runner)}
    for _ in range(2):  # the first step sets up the state of the optimizer
        steps["row f: the whole method"]()
    print(f"memory at the peak, the whole method: {peak(runner.device):.2f} GiB")
    steps["row a: classification and decoder"] = stepper(replace(whole, rfm=False, dam=False, rsm=False), runner)
    steps["row a: classification and decoder"]()
    spent = {name: [] for name in steps}
    for _ in range(options.repeats):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            spent[name].append(time.perf_counter() - start)
    medians = {name: float(np.median(values)) for name, values in spent.items()}
    for name, seconds in medians.items():
        ratio = seconds / medians["row a: classification and decoder"]
        print(f"{name}: {seconds:.3f} s a step of {whole.batch} images, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
