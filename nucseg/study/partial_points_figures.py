"""What the chapter on partial points shows from the records: tables and curves."""

from functools import partial

import pandas as pd

from nucseg.data.official.monuseg_table import monuseg_table
from nucseg.data.statistics import nucleus_background_contrast, nucleus_deviation
from nucseg.study.paths import results_folder
from nucseg.study.recorded import means, missing
from nucseg.study.recorded import side_by_side as beside_paper
from nucseg.study.records import read_record
from nucseg.study.tables import runs

SLUG = "partial-points"
PAPER = "qu2020"
DETECTION = ("precision", "recall", "f1", "mu_d", "sigma_d")
SEGMENTATION = ("accuracy", "f1_pixel", "object_dice", "aji")
#: How the article names metrics and images.
NAMES = {
    "precision": "P", "recall": "R", "f1": "F1", "mu_d": "mean offset (px)", "sigma_d": "sd of offsets (px)",
    "accuracy": "accuracy", "f1_pixel": "pixel F1", "precision_pixel": "pixel P", "recall_pixel": "pixel R",
    "object_dice": "object Dice", "aji": "AJI",
    "monuseg": "Multi-Organ", "lc": "Lung Cancer (private)", "tnbc": "TNBC",
}

our_means = partial(means, SLUG)
not_recorded = partial(missing, SLUG)


def side_by_side(experiment, metrics):
    """Return a published table with our means below each line; see :func:`nucseg.study.recorded.side_by_side`."""
    return beside_paper(SLUG, PAPER, experiment, metrics, NAMES, last="lc")


def choices(experiment, metrics, beside=None):
    """Return our recorded rows of an experiment as text.

    Parameters
    ----------
    experiment : str
        As in the declared rows.
    metrics : sequence of str
        Columns, in this order.
    beside : tuple of str, optional
        Experiment and row of the training that these rows vary, shown first.

    Returns
    -------
    pandas.DataFrame or None
        Index: row; columns: the metrics by their printed names. None where nothing was recorded.
    """
    table = our_means(experiment).reindex(columns=metrics)
    if beside is not None:
        first = our_means(beside[0]).reindex(columns=metrics)
        first = first[first.index == beside[1]]
        table = pd.concat([first.rename(lambda row: f"{row} ({beside[0]})"), table])
    if table.empty:
        return None
    return table.map("{:.4f}".format).rename(columns=NAMES).rename_axis("ours, MoNuSeg").rename_axis(None, axis=1)


def by_organ(wanted, metrics):
    """Return our recorded means over the test images of each organ, those of organs without training images last.

    Parameters
    ----------
    wanted : mapping of str to tuple of str
        Printed name to experiment and row; rows that were not recorded are left out.
    metrics : sequence of str
        For example ``("aji", "recall_pixel")``.

    Returns
    -------
    pandas.DataFrame
        Index: organ, with the number of its images and whether training images show it; columns: (printed name,
        metric).
    """
    facts = monuseg_table()
    trained = {line["organ"] for line in facts.values() if line["split_qu2019"] == "train"}
    table = runs(SLUG)
    parts = {}
    for name, (experiment, row) in wanted.items():
        own = table[(table.experiment == experiment) & (table.row == row) & (table.dataset == "monuseg")]
        if len(own):
            wide = own.pivot_table(index="image", columns="metric", values="value")
            parts[name] = wide.reindex(columns=metrics).rename(columns=lambda metric: NAMES.get(metric, metric))
    if not parts:
        return pd.DataFrame()
    images = pd.concat(parts, axis=1)
    organ = images.index.map(lambda image: facts[image]["organ"])
    index = pd.MultiIndex.from_arrays(
        [organ, ["yes" if name in trained else "no" for name in organ], organ.map(organ.value_counts())],
        names=["organ", "in training", "test images"],
    )
    means = images.set_index(index).groupby(level=[0, 1, 2]).mean().rename_axis([None, None], axis=1)
    return means.sort_index(level=["in training", "organ"], ascending=[False, True])


def sweep(experiment, prefix):
    """Return our recorded means of the rows that vary one number, by that number.

    Parameters
    ----------
    experiment : str
        As in the declared rows.
    prefix : str
        What stands before the number in the names of the rows, for example ``"spatial width"`` or ``"a ="``.

    Returns
    -------
    pandas.DataFrame
        Index: the number, ascending; columns: metrics. Empty where nothing was recorded.
    """
    table = our_means(experiment)
    table = table[[str(row).startswith(f"{prefix} ") for row in table.index]]
    table.index = [float(row.removeprefix(prefix)) for row in table.index]
    return table.sort_index()


def image_scores(rows_wanted, metric, experiment="segmentation"):
    """Return a metric of each test image under several rows, means over seeds.

    Parameters
    ----------
    rows_wanted : sequence of str
        Names of rows of the multi-organ images.
    metric : str
        For example ``"aji"``.
    experiment : str
        As in the declared rows.

    Returns
    -------
    pandas.DataFrame
        Index: image; one column for each row that was recorded, in the given order.
    """
    table = runs(SLUG)
    table = table[(table.experiment == experiment) & (table.dataset == "monuseg") & (table.metric == metric)]
    wide = table.pivot_table(index="image", columns="row", values="value")
    return wide[[row for row in rows_wanted if row in wide.columns]]


def difficulty(dataset, colors=lambda image: image):
    """Return the two image statistics of Qu et al. (2020, eq. 14 and 15) for each image.

    Parameters
    ----------
    dataset : iterable of nucseg.data.Sample
        With label maps.
    colors : callable, optional
        ``colors(image) -> image``, the color normalization.

    Returns
    -------
    pandas.DataFrame
        Index: image; columns ``nuclei-bg-diff`` and ``nuclei-std``, gray levels.
    """
    lines = {}
    for sample in dataset:
        image = colors(sample.image)
        lines[sample.id] = {"nuclei-bg-diff": nucleus_background_contrast(image, sample.labels),
                            "nuclei-std": nucleus_deviation(image, sample.labels)}
    return pd.DataFrame.from_dict(lines, orient="index")


def recorded_training(experiment, row):
    """Return the learning curves that the records of a row hold.

    Parameters
    ----------
    experiment, row : str
        As in the declared rows.

    Returns
    -------
    dict of int to dict
        Seed to the curves of each training stage: ``best_epoch``, ``best_score``, ``loss`` and ``score`` (lists over
        epochs, None where no validation took place) and ``seconds``. Empty where nothing was recorded.
    """
    found = {}
    for path in sorted((results_folder(SLUG) / "records").glob("*.json")):
        record = read_record(path)
        if (record.get("experiment"), record.get("row")) == (experiment, row):
            found[record["seed"]] = record.get("notes", {}).get("training", {})
    return {seed: curves for seed, curves in sorted(found.items()) if curves}
