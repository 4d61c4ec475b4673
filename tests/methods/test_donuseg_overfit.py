"""DoNuSeg learns four patches by heart: its mask from the full truth, and its dynamic label agrees ever better."""

from dataclasses import replace

import pytest
import torch

from nucseg.losses import FCOSLossConfig
from nucseg.methods import DoNuSeg, DoNuSegConfig, Preprocessing
from nucseg.methods.donuseg import ContrastConfig
from nucseg.methods.donuseg.log import SelectionLog
from nucseg.methods.donuseg.pseudo_boxes import PseudoBoxes, squares
from nucseg.methods.donuseg.training import donuseg_loss
from nucseg.models import FCOSConfig
from nucseg.study import live
from nucseg.supervision import centroids, disk_labels

SIZE, STEPS = 96, 300
CONFIG = DoNuSegConfig(
    network=FCOSConfig(backbone="resnet18", weights=None, channels=32, mask_channels=32, tower=1, hidden=64, pooled=3,
                       grid=6),
    detection=FCOSLossConfig(), contrast=ContrastConfig(channels=16, interpolate=False), patch=SIZE,
)


def batch_of(samples, full):
    """Return the same four patches for every step; the label is the truth, or disks and far background."""
    points = [torch.from_numpy(centroids(s.labels, inside=True)).float() for s in samples]
    truth = torch.stack([torch.from_numpy((s.labels > 0).astype("int8")) for s in samples])
    disks = torch.stack([torch.from_numpy(disk_labels(p.numpy(), (SIZE, SIZE), CONFIG.r, CONFIG.d)) for p in points])
    return {
        "image": torch.stack([torch.from_numpy(s.image.transpose(2, 0, 1) / 255).float() for s in samples]),
        "maps": torch.stack([truth if full else disks, truth], dim=1), "points": points,
        "boxes": [squares(p, torch.full((len(p),), 30.0), SIZE) for p in points], "names": [s.id for s in samples],
    }


def learn(config, full):
    """Return the network after all steps, the batch and the log, one epoch for each third of the steps."""
    samples = list(live.windows("synthetic-he", "train", 4, SIZE))
    torch.manual_seed(0)
    network, log, batch = DoNuSeg(config).untrained(), SelectionLog(3), batch_of(samples, full)
    loss = donuseg_loss(Preprocessing(None, (0.7, 0.5, 0.7), (0.2,) * 3), config, log, PseudoBoxes(torch.zeros(0)))
    optimizer = torch.optim.SGD(network.parameters(), 0.02, momentum=0.9)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss(network, {**batch, "epoch": 1 + 3 * step // STEPS}).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.gradient_norm)
        optimizer.step()
    return network, batch, log.lines()


@pytest.mark.slow
def test_the_mask_is_learned_from_the_full_truth():
    network, batch, _ = learn(replace(CONFIG, dcs_weight=0.0, ccl_weight=0.0), full=True)
    images = Preprocessing(None, (0.7, 0.5, 0.7), (0.2,) * 3).standardize(batch["image"])
    with torch.no_grad():
        found = network(images).mask > 0  # with the statistics of these four images, as in training
    truth = batch["maps"][:, 1] == 1
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.85


@pytest.mark.slow
def test_the_dynamic_label_agrees_ever_better_with_the_disks():
    _, _, lines = learn(CONFIG, full=False)
    assert lines[-1]["alpha"] > lines[0]["alpha"]
    assert lines[-1]["segmentation"] < lines[0]["segmentation"]
