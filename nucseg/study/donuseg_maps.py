"""Why class activation maps find little of the nuclei, measured on the training patches of a trained DoNuSeg.

Batch norms take the mean from gradients; a few bright places set the scale; the head to be explained may know nothing.
"""

import copy
from itertools import islice

import pandas as pd
import torch
from torch.nn import functional as F

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
    (network,), drawn = method.networks.values(), _drawn(method, train, batches, seed)
    return pd.DataFrame({title: _quality(network, drawn, method, *how) for title, how in PASSES.items()}).T


def maps_by_quantile(method, train, quantiles=(1.0, 0.99, 0.95), batches=8, seed=0):
    """Return how much of the disks the label candidates of each block find, by the quantile of a map that becomes 1.

    Parameters
    ----------
    method, train, batches, seed
        See :func:`maps_by_statistics`. The network is in training mode, statistics count as the config says.
    quantiles : sequence of float
        1 stands for the largest value.

    Returns
    -------
    pandas.DataFrame
        Index: quantiles; columns as in :func:`maps_by_statistics`.
    """
    (network,), drawn = method.networks.values(), _drawn(method, train, batches, seed)
    constant = method.config.selection.constant_statistics
    lines = {quantile: _quality(network, drawn, method, True, constant, quantile) for quantile in quantiles}
    return pd.DataFrame(lines).T.rename_axis("quantile")


def localization_errors(method, train, batches=8, seed=0):
    """Return the squared error of the localization head, and that of the best answer that is the same everywhere.

    Parameters
    ----------
    method, train, batches, seed
        See :func:`maps_by_statistics`. The network is in training mode, as where its maps become labels.

    Returns
    -------
    head, constant : float
        Means over cells of patches.
    """
    own, config = copy.deepcopy(next(iter(method.networks.values()))).train(), method.config
    found, wanted = [], []
    with torch.no_grad():
        for batch in _drawn(method, train, batches, seed):
            images = method.preprocessing.standardize(batch["image"])
            wanted.append(dot_targets(batch["points"], tuple(images.shape[2:]), config))
            found.append(own(images, learn=True).dots)
    wanted = torch.cat(wanted)
    return F.mse_loss(torch.cat(found), wanted).item(), wanted.var(correction=0).item()


def _drawn(method, train, batches, seed):
    """Return batches of training patches as an epoch draws them."""
    config, (network,) = method.config, method.networks.values()
    device = next(network.parameters()).device
    windows = cut_windows(Images.read(train, method.preprocessing), {}, config, device)
    source = PatchBatches(windows, PseudoBoxes(windows.sides), config)
    return list(islice(source(1, torch.Generator().manual_seed(seed)), batches))


def _quality(network, drawn, method, training, constant, quantile=1.0):
    own, config = copy.deepcopy(network).train(training), method.config
    recalls, alphas = [], []
    for batch in drawn:
        images, initial = method.preprocessing.standardize(batch["image"]), batch["maps"][:, 0]
        target = dot_targets(batch["points"], tuple(images.shape[2:]), config)
        cams = own(images, learn=True, scored=scored(target, config), kind=config.selection.kind, constant=constant,
                   quantile=quantile).cams
        alone = [select(cams[:, block : block + 1], initial, config.selection.theta) for block in range(cams.shape[1])]
        recalls.append(torch.stack([chosen.foreground_recall for chosen in alone], dim=1))
        alphas.append(select(cams, initial, config.selection.theta).alpha)
    means = torch.cat(recalls).nanmean(dim=0).tolist()
    quality = {f"block {number}": mean for number, mean in enumerate(means, 1)}
    return quality | {"alpha": torch.cat(alphas).mean().item()}
