"""Where the book's pieces lie, and which chapters it has."""

from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"


@dataclass(frozen=True)
class Executed:
    """The files that one execution of a chapter leaves."""

    notebook: Path
    record: Path
    state: Path
    log: Path
    failed: Path


def executed(slug, profile, build=BUILD):
    """Return the :class:`Executed` files of a chapter under a profile."""
    folder = build / "executed" / profile
    return Executed(
        notebook=folder / "notebooks" / f"{slug}.ipynb",
        record=folder / "notebooks" / f"{slug}.record.json",
        state=folder / "state" / f"{slug}.json",
        log=folder / "failed" / f"{slug}.log",
        failed=folder / "failed" / f"{slug}.ipynb",
    )


def pages(root=ROOT):
    """Return the pages that ``_toc.yml`` lists, in reading order, as paths without suffix."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    return [toc["root"], *_files(toc)]


def chapters(root=ROOT):
    """Return the slugs of the chapters that ``_toc.yml`` lists, in reading order."""
    return [page.removeprefix("notebooks/") for page in pages(root) if page.startswith("notebooks/")]


def shown(path, root=ROOT):
    """Return a path as a reader should see it: relative to the repository where it lies inside."""
    path = Path(path)
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _files(node):
    found = []
    for child in [*node.get("parts", []), *node.get("chapters", []), *node.get("sections", [])]:
        found += ([child["file"]] if "file" in child else []) + _files(child)
    return found
