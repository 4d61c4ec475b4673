"""Whether printed means of Dice, IoU, precision and recall can belong to one set of classes."""

import pandas as pd

from nucseg.errors import DataError

COLUMNS = ("mean_dice", "mean_iou", "mean_precision", "mean_recall")


def dice_bounds(table, rounding=5e-4):
    """Return how large a mean Dice can be beside the other means of a row.

    Of each class, Dice is ``2 IoU / (1 + IoU)`` and ``2 P R / (P + R)``. Both are concave, so that the mean Dice is at
    most the same of the means, over whatever classes or images all four are averaged; and it is no less than mean IoU.

    Parameters
    ----------
    table : pandas.DataFrame
        Lines of :func:`nucseg.study.tables.published`.
    rounding : float
        How far a printed value may be from the one that was measured.

    Returns
    -------
    pandas.DataFrame
        One line for each row of a table that has all four means: paper, experiment, row, dataset, the means,
        ``bound_iou`` and ``bound_pr`` (of the means rounded in favor of the row), and ``possible``.

    Raises
    ------
    DataError
        No row has all four.

    Examples
    --------
    >>> from nucseg.study.tables import published
    >>> found = dice_bounds(published("fan2025", "table 2")).set_index("row")
    >>> found.loc["b: RFM", ["mean_dice", "bound_pr", "possible"]].to_dict()
    {'mean_dice': 0.798, 'bound_pr': 0.7798, 'possible': False}
    """
    keys = ["paper", "experiment", "row", "dataset"]
    wide = table[table.metric.isin(COLUMNS)].pivot(index=keys, columns="metric", values="value")
    wide = wide.reindex(columns=list(COLUMNS)).dropna()
    if wide.empty:
        raise DataError("no row has means of Dice, IoU, precision and recall")
    iou, precision, recall = (wide[name] + rounding for name in COLUMNS[1:])
    bounds = {"bound_iou": 2 * iou / (1 + iou), "bound_pr": 2 * precision * recall / (precision + recall)}
    least = wide.mean_dice - rounding
    possible = (least <= bounds["bound_iou"]) & (least <= bounds["bound_pr"])
    possible &= wide.mean_dice + rounding >= wide.mean_iou - rounding
    order = pd.MultiIndex.from_frame(table[keys].drop_duplicates())
    found = wide.assign(**{name: bound.round(4) for name, bound in bounds.items()}, possible=possible)
    return found.reindex(order[order.isin(found.index)]).reset_index().rename_axis(columns=None)
