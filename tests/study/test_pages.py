"""Generated pages say what facts and records say, and the README is current."""

import pandas as pd
import pytest

from nucseg.data.facts import DATASETS
from nucseg.errors import DataError
from nucseg.study import pages
from nucseg.study.paths import repository_root


def test_every_dataset_has_a_line_and_a_card(tmp_path):
    pages.write_pages(tmp_path)
    folder = tmp_path / "book" / "generated"
    table = pd.read_csv(folder / "datasets.csv")
    assert table["Name in code"].tolist() == [f"`{name}`" for name in DATASETS]
    cards = (folder / "dataset-cards.md").read_text(encoding="utf-8")
    for info in DATASETS.values():
        assert f"### {info.title}" in cards
        assert all(f"`{scheme}`" in cards for scheme in info.schemes)


def test_formatted_numbers_by_hand():
    table = pd.DataFrame(
        {
            "experiment": ["e"],
            "row": ["r"],
            "dataset": ["d"],
            "metric": ["aji"],
            "published": [0.5],
            "ours": [0.51239],
            "spread": [float("nan")],
            "difference": [0.01239],
            "verdict": ["agrees"],
        }
    )
    line = pages.formatted(table).iloc[0]
    assert (line["what"], line["reference"], line["ours"], line["difference"]) == (
        "r",
        "0.500",
        "0.512",
        "+0.012",
    )


def test_not_run_shows_dashes():
    table = pd.DataFrame(
        {
            "experiment": ["e"],
            "row": ["r"],
            "dataset": ["d"],
            "metric": ["aji"],
            "published": [0.5],
            "ours": [float("nan")],
            "spread": [float("nan")],
            "difference": [float("nan")],
            "verdict": ["not run"],
        }
    )
    assert pages.formatted(table).iloc[0][["ours", "difference"]].tolist() == ["-", "-"]


def test_readme_table_is_current():
    text = (repository_root() / "README.md").read_text(encoding="utf-8")
    assert pages.readme_with_results(text) == text, "run 'make readme'"


def test_readme_without_marks():
    with pytest.raises(DataError, match="marks"):
        pages.readme_with_results("# nothing here")
