"""A page with every kind of content, built like the book: nothing foreign, nothing that needs scripts."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from build_site import build
from check_site import check

ROOT = Path(__file__).resolve().parents[2]
PAGE = r"""# Page

Inline $x_1$ and a numbered one, see {eq}`eq-a`:

```{math}
:label: eq-a
a = \frac{1}{2}
```

```{exercise-start}
:label: ex-1
```
Do it.
```{exercise-end}
```

```{exercise-start}
:label: ex-2
```
Do it again.
```{exercise-end}
```

```{solution-start} ex-1
:label: sol-1
:class: dropdown
```
The hidden answer.
```{solution-end}
```

```{admonition} A folded note
:class: dropdown
The hidden note.
```
"""


def staged(folder, text):
    """A staged tree of one page with the book's own configuration and extensions."""
    stage = folder / "stage"
    (stage / "book").mkdir(parents=True)
    for name in ("_ext", "_static"):
        shutil.copytree(ROOT / "book" / name, stage / "book" / name)
    shutil.copy(ROOT / "_config.yml", stage)
    (stage / "book" / "references.bib").write_text("", encoding="utf-8")
    (stage / "book" / "intro.md").write_text(text, encoding="utf-8")
    (stage / "_toc.yml").write_text(yaml.safe_dump({"format": "jb-book", "root": "book/intro"}), encoding="utf-8")
    return stage


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    """The built page, after the site's own check."""
    folder = tmp_path_factory.mktemp("book")
    assert build(staged(folder, PAGE), folder / "site") == []
    pages = folder / "site" / "_build" / "html"
    assert check(pages) == []
    return (pages / "book" / "intro.html").read_text(encoding="utf-8")


def test_math_is_in_the_page_numbered_and_linked(html):
    assert html.count("<math ") == 2
    assert 'id="equation-eq-a"' in html and 'href="#equation-eq-a"' in html
    assert re.search(r'class="eqno">\(1\)', html)


def test_folds_open_without_scripts(html):
    folds = re.findall(r"<details class=\"admonition[^>]*>(.*?)</details>", html, re.S)
    assert len(folds) == 2
    assert "The hidden answer." in folds[0] and "Solution to" in folds[0].split("</summary>")[0]
    assert "The hidden note." in folds[1] and "A folded note" in folds[1].split("</summary>")[0]


def test_no_script_of_live_code_or_math_is_left(html):
    assert not re.search(r"thebe|mathjax(?!_ignore)|togglebutton|require\.js|://cdn", html, re.I)


def test_warnings_are_problems_and_name_the_page(tmp_path):
    problems = build(staged(tmp_path, "# Page\n\n[gone](nowhere.md) and $\\foo$\n"), tmp_path / "site")
    assert any("intro.md" in problem and "nowhere" in problem for problem in problems)
    assert any("\\foo" in problem for problem in problems)
