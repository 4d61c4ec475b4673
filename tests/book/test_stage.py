"""The page joins the committed text with the executed outputs, and says what it took."""

import nbformat
import pytest
from run_report import run_record, run_report
from stage import mirror, page

from nucseg.errors import DataError

CODE, TEXT = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
RECORD = {
    "chapter": "a", "profile": "quick", "seconds": 75.2, "cells": [0.5, 61.0], "peak_memory_mib": 700, "threads": 1,
    "device": "CPU", "gpu_memory_mib": None, "versions": {"python": "3.11.7", "numpy": "2.0.0"}, "data": ["tnbc"],
}  # fmt: skip


def notebook(*cells):
    return nbformat.v4.new_notebook(cells=list(cells))


def test_text_is_the_committed_one_and_outputs_are_the_executed_ones():
    output = nbformat.v4.new_output("stream", text="1\n")
    pair = notebook(TEXT("New words.\n\n## Exercises\n\nThree."), CODE("print(1)", metadata={"tags": ["hide-input"]}))
    copy = notebook(TEXT("Old words."), CODE("print(1)", outputs=[output], execution_count=1))
    shown = page(pair, copy, RECORD)
    assert shown.cells[0].source.startswith("New words.")
    assert "{download}" in shown.cells[0].source and "_student/a.ipynb" in shown.cells[0].source
    assert shown.cells[1].outputs == [output] and shown.cells[1].metadata == {"tags": ["hide-input"]}
    assert shown.cells[-1].source.startswith("(run-record-a)=\n## Run record")
    assert pair.cells[1].outputs == [], "the pair itself is untouched"


def test_outputs_of_other_code_are_refused():
    with pytest.raises(DataError, match="a: the executed copy has other code"):
        page(notebook(CODE("print(1)")), notebook(CODE("print(2)")), RECORD)


def test_mirror_touches_only_what_differs(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    for folder, same, other in ((source, "same", "new"), (target, "same", "old")):
        (folder / "sub").mkdir(parents=True)
        (folder / "same.md").write_text(same)
        (folder / "sub" / "other.md").write_text(other)
    (target / "gone.md").write_text("x")
    before = (target / "same.md").stat().st_mtime_ns
    mirror(source, target)
    assert {str(p.relative_to(target)): p.read_text() for p in target.rglob("*.md")} == {
        "same.md": "same",
        "sub/other.md": "new",
    }
    assert (target / "same.md").stat().st_mtime_ns == before


def test_the_record_as_a_table():
    text = run_record(RECORD)
    for words in ("1 min 15 s", "1 min 1 s", "700 MiB", "CPU, 1 thread", "python 3.11.7, numpy 2.0.0", "tnbc"):
        assert words in text
    assert text.count("\n* -") == 7, "a head and six lines"


def test_the_report_has_every_chapter_and_their_total():
    gpu = {**RECORD, "chapter": "b", "device": "A Card", "gpu_memory_mib": 900, "seconds": 3724.8, "data": []}
    text = run_report([RECORD, gpu])
    assert "notebooks/a.ipynb" in text and "notebooks/b.ipynb" in text
    assert "All chapters together: 1 h 3 min" in text
    assert "A Card" in text and "900 MiB on the GPU" in text
    assert "synthetic" in run_report([{**RECORD, "data": []}])
    assert "no chapters" in run_report([])
