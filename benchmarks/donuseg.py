"""Time a training step of DoNuSeg with activation maps and contrast against one without, and the contrast alone."""

import argparse
import time
from dataclasses import replace

import numpy as np
import torch

from nucseg.engine import fabric
from nucseg.losses import cam_guided_contrast
from nucseg.methods import DoNuSeg, DoNuSegConfig, Preprocessing
from nucseg.methods.donuseg import ContrastConfig
from nucseg.methods.donuseg.log import SelectionLog
from nucseg.methods.donuseg.pseudo_boxes import PseudoBoxes
from nucseg.methods.donuseg.training import donuseg_loss
from nucseg.models import FCOSConfig


def batch_of(config, device, dots=40):
    """Return a random batch; what it shows does not matter for the time."""
    rng, size = torch.Generator().manual_seed(0), config.patch
    points = [torch.rand(dots, 2, generator=rng).to(device) * size for _ in range(config.batch)]
    boxes = [torch.cat([own - 12, own + 12], dim=1).clamp(-0.5, size - 0.5) for own in points]
    maps = torch.randint(-1, 2, (config.batch, 2, size, size), generator=rng).to(device, torch.int8)
    image = torch.rand(config.batch, 3, size, size, generator=rng).to(device)
    return {"image": image, "maps": maps, "points": points, "boxes": boxes, "names": [], "epoch": 1}


def stepper(config, runner):
    """Return a function that takes one training step."""
    network = DoNuSeg(config).untrained().to(memory_format=torch.channels_last)
    network, optimizer = runner.setup(network, torch.optim.SGD(network.parameters(), 1e-4))
    log = SelectionLog(1).to(runner.device)
    pseudo = PseudoBoxes(torch.full((config.batch * 40,), 24.0, device=runner.device))
    loss = donuseg_loss(Preprocessing(None, (0.5,) * 3, (0.2,) * 3), config, log, pseudo)
    batch = batch_of(config, runner.device)

    def step():
        optimizer.zero_grad()
        runner.backward(loss(network, batch))
        optimizer.step()

    return step


def timed(call, device):
    """Return the seconds of a call, with all that it started on the device."""
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def contrast_alone(device, channels=128, size=256):
    """Return a call of the contrast of one patch with all its pixels, forward and backward."""
    features = torch.randn(1, channels, size, size, device=device, requires_grad=True)
    labels = torch.randint(0, 2, (1, size, size), device=device)
    return lambda: cam_guided_contrast(features, labels, labels, torch.ones(1, device=device)).backward()


def main():
    """Print ratios of medians, all ways timed in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--channels", type=int, default=64)
    options = parser.parse_args()
    runner = fabric()
    network = FCOSConfig(options.backbone, None, options.channels, mask_channels=options.channels)
    base = DoNuSegConfig(network=network, contrast=ContrastConfig(channels=options.channels))
    ways = {
        "without maps and contrast": replace(base, dcs_weight=0.0, ccl_weight=0.0),
        "with both, labels at stride 4": replace(base, contrast=replace(base.contrast, interpolate=False)),
        "with both, features at image size": base,
    }
    steps = {name: stepper(config, runner) for name, config in ways.items()}
    spent = {name: [] for name in steps}
    for repeat in range(options.repeats + 1):
        for name, step in steps.items():
            seconds = timed(step, runner.device)
            if repeat:  # the first step of each pays for what is set up once
                spent[name].append(seconds)
    medians = {name: float(np.median(values)) for name, values in spent.items()}
    for name, seconds in medians.items():
        ratio = seconds / medians["without maps and contrast"]
        print(f"{name}: {seconds:.3f} s a step of {base.batch} patches, ratio {ratio:.2f}")
    call = contrast_alone(runner.device)
    timed(call, runner.device)
    print(f"contrast of one patch of 256 px, all pixels: {1000 * timed(call, runner.device):.0f} ms")
    if runner.device.type == "cuda":
        print(f"peak memory: {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")


if __name__ == "__main__":
    main()
