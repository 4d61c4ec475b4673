"""What makes a chapter run again, and what does not."""

import json

import pytest
from chapter_state import chapter_settings, chapter_state, data_present, module_digests, update_state
from pair import notebook_from_text, notebook_text
from places import chapters, executed, pages

from nucseg.errors import DataError

TEXT = "# %% [markdown]\n# # Words\n\n# %%\nseed = 0\n"


@pytest.fixture
def checkout(tmp_path):
    """The files of a repository that a state looks at."""
    for folder in ("notebooks", "results/a_b", "workflow/profiles"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "workflow" / "profiles" / "quick.yaml").write_text("a-b: {images: 2}\nother: {images: 3}\n")
    (tmp_path / "results" / "paper.csv").write_text("paper,value\n")
    write(tmp_path, TEXT)
    return tmp_path


def write(checkout, text):
    (checkout / "notebooks" / "a-b.ipynb").write_text(notebook_text(notebook_from_text(text)), encoding="utf-8")


def state(checkout, profile="quick", modules=None):
    return chapter_state("a-b", profile, modules or {"nucseg": "1"}, checkout)


def test_prose_does_not_count_and_code_does(checkout):
    before = state(checkout)
    write(checkout, TEXT.replace("Words", "Other words"))
    assert state(checkout) == before
    write(checkout, TEXT.replace("seed = 0", "seed = 1"))
    assert state(checkout)["code"] != before["code"]


def test_own_settings_count_and_those_of_others_do_not(checkout):
    before = state(checkout)
    assert before["settings"] == {"images": 2}
    profile = checkout / "workflow" / "profiles" / "quick.yaml"
    profile.write_text("a-b: {images: 2}\nother: {images: 4}\n")
    assert state(checkout) == before
    profile.write_text("a-b: {images: 5}\n")
    assert state(checkout)["settings"] != before["settings"]
    assert chapter_settings("a-b", "full", checkout) == {}
    with pytest.raises(DataError, match="swift"):
        chapter_settings("a-b", "swift", checkout)


def test_own_tables_and_named_ones_count(checkout):
    before = state(checkout)
    (checkout / "results" / "c_d").mkdir()
    (checkout / "results" / "c_d" / "runs.csv").write_text("x\n")
    assert state(checkout) == before
    write(checkout, TEXT + "\n# %% [markdown]\n# See c-d.\n")
    assert "results/c_d/runs.csv" in state(checkout)["results"]
    (checkout / "results" / "a_b" / "runs.csv").write_text("x\n")
    assert state(checkout)["results"] != before["results"]


def test_data_counts_by_name_and_size(monkeypatch, tmp_path):
    monkeypatch.setenv("NUCSEG_DATA", str(tmp_path))
    assert data_present() == {}
    (tmp_path / "tnbc.zip").write_bytes(b"12345")
    assert data_present() == {"tnbc": "tnbc.zip, 5 bytes"}


def test_digests_cover_the_library_and_nothing_is_missing():
    digests = module_digests()
    assert {"nucseg", "nucseg.errors", "nucseg.data.roots", "nucseg.metrics"} <= set(digests)
    assert len(set(digests.values())) > len(digests) / 2


def test_the_file_changes_only_with_the_state(checkout, tmp_path):
    build = tmp_path / "_build"
    files = executed("a-b", "quick", build)
    assert update_state("a-b", "quick", {}, build, checkout) == []
    before = files.state.stat().st_mtime_ns
    (checkout / "notebooks" / "a-b.ipynb").touch()
    (checkout / "results" / "paper.csv").touch()
    assert update_state("a-b", "quick", {}, build, checkout) == []
    assert files.state.stat().st_mtime_ns == before


def test_modules_are_those_the_last_execution_used(checkout, tmp_path):
    build = tmp_path / "_build"
    files = executed("a-b", "quick", build)
    files.record.parent.mkdir(parents=True)
    files.record.write_text(json.dumps({"modules": ["nucseg.errors", "nucseg.gone"]}))
    update_state("a-b", "quick", {"nucseg.errors": "1", "nucseg.cli": "1", "nucseg.gone": "1"}, build, checkout)
    unrelated = {"nucseg.errors": "1", "nucseg.cli": "2", "nucseg.gone": "1"}
    assert update_state("a-b", "quick", unrelated, build, checkout) == []
    assert update_state("a-b", "quick", {**unrelated, "nucseg.errors": "2"}, build, checkout) == ["nucseg.errors"]
    del unrelated["nucseg.gone"]
    assert "nucseg.gone" in update_state("a-b", "quick", unrelated, build, checkout)


def test_reading_order_comes_from_the_table_of_contents(tmp_path):
    (tmp_path / "_toc.yml").write_text(
        "root: book/intro\nparts:\n- chapters:\n  - file: notebooks/b\n    sections:\n    - file: notebooks/a\n"
        "- chapters:\n  - file: book/end\n"
    )
    assert pages(tmp_path) == ["book/intro", "notebooks/b", "notebooks/a", "book/end"]
    assert chapters(tmp_path) == ["b", "a"]
