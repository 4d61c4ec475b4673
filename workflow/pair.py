"""Write the output-free notebook beside each chapter's text, or check that the two say the same.

The text ``notebooks/<slug>.py`` is the only file edited by hand. The notebook is a pure function of it: fixed
metadata, and cell ids made from the cells' contents, so that equal text gives equal bytes.

    python workflow/pair.py            write every notebook whose text has changed
    python workflow/pair.py --check    exit with 1 if any differs from its text
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import jupytext
import nbformat
from places import ROOT, shown

from nucseg.atomic import write_text

KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
KEPT_METADATA = ("tags", "mystnb")


def notebook_from_text(text):
    """Return the notebook of a chapter's text.

    Parameters
    ----------
    text : str
        Percent-format Python.

    Returns
    -------
    nbformat.NotebookNode
        Version 4.5, without outputs.
    """
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": KERNELSPEC, "language_info": {"name": "python"}})
    seen = {}
    for cell in jupytext.reads(text, fmt="py:percent").cells:
        metadata = {key: cell.metadata[key] for key in KEPT_METADATA if key in cell.metadata}
        make = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
        digest = hashlib.sha256(f"{cell.cell_type}\0{cell.source}".encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1
        name = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        notebook.cells.append(make(cell.source, id=name, metadata=metadata))
    notebook.nbformat_minor = 5
    nbformat.validate(notebook)
    return notebook


def notebook_text(notebook):
    """Return a notebook as the text of its file, keys sorted and non-ASCII letters kept."""
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def pair(source, check=False):
    """Write the notebook beside a chapter's text unless it is equal already.

    Parameters
    ----------
    source : pathlib.Path
        The chapter's ``.py``.
    check : bool
        Write nothing.

    Returns
    -------
    bool
        Whether the notebook differed.
    """
    target = source.with_suffix(".ipynb")
    wanted = notebook_text(notebook_from_text(source.read_text(encoding="utf-8")))
    if target.is_file() and target.read_text(encoding="utf-8") == wanted:
        return False
    if not check:
        write_text(target, wanted)
    return True


def main(arguments=None):
    """Write or check all pairs; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a pair differs")
    parser.add_argument("texts", nargs="*", type=Path, help="only these texts (default: all in notebooks/)")
    chosen = parser.parse_args(arguments)
    texts = [path.resolve() for path in chosen.texts] or sorted((ROOT / "notebooks").glob("*.py"))
    differing = [shown(path.with_suffix(".ipynb")) for path in texts if pair(path, check=chosen.check)]
    for name in differing:
        print(f"{name}: differs from its text; run 'make pair'" if chosen.check else f"{name}: written")
    return 1 if chosen.check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
