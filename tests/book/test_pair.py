"""The notebook is a pure function of the text."""

import jupytext
import nbformat
from pair import main, notebook_from_text, notebook_text, pair

TEXT = """# %% [markdown]
# # Title
#
# Words with ü.

# %% tags=["parameters"] slideshow={"slide_type": "skip"}
seed = 0  # a seed

# %%
print(seed)

# %%
print(seed)
"""


def test_cells_tags_and_metadata():
    notebook = notebook_from_text(TEXT)
    assert [cell.cell_type for cell in notebook.cells] == ["markdown", "code", "code", "code"]
    assert notebook.cells[0].source == "# Title\n\nWords with ü."
    assert notebook.cells[1].metadata == {"tags": ["parameters"]}
    assert notebook.cells[2].source == notebook.cells[3].source == "print(seed)"
    assert notebook.metadata.kernelspec.name == "python3"
    nbformat.validate(notebook)


def test_ids_depend_on_content_only_and_never_repeat():
    ids = [cell.id for cell in notebook_from_text(TEXT).cells]
    assert len(set(ids)) == 4
    assert ids[3] == f"{ids[2]}-2"
    longer = [cell.id for cell in notebook_from_text("# %%\nfirst = 1\n\n" + TEXT).cells]
    assert longer[1:] == ids


def test_same_text_same_bytes():
    assert notebook_text(notebook_from_text(TEXT)) == notebook_text(notebook_from_text(TEXT))


def test_a_header_written_by_an_editor_changes_nothing():
    kernel = "#   kernelspec:\n#     display_name: Other\n#     name: other\n"
    header = f"# ---\n# jupyter:\n{kernel}#   jupytext:\n#     formats: ipynb,py:percent\n# ---\n\n"
    assert notebook_text(notebook_from_text(header + TEXT)) == notebook_text(notebook_from_text(TEXT))


def test_the_notebook_gives_the_text_back():
    back = jupytext.reads(jupytext.writes(notebook_from_text(TEXT), fmt="py:percent"), fmt="py:percent")
    assert [cell.source for cell in back.cells] == [cell.source for cell in notebook_from_text(TEXT).cells]


def test_pair_writes_once_and_check_writes_nothing(tmp_path, capsys):
    source = tmp_path / "a.py"
    source.write_text(TEXT, encoding="utf-8")
    target = source.with_suffix(".ipynb")
    assert main(["--check", str(source)]) == 1
    assert "differs" in capsys.readouterr().out
    assert not target.exists()
    assert pair(source)
    before = target.stat().st_mtime_ns
    assert not pair(source)
    assert target.stat().st_mtime_ns == before
    assert main(["--check", str(source)]) == 0


def test_an_executed_notebook_is_seen_and_repaired(tmp_path):
    source = tmp_path / "a.py"
    source.write_text(TEXT, encoding="utf-8")
    pair(source)
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="0\n")]
    nbformat.write(notebook, source.with_suffix(".ipynb"))
    assert pair(source, check=True)
    assert pair(source)
    assert "outputs" in nbformat.read(source.with_suffix(".ipynb"), as_version=4).cells[2]
    assert nbformat.read(source.with_suffix(".ipynb"), as_version=4).cells[2].outputs == []
