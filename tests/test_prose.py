"""What the prose pages claim: names that exist, terms defined once, works that are listed, chapters that are there."""

import importlib
import re
from functools import reduce
from pathlib import Path

import pandas as pd
import pytest
import yaml

import nucseg
from nucseg.data.facts import DATASETS
from nucseg.study import pages
from nucseg.study.paths import repository_root

ROOT = repository_root()
PAGES = sorted((ROOT / "book").glob("*.md"))
CHAPTERS = sorted((ROOT / "notebooks").glob("*.py"))
TEXTS = [*PAGES, *CHAPTERS, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
BIBLIOGRAPHY = ROOT / "book" / "references.bib"


def read(path):
    return path.read_text(encoding="utf-8")


def resolves(name):
    """Whether a dotted name is a module of nucseg or something in one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        try:
            reduce(getattr, parts[cut:], module)
        except AttributeError:
            return False
        return True
    return False


def test_resolves_can_say_no():
    assert resolves("nucseg.metrics.aji")
    assert not resolves("nucseg.metrics.no_such_metric")
    assert not resolves("nucseg.no_such_module")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_named_parts_of_the_library_exist(path):
    names = set(re.findall(r"`~?(nucseg(?:\.\w+)+)`", read(path)))
    assert not [name for name in names if not resolves(name)]
    if path.stem in ("notation", "metrics"):
        assert len(names) > 10, "the pattern finds too little to mean anything"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_imports_in_examples_work(path):
    for module, names in re.findall(r"^from (nucseg[\w.]*) import (.+)$", read(path), re.MULTILINE):
        assert all(resolves(f"{module}.{name.strip()}") for name in names.split(",")), (module, names)


def glossary():
    """Terms of the glossary, as written."""
    blocks = re.findall(r"```\{glossary\}\n(.*?)```", read(ROOT / "book" / "glossary.md"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith(" ")]


def test_glossary_terms_are_unique():
    terms = [term.casefold() for term in glossary()]
    assert len(terms) > 50
    assert not {term for term in terms if terms.count(term) > 1}


@pytest.mark.parametrize("path", [*PAGES, *CHAPTERS], ids=lambda path: path.stem)
def test_linked_terms_are_in_the_glossary(path):
    known = {term.casefold() for term in glossary()}
    text = re.sub(r"\n(?:# ?)?", " ", read(path))
    linked = [re.sub(r".*<(.+)>", r"\1", term) for term in re.findall(r"\{term\}`([^`]+)`", text)]
    assert not [term for term in linked if term.casefold() not in known]


def bibliography():
    return re.findall(r"^@\w+\{([^,]+),", read(BIBLIOGRAPHY), re.MULTILINE)


def test_bibliography_keys_are_unique():
    keys = bibliography()
    assert len(keys) == len(set(keys)) > 30


def test_cited_works_are_in_the_bibliography():
    cited = {key for info in DATASETS.values() for key in info.cite}
    for path in TEXTS:
        for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", read(path)):
            cited |= {key.strip() for key in keys.split(",")}
    assert len(cited) > 10
    assert not cited - set(bibliography())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_between_pages_lead_somewhere(path):
    made = {"run-report.md"}  # written when the book is laid out
    for target in re.findall(r"\]\(([^)#\s]+\.(?:md|ipynb))\)", read(path)):
        if target.startswith("../notebooks/"):
            continue  # whether a chapter is there is checked below
        assert target in made or (path.parent / target).is_file(), target


def test_intro_says_which_chapters_are_there():
    text = read(ROOT / "book" / "intro.md")
    missing = set(re.findall(r"not yet written: `([\w-]+)`", text))
    linked = set(re.findall(r"\(\.\./notebooks/([\w-]+)\.ipynb\)", text))
    present = {path.stem for path in CHAPTERS}
    papers = {"partial-points", "split-and-expand", "canonical-shape", "donuseg", "sia-wsss"}
    assert papers <= missing | linked
    assert not missing & present, "a chapter is there, but the introduction says it is not"
    assert not linked - present, "the introduction links a chapter that is not there"
    assert present <= linked, "the introduction leaves a chapter out"


def test_the_stated_tolerance_is_the_one_in_use():
    (stated,) = re.findall(r"the difference is at most ([\d.]+\d)", read(ROOT / "book" / "results.md"))
    assert float(stated) == pages.TOLERANCE


def test_results_sections_number_a_table_for_each_experiment(tmp_path):
    columns = ["experiment", "dataset", "what"]
    named = [("scores", "monuseg"), ("labels", "monuseg"), ("scores", "monuseg"), ("scores", "tnbc")]
    lines = [(*names, what) for names, what in zip(named, "abcd")]
    tables = {"full-of-it": pd.DataFrame(lines, columns=columns), "nothing-yet": pd.DataFrame(columns=columns)}
    text = pages.results_sections(tables)
    captions = re.findall(r"csv-table} (.+)\n:name: tab-results-full-of-it-(\d)", text)
    assert captions == [("Scores (monuseg).", "1"), ("Labels (monuseg).", "2"), ("Scores (tnbc).", "3")]
    assert "nothing-yet" not in text
    assert "No full run" in pages.results_sections({})


def test_dataset_cards_hold_no_tags_of_html():
    cards = pages.dataset_cards()
    assert all(info.title in cards for info in DATASETS.values())
    assert not re.findall(r"(?<!\\)<\w+>", cards)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_pictures_are_described(path):
    for options in re.findall(r"```\{(?:glue:)?figure\}[^\n]*\n((?::.*\n)*)", read(path)):
        (description,) = re.findall(r"^:alt: (.+)$", options, re.MULTILINE)
        assert len(description) > 40


def test_citation_file():
    citation = yaml.safe_load(read(ROOT / "CITATION.cff"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation), "fields that the format demands"
    assert citation["version"] == nucseg.__version__
    works = citation["references"]
    assert len(works) == 5
    entries = read(BIBLIOGRAPHY)
    for work in works:
        assert {"type", "title", "authors"} <= set(work)
        assert work["title"] in entries
        for author in work["authors"]:
            assert f"{author['family-names']}, {author['given-names']}" in entries


def test_contributing_guides_agree():
    short, long = read(ROOT / "CONTRIBUTING.md"), read(ROOT / "book" / "contributing.md")
    for command in ("make env", "make test", "make lint", "make book"):
        assert re.search(rf"^{command} ", short, re.MULTILINE)
        assert re.search(rf"^{command} ", long, re.MULTILINE)
        assert re.search(rf"^{command.split()[1]}:", read(ROOT / "Makefile"), re.MULTILINE)


def test_every_page_is_in_the_table_of_contents():
    contents = read(ROOT / "_toc.yml")
    assert not [path.stem for path in PAGES if f"book/{path.stem}" not in contents]


def test_paths_named_in_code_spans_exist():
    pattern = r"`((?:nucseg|workflow|results|tests|book|benchmarks)/[\w./-]+)`"
    for path in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for name in re.findall(pattern, read(path)):
            assert (ROOT / Path(name)).exists(), f"{path.name}: {name}"
