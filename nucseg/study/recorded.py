"""What chapters show of their records: means by row, and which rows are missing."""

import textwrap

from nucseg.study.experiment import rows
from nucseg.study.tables import runs, summary


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
