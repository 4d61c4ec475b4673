"""Compare a training loop as one would first write it with ours: ``python benchmarks/training_throughput.py``.

Both train the same network on batches of the same patches with the same random changes and the same loss. The plain
loop augments image by image, one change after the other, and computes in float32; ours augments the batch at once
on the device and trains by ``nucseg.engine.fit``. They take turns, a step each, so that whatever else the machine
does meets both. Medians over the steps; CPU seconds, unlike seconds, hardly depend on other programs.
"""

import argparse
import tempfile
import time

import numpy as np
import torch
from scipy import ndimage
from skimage import transform

from nucseg.engine import AugmentConfig, RandomBatches, choose_device, choose_precision, cut_patches, fabric, fit
from nucseg.losses import masked_cross_entropy
from nucseg.models import ResNet34UNet
from nucseg.seeding import generator

CHANGES = AugmentConfig(elastic=True)


def data(count, size=250):
    """Return smooth random patches (count, size, size, 3) and two label maps of each (count, 2, size, size)."""
    rng = generator(0, "benchmark")
    noise = ndimage.gaussian_filter(rng.random((count, size, size, 5)), (0, 6, 6, 0)) * 20 - 9.5
    images = (noise[..., :3].clip(0, 1) * 255).astype(np.uint8)
    return images, np.sign(noise[..., 3:].round()).astype(np.int8).transpose(0, 3, 1, 2)


def warp_each(planes, orders, moved):
    return [moved(plane, order) for plane, order in zip(planes, orders)]


def plain_sample(image, maps, rng):
    """Return one patch changed step by step: resize, flips, affine, elastic, rotation, crop."""
    planes, orders = [*image.transpose(2, 0, 1).astype(np.float32) / 255, *maps.astype(np.float32)], [1, 1, 1, 0, 0]
    side = max(image.shape[0], int(image.shape[0] * (scale := rng.uniform(*CHANGES.resize))))
    small = tuple(int(length * scale) for length in image.shape[:2])
    planes = warp_each(planes, orders, lambda p, order: transform.resize(p, small, order=order, anti_aliasing=False))
    border = [((side - small[0]) // 2, side - small[0] - (side - small[0]) // 2)] * 2
    planes = [np.pad(plane, border) for plane in planes]
    if rng.random() < CHANGES.horizontal_flip:
        planes = [plane[:, ::-1] for plane in planes]
    if rng.random() < CHANGES.vertical_flip:
        planes = [plane[::-1] for plane in planes]
    center = np.array([(side - 1) / 2, (side - 1) / 2])
    matrix = np.eye(3)
    matrix[:2, :2] += rng.uniform(-CHANGES.affine, CHANGES.affine, (2, 2))
    matrix[:2, 2] = center - matrix[:2, :2] @ center
    planes = warp_each(planes, orders, lambda p, order: transform.warp(p, matrix, order=order))
    control = rng.normal(0, CHANGES.elastic_sigma, (2, CHANGES.elastic_cells + 3, CHANGES.elastic_cells + 3))
    field = np.stack([transform.resize(c, (side, side), order=3) for c in control])
    places = np.indices((side, side)) + field
    planes = warp_each(planes, orders, lambda p, order: ndimage.map_coordinates(p, places, order=order))
    angle = rng.uniform(*CHANGES.rotation)
    planes = warp_each(planes, orders, lambda p, order: transform.rotate(p, angle, order=order))
    row, column = rng.integers(0, side - CHANGES.crop + 1, 2)
    planes = np.stack([p[row : row + CHANGES.crop, column : column + CHANGES.crop] for p in planes])
    return planes[:3], planes[3:].astype(np.int8)


class PlainLoop:
    """Batches and steps in a few obvious lines."""

    def __init__(self, images, maps, batch, device):
        self.images, self.maps, self.size, self.device = images, maps, batch, device
        self.rng = generator(0, "plain")
        self.network = ResNet34UNet(2).to(device).train()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-4, betas=(0.9, 0.99), weight_decay=1e-4)

    def batch(self):
        chosen = self.rng.integers(0, len(self.images), self.size)
        images, maps = zip(*(plain_sample(self.images[i], self.maps[i], self.rng) for i in chosen))
        return {name: torch.from_numpy(np.stack(p)).to(self.device) for name, p in (("image", images), ("maps", maps))}

    def step(self, batch):
        self.optimizer.zero_grad()
        value = two_losses(self.network, batch)
        value.backward()
        self.optimizer.step()
        return value.item()


def two_losses(network, batch):
    logits = network(batch["image"])
    return sum(masked_cross_entropy(logits, labels) for labels in batch["maps"].unbind(1))


class Clock:
    """Seconds and CPU seconds of named parts, one value for each time that a part ran."""

    def __init__(self, device):
        self.device, self.parts = device, {}

    def now(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return np.array([time.perf_counter(), time.process_time()])

    def add(self, name, start):
        self.parts.setdefault(name, []).append(self.now() - start)

    def medians(self, *names):
        """Return the medians of the sum of some parts, without the first time, which prepares much."""
        return np.median(sum(np.array(self.parts[name][1:]) for name in names), axis=0)


def interleaved(clock, plain, ours, steps):
    """Return a source of batches for ``fit`` that does a step of the plain loop after each of its steps."""

    def batches(epoch, draws):
        source = (batch for _ in range(steps + 1) for batch in ours(epoch, draws))
        for _ in range(steps + 1):
            start = clock.now()
            batch = next(source)
            clock.add("ours: augmentation", start)
            start = clock.now()
            yield batch  # fit computes its step before it asks for the next batch
            clock.add("ours: step", start)
            start = clock.now()
            batch = plain.batch()
            clock.add("plain: augmentation", start)
            start = clock.now()
            plain.step(batch)
            clock.add("plain: step", start)

    return batches


def products(precision, device, size=2048):
    """Return seconds of a matrix product in float32 and in the precision of our loop."""
    seconds = []
    for dtype in (torch.float32, torch.bfloat16 if precision == "bf16-mixed" else torch.float32):
        matrix, clock = torch.ones(size, size, dtype=dtype, device=device), Clock(device)
        for _ in range(6):
            start = clock.now()
            matrix @ matrix
            clock.add("product", start)
        seconds.append(clock.medians("product")[0])
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=8, help="patches in a batch")
    parser.add_argument("--steps", type=int, default=7, help="measured steps of each loop")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--precision", default="auto", help="of our loop: auto, 32-true or bf16-mixed")
    options = parser.parse_args()
    device = choose_device(options.device)
    precision = choose_precision(device, options.precision)
    images, maps = data(max(16, options.batch))
    patches = cut_patches([f"image {i}" for i in range(len(images))], images, maps, least=1, device=device)
    network, clock = ResNet34UNet(2).to(device), Clock(device)
    settings = {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 1e-4, "fused": True}
    fit(
        network,
        torch.optim.Adam(network.parameters(), **settings),
        interleaved(
            clock,
            PlainLoop(images, maps, options.batch, device),
            RandomBatches(patches, options.batch, CHANGES),
            options.steps,
        ),
        two_losses,
        epochs=1,
        run_dir=(folder := tempfile.TemporaryDirectory()).name,
        config={},
        fabric=fabric(device=options.device, precision=precision),
        progress=False,
    )
    folder.cleanup()
    print(f"{device}, {torch.get_num_threads()} threads, {precision}, {options.steps} steps of {options.batch} patches")
    print(f"{'':<14}{'plain, s':>10}{'ours, s':>10}{'ratio':>8}   {'CPU: plain':>10}{'ours':>8}{'ratio':>8}")
    for title, names in {"augmentation": ["augmentation"], "step": ["step"], "whole": ["augmentation", "step"]}.items():
        (a, b), (c, d) = (clock.medians(*(f"{loop}: {name}" for name in names)) for loop in ("plain", "ours"))
        print(f"{title:<14}{a:>10.3f}{c:>10.3f}{a / c:>8.2f}   {b:>10.3f}{d:>8.3f}{b / d:>8.2f}")
    first, second = products(precision, device)
    print(f"{'matrix product':<14}{first:>10.3f}{second:>10.3f}{first / second:>8.2f}")


if __name__ == "__main__":
    main()
