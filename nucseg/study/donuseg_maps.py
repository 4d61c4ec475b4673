"""What batch norms do to class activation maps in training, measured on a trained DoNuSeg."""

import copy
from itertools import islice

import pandas as pd
import torch

from nucseg.methods.donuseg.pseudo_boxes import PseudoBoxes
from nucseg.methods.donuseg.training import dot_targets, scored
from nucseg.methods.donuseg.windows import PatchBatches, cut_windows
from nucseg.methods.stages import Images
from nucseg.supervision.dynamic_cam import select

#: Printed name -> whether the network is in training mode, and whether batch statistics count as constants.
PASSES = {"evaluation": (False, True), "training, statistics constant": (True, True),
          "training, gradients through statistics": (True, False)}


def maps_by_statistics(method, train, batches=8, seed=0):
    """Return how much of the disks the label candidates of each block find, in three kinds of passes.

    Parameters
    ----------
    method : nucseg.methods.DoNuSeg
        Fitted; its networks stay as they are.
    train : nucseg.data.Dataset
        Its training images, with dots.
    batches : int
        Most batches to look at, drawn as in training.
    seed : int
        Of their windows and turns.

    Returns
    -------
    pandas.DataFrame
        Index: :data:`PASSES`; columns: "block 1" to "block 4", share of the nucleus pixels of M that each candidate
        calls nucleus, and "alpha", the mean over images of what eq. 4 gives the best one.
    """
    config, (network,) = method.config, method.networks.values()
    device = next(network.parameters()).device
    windows = cut_windows(Images.read(train, method.preprocessing), {}, config, device)
    source = PatchBatches(windows, PseudoBoxes(windows.sides), config)
    drawn = list(islice(source(1, torch.Generator().manual_seed(seed)), batches))
    return pd.DataFrame({title: _quality(network, drawn, method, *how) for title, how in PASSES.items()}).T


def _quality(network, drawn, method, training, constant):
    own, config = copy.deepcopy(network).train(training), method.config
    recalls, alphas = [], []
    for batch in drawn:
        images, initial = method.preprocessing.standardize(batch["image"]), batch["maps"][:, 0]
        target = dot_targets(batch["points"], tuple(images.shape[2:]), config)
        found = own(images, learn=True, scored=scored(target, config), kind=config.selection.kind, constant=constant)
        cams = found.cams
        alone = [select(cams[:, block : block + 1], initial, config.selection.theta) for block in range(cams.shape[1])]
        recalls.append(torch.stack([chosen.foreground_recall for chosen in alone], dim=1))
        alphas.append(select(cams, initial, config.selection.theta).alpha)
    means = torch.cat(recalls).nanmean(dim=0).tolist()
    quality = {f"block {number}": mean for number, mean in enumerate(means, 1)}
    return quality | {"alpha": torch.cat(alphas).mean().item()}
