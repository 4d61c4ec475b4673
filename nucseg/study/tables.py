"""Tidy tables: one line per image and metric, made from records, and the published numbers beside them."""

import pandas as pd

from nucseg.atomic import atomic_path
from nucseg.errors import DataError
from nucseg.study.paths import repository_root, results_folder, runs_folder
from nucseg.study.records import read_record

RUN_COLUMNS = (
    "experiment",
    "row",
    "dataset",
    "split",
    "supervision",
    "seed",
    "profile",
    "image",
    "metric",
    "value",
    "record",
)
#: What stands for an image where a metric is one of all images together.
ALL_IMAGES = "all images"
PAPER_COLUMNS = ("paper", "experiment", "row", "dataset", "metric", "value", "spread", "table")


def tidy(records):
    """Return records as one long table.

    Parameters
    ----------
    records : mapping of str to dict
        Record file name to record.

    Returns
    -------
    pandas.DataFrame
        Columns RUN_COLUMNS, one line per image and metric, sorted by record, image and metric. Metrics of all images
        together have one line, whose image is ALL_IMAGES.
    """
    lines = []
    for name, record in sorted(records.items()):
        known = {column: record.get(column) for column in RUN_COLUMNS[:7]}
        pooled = {ALL_IMAGES: record["pooled_metrics"]} if "pooled_metrics" in record else {}
        for image, metrics in sorted({**record["metrics"], **pooled}.items()):
            for metric, value in sorted(metrics.items()):
                lines.append({**known, "image": image, "metric": metric, "value": value, "record": name})
    return pd.DataFrame(lines, columns=RUN_COLUMNS).astype({"value": float})


def collect(slug, profile="full"):
    """Write ``runs.csv`` of a chapter from its records and return the table.

    Parameters
    ----------
    slug : str
        The chapter.
    profile : str
        ``"full"`` collects the committed results, another profile the local runs.

    Returns
    -------
    pandas.DataFrame
        See :func:`tidy`.
    """
    folder = results_folder(slug) if profile == "full" else runs_folder(slug) / profile
    table = tidy({path.name: read_record(path) for path in sorted((folder / "records").glob("*.json"))})
    with atomic_path(folder / "runs.csv") as path:
        table.to_csv(path, index=False, float_format="%.6g")
    return table


def runs(slug, profile="full"):
    """Return a chapter's committed (``"full"``) or local results as a tidy table; empty if there are none."""
    folder = results_folder(slug) if profile == "full" else runs_folder(slug) / profile
    path = folder / "runs.csv"
    if not path.is_file():
        return pd.DataFrame(columns=RUN_COLUMNS).astype({"value": float})
    return _read(path, RUN_COLUMNS)


def published(paper=None, experiment=None):
    """Return the published numbers from ``results/paper.csv``, optionally of one paper or one table."""
    table = _read(repository_root() / "results" / "paper.csv", PAPER_COLUMNS)
    if paper is not None:
        table = table[table.paper == paper]
    if experiment is not None:
        table = table[table.experiment == experiment]
    return table.reset_index(drop=True)


def summary(table, by=("experiment", "row", "dataset", "split", "supervision", "metric")):
    """Return mean over images for each seed, then mean and spread over seeds.

    Parameters
    ----------
    table : pandas.DataFrame
        A tidy table of :func:`runs`.
    by : sequence of str
        What makes a row of the result.

    Returns
    -------
    pandas.DataFrame
        Columns `by` plus ``mean``, ``sd_seeds`` (NaN with one seed), ``sd_images``, ``seeds``, ``images`` and
        ``undefined`` (images without a value, left out of the mean).
    """
    by = list(by)
    per_seed = (
        table.groupby([*by, "seed"], sort=False)["value"]
        .agg(mean="mean", sd_images="std", images="count", undefined=lambda v: v.isna().sum())
        .reset_index()
    )
    return (
        per_seed.groupby(by, sort=False)
        .agg(
            mean=("mean", "mean"),
            sd_seeds=("mean", "std"),
            sd_images=("sd_images", "mean"),
            seeds=("seed", "nunique"),
            images=("images", "max"),
            undefined=("undefined", "max"),
        )
        .reset_index()
    )


def beside_published(ours, reference, tolerance):
    """Return measured means beside reference values, with the difference and a verdict.

    Parameters
    ----------
    ours : pandas.DataFrame
        Output of :func:`summary`.
    reference : pandas.DataFrame
        Output of :func:`published`; joined on experiment, row, dataset and metric.
    tolerance : float
        Largest difference still called ``"agrees"``, stated before the run: absolute where the reference is at
        most 1 (shares and scores), else relative to the reference (pixels, counts).

    Returns
    -------
    pandas.DataFrame
        experiment, row, dataset, metric, published, ours, spread, difference, verdict; one line per reference
        value, ``"not run"`` where nothing was measured.
    """
    keys = ["experiment", "row", "dataset", "metric"]
    if ours.duplicated(keys).any():
        raise DataError(f"several measured values for {ours[ours.duplicated(keys)].iloc[0][keys].to_dict()}")
    joined = reference.merge(ours[[*keys, "mean", "sd_seeds"]], on=keys, how="left")
    difference = joined["mean"] - joined["value"]
    allowed = tolerance * joined["value"].abs().clip(lower=1)
    verdict = (difference.abs() <= allowed).map({True: "agrees", False: "differs"})
    return pd.DataFrame(
        {
            **{key: joined[key] for key in keys},
            "published": joined["value"],
            "ours": joined["mean"],
            "spread": joined["sd_seeds"],
            "difference": difference,
            "verdict": verdict.where(joined["mean"].notna(), "not run"),
        }
    )


def _read(path, columns):
    if not path.is_file():
        raise DataError(f"{path}: no such table")
    table = pd.read_csv(path)
    missing = [column for column in columns if column not in table]
    if missing:
        raise DataError(f"{path}: column {missing[0]!r} is missing")
    return table
