"""What an executed chapter depends on, as a small file that changes only when one of these things does.

An executed chapter older than its state file is executed again. Times of source files play no part: touching
a file changes nothing, and neither does editing prose, a comment or a docstring.
"""

import hashlib
import json

import nbformat
import yaml
from places import BUILD, ROOT, chapters, executed

from nucseg.atomic import write_json
from nucseg.data.catalog import dataset_info, names
from nucseg.data.roots import find_archive
from nucseg.errors import DataError
from nucseg.study.digest import PACKAGE, bare_code
from nucseg.study.records import versions


def chapter_state(slug, profile, modules, root=ROOT):
    """Return what an execution of a chapter depends on.

    Parameters
    ----------
    slug, profile : str
        The chapter and the profile.
    modules : mapping of str to str
        Digest of each nucseg module that the execution uses; see :func:`module_digests`.
    root : pathlib.Path
        The repository.

    Returns
    -------
    dict
        JSON values, each named for what it describes.
    """
    notebook = nbformat.read(root / "notebooks" / f"{slug}.ipynb", as_version=4)
    return {
        "code": _digest(json.dumps([cell.source for cell in notebook.cells if cell.cell_type == "code"]).encode()),
        "settings": chapter_settings(slug, profile, root),
        "modules": dict(sorted(modules.items())),
        "data": data_present(),
        "results": _results(slug, notebook, root),
        "versions": versions(),
    }


def chapter_settings(slug, profile, root=ROOT):
    """Return what a profile overrides in a chapter (dict; empty for the full profile)."""
    if profile == "full":
        return {}
    path = root / "workflow" / "profiles" / f"{profile}.yaml"
    if not path.is_file():
        raise DataError(f"unknown profile {profile!r}: there is no {path.name} in workflow/profiles")
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get(slug) or {}


def data_present():
    """Return the real datasets that are present: name to file name and size in bytes."""
    found = {name: find_archive(dataset_info(name)) for name in names() if not dataset_info(name).synthetic}
    return {name: f"{path.name}, {path.stat().st_size} bytes" for name, path in found.items() if path}


def module_digests():
    """Return the digest of every nucseg module's code, blind to comments and docstrings (dict of str)."""
    return {
        ".".join(("nucseg", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): _digest(
            bare_code(path.read_text(encoding="utf-8")).encode()
        )
        for path in PACKAGE.rglob("*.py")
    }


def update_state(slug, profile, digests, build=BUILD, root=ROOT):
    """Write a chapter's state file if it differs from what it says.

    Parameters
    ----------
    slug, profile : str
        The chapter and the profile.
    digests : mapping
        From :func:`module_digests`.
    build, root : pathlib.Path
        The folder of built things and the repository.

    Returns
    -------
    list of str
        What has changed; empty if nothing, or if there is no execution yet.
    """
    files = executed(slug, profile, build)
    known = _read(files.state)
    used = _read(files.record).get("modules", ())
    state = chapter_state(slug, profile, {name: digests.get(name, "gone") for name in used}, root)
    if state == known:
        return []
    write_json(files.state, state)
    return _differences(known, state) if known and used else []


def update_states(profile):
    """Bring the state files of all chapters up to date and say which chapters will be executed again, and why."""
    digests = module_digests()
    for slug in chapters():
        changed = update_state(slug, profile, digests)
        if changed:
            more = f" and {len(changed) - 4} more" if len(changed) > 4 else ""
            print(f"{slug}: to be executed again, changed: {', '.join(changed[:4])}{more}", flush=True)


def _differences(before, after):
    changed = [name for name in after if after[name] != before.get(name)]
    if "modules" not in changed:
        return changed
    old, new = before.get("modules", {}), after["modules"]
    return [name for name in changed if name != "modules"] + [n for n in new if new[n] != old.get(n)]


def _results(slug, notebook, root):
    """Digests of the committed tables a chapter can show: its own, the published ones, and those it names."""
    text = "\n".join(cell.source for cell in notebook.cells)
    folders = {path.name for path in (root / "results").glob("*/") if path.name.replace("_", "-") in text}
    paths = [root / "results" / "paper.csv"]
    for folder in sorted(folders | {slug.replace("-", "_")}):
        paths += sorted(path for path in (root / "results" / folder).rglob("*") if path.suffix in {".csv", ".json"})
    return {str(path.relative_to(root)): _digest(path.read_bytes()) for path in paths if path.is_file()}


def _digest(content):
    return hashlib.sha256(content).hexdigest()


def _read(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
