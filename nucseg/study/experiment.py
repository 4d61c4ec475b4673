"""Rows of tables, declared once and run to records.

A chapter's experiments live in ``nucseg/study/experiments/<chapter>.py`` as a tuple ``ROWS``.  Running a row on
the full profile writes ``results/<chapter>/records/<row>.json``, which is committed; other profiles write below
``runs/``, which is not.
"""

import importlib
import itertools
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tqdm import tqdm

from nucseg.data import load_dataset
from nucseg.errors import DataError, UnknownNameError
from nucseg.study import experiments
from nucseg.study.digest import library_digest
from nucseg.study.folds import FoldChoice
from nucseg.study.paths import results_folder, runs_folder
from nucseg.study.records import measured, read_record, versions, write_record


@dataclass(frozen=True)
class Row:
    """One row of one table.

    Parameters
    ----------
    experiment : str
        The table, for example ``"ceilings"``.
    row : str
        The row's name in that table, as printed.
    dataset, split : str
        What is measured; names of :func:`nucseg.data.load_dataset`, or split ``"all"`` for every image that the
        scheme divides.
    supervision : str
        The annotation used (``"all dots"``, ``"10 % dots"``, ``"masks"``).
    measure : callable
        ``measure(dataset, row) -> iterable of (image id, {metric: value})``; yields as it goes, so that progress
        can be shown. A generator may return a dict of notes (learning curves, say), which the record keeps; among
        them, ``pooled_metrics`` holds metrics of all images together.
    settings : mapping
        Everything the result depends on besides the code, JSON values only.
    seed : int
        Seed of the annotation draw and of all randomness.
    scheme : str, optional
        Split scheme of the dataset; None means its default.
    fold : FoldChoice, optional
        A round of cross-validation over these images; its test (or validation) images are measured then.
    """

    experiment: str
    row: str
    dataset: str
    split: str
    supervision: str
    measure: Callable[..., Iterable[tuple[str, Mapping[str, float]]]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    scheme: str | None = None
    fold: FoldChoice | None = None

    @property
    def key(self):
        """File name of the row's record: experiment, row, dataset, split, supervision, seed and, if any, fold."""
        parts = (self.experiment, self.row, self.dataset, self.split, self.supervision)
        words = (re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts)
        return ".".join([*words, f"s{self.seed}", *([self.fold.key] if self.fold else [])])

    def digest(self):
        """Return the fingerprint of the code that the row's numbers depend on."""
        # The runner only carries numbers; the catalog's effect is recorded as image ids and data checksum.
        without = ["nucseg.study.experiment", "nucseg.study.paths", "nucseg.data.facts", "nucseg.data.catalog"]
        if not self.dataset.startswith("synthetic-"):
            without.append("nucseg.data.synthetic")
        return library_digest(self.measure.__module__, tuple(without))

    def describe(self):
        """Return what identifies the row and its settings, as JSON values."""
        names = ("experiment", "row", "dataset", "split", "scheme", "supervision", "seed")
        fold = {"fold": asdict(self.fold)} if self.fold else {}
        return {**{name: getattr(self, name) for name in names}, **fold, "settings": dict(self.settings)}

    def images(self, root=None):
        """Return the images that the row measures, as a dataset, and those it trains on, as ids of each part."""
        whole = load_dataset(self.dataset, None if self.split == "all" else self.split, root, scheme=self.scheme)
        if self.fold is None:
            return whole, {}
        parts = dict(zip(("train", "val", "test"), self.fold.of(whole)))
        return parts[self.fold.part], {name: list(part.ids) for name, part in parts.items()}


def chapters():
    """Return the slugs of the chapters that declare experiments."""
    return sorted(info.name.replace("_", "-") for info in pkgutil.iter_modules(experiments.__path__))


def rows(slug):
    """Return the rows that a chapter declares.

    Raises
    ------
    UnknownNameError
        No chapter of that name declares experiments.
    """
    if slug not in chapters():
        raise UnknownNameError(f"no experiments for {slug!r}; there are {', '.join(chapters())}")
    declared = importlib.import_module(f"{experiments.__name__}.{slug.replace('-', '_')}").ROWS
    keys = [row.key for row in declared]
    if len(set(keys)) != len(keys):
        raise DataError(f"{slug}: two rows share the key {max(keys, key=keys.count)!r}")
    return declared


def record_path(slug, row, profile="full"):
    """Return where the record of a row goes under a profile."""
    folder = results_folder(slug) if profile == "full" else runs_folder(slug) / profile
    return folder / "records" / f"{row.key}.json"


def run_row(slug, row, profile="full", *, images=None, root=None, force=False):
    """Return the record of a row, running it unless a current record exists.

    A record is current if its settings, its data, the images that it trains on and the library code it depends on are
    unchanged.

    Parameters
    ----------
    slug : str
        The chapter.
    row : Row
        What to run.
    profile : str
        ``"full"`` writes to ``results/``; anything else to ``runs/``.
    images : int, optional
        Use only the first so many images (small runs).
    root : path-like, optional
        Data folder; see :func:`nucseg.data.load_dataset`.
    force : bool
        Run even if a current record exists.

    Returns
    -------
    dict
        The record, as written.

    Raises
    ------
    DataError
        The data is missing or unusable, or the full profile was asked to run on part of the images.
    """
    if profile == "full" and images is not None:
        raise DataError("the full profile runs on all images; use another profile for a part of them")
    dataset, others = row.images(root)
    dataset = dataset[:images]
    path = record_path(slug, row, profile)
    identity = {
        **row.describe(),
        "profile": profile,
        "images": list(dataset.ids),
        "data_checksum": dataset.checksum,
        "library_digest": row.digest(),
        **({"fold_images": others} if others else {}),
    }
    if path.is_file() and not force:
        record = read_record(path)
        if all(record.get(name) == value for name, value in identity.items()):
            return record
    with measured() as cost:
        metrics, notes = _run(row, dataset)
    if set(metrics) != set(dataset.ids):
        raise DataError(f"{row.key}: measured {len(metrics)} images of {len(dataset)}")
    write_record(path, {**identity, **cost, **_details(notes), "metrics": metrics})
    return read_record(path)


def _details(notes):
    """Return what a record says beside the metrics of images, from the notes of the measurement."""
    rest = {name: value for name, value in notes.items() if name not in ("device", "pooled_metrics")}
    details = {"device": notes.get("device", "cpu"), "versions": versions()}
    if "pooled_metrics" in notes:
        details["pooled_metrics"] = notes["pooled_metrics"]
    if rest:
        details["notes"] = rest
    if "training" in notes:
        # Of all stages, also where another row or an interrupted call trained them; ``seconds`` is this call's.
        details["training_seconds"] = round(sum(stage["seconds"] for stage in notes["training"].values()), 1)
    return details


def _run(row, dataset):
    """Return the metrics of every image and the notes of the measurement, if it returns any."""
    notes = {}

    def lines():
        notes.update((yield from row.measure(dataset, row)) or {})

    done = tqdm(lines(), total=len(dataset), desc=row.key, unit="image", leave=False)
    return {image: dict(values) for image, values in done}, notes


def select(slug, pattern=None):
    """Return a chapter's rows whose key contains `pattern` (all if None).

    Raises
    ------
    UnknownNameError
        No row matches.
    """
    chosen = [row for row in rows(slug) if pattern is None or pattern in row.key]
    if not chosen:
        raise UnknownNameError(f"no row of {slug} contains {pattern!r}; see 'nucseg experiment list {slug}'")
    return chosen


def listing(slug=None):
    """Return what ``nucseg experiment list`` shows: one dict of str for each row.

    Parameters
    ----------
    slug : str, optional
        A chapter; all chapters if left out.

    Returns
    -------
    list of dict
        ``chapter``, ``key`` and ``state``: "missing", "current", or "other code" or "other settings" where the
        record was made by code or with settings that have changed since.

    Raises
    ------
    UnknownNameError
        No such chapter.
    """
    chosen = all_rows() if slug is None else [(slug, row) for row in rows(slug)]
    return [{"chapter": chapter, "key": row.key, "state": _state(chapter, row)} for chapter, row in chosen]


def _state(slug, row):
    path = record_path(slug, row)
    if not path.is_file():
        return "missing"
    record = read_record(path)
    if any(record.get(name) != value for name, value in row.describe().items()):
        return "other settings"
    return (
        "current" if record.get("library_digest") == row.digest() else "other code"
    )


def list_text(lines):
    """Return the rows of :func:`listing` as aligned text, one line each."""
    width = max((len(line["state"]) for line in lines), default=0)
    return "\n".join(f"{line['state']:<{width}}  {line['chapter']}  {line['key']}" for line in lines)


def all_rows():
    """Return (slug, row) for every row of every chapter."""
    return list(itertools.chain.from_iterable(((slug, row) for row in rows(slug)) for slug in chapters()))
