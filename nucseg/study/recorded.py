"""What chapters show of their records: means by row, published tables with them, and which rows are missing."""

import math
import textwrap

import pandas as pd

from nucseg.study.experiment import rows
from nucseg.study.tables import published, runs, summary

NOT_RUN = "not run"


def means(slug, experiment, dataset="monuseg"):
    """Return the recorded means of an experiment on one dataset.

    Parameters
    ----------
    slug : str
        The chapter.
    experiment : str
        As in the declared rows.
    dataset : str
        Name of the dataset.

    Returns
    -------
    pandas.DataFrame
        Index: row, in the order of declaration; columns: metrics, means over images, then seeds. Empty where nothing
        was recorded.
    """
    table = summary(runs(slug))
    table = table[(table.experiment == experiment) & (table.dataset == dataset)]
    wide = table.pivot_table(index="row", columns="metric", values="mean")
    order = dict.fromkeys(row.row for row in rows(slug) if row.experiment == experiment)
    return wide.reindex([row for row in order if row in wide.index])


def missing(slug, experiment, dataset="monuseg"):
    """Return a sentence that names the rows of an experiment that are declared, but not recorded.

    Parameters
    ----------
    slug : str
        The chapter.
    experiment : str
        As in the declared rows.
    dataset : str
        Name of the dataset.

    Returns
    -------
    str
        In lines of at most 80 characters.
    """
    listed = dict.fromkeys(row.row for row in rows(slug) if (row.experiment, row.dataset) == (experiment, dataset))
    absent = [row for row in listed if row not in means(slug, experiment, dataset).index]
    text = f"Declared, not recorded yet: {'; '.join(absent)}." if absent else "All declared rows are recorded."
    return textwrap.fill(text, 80)


def side_by_side(slug, paper, experiment, metrics, names, *, counted="seeds", last=None):
    """Return a published table with our means below each line.

    Parameters
    ----------
    slug, paper : str
        The chapter, and the paper as in ``results/paper.csv``.
    experiment : str
        As in ``results/paper.csv`` and in the declared rows.
    metrics : sequence of str
        Columns, in this order.
    names : mapping of str to str
        Printed names of metrics and datasets.
    counted : {"seeds", "images"}
        What the last column counts in our rows.
    last : str, optional
        Dataset whose lines come last.

    Returns
    -------
    pandas.DataFrame
        Index: dataset, row, and who ("paper", "ours", and "ours, short" where the shorter training of the same row
        was recorded); columns: the metrics by their printed names, as text with the spread over draws or seeds, and
        `counted`. Rows that are declared, of which neither is recorded, read "not run"; lines of the paper on images
        that were never released stand alone.
    """
    reference = _values(published(paper, experiment), "value", "spread")
    ours = summary(runs(slug))
    full, brief = (ours[ours.experiment == name] for name in (experiment, f"{experiment.split(',')[0]}, short"))
    sources = {"paper": (None, reference), "ours": (full, _values(full, "mean", "sd_seeds")),
               "ours, short": (brief, _values(brief, "mean", "sd_seeds"))}
    declared = [(row.dataset, row.row) for row in rows(slug) if row.experiment == experiment]
    keys = list(dict.fromkeys([*(key[:2] for key in reference), *declared]))
    sets = sorted(dict.fromkeys(dataset for dataset, _ in keys), key=lambda dataset: dataset == last)
    keys.sort(key=lambda key: sets.index(key[0]))
    lines = {}
    for key in keys:
        texts = {who: [_text(metric, *values.get((*key, metric), (math.nan, math.nan))) for metric in metrics]
                 for who, (_, values) in sources.items()}
        if key in declared and not any(texts["ours"] + texts["ours, short"]):
            texts["ours"][0] = NOT_RUN
        for who, (table, _) in sources.items():
            if any(texts[who]):
                count = "" if table is None else _count(table, *key, counted)
                lines[names.get(key[0], key[0]), key[1], who] = [*texts[who], count]
    index = pd.MultiIndex.from_tuples(lines, names=["dataset", "row", ""])
    return pd.DataFrame(list(lines.values()), index=index, columns=[*(names[m] for m in metrics), counted])


def _count(table, dataset, row, counted):
    own = table[(table.dataset == dataset) & (table.row == row)][counted]
    return str(int(own.max())) if len(own) else ""


def _values(table, value, spread):
    """Return {(dataset, row, metric): (value, spread)}."""
    columns = (table[name] for name in ("dataset", "row", "metric", value, spread))
    return {(dataset, row, metric): (number, width) for dataset, row, metric, number, width in zip(*columns)}


def _text(metric, value, spread):
    """Return a value as text: pixels with two decimals, shares with four; nothing for no value."""
    if math.isnan(value):
        return ""
    digits = 2 if metric.endswith("_d") else 4
    return f"{value:.{digits}f}" + ("" if math.isnan(spread) else f" ±\N{NO-BREAK SPACE}{spread:.{digits}f}")
