"""The published numbers of SIA-WSSS are complete, and its two tables agree."""

from nucseg.study.tables import published


def fan2025(experiment):
    """Return a table of Fan et al. (2025) with a line for each row and dataset and a column for each metric."""
    return published("fan2025", experiment).pivot_table(index=["row", "dataset"], columns="metric", values="value")


def test_the_tables_of_sia_wsss_are_complete_shares():
    main, parts = fan2025("table 1"), fan2025("table 2")
    assert main.shape == (7 * 2, 4) and parts.shape == (5, 4)
    assert set(main.columns) == set(parts.columns) == {"mean_dice", "mean_iou", "mean_precision", "mean_recall"}
    for table in (main, parts):
        assert table.notna().all(axis=None) and ((table > 0) & (table < 1)).all(axis=None)
        assert (table.mean_dice > table.mean_iou).all()
    assert set(parts.index.get_level_values("dataset")) == {"luad-histoseg"}


def test_the_whole_of_sia_wsss_is_the_last_row_of_its_ablation():
    whole = fan2025("table 1").loc[("SIA-WSSS", "luad-histoseg")]
    assert fan2025("table 2").loc[("f: RFM + DAM + RSM", "luad-histoseg")].to_dict() == whole.to_dict()


def test_sia_wsss_is_printed_as_the_best_of_table_1():
    main = fan2025("table 1")
    for dataset in ("bcss-wsss", "luad-histoseg"):
        scores = main.xs(dataset, level="dataset")
        assert (scores.idxmax() == "SIA-WSSS").all()
    margin = main.xs("luad-histoseg", level="dataset").apply(lambda column: column.nlargest(2).diff().iloc[-1])
    assert (-margin).round(3).to_dict() == {
        "mean_dice": 0.030, "mean_iou": 0.016, "mean_precision": 0.034, "mean_recall": 0.028,
    }
