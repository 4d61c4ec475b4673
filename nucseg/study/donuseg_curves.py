"""What the chapter on DoNuSeg shows of networks and trainings: maps, the chosen block over epochs, sweeps, costs."""

import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from nucseg.losses import contrastive_loss
from nucseg.models import FCOSHead, NucleusFPN, SegmentationHead, localization_head
from nucseg.models.detections import STRIDES
from nucseg.study.donuseg_figures import METRICS, NAMES, SLUG, boxes_on
from nucseg.study.experiment import record_path, rows
from nucseg.study.recorded import NOT_RUN, means
from nucseg.study.records import read_record
from nucseg.viz import CYCLE, PAGE_WIDTH, instance_colors, show_panels, weak_label_image

#: What a training may log of its choices: the blocks are shares of images and add up to 1.
BLOCKS = ("block_1", "block_2", "block_3", "block_4", "none")
#: The other values in the log, each a mean over images, by printed name.
LOGGED = {"alpha": "alpha of P", "disk_recall": "disks of M that P finds", "ignored": "share that P ignores",
          "precision": "precision of P (truth)", "recall": "recall of P (truth)"}
_HATCHES, _LINES = ("", "//", "..", "xx", "++"), ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def recorded_log(experiment, row, dataset):
    """Return the log of choices of the first recorded fold of a row, empty where there is none.

    Parameters
    ----------
    experiment, row, dataset : str
        As in the declared rows.

    Returns
    -------
    list of dict
        One for each epoch; see :func:`show_selection`.
    """
    for declared in rows(SLUG):
        path = record_path(SLUG, declared)
        if (declared.experiment, declared.row, declared.dataset) == (experiment, row, dataset) and path.is_file():
            return read_record(path)["notes"].get("selection", [])
    return []


def recorded_rows(*experiments, datasets=("consep", "tnbc", "monuseg"), metrics=METRICS, suffix=""):
    """Return recorded means of experiments side by side over datasets.

    Parameters
    ----------
    *experiments : str
        As in the declared rows, in this order.
    datasets : sequence of str
        One column for each metric and dataset.
    metrics : sequence of str
        Names in the records.
    suffix : str
        Put behind them: ``"_patch"`` for means over patches.

    Returns
    -------
    pandas.DataFrame
        Index: row; columns: (dataset, metric) by their printed names. Empty where nothing was recorded; datasets
        without a recorded row are left out.
    """
    columns = {}
    for dataset in datasets:
        known = pd.concat([means(SLUG, name, dataset) for name in experiments])
        for metric in metrics:
            if len(known):
                columns[NAMES[dataset], NAMES[metric]] = known[metric + suffix]
    order = dict.fromkeys(row for column in columns.values() for row in column.index)
    return pd.DataFrame(columns, dtype=float).reindex(list(order)).rename_axis("row")


def text_panel(text, width=PAGE_WIDTH):
    """Return a figure that only says something, where there is nothing to draw.

    Parameters
    ----------
    text : str
        What it says.
    width : float
        Inches.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axis = plt.subplots(figsize=(width, 1.2), layout="constrained")
    plt.close(figure)
    axis.text(0.5, 0.5, text, ha="center", va="center", transform=axis.transAxes)
    axis.set_axis_off()
    return figure


def describe_network(config, size=(256, 256)):
    """Return the grids of the encoder and of the pyramid, and how many numbers each part learns.

    Parameters
    ----------
    config : nucseg.models.FCOSConfig
        Of the network.
    size : tuple of int
        (H, W) of a patch, px.

    Returns
    -------
    blocks : pandas.DataFrame
        Index: "C2 / P2" to "C5 / P5"; columns: stride (px), rows and columns of the grid, channels of block and level.
    parameters : dict of str to int
        By part.
    """
    with torch.device("meta"), torch.no_grad():  # shapes only: nothing is computed
        trunk = NucleusFPN(config)
        found = trunk(torch.empty(1, 3, *size))
        heads = {"detection head": FCOSHead(config), "segmentation head": SegmentationHead(config),
                 "localization head": localization_head(trunk.block_channels, config)}
    lines = {}
    for number, (stride, block, level) in enumerate(zip(STRIDES, found.blocks, found.levels), start=2):
        grid = f"{block.shape[2]} x {block.shape[3]}"
        lines[f"C{number} / P{number}"] = [stride, grid, block.shape[1], level.shape[1]]
    table = pd.DataFrame.from_dict(lines, orient="index", columns=["stride (px)", "grid", "channels C", "channels P"])
    parts = {"encoder": torch.nn.ModuleList([trunk.stem, trunk.blocks]), "pyramid": trunk.pyramid, **heads}
    return table, {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


def overview_rows(image, points, found, prob):
    """Return the rows of a flow from dots to both labels of the mask (Wang et al. 2024, Fig. 2).

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        A patch.
    points : numpy.ndarray, shape (N, 2)
        Its dots, px.
    found : object
        What `explain` of the method returns: `cams`, `candidates`, `alphas`, `initial`, `label`, `block`.
    prob : numpy.ndarray, shape (H, W), float
        Y, the predicted mask.

    Returns
    -------
    list of list of tuple
        For :func:`nucseg.viz.show_flow`.
    """
    names = [f"CAM of\nblock {number}" for number in range(1, len(found.cams) + 1)]
    kept = "P: none\neligible"
    if found.block >= 0:
        kept = f"P: block {found.block + 1},\nalpha {found.alphas[found.block]:.2f}"
    return [
        [("a patch\nand its dots", image, points), *zip(names, found.cams)],
        [("initial\nlabel M", weak_label_image(found.initial)), (kept, weak_label_image(found.label)),
         ("prediction Y,\nlearned from both", prob)],
    ]


def network_rows(image, detections, prob, labels, truth):
    """Return the rows of a flow from a patch through both heads to instances (Wang et al. 2024, Fig. 3).

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        A patch.
    detections : object
        With `boxes` (N, 4), px.
    prob : numpy.ndarray, shape (H, W), float
        Of the segmentation head.
    labels, truth : numpy.ndarray, shape (H, W), int
        Predicted and true instances.

    Returns
    -------
    list of list of tuple
        For :func:`nucseg.viz.show_flow`.
    """
    boxed = boxes_on(image, detections.boxes, "vermilion")
    return [[("a patch", image), ("boxes of the\ndetection head", boxed), ("mask of the\nsegmentation head", prob),
             ("boxes share\nthe mask", instance_colors(labels)), ("truth", instance_colors(truth))]]


def show_candidates(found):
    """Show the activation maps of all blocks and the label candidates made of them (eq. 3 and 4).

    Parameters
    ----------
    found : object
        What `explain` of the method returns.

    Returns
    -------
    matplotlib.figure.Figure
    """
    titles = [f"block {number}: CAM" for number in range(1, len(found.cams) + 1)]
    for number, alpha in enumerate(found.alphas):
        titles.append(f"{'chosen: ' if number == found.block else ''}alpha {alpha:.3f}")
    pictures = [*found.cams, *map(weak_label_image, found.candidates)]
    return show_panels(pictures, titles, columns=len(found.cams), limits=(0, 1))


def contrast_by_pairs(anchor, similar, dissimilar, temperature=1.0):
    """Return eq. 7 as printed, with an inner sum for each similar feature: slow, to compare with.

    Parameters
    ----------
    anchor, similar, dissimilar, temperature
        See :func:`nucseg.losses.contrastive_loss`.

    Returns
    -------
    torch.Tensor, shape ()
    """
    def cosine(other):
        return torch.nn.functional.cosine_similarity(anchor, other, dim=0) / temperature

    terms = []
    for one in similar:
        others = sum(torch.exp(cosine(other)) for other in dissimilar)
        terms.append(cosine(one) - torch.log(torch.exp(cosine(one)) + others))
    return -torch.stack(terms).mean()


def compare_contrast(counts, channels=16, seed=0):
    """Return value, work and time of both ways to compute eq. 7.

    Parameters
    ----------
    counts : sequence of (int, int)
        Similar and dissimilar features, one line each.
    channels : int
        Of each feature.
    seed : int
        Of the random features.

    Returns
    -------
    pandas.DataFrame
        Index: "|U|, |V|"; columns: both values, their difference, exponentials, seconds.
    """
    generator = torch.Generator().manual_seed(seed)
    lines = {}
    for similar, dissimilar in counts:
        features = [torch.randn(*shape, generator=generator, dtype=torch.float64)
                    for shape in ((channels,), (similar, channels), (dissimilar, channels))]
        values, seconds = [], []
        for function in (contrast_by_pairs, contrastive_loss):
            start = time.perf_counter()
            values.append(float(function(*features)))
            seconds.append(time.perf_counter() - start)
        lines[f"{similar}, {dissimilar}"] = [*values, abs(values[0] - values[1]), similar * (dissimilar + 1),
                                             similar + dissimilar, *seconds]
    names = ["by pairs", "at once", "difference", "exp by pairs", "exp at once", "s by pairs", "s at once"]
    return pd.DataFrame.from_dict(lines, orient="index", columns=names).rename_axis("|U|, |V|")


def show_contrast(temperatures=(1.0, 0.5, 0.1), dissimilar=1000):
    """Show the contrastive loss against the cosine of the similar features, the dissimilar ones at a right angle.

    Parameters
    ----------
    temperatures : sequence of float
        One curve each.
    dissimilar : int
        Number of dissimilar features.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axis = plt.subplots(figsize=(4.6, 2.8), layout="constrained")
    plt.close(figure)
    cosines, anchor = np.linspace(-1, 1, 81), torch.tensor([1.0, 0.0])
    others = torch.tensor([[0.0, 1.0]]).expand(dissimilar, 2)
    for index, temperature in enumerate(temperatures):
        values = [float(contrastive_loss(anchor, torch.tensor([[c, np.sqrt(1 - c * c)]], dtype=torch.float32), others,
                                         temperature)) for c in cosines]
        axis.plot(cosines, values, linestyle=_LINES[index % len(_LINES)], color=CYCLE[index % len(CYCLE)],
                  label=f"temperature {temperature:g}")
    axis.axhline(np.log(1 + dissimilar), color="black", linewidth=0.8)
    axis.set(xlabel="cosine of anchor and similar feature", ylabel="loss (nats)")
    axis.legend(fontsize=8)
    return figure


def show_selection(log, title=None):
    """Show which blocks a training chose, epoch by epoch, and how good its dynamic labels were.

    Parameters
    ----------
    log : sequence of mapping
        One for each epoch: `epoch`, the shares of :data:`BLOCKS`, and any of :data:`LOGGED`; None for no value.
    title : str, optional
        Of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        A panel that says "not run" for an empty log.
    """
    if not log:
        return text_panel(f"{title}: {NOT_RUN}" if title else NOT_RUN)
    table = pd.DataFrame(list(log)).set_index("epoch")
    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.4), layout="constrained")
    plt.close(figure)
    epochs = table.index.to_numpy(float)
    if len(epochs) == 1:  # an area needs a width
        epochs, table = np.array([epochs[0] - 0.5, epochs[0] + 0.5]), pd.concat([table, table])
    shares = table.reindex(columns=BLOCKS).fillna(0).to_numpy(float).T
    colors = [*CYCLE[:4], "#C9C9C9"]
    areas = left.stackplot(epochs, shares, labels=[name.replace("_", " ") for name in BLOCKS], colors=colors)
    for area, hatch in zip(areas, _HATCHES):
        area.set(hatch=hatch, edgecolor="white", linewidth=0.5)
    left.set(xlabel="epoch", ylabel="share of images", ylim=(0, 1), xlim=(epochs[0], epochs[-1]))
    left.legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    for index, (name, text) in enumerate(LOGGED.items()):
        if name in table and table[name].notna().any():
            right.plot(epochs, table[name].to_numpy(float), linestyle=_LINES[index], color=CYCLE[index], label=text)
    right.set(xlabel="epoch", ylim=(-0.02, 1.02))
    right.legend(fontsize=8, ncols=1, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def recorded_radii(dataset, experiments=("table 1, short", "radii, short")):
    """Return recorded scores of DoNuSeg by the radii of the initial label.

    Parameters
    ----------
    dataset : str
        Name of the dataset.
    experiments : sequence of str
        As in the declared rows, whose settings hold the whole config; the first has the published radii.

    Returns
    -------
    pandas.DataFrame
        Columns r, d (px), dice, aji; one line for each recorded row, by r, then d.
    """
    scores, lines = {name: means(SLUG, name, dataset) for name in experiments}, {}
    for row in rows(SLUG):
        if row.experiment in scores and row.dataset == dataset and row.row in scores[row.experiment].index:
            config = row.settings["config"]
            if "r" in config:
                line = scores[row.experiment].loc[row.row, ["f1_pixel", "aji"]]
                lines[row.row] = [config["r"], config["d"], *line]
    table = pd.DataFrame.from_dict(lines, orient="index", columns=["r", "d", "dice", "aji"], dtype=float)
    return table.sort_values(["r", "d"])


def show_sweep(table, r=4, d=20):
    """Show DICE and AJI against the radii of the initial label (Wang et al. 2024, Fig. 5).

    Parameters
    ----------
    table : pandas.DataFrame
        Columns r, d, dice, aji, and optionally `dataset`, one pair of curves each.
    r, d : float
        Published values: each curve varies one of them and keeps the other, px.

    Returns
    -------
    matplotlib.figure.Figure
        A panel that says "not run" for an empty table.
    """
    if table.empty:
        return text_panel(f"r and d: {NOT_RUN}")
    figure, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 2.7), sharey=True, layout="constrained")
    plt.close(figure)
    groups = table.groupby("dataset", sort=False) if "dataset" in table else [("", table)]
    for place, (name, own) in enumerate(groups):
        for axis, varied, kept, value in zip(axes, "rd", "dr", (d, r)):
            line = own[own[kept] == value].sort_values(varied)
            for style, score, title in zip(("-", "--"), ("dice", "aji"), ("DICE", "AJI")):
                label = f"{name} {title}".strip()
                axis.plot(line[varied], line[score], style, marker="os^D"[place % 4], markersize=4,
                          color=CYCLE[place % len(CYCLE)], label=label)
            axis.set(xlabel=f"{varied} (px), {kept} = {value:g}")
    axes[0].set(ylabel="score", ylim=(0, 1))
    axes[0].legend(fontsize=8)
    return figure
