"""A committed result is made by the code as it stands, or is listed as knowingly stale."""

import csv

import pytest

from nucseg.study import experiment
from nucseg.study.paths import repository_root
from nucseg.study.records import read_record
from nucseg.study.tables import RUN_COLUMNS, tidy

RESULTS = repository_root() / "results"
RECORDS = sorted(RESULTS.glob("*/records/*.json"))


def stale():
    """Record file name -> reason, from results/stale.csv."""
    with open(RESULTS / "stale.csv", newline="", encoding="utf-8") as stream:
        return {line["record"]: line["reason"] for line in csv.DictReader(stream)}


def test_every_committed_record_belongs_to_a_declared_row():
    declared = {experiment.record_path(slug, row) for slug, row in experiment.all_rows()}
    assert set(RECORDS) <= declared


@pytest.mark.parametrize(
    "slug, row", [(slug, row) for slug, row in experiment.all_rows() if experiment.record_path(slug, row).is_file()],
    ids=lambda value: getattr(value, "key", value),
)
def test_record_was_made_by_this_code(slug, row):
    path = experiment.record_path(slug, row)
    record = read_record(path)
    assert {name: record[name] for name in row.describe()} == row.describe(), f"{path.name}: other settings"
    if path.name in stale():
        assert stale()[path.name].strip(), "a stale record needs its reason"
        return
    assert record["library_digest"] == row.digest(), (
        f"{path.name} was made by other code: run 'nucseg experiment run {slug}', or list it in results/stale.csv"
    )


def test_stale_list_names_existing_records():
    assert set(stale()) <= {path.name for path in RECORDS}


@pytest.mark.parametrize(
    "folder", sorted({path.parent.parent for path in RECORDS}), ids=lambda path: path.name
)
def test_runs_csv_says_what_the_records_say(folder):
    table = tidy({path.name: read_record(path) for path in sorted((folder / "records").glob("*.json"))})
    expected = table.to_csv(index=False, float_format="%.6g", columns=list(RUN_COLUMNS))
    assert (folder / "runs.csv").read_text(encoding="utf-8") == expected
