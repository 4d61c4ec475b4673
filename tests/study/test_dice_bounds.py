"""Printed means of four scores are checked against each other; real scores always pass."""

import numpy as np
import pandas as pd
import pytest

from nucseg.errors import DataError
from nucseg.metrics import SemanticScores
from nucseg.study.dice_bounds import COLUMNS, dice_bounds
from nucseg.study.tables import PAPER_COLUMNS, published


def lines(rows):
    """A table in the layout of the published one, from row names and four means each."""
    return pd.DataFrame(
        [("p", "t", row, "d", metric, value, None, "I") for row, means in rows.items()
         for metric, value in zip(COLUMNS, means)], columns=PAPER_COLUMNS)


def test_scores_of_any_confusion_matrix_are_possible():
    draw = np.random.default_rng(3)
    rows = {}
    for number in range(200):
        matrix = draw.integers(0, 100, (4, 5)) ** draw.integers(1, 4)
        matrix[range(4), range(4)] += draw.integers(0, 10**5, 4)
        scores = SemanticScores(matrix)
        rows[f"row {number}"] = [round(getattr(scores, name), 3) for name in COLUMNS]
    found = dice_bounds(lines(rows))
    assert found.row.tolist() == list(rows) and found.possible.all()


def test_bounds_by_hand():
    found = dice_bounds(lines({"iou": (0.68, 0.5, 0.9, 0.9), "low": (0.3, 0.5, 0.9, 0.9), "pr": (0.5, 0.4, 0.6, 0.4),
                               "fine": (0.66, 0.5, 0.9, 0.9)}), rounding=0).set_index("row")
    assert found.possible.to_dict() == {"iou": False, "low": False, "pr": False, "fine": True}
    assert found.loc["iou", "bound_iou"] == pytest.approx(2 / 3, abs=1e-4)
    assert found.loc["pr", "bound_pr"] == pytest.approx(0.48)


def test_four_printed_rows_are_impossible():
    """One row is by its mIoU, three are by their mean precision and recall."""
    found = dice_bounds(published("fan2025"))
    assert len(found) == 7 * 2 + 5
    wrong = found[~found.possible]
    assert set(zip(wrong.experiment, wrong.row, wrong.dataset)) == {
        ("table 1", "HistoSegNet", "bcss-wsss"), ("table 1", "SSC", "bcss-wsss"), ("table 1", "SSC", "luad-histoseg"),
        ("table 2", "b: RFM", "luad-histoseg"),
    }
    by_iou = wrong[wrong.mean_dice > wrong.bound_iou]
    assert by_iou.row.tolist() == ["HistoSegNet"] and by_iou.bound_iou.item() == pytest.approx(0.4326, abs=1e-3)


def test_rows_without_all_four_are_left_out():
    table = lines({"a": (0.6, 0.5, 0.7, 0.7), "b": (0.6, 0.5, 0.7, 0.7)})
    assert dice_bounds(table.iloc[:-1]).row.tolist() == ["a"]
    with pytest.raises(DataError, match="no row has means"):
        dice_bounds(table.iloc[5:])
