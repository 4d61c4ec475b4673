"""The generated parts of the book and of the README: tables made from facts, records and published numbers.

``python -m nucseg.study.pages FOLDER`` writes them below ``FOLDER/book/generated``;
``python -m nucseg.study.pages --readme`` rewrites the marked table in README.md and the picture above it.
"""

import argparse
import re
from pathlib import Path

import pandas as pd

from nucseg.atomic import atomic_path, write_text
from nucseg.data.facts import DATASETS
from nucseg.errors import DataError
from nucseg.study.experiment import chapters
from nucseg.study.paths import repository_root
from nucseg.study.tables import beside_published, published, runs, summary

#: Largest difference from a published or earlier value that still counts as agreement, set beforehand; absolute for
#: shares and scores, relative for values above 1.
TOLERANCE = 0.02
README_MARKS = ("<!-- results table: begin -->", "<!-- results table: end -->")


def datasets_table():
    """Return the datasets as a table: name, title, images, nuclei, pixels, license."""
    return pd.DataFrame([
        {
            "Name in code": f"`{info.name}`", "Dataset": info.title,
            "Images": f"{info.images:,}" if info.images else "any number",
            "Nuclei": f"{info.objects:,}" if info.objects else "-", "Size (px)": info.size, "License": info.license,
        }
        for info in DATASETS.values()
    ])


def dataset_cards():
    """Return one Markdown section for each dataset: source, splits, groups, layout, differences."""
    parts = []
    for info in DATASETS.values():
        lines = [f"### {info.title}", "", f"`{info.name}`: {info.content}", ""]
        if info.cite:
            lines += [f"Source: {{cite}}`{','.join(info.cite)}`.", ""]
        facts = {
            "License": info.license, "Magnification": info.magnification, "Groups": info.group,
            "Classes": ", ".join(info.classes), "How to obtain it": info.obtain, "Layout read": info.layout,
            "How the packed copy differs": info.differs,
        }
        lines += [f"- **{name}**: {_escaped(fact)}" for name, fact in facts.items() if fact]
        for name, scheme in info.schemes.items():
            lines.append(f"- **Split scheme `{name}`** ({', '.join(f'`{s}`' for s in scheme.splits)}): {scheme.source}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def comparison(slug):
    """Return a chapter's measured means beside the published or earlier values; empty if nothing was run.

    Parameters
    ----------
    slug : str
        The chapter.

    Returns
    -------
    pandas.DataFrame
        See :func:`nucseg.study.tables.beside_published`, restricted to the experiments and datasets of which this
        chapter has a row.
    """
    table = runs(slug)
    pairs = table[["experiment", "dataset"]].drop_duplicates()
    return beside_published(summary(table), published().merge(pairs, on=["experiment", "dataset"]), TOLERANCE)


def formatted(table):
    """Return a comparison with numbers as text: three decimals, spread over seeds after ours, a dash for nothing."""
    shown = table.rename(columns={"row": "what", "published": "reference"})
    for column in ("reference", "ours", "difference"):
        sign = "+" if column == "difference" else ""
        shown[column] = [("-" if pd.isna(value) else f"{value:{sign}.3f}") for value in shown[column]]
    spreads = ["" if pd.isna(value) else f" ± {value:.3f}" for value in shown["spread"]]
    shown["ours"] = [ours + spread for ours, spread in zip(shown["ours"], spreads)]
    shown["metric"] = shown["metric"].str.replace("_", " ")
    return shown.drop(columns="spread")


def markdown(table):
    """Return a table of text as GitHub Markdown."""
    rows = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def write_pages(folder):
    """Write the generated parts of the book below ``folder/book/generated``.

    Parameters
    ----------
    folder : path-like
        Root of the tree that the book is built from.
    """
    target = Path(folder) / "book" / "generated"
    _write_csv(target / "datasets.csv", datasets_table())
    write_text(target / "dataset-cards.md", dataset_cards())
    tables = {slug: formatted(comparison(slug)) for slug in chapters()}
    for slug, table in tables.items():
        for number, (_, part) in enumerate(_by_experiment(table), start=1):
            _write_csv(target / f"results-{slug}-{number}.csv", part)
    write_text(target / "results.md", results_sections(tables))
    write_overview(target / "overview.png")


def results_sections(tables):
    """Return one Markdown section for each chapter with results: a numbered table for each experiment.

    Parameters
    ----------
    tables : mapping of str to pandas.DataFrame
        Chapter to its formatted comparison.

    Returns
    -------
    str
    """
    parts = []
    for slug, table in tables.items():
        if table.empty:
            continue
        parts.append(f"### {slug.replace('-', ' ').capitalize()}")
        parts.append(f"The chapter [](../notebooks/{slug}.ipynb) explains these rows.")
        for number, ((experiment, dataset), _) in enumerate(_by_experiment(table), start=1):
            parts.append("\n".join([
                f"```{{csv-table}} {experiment[0].upper()}{experiment[1:]} ({dataset}).",
                f":name: tab-results-{slug}-{number}", ":header-rows: 1", ":widths: 36 22 12 12 12 12",
                f":file: generated/results-{slug}-{number}.csv", "```",
            ]))
    return "\n\n".join(parts or ["No full run has been recorded yet."]) + "\n"


def _by_experiment(table):
    """Return ((experiment, dataset), table without these two columns), in order of appearance."""
    groups = table.groupby(["experiment", "dataset"], sort=False)
    return [(names, part.drop(columns=["experiment", "dataset"])) for names, part in groups]


def readme_with_results(text):
    """Return the README's text with the marked block replaced by the current results table.

    Raises
    ------
    DataError
        The marks are missing or out of order.
    """
    begin, end = (text.find(mark) for mark in README_MARKS)
    if not 0 <= begin < end:
        raise DataError(f"README.md: the marks {README_MARKS[0]!r} and {README_MARKS[1]!r} must both stand there")
    tables = [formatted(comparison(slug)).assign(chapter=slug) for slug in chapters()]
    metrics = ["aji", "object dice", "f1", "wrong", "background wrong"]
    shown = pd.concat(tables)[lambda t: t.metric.isin(metrics) & (t.verdict != "not run")]
    shown = shown[["chapter", "what", "dataset", "metric", "reference", "ours", "difference"]]
    return text[: begin + len(README_MARKS[0])] + "\n" + markdown(shown) + "\n" + text[end:]


def write_overview(path):
    """Draw the book in one picture, on synthetic tissue: image, dots, label made from them, true outlines.

    Parameters
    ----------
    path : path-like
        The PNG to write.
    """
    from nucseg import viz
    from nucseg.data.synthetic import render_he
    from nucseg.supervision import box_centers, cluster_labels

    viz.use_style()
    sample = render_he(seed=3)
    points = box_centers(sample.labels)
    label = viz.weak_label_image(cluster_labels(sample.image, points), sample.image)
    figure = viz.show_panels(
        [sample.image, sample.image, label, viz.outline(sample.image, sample.labels)],
        ["image", "one dot per nucleus", "label made from the dots", "true outlines"],
        points=[None, points, None, None], crop=(128, 128, 256), columns=4, width=10,
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _escaped(text):
    # In Markdown, a placeholder such as <id> is an HTML tag and a star is emphasis.
    return re.sub(r"([<*])", r"\\\1", text)


def _write_csv(path, table):
    # A cell that is a lone dash would be read as a list.
    with atomic_path(path) as temporary:
        table.replace("-", r"\-").to_csv(temporary, index=False)


def main(argv=None):
    """Write the generated parts; the command line of this module."""
    parser = argparse.ArgumentParser(description=re.split(r"\n\n", __doc__)[0])
    parser.add_argument("folder", nargs="?", help="root of the tree that the book is built from")
    parser.add_argument("--readme", action="store_true", help="rewrite the results table and the picture of README.md")
    options = parser.parse_args(argv)
    if options.readme:
        readme = repository_root() / "README.md"
        write_text(readme, readme_with_results(readme.read_text(encoding="utf-8")))
        write_overview(repository_root() / "book" / "_static" / "overview.png")
    if options.folder:
        write_pages(options.folder)


if __name__ == "__main__":
    main()
