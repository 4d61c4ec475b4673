"""Lay out what the book is built from: a tree that mirrors the repository, with executed notebooks in it.

    python workflow/stage.py PROFILE

The text of a page is that of the committed notebook, its outputs are those of the executed copy; the two must
have the same code. Files that have not changed are left alone.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import yaml
from pair import notebook_text
from places import BUILD, ROOT, chapters, executed, pages
from reference import write_reference
from repository import repository
from run_report import run_record, run_report
from student import without_solutions

from nucseg.atomic import write_json
from nucseg.errors import DataError, NucsegError

#: Where Binder and Colab are; used only with a repository address.
LAUNCHERS = {"binderhub_url": "https://mybinder.org", "colab_url": "https://colab.research.google.com"}


def page(pair, copy, record):
    """Return the notebook of a chapter's page.

    Parameters
    ----------
    pair : nbformat.NotebookNode
        The committed notebook, without outputs.
    copy : nbformat.NotebookNode
        Its executed copy.
    record : dict
        The record of that execution.

    Returns
    -------
    nbformat.NotebookNode
        The committed text, the executed outputs, a link to the student notebook and the run record.

    Raises
    ------
    DataError
        The two do not have the same code.
    """
    slug = record["chapter"]
    outputs = [cell for cell in copy.cells if cell.cell_type == "code"]
    merged = nbformat.from_dict(pair)
    code = [cell for cell in merged.cells if cell.cell_type == "code"]
    if [cell.source for cell in code] != [cell.source for cell in outputs]:
        raise DataError(f"{slug}: the executed copy has other code than the notebook; execute it again")
    for cell, done in zip(code, outputs):
        cell.outputs, cell.execution_count = done.outputs, done.execution_count
    link = f"To work through them yourself: {{download}}`the notebook without solutions <../_student/{slug}.ipynb>`."
    for cell in merged.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"^## Exercises$", f"## Exercises\n\n{link}", cell.source, flags=re.MULTILINE)
    merged.cells.append(nbformat.v4.new_markdown_cell(run_record(record), id="run-record"))
    return merged


def configuration(text, address, branch):
    """Return the book's configuration with its launch and repository links, as text.

    Parameters
    ----------
    text : str
        The committed ``_config.yml``.
    address, branch : str or None
        From :func:`repository.repository`; without an address there are no links.
    """
    config = yaml.safe_load(text)
    if address is not None:
        config["repository"] = {"url": address, "branch": branch, "path_to_book": ""}
        config["launch_buttons"].update(LAUNCHERS)
        config["html"].update(use_repository_button=True, use_issues_button=True)
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def lay_out(profile, target, root=ROOT, build=BUILD):
    """Write the whole tree into an empty folder.

    Parameters
    ----------
    profile : str
        Whose executed copies to show.
    target : pathlib.Path
        The folder.
    root, build : pathlib.Path
        The repository and the folder of built things.
    """
    shutil.copytree(root / "book", target / "book", ignore=shutil.ignore_patterns("__pycache__"))
    if (root / "results").is_dir():
        shutil.copytree(root / "results", target / "results", ignore=shutil.ignore_patterns("records"))
    shutil.copy(root / "_toc.yml", target)
    text = (root / "_config.yml").read_text(encoding="utf-8")
    (target / "_config.yml").write_text(configuration(text, *repository(root)), encoding="utf-8")
    records = []
    for folder in ("notebooks", "_student"):
        (target / folder).mkdir()
    for slug in chapters(root):
        files = executed(slug, profile, build)
        pair = nbformat.read(root / "notebooks" / f"{slug}.ipynb", as_version=4)
        records.append(json.loads(files.record.read_text(encoding="utf-8")))
        shown = page(pair, nbformat.read(files.notebook, as_version=4), records[-1])
        (target / "notebooks" / f"{slug}.ipynb").write_text(notebook_text(shown), encoding="utf-8")
        student = notebook_text(without_solutions(pair))
        (target / "_student" / f"{slug}.ipynb").write_text(student, encoding="utf-8")
    (target / "book" / "run-report.md").write_text(run_report(records), encoding="utf-8")


def generate(target, root=ROOT):
    """Let the study write its pages and tables into the tree (``python -m nucseg.study.pages FOLDER``).

    Raises
    ------
    NucsegError
        It failed; carries its last words.
    """
    if not (root / "nucseg" / "study" / "pages.py").is_file():
        return
    done = subprocess.run(
        [sys.executable, "-m", "nucseg.study.pages", str(target)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NucsegError(f"nucseg.study.pages failed:\n{done.stderr.strip()[-2000:]}")


def mirror(source, target):
    """Make `target` equal to `source`, touching only files that differ."""
    wanted = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    present = {path.relative_to(target) for path in target.rglob("*") if path.is_file()}
    for name in present - wanted:
        (target / name).unlink()
    for name in sorted(wanted):
        content = (source / name).read_bytes()
        if name in present and (target / name).read_bytes() == content:
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)


def stage(profile, root=ROOT, build=BUILD):
    """Bring ``_build/stage`` and ``_build/student`` up to date."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder)
        lay_out(profile, target, root, build)
        write_reference(target)
        generate(target, root)
        missing = [
            name for name in pages(root) if not any((target / f"{name}{s}").is_file() for s in (".md", ".ipynb"))
        ]
        if missing:
            raise NucsegError(f"_toc.yml lists {missing[0]}, which is neither in the repository nor generated")
        mirror(target / "_student", build / "student")
        mirror(target, build / "stage")


def digest(build=BUILD, root=ROOT):
    """Return a SHA-256 over all that the site is made from: the staged tree, the docstrings, the builder itself."""
    found = hashlib.sha256()
    paths = [path for path in (build / "stage").rglob("*") if path.is_file()]
    paths += [*(root / "nucseg").rglob("*.py"), root / "workflow" / "build_site.py", root / "requirements.lock"]
    for path in sorted(paths):
        found.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def main(arguments):
    """Stage a profile; returns the exit status."""
    try:
        stage(arguments[0])
    except NucsegError as error:
        print(f"stage: {error}", file=sys.stderr)
        return 1
    # The site is built again when the content of this file changes.
    stamp, content = BUILD / "stage.json", {"profile": arguments[0], "digest": digest()}
    if not stamp.is_file() or json.loads(stamp.read_text(encoding="utf-8")) != content:
        write_json(stamp, content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
