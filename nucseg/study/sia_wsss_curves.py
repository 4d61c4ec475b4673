"""What the chapter on SIA-WSSS computes and draws of losses: the contrast, the inhibition, a training, the audit."""

import copy
import math
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from nucseg.explain.tag_maps import scaled_maps
from nucseg.losses import token_contrast
from nucseg.methods.sia_wsss.evidence import enlarged
from nucseg.methods.sia_wsss.log import TrainingLog
from nucseg.methods.sia_wsss.patches import TaggedBatches, hold_patches, tag_vector
from nucseg.methods.sia_wsss.training import sia_loss
from nucseg.methods.stages import Images
from nucseg.metrics import LocalizationScores, localization_scores
from nucseg.viz import CYCLE, PAGE_WIDTH

#: Kinds of the contrast that are compared, by printed name.
KINDS = {"literal": "as printed", "literal-negated": "as printed, negated", "cosine": "1 - cosine",
         "info-nce": "InfoNCE, ours"}
_LINES, _MARKERS = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))), "os^Dv<>P"


def compare_contrasts(images=16, crops=4, classes=4, channels=256, seed=0):
    """Return the value of eq. 2 and of its alternatives, and how strongly each pulls at the crops.

    Parameters
    ----------
    images, crops, classes, channels : int
        Sizes; each image has about half of the classes, and each crop shows about half of those.
    seed : int
        Of the random unit vectors.

    Returns
    -------
    pandas.DataFrame
        Index: kind; columns: loss, norm of its gradient with respect to the projections of crops, and this norm by
        that of InfoNCE.
    """
    generator = torch.Generator().manual_seed(seed)
    whole = F.normalize(torch.randn(images, classes, channels, generator=generator), dim=2)
    views = F.normalize(torch.randn(images, crops, classes, channels, generator=generator), dim=3)
    present = torch.rand(images, classes, generator=generator) < 0.5
    shares = (torch.rand(images, crops, classes, generator=generator) < 0.5).float() * present[:, None]
    lines = {}
    for kind, name in KINDS.items():
        learned = views.clone().requires_grad_()
        loss = token_contrast(whole, learned, shares, present, kind).loss
        loss.backward()
        lines[name] = [float(loss.detach()), float(learned.grad.norm())]
    table = pd.DataFrame.from_dict(lines, orient="index", columns=["loss", "gradient"])
    return table.assign(relative=table.gradient / table.gradient[KINDS["info-nce"]]).rename_axis("eq. 2")


def contrast_curve(kind, cosines, negatives=32, temperature=0.5, epsilon=1e-4):
    """Return the loss of one pair over its cosine, beside negatives at a right angle to the image's token.

    Parameters
    ----------
    kind : str
        Of :data:`KINDS`.
    cosines : numpy.ndarray, shape (N,)
        Of the pair.
    negatives : int
        How many there are, for InfoNCE.
    temperature, epsilon : float
        As in :func:`nucseg.losses.token_contrast`.

    Returns
    -------
    numpy.ndarray, shape (N,)
    """
    if kind == "cosine":
        return 1 - cosines
    scores = cosines / temperature
    if kind == "info-nce":
        return np.logaddexp(0, math.log(negatives + epsilon) - scores)
    value = -np.logaddexp(0, math.log(epsilon) - scores)
    return value if kind == "literal" else -value


def show_contrasts(negatives=32):
    """Show eq. 2 as printed and its alternatives over the cosine of a pair.

    Parameters
    ----------
    negatives : int
        See :func:`contrast_curve`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    cosines = np.linspace(-1, 1, 201)
    figure, axis = plt.subplots(figsize=(PAGE_WIDTH, 2.8), layout="constrained")
    plt.close(figure)
    for index, (kind, name) in enumerate(KINDS.items()):
        axis.plot(cosines, contrast_curve(kind, cosines, negatives), linestyle=_LINES[index], color=CYCLE[index],
                  label=name)
    axis.set(xlabel="cosine of a crop's token and its image's token", ylabel="loss of the pair")
    figure.legend(loc="outside upper center", ncols=4, fontsize=8)
    return figure


def continue_training(method, train, samples, weights, *, steps=40, every=10, rate=3e-4, seed=0):
    """Go on with a trained network under other weights of the inhibition, and return what its maps cover.

    Parameters
    ----------
    method : nucseg.methods.SIAWSSS
        Fitted; stays as it is.
    train : nucseg.data.Dataset
        Images with tags, no larger than a patch.
    samples : sequence of nucseg.data.Sample
        As large as a patch, with masks and tags; what is measured.
    weights : sequence of float
        Of the loss on uncertain patches; each begins from the same network and sees the same batches.
    steps, every : int
        Steps of each, and between two measurements.
    rate : float
        Learning rate, without decay.
    seed : int
        Of the batches.

    Returns
    -------
    pandas.DataFrame
        Columns weight, step, coverage, false_share (means over classes, at 0.5).
    """
    (trained,), lines = method.networks.values(), []
    device = next(trained.parameters()).device
    # Only what moves the maps: classification, inhibition and attraction.
    base = replace(method.config, rfm=True, dam=False, rsm=False, segmentation_weight=0.0, output="activation",
                   background=None, start=0.0, stain=None)
    held = hold_patches(Images.read(train, method.preprocessing), base.classes, base, device)
    for weight in weights:
        config = replace(base, inhibition=replace(base.inhibition, weight=weight))
        network, batches = copy.deepcopy(trained).train(), TaggedBatches(held, config)
        network.decoder = None
        optimizer = torch.optim.AdamW((p for p in network.parameters() if p.requires_grad), rate)
        loss = sia_loss(method.preprocessing, config, TrainingLog(config.epochs))
        generator, step = torch.Generator().manual_seed(seed), 0
        lines.append([weight, 0, *_coverage(method, network, samples)])
        while step < steps:
            for batch in batches(config.epochs, generator):
                optimizer.zero_grad()
                loss(network, batch).backward()
                optimizer.step()
                step += 1
                if step % every == 0:
                    lines.append([weight, step, *_coverage(method, network, samples)])
                if step == steps:
                    break
    return pd.DataFrame(lines, columns=["weight", "step", "coverage", "false_share"])


def _coverage(method, network, samples):
    """Return mean coverage and false share of the maps of a network on images of one size."""
    device, classes = next(network.parameters()).device, method.config.classes
    pixels = np.stack([sample.image for sample in samples])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255).to(device)
    present = torch.from_numpy(np.stack([tag_vector(sample.tags, classes, sample.id) for sample in samples])).to(device)
    training = network.training
    network.eval()
    with torch.no_grad():
        raw = network(method.preprocessing.standardize(images)).activation
        maps = enlarged(scaled_maps(raw, present), tuple(images.shape[2:])).cpu().numpy()
    network.train(training)
    scores = LocalizationScores.pooled(localization_scores(s.mask, m) for s, m in zip(samples, maps))
    return scores.mean_coverage, scores.mean_false_share


def show_continued(table):
    """Show coverage and false share over the steps of :func:`continue_training`.

    Parameters
    ----------
    table : pandas.DataFrame
        Its result.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 2.6), layout="constrained")
    plt.close(figure)
    for index, (weight, own) in enumerate(table.groupby("weight", sort=False)):
        for axis, column in zip(axes, ("coverage", "false_share")):
            axis.plot(own.step, own[column], linestyle=_LINES[index % 5], marker=_MARKERS[index % 8], markersize=4,
                      color=CYCLE[index % len(CYCLE)], label=f"weight {weight:g}" if axis is axes[0] else None)
    for axis, title in zip(axes, ("coverage at 0.5", "false share at 0.5")):
        axis.set(xlabel="more steps", ylabel=title, ylim=(0, None))
    figure.legend(loc="outside upper center", ncols=4, fontsize=8)
    return figure


def show_log(log):
    """Show the parts of the loss over a training, and what they were made of.

    Parameters
    ----------
    log : list of dict
        :attr:`nucseg.methods.SIAWSSS.log`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    table = pd.DataFrame(log).set_index("epoch")
    panels = (
        ("loss, before its weight", ("classification", "contrast", "inhibition", "attraction", "segmentation")),
        ("share", ("foreground", "uncertain", "labeled")),
    )
    figure, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.2), layout="constrained")
    plt.close(figure)
    for axis, (title, names) in zip(axes, panels):
        for index, name in enumerate(name for name in names if name in table):
            axis.plot(table.index, table[name], linestyle=_LINES[index], marker=_MARKERS[index], markersize=3,
                      color=CYCLE[index], label=name)
        axis.set(xlabel="epoch", ylabel=title, ylim=(0, None))
        axis.legend(fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def audit_table(table):
    """Return bounds of mean Dice with the lower one of each row, and by how much the printed value exceeds it.

    Parameters
    ----------
    table : pandas.DataFrame
        Of :func:`nucseg.study.dice_bounds.dice_bounds`.

    Returns
    -------
    pandas.DataFrame
        With ``bound`` and ``excess``.
    """
    bound = table[["bound_iou", "bound_pr"]].min(axis=1)
    return table.assign(bound=bound, excess=table.mean_dice - bound)


def show_audit(table, names):
    """Show printed mean Dice beside the largest value that the other means of the row allow.

    Parameters
    ----------
    table : pandas.DataFrame
        Of :func:`nucseg.study.dice_bounds.dice_bounds`.
    names : mapping of str to str
        Printed names of datasets.

    Returns
    -------
    matplotlib.figure.Figure
        Left: over mean IoU, with the curve 2 IoU / (1 + IoU). Right: over 2 P R / (P + R), with the diagonal.
    """
    figure, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.6), layout="constrained")
    plt.close(figure)
    line = np.linspace(0.2, 0.9, 100)
    harmonic = 2 * table.mean_precision * table.mean_recall / (table.mean_precision + table.mean_recall)
    panels = ((axes[0], table.mean_iou, 2 * line / (1 + line), "printed mIoU"),
              (axes[1], harmonic, line, "2 mP mR / (mP + mR), printed"))
    for axis, across, limit, label in panels:
        axis.plot(line, limit, color="black", linewidth=1.2)
        axis.fill_between(line, limit, 1, color="0.9", linewidth=0)
        for (possible, color, marker, text) in ((True, CYCLE[0], "o", "possible"),
                                                (False, CYCLE[5], "X", "not possible")):
            own = table.possible == possible
            axis.scatter(across[own], table.mean_dice[own], color=color, marker=marker, s=26, zorder=3,
                         label=text if axis is axes[0] else None)
        axis.set(xlabel=label, xlim=(line[0], line[-1]), ylim=(0.35, 0.95))
    axes[0].set_ylabel("printed mDice")
    lowest = {}
    for place in table.index[~table.possible][np.argsort(table.mean_dice[~table.possible])]:
        row, kind = table.row[place], names.get(table.dataset[place], table.dataset[place]).split("-")[0]
        over = 0 if table.mean_dice[place] > table.bound_iou[place] else 1
        across = (table.mean_iou, harmonic)[over][place]
        offset, side = ((7, -3), "left") if over == 0 else ((-7, 3 if over in lowest else -9), "right")
        lowest[over] = place
        axes[over].annotate(f"{row}, {kind}", (across, table.mean_dice[place]), xytext=offset,
                            textcoords="offset points", ha=side, fontsize=7)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8)
    return figure
