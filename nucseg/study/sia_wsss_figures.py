"""What the chapter on SIA-WSSS shows of one network: class maps, activation maps, stages, regions, neighbors."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.patches import Patch

from nucseg.explain import uncertain_regions
from nucseg.methods.sia_wsss.evidence import refine
from nucseg.methods.sia_wsss.prediction import class_maps, superpixels_of
from nucseg.models import neighbor_messages
from nucseg.viz import CYCLE, PAGE_WIDTH, class_colors, outline_mask, rgb, weak_label_image
from nucseg.viz.panels import draw_image, make_grid

SLUG = "sia-wsss"
PAPER = "fan2025"
METRICS = ("mean_dice", "mean_iou", "mean_precision", "mean_recall")
#: How the article names metrics and images. Two of the datasets are none of its own.
NAMES = {"mean_dice": "mDice", "mean_iou": "mIoU", "mean_precision": "mP", "mean_recall": "mR",
         "luad-histoseg": "LUAD-HistoSeg", "bcss-wsss": "BCSS-WSSS", "synthetic-tissue": "synthetic",
         "wsss4luad": "WSSS4LUAD"}
#: Stages of the maps of a class, by their name in :class:`nucseg.methods.sia_wsss.Explanation`.
STAGES = {"activation": "A", "inhibition": "I", "regional": "A'", "confident": "I'_h", "refined": "R"}


def most_mixed(samples, classes, whole=None):
    """Return samples with masks, those first that hold the most classes in the most equal shares.

    Parameters
    ----------
    samples : iterable of nucseg.data.Sample
        With class masks.
    classes : int
        Number of classes; higher values in masks are none.
    whole : int, optional
        Only images that are squares of this side, px.

    Returns
    -------
    list of nucseg.data.Sample
    """
    def mixture(sample):
        counts = np.bincount(sample.mask[sample.mask < classes].ravel(), minlength=classes)
        held = counts[counts > 0]
        return len(held), held.min(initial=counts.sum()) / max(counts.sum(), 1)

    kept = [sample for sample in samples if whole is None or sample.mask.shape == (whole, whole)]
    return sorted(kept, key=mixture, reverse=True)


def tag_text(tags):
    """Return the tags of an image in words, one to a line."""
    return "\n".join(name for name, there in tags.items() if there)


def add_legend(figure, classes, *maps):
    """Put the colors of the classes that occur in maps below a figure that keeps room for a legend.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Of :func:`nucseg.viz.panels.make_grid`.
    classes : sequence of str
        Names.
    *maps : numpy.ndarray
        Class maps that the figure shows; what is no class in them is white.
    """
    values = np.unique(np.concatenate([np.unique(labels) for labels in maps]))
    colors = {name: color for index, (name, color) in enumerate(zip(classes, CYCLE)) if index in values}
    if ((values < 0) | (values >= len(classes))).any():
        colors["white, not scored"] = "white"
    handles = [Patch(facecolor=color, edgecolor="black", linewidth=0.5, label=name) for name, color in colors.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, handlelength=1.2,
                  columnspacing=1.0)


def show_segmentations(samples, predictions, classes):
    """Show images, their true class maps and predictions, one image to a row (Fan et al. 2025, Fig. 2).

    Parameters
    ----------
    samples : sequence of nucseg.data.Sample
        With masks.
    predictions : mapping of str to callable
        By title; each takes an image and returns a class map.
    classes : sequence of str
        Names.

    Returns
    -------
    matplotlib.figure.Figure
    """
    pictures, titles, maps, count = [], [], [], len(classes)
    for number, sample in enumerate(samples):
        found = {"truth": sample.mask, **{title: predict(sample.image) for title, predict in predictions.items()}}
        found = {title: np.where(sample.mask >= count, count, labels) for title, labels in found.items()}
        maps += found.values()
        row = {"image": sample.image, **{title: class_colors(labels, count) for title, labels in found.items()}}
        pictures += row.values()
        titles += row if number == 0 else [""] * len(row)
    figure, axes = make_grid([picture.shape[:2] for picture in pictures], 2 + len(predictions), extra_height=0.3)
    for axis, picture, title in zip(axes, pictures, titles):
        draw_image(axis, picture)
        axis.set_title(title)
    add_legend(figure, classes, *maps)
    return figure


def grid_maps(method, sample):
    """Return the scaled activation maps of a method at the places of patches, (C, h, w), for the tags of an image.

    Parameters
    ----------
    method : nucseg.methods.SIAWSSS
        Fitted.
    sample : nucseg.data.Sample
        As large as a patch, with tags.

    Returns
    -------
    numpy.ndarray
    """
    seen = method.look(sample.image)
    present = torch.tensor([[bool(sample.tags[name]) for name in method.config.classes]])
    raw = seen.activation[:1].clamp(min=0) * present[..., None, None]
    return (raw / raw.amax(dim=(2, 3), keepdim=True).clamp(min=1e-12))[0].numpy()


def show_failures(samples, methods, classes):
    """Show, for each class, an image that holds it, where it is, and its map by each method.

    Parameters
    ----------
    samples : sequence of nucseg.data.Sample
        To choose from: the first one that holds a class stands for it, each image once if there are enough.
    methods : mapping of str to nucseg.methods.SIAWSSS
        By title.
    classes : sequence of str
        Names.

    Returns
    -------
    matplotlib.figure.Figure
        Above each map: coverage and false share of this map alone, at 0.5.
    """
    pictures, titles, used = [], [], set()
    for index, name in enumerate(classes):
        holding = [sample for sample in samples if (sample.mask == index).any()]
        if not holding:
            continue
        sample = next((one for one in holding if one.id not in used), holding[0])
        used.add(sample.id)
        true = sample.mask == index
        pictures += [sample.image, np.where(true[..., None], rgb("nucleus"), rgb("background")).astype(np.uint8)]
        titles += ["image", name]
        for title, method in methods.items():
            values = method.explain(sample.image, sample.tags).activation[index]
            on = (values > 0.5) & (sample.mask < len(classes))
            cover, false = (on & true).sum() / true.sum(), 1 - (on & true).sum() / max(on.sum(), 1)
            pictures.append(values)
            titles.append(f"{title}\ncovers {cover:.0%}, false {false:.0%}")
    figure, axes = make_grid([picture.shape[:2] for picture in pictures], 2 + len(methods), title_lines=2)
    for axis, picture, title in zip(axes, pictures, titles):
        draw_image(axis, picture, (0, 1))
        axis.set_title(title, fontsize=9)
    return figure


def failure_table(places, classes):
    """Return coverage and false share by class.

    Parameters
    ----------
    places : mapping of str to nucseg.metrics.LocalizationScores
        By title, all images together.
    classes : sequence of str
        Names.

    Returns
    -------
    pandas.DataFrame
        Index: title and what is measured; columns: classes and their mean.
    """
    lines = {}
    for title, scores in places.items():
        for what, each, mean in (("coverage", scores.coverage, scores.mean_coverage),
                                 ("false share", scores.false_share, scores.mean_false_share)):
            lines[title, what] = [*each, mean]
    table = pd.DataFrame.from_dict(lines, orient="index", columns=[*classes, "mean"])
    table.index = pd.MultiIndex.from_tuples(table.index)
    return table


def compare_failures(places, classes):
    """Return for how many classes the second of two maps covers more, and is more often false, as a sentence.

    Parameters
    ----------
    places : mapping of str to nucseg.metrics.LocalizationScores
        Two, by title, all images together.
    classes : sequence of str
        Names.

    Returns
    -------
    str
    """
    (_, first), (title, second) = places.items()
    wider, falser = (int(np.greater(getattr(second, what), getattr(first, what)).sum())
                     for what in ("coverage", "false_share"))
    return f"Of {len(classes)} classes, {title} covers more of {wider} and is more often false for {falser}"


def show_certainty(maps):
    """Show what thresholds make of the maps of one image: ours, and those of the text (Fan et al. 2025, sec. 2.1).

    Parameters
    ----------
    maps : numpy.ndarray, shape (C, h, w)
        Scaled activation maps.

    Returns
    -------
    matplotlib.figure.Figure
    """
    batch = torch.as_tensor(maps)[None]
    figure, axes = plt.subplots(1, 4, figsize=(PAGE_WIDTH, 2.0), layout="constrained",
                                gridspec_kw={"width_ratios": (1, 1, 1, 1.2)})
    plt.close(figure)
    draw_image(axes[0], maps.max(axis=0), (0, 1))
    axes[0].set_title("highest value\nof all maps", fontsize=9)
    for axis, title, thresholds in ((axes[1], "as printed", (0.3, 0.5)), (axes[2], "ours", (0.5, 0.3))):
        draw_image(axis, weak_label_image(uncertain_regions(batch, *thresholds).kind[0].numpy()))
        axis.set_title(title, fontsize=9)
    bars = (("foreground, ours", "nucleus", 0.5, 1), ("uncertain, ours", "ignored", 0.3, 0.5),
            ("background, ours", "background", 0, 0.3), ("foreground, printed", "nucleus", 0.3, 1),
            ("background, printed", "background", 0, 0.5))
    for place, (_, color, low, high) in zip((0, 1, 2, 4, 5), bars):
        axes[3].barh(place, high - low, 0.8, low, color=rgb(color) / 255)
    axes[3].set(xlim=(0, 1), xticks=(0, 0.3, 0.5, 1), xlabel="value of the map")
    axes[3].set_yticks((0, 1, 2, 4, 5), [name for name, *_ in bars], fontsize=7)
    return figure


def heard_patches(method, sample):
    """Return what the class tokens of an image hear, as weights on patches and on class tokens (eq. 1).

    Parameters
    ----------
    method : nucseg.methods.SIAWSSS
        Fitted, with a graph of tokens.
    sample : nucseg.data.Sample
        As large as a patch.

    Returns
    -------
    numpy.ndarray, shape (C, h, w), float
        Knowledge weights; NaN where a patch is no neighbor.
    numpy.ndarray, shape (C,), float
        Weight that class tokens have together.
    """
    (network,) = method.networks.values()
    graph = network.graph
    device = next(network.parameters()).device
    pixels = torch.from_numpy(sample.image).permute(2, 0, 1)[None].float().div(255).to(device)
    with torch.no_grad():
        found = network.encoder(method.preprocessing.standardize(pixels))
        classes, size = found.classes.shape[1], tuple(found.patches.shape[2:])
        nodes = torch.cat([found.classes, found.patches.flatten(2).transpose(1, 2)], dim=1)
        heard = neighbor_messages(graph.head(found.classes), graph.tail(nodes), graph.config.neighbors)
    weights = torch.full((classes, nodes.shape[1]), torch.nan)
    weights.scatter_(1, heard.neighbors[0].cpu(), heard.weights[0].cpu())
    return weights[:, classes:].unflatten(1, size).numpy(), weights[:, :classes].nansum(dim=1).numpy()


def show_heard(sample, weights, classes):
    """Show which patches the token of each class hears of.

    Parameters
    ----------
    sample : nucseg.data.Sample
        Image, mask and tags.
    weights : numpy.ndarray, shape (C, h, w)
        Of :func:`heard_patches`.
    classes : sequence of str
        Names.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = make_grid([sample.image.shape[:2]] * (2 + len(classes)), 2 + len(classes), title_lines=2,
                             extra_height=0.3)
    limits = (0, float(np.nanmax(weights)))
    draw_image(axes[0], sample.image)
    draw_image(axes[1], class_colors(sample.mask, len(classes)))
    for axis, title in zip(axes, ("image", "truth")):
        axis.set_title(title, fontsize=9)
    for axis, name, values in zip(axes[2:], classes, weights):
        draw_image(axis, values, limits)
        there = "present" if sample.tags.get(name) else "absent"
        axis.set_title(f"{name}\n({there})", fontsize=8)
    add_legend(figure, classes, sample.mask)
    return figure


def show_stages(sample, found, classes):
    """Show the maps of each present class at every stage (Fan et al. 2025, Fig. 3).

    Parameters
    ----------
    sample : nucseg.data.Sample
        Image and mask.
    found : nucseg.methods.sia_wsss.Explanation
        Of its tags.
    classes : sequence of str
        Names.

    Returns
    -------
    matplotlib.figure.Figure
        One row for each present class: the image with the outline of the class, and its maps.
    """
    rows = [index for index, there in enumerate(found.present) if there]
    figure, axes = make_grid([sample.image.shape[:2]] * (len(rows) * (1 + len(STAGES))), 1 + len(STAGES))
    axes = np.reshape(axes, (len(rows), -1))
    for line, index in zip(axes, rows):
        picture = sample.image.copy()
        picture[outline_mask((sample.mask == index).astype(int), 2)] = 0
        draw_image(line[0], picture)
        line[0].set_title(classes[index], fontsize=9, loc="left")
        for axis, (name, title) in zip(line[1:], STAGES.items()):
            draw_image(axis, getattr(found, name)[index], (0, 1))
            axis.set_title(title if index == rows[0] else "", fontsize=9)
    return figure


def fusions(method, sample):
    """Return the maps of an image before and after region self-modulation, by eq. 3 and by the product.

    Parameters
    ----------
    method : nucseg.methods.SIAWSSS
        Fitted.
    sample : nucseg.data.Sample
        Image and tags.

    Returns
    -------
    dict of str to numpy.ndarray, shape (C, H, W)
        ``"A"``, ``"max"``, ``"product"``.
    """
    config, seen = method.config, method.look(sample.image)
    present = np.array([bool(sample.tags[name]) for name in config.classes])
    activation, inhibition = class_maps(seen, present, config)
    regions, maps = superpixels_of(seen, config), {"A": activation[0].numpy()}
    for fusion in ("max", "product"):
        own = replace(config, modulation=replace(config.modulation, fusion=fusion))
        maps[fusion] = refine(activation, inhibition, regions, own).result[0].numpy()
    return maps
