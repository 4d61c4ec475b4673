"""The published numbers are well-formed and keep the relations that their definitions demand."""

import pandas as pd

from nucseg.study.paths import repository_root
from nucseg.study.tables import PAPER_COLUMNS, published

TABLE = published()


def test_columns_and_no_line_twice():
    assert list(pd.read_csv(repository_root() / "results" / "paper.csv").columns) == list(PAPER_COLUMNS)
    assert not TABLE.duplicated(["paper", "experiment", "row", "dataset", "metric"]).any()
    assert TABLE.value.notna().all()


def test_scores_are_shares():
    scores = TABLE[TABLE.metric.isin(["precision", "recall", "f1", "f1_pixel", "accuracy", "object_dice", "aji"])]
    assert scores.value.between(0, 1).all()


def test_printed_f1_follows_from_printed_precision_and_recall():
    # Pooled counts: F1 is the harmonic mean, up to the rounding of the printed digits. Means over draws need not obey.
    detection = TABLE[TABLE.paper.eq("qu2020") & TABLE.table.isin(["Table I", "Table II"])]
    wide = detection.pivot_table(index=["experiment", "row", "dataset"], columns="metric", values="value")
    harmonic = 2 * wide.precision * wide.recall / (wide.precision + wide.recall)
    assert len(wide) == 18
    assert (harmonic - wide.f1).abs().max() < 2e-4
