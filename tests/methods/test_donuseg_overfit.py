"""DoNuSeg learns the masks of four patches by heart when it is given the full truth."""

import pytest
import torch

from nucseg.engine import clip_gradients
from nucseg.methods import DoNuSeg, DoNuSegConfig, Preprocessing
from nucseg.methods.donuseg.log import SelectionLog
from nucseg.methods.donuseg.pseudo_boxes import PseudoBoxes, squares
from nucseg.methods.donuseg.training import donuseg_loss
from nucseg.models import FCOSConfig
from nucseg.study import live
from nucseg.supervision import centroids

SIZE = 96
CONFIG = DoNuSegConfig(
    network=FCOSConfig(backbone="resnet18", weights=None, channels=32, mask_channels=32, tower=1, hidden=64, pooled=3,
                       grid=6),
    patch=SIZE, dcs_weight=0.0, ccl_weight=0.0,
)


def batch_of(samples):
    """Return the same four patches for every step, with the truth in place of the initial label."""
    points = [torch.from_numpy(centroids(s.labels, inside=True)).float() for s in samples]
    truth = torch.stack([torch.from_numpy((s.labels > 0).astype("int8")) for s in samples])
    return {
        "image": torch.stack([torch.from_numpy(s.image.transpose(2, 0, 1) / 255).float() for s in samples]),
        "maps": torch.stack([truth, truth], dim=1), "points": points,
        "boxes": [squares(p, torch.full((len(p),), 30.0), SIZE) for p in points], "names": [s.id for s in samples],
        "epoch": 1,
    }


@pytest.mark.slow
def test_the_mask_is_learned_from_the_full_truth():
    batch = batch_of(live.windows("synthetic-he", "train", 4, SIZE))
    preprocessing = Preprocessing(None, (0.7, 0.5, 0.7), (0.2,) * 3)
    torch.manual_seed(0)
    network = DoNuSeg(CONFIG).untrained()
    loss = donuseg_loss(preprocessing, CONFIG, SelectionLog(1), PseudoBoxes(torch.zeros(0)))
    optimizer = torch.optim.SGD(network.parameters(), 0.02, momentum=0.9)
    clip_gradients(optimizer, CONFIG.gradient_norm)
    for _ in range(300):
        optimizer.zero_grad()
        loss(network, batch).backward()
        optimizer.step()
    with torch.no_grad():
        # Still in training mode, so with the statistics of these four images.
        found = network(preprocessing.standardize(batch["image"])).mask > 0
    truth = batch["maps"][:, 1] == 1
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.85
