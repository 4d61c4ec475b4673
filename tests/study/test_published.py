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
    shares = ["precision", "recall", "f1", "f1_pixel", "accuracy", "object_dice", "aji", "object_dice_small",
              "aji_small"]
    assert TABLE[TABLE.metric.isin(shares)].value.between(0, 1).all()
    assert TABLE[TABLE.paper.eq("foo2022")].metric.isin(shares).all()


def test_printed_f1_follows_from_printed_precision_and_recall():
    # Pooled counts: F1 is the harmonic mean, up to the rounding of the printed digits. Means over draws need not obey.
    detection = TABLE[TABLE.paper.eq("qu2020") & TABLE.table.isin(["Table I", "Table II"])]
    wide = detection.pivot_table(index=["experiment", "row", "dataset"], columns="metric", values="value")
    harmonic = 2 * wide.precision * wide.recall / (wide.precision + wide.recall)
    assert len(wide) == 18
    assert (harmonic - wide.f1).abs().max() < 2e-4


def foo2022(experiment):
    """Return a table of Foo et al. (2022) with a line for each row and dataset and a column for each metric."""
    lines = TABLE[TABLE.paper.eq("foo2022") & TABLE.experiment.eq(experiment)]
    return lines.pivot_table(index=["row", "dataset"], columns="metric", values="value")


def test_the_tables_of_split_and_expand_are_complete():
    assert foo2022("split and expand").shape == (2 * 3 * 2, 4) and foo2022("re-weighting").shape == (2 * 2, 4)
    assert foo2022("split and expand").notna().all(axis=None) and foo2022("re-weighting").notna().all(axis=None)
    tables = TABLE[TABLE.paper.eq("foo2022")].groupby("experiment").table.unique().map(list).to_dict()
    assert tables == {"split and expand": ["Table 1"], "re-weighting": ["Table 2"]}


def test_the_whole_method_scores_the_same_in_both_tables():
    """With re-weighting is how the whole method is trained: table 2 repeats two rows of table 1."""
    steps, reweighting = foo2022("split and expand"), foo2022("re-weighting")
    assert set(reweighting.index.get_level_values("dataset")) == {"monuseg"}
    for base in ("Weakly", "MaskGA"):
        whole = steps.loc[f"{base}, Split & Expand", "monuseg"]
        assert reweighting.loc[f"{base}, with", "monuseg"].to_dict() == whole.to_dict()


def wang2024(experiment):
    """Return a table of Wang et al. (2024) with a line for each row and dataset and a column for each metric."""
    lines = TABLE[TABLE.paper.eq("wang2024") & TABLE.experiment.eq(experiment)]
    return lines.pivot_table(index=["row", "dataset"], columns="metric", values="value")


def test_the_tables_of_donuseg_are_complete():
    shapes = {experiment: wang2024(experiment).shape for experiment in ("table 1", "table 2", "table 3")}
    assert shapes == {"table 1": (6 * 3, 5), "table 2": (4 * 2, 5), "table 3": (5, 5)}
    lines = TABLE[TABLE.paper.eq("wang2024")]
    assert lines.value.between(0, 1).all() and len(lines) == 31 * 5
    assert lines[lines.experiment.eq("table 1")].spread.between(0.0016, 0.04).all()
    assert lines[lines.experiment.ne("table 1")].spread.isna().all()


def test_the_whole_method_scores_the_same_in_all_tables_of_donuseg():
    whole, losses, blocks = (wang2024(experiment) for experiment in ("table 1", "table 2", "table 3"))
    for dataset in ("cryonuseg", "consep"):
        assert losses.loc["L_dcs + L_ccl", dataset].to_dict() == whole.loc["DoNuSeg", dataset].to_dict()
    assert blocks.loc["dynamic", "cryonuseg"].to_dict() == whole.loc["DoNuSeg", "cryonuseg"].to_dict()


def test_one_printed_row_of_donuseg_cannot_come_from_one_protocol():
    """PQ = DQ x SQ <= DQ in every unit, and so in every mean; one row breaks this, and the chapter says so."""
    table = pd.concat([wang2024(experiment) for experiment in ("table 1", "table 2", "table 3")])
    assert list(table[table.pq > table.dq].index) == [("PseudoEdgeNet", "consep")]
    assert (table.pq <= table.sq).all()
