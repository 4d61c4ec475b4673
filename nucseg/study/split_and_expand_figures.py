"""What the chapter on split and expand shows: paired gains, tests, and mixtures drawn as ellipses."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import Ellipse

from nucseg.metrics import holm, paired_t_test
from nucseg.study.experiments.split_and_expand import OUTPUTS
from nucseg.study.tables import runs, summary
from nucseg.viz import CYCLE, PAGE_WIDTH

SLUG = "split-and-expand"
PAPER = "foo2022"
METRICS = ("aji", "object_dice", "aji_small", "object_dice_small")
#: How the article names metrics and images.
NAMES = {
    "aji": "AJI", "object_dice": "Dice", "aji_small": "AJI (small)", "object_dice_small": "Dice (small)",
    "aji_small_gt": "AJI (small nuclei only)", "object_dice_small_gt": "Dice (small nuclei only)",
    "center_precision": "center P", "center_recall": "center R", "center_f1": "center F1",
    "center_area": "median blob (px)", "objects": "objects", "nuclei": "nuclei",
    "added": "added per image", "added_area": "their area (px)", "added_true": "share on nuclei",
    "monuseg": "MoNuSeg", "tnbc": "TNBC",
}
#: The two steps, each from one output of a training to the next.
STEPS = (("Baseline", "Split"), ("Split", "Split & Expand"))


def steps(experiment, base="Weakly", metrics=METRICS):
    """Return the scores of every test image after each step of prediction, from the records.

    Parameters
    ----------
    experiment : str
        As in the declared rows, for example ``"split and expand"``.
    base : str
        What stands before the name of the step in the rows.
    metrics : sequence of str
        The scores wanted.

    Returns
    -------
    pandas.DataFrame
        Index: dataset and image; columns: (metric, step), NaN where a score is undefined. Empty where nothing was
        recorded; means over seeds.
    """
    names = {f"{base}, {step}": step for step in OUTPUTS}
    table = runs(SLUG)
    table = table[(table.experiment == experiment) & table.row.isin(names) & table.metric.isin(metrics)]
    table = table.assign(step=table.row.map(names))
    wide = table.pivot_table(index=["dataset", "image"], columns=["metric", "step"], values="value", dropna=False)
    return wide.dropna(how="all")


def images_of(experiment, dataset="monuseg"):
    """Return on how many test images the rows of an experiment were measured, 0 where nothing was recorded."""
    rows = summary(runs(SLUG)).query("experiment == @experiment and dataset == @dataset")
    return int((rows.images + rows.undefined).max()) if len(rows) else 0


def gains(table, level=0.05):
    """Return paired tests of each step against the one before (Foo et al. 2022, table 1).

    Parameters
    ----------
    table : pandas.DataFrame
        As :func:`steps` returns.
    level : float
        Of significance.

    Returns
    -------
    pandas.DataFrame
        Index: dataset, metric and comparison; columns: ``images``, ``gain`` (mean), ``sd``, ``effect`` (gain over sd),
        ``p`` (two-sided t-test), ``p, Holm`` (corrected over all lines with a p), ``better`` (whether p is below the
        level and the gain positive, as the article marks it).
    """
    lines = {}
    for dataset, part in table.groupby(level="dataset"):
        for metric in [m for m in METRICS if m in part]:
            for before, after in STEPS:
                first, second = (part[metric, step].to_numpy() for step in (before, after))
                test, spread = paired_t_test(first, second), np.nanstd(second - first, ddof=1)
                lines[dataset, metric, f"{before} to {after}"] = {
                    "images": test.n, "gain": test.mean_difference, "sd": spread,
                    "effect": test.mean_difference / spread if spread else np.nan, "p": test.p,
                }
    found = pd.DataFrame.from_dict(lines, orient="index")
    if found.empty:
        return found
    found.index.names = ["dataset", "metric", "step"]
    found["p, Holm"] = holm(found.p.to_numpy())
    found["better"] = (found.p < level) & (found.gain > 0)
    return found


def show_steps(table):
    """Show how each image's scores change from step to step, one line for each image.

    Parameters
    ----------
    table : pandas.DataFrame
        As :func:`steps` returns, not empty.

    Returns
    -------
    matplotlib.figure.Figure
        One row of panels for each dataset, one panel for each metric; the black line is the mean.
    """
    datasets = list(dict.fromkeys(table.index.get_level_values("dataset")))
    figure, axes = plt.subplots(len(datasets), len(METRICS), figsize=(PAGE_WIDTH, 2.2 * len(datasets)), squeeze=False)
    plt.close(figure)
    for line, dataset in zip(axes, datasets):
        for axis, metric in zip(line, METRICS):
            values = table.loc[dataset][metric][list(OUTPUTS)].to_numpy().T
            axis.plot(values, color=CYCLE[0], alpha=0.45, linewidth=0.9)
            axis.plot(np.nanmean(values, axis=1), color="black", marker="o", linewidth=1.8)
            axis.set_xticks(range(3), ["base", "split", "expand"])
            axis.set_title(f"{NAMES[dataset]}: {NAMES[metric]}", fontsize=9)
            axis.margins(x=0.15)
    return figure


def draw_ellipses(axis, mixture, color="black", scale=2.0):
    """Draw the Gaussians of a mixture as ellipses on a picture, dashed crosses at their means.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        With pixel centers at whole coordinates.
    mixture : nucseg.postprocess.Mixture
        Means and covariances in row and column, px.
    color : str
        Of the lines.
    scale : float
        Half axes in standard deviations; 2 covers a disk of uniform weight.
    """
    for mean, covariance in zip(mixture.means, mixture.covariances):
        variances, axes = np.linalg.eigh(covariance)
        angle = np.degrees(np.arctan2(axes[0, 1], axes[1, 1]))
        width, height = 2 * scale * np.sqrt(variances[::-1])
        axis.add_patch(Ellipse(mean[::-1], width, height, angle=angle, fill=False, color=color, linewidth=1.4))
        axis.plot(*mean[::-1], marker="+", color=color, markersize=7)


def dose(experiment="wrong centers", unharmed=("true centers", "mixture")):
    """Return AJI against how wrong the centers are, from the records.

    Parameters
    ----------
    experiment : str
        Rows that are named by an error, such as ``"moved by 2 px"`` or ``"25 % missed"``.
    unharmed : tuple of str
        Experiment and row without an error.

    Returns
    -------
    dict of str to pandas.Series
        ``"moved"``, ``"missed"`` and ``"added"``: mean AJI by pixels or by percent, from 0 on; empty where nothing was
        recorded.
    """
    table = runs(SLUG)
    table = table[table.metric == "aji"]
    mean = table.groupby(["experiment", "row"])["value"].mean()
    curves = {"moved": {}, "missed": {}, "added": {}}
    for (name, row), value in mean.items():
        if (name, row) == tuple(unharmed):
            for curve in curves.values():
                curve[0.0] = value
        elif name == experiment:
            kind = next(kind for kind in curves if kind in row)
            curves[kind][next(float(word) for word in row.split() if word.replace(".", "").isdigit())] = value
    return {kind: pd.Series(curve, dtype=float).sort_index() for kind, curve in curves.items() if curve}
