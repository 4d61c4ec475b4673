"""Each fault of a small hand-made site is found, and a site without faults has none."""

import pytest
from check_site import check

HOME = "/".join(("", "home", "someone"))
GOOD = """<!doctype html><html><head><link rel="stylesheet" href="s.css"><link rel="icon" href="i.svg"></head><body>
<h1 id="top">T</h1><a href="#top">up</a> <a href="sub/b.html#there">b</a> <a href="https://example.org/">out</a>
<img src="i.svg" alt="a square"><script>var a = 1;</script></body></html>"""


@pytest.fixture
def site(tmp_path):
    """A site of two pages, a style sheet and a picture."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_text(GOOD, encoding="utf-8")
    (tmp_path / "sub" / "b.html").write_text('<p id="there">x</p><a href="../index.html">back</a>', encoding="utf-8")
    (tmp_path / "s.css").write_text("p { color: red }", encoding="utf-8")
    (tmp_path / "i.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>", encoding="utf-8")
    return tmp_path


def test_a_good_site_has_no_problems(site):
    assert check(site) == []


def test_markup_may_be_quoted(site):
    quoted = "<pre><span>```{csv-table}</span></pre><p><code>{term}</code></p>"
    (site / "index.html").write_text(GOOD.replace("</body>", f"{quoted}</body>"), encoding="utf-8")
    assert check(site) == []


def test_no_site_is_a_problem(tmp_path):
    assert check(tmp_path) == [f"{tmp_path.name}: there is no index.html"]


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ('<a href="gone.html">x</a>', "dead link gone.html"),
        ('<a href="../outside.html">x</a>', "dead link ../outside.html"),
        ('<a href="sub/b.html#gone">x</a>', "dead anchor sub/b.html#gone"),
        ('<a href="#gone">x</a>', "dead anchor #gone"),
        ('<img src="gone.png" alt="a square">', "dead link gone.png"),
        ('<img src="i.svg">', "no description (alt)"),
        ('<img src="i.svg" alt=" ">', "no description (alt)"),
        ('<img src="i.svg" alt="_images/abc.png">', "no description (alt)"),
        ('<script src="https://cdn.example.org/a.js"></script>', "loads https://cdn.example.org/a.js"),
        ('<script src="//cdn.example.org/a.js"></script>', "loads //cdn.example.org/a.js"),
        ('<script>const u = "https://unpkg.com/x.js"</script>', "script mentions unpkg.com/x.js"),
        ('<link rel="stylesheet" href="https://example.org/a.css">', "loads https://example.org/a.css"),
        ('<link rel="preconnect" href="https://example.org">', "loads https://example.org"),
        ('<img src="https://example.org/a.png" alt="a square">', "loads https://example.org/a.png"),
        ("<style>@import 'https://example.org/a.css';</style>", "style loads https://example.org/a.css"),
        ('<p style="background: url(https://example.org/a.png)">x</p>', "style loads https://example.org/a.png"),
        ('<p id="top">again</p>', "two elements have the id 'top'"),
        (f"<p>{HOME}/data/a.png</p>", f"shows a path of the machine: {HOME}/data"),
        ("<pre>lib/site-packages/numpy</pre>", "shows a path of the machine"),
        ("<p>```{csv-table} Title</p>", "markup left as it is: ```{csv-table}"),
        ("<p>see {numref}<code>tab</code></p>", "markup left as it is: {numref}"),
        ("<p>" + "x" * 3_100_000 + "</p>", "3.1 MB, more than 3.0"),
    ],
)
def test_each_fault_is_found(site, fault, problem):
    (site / "index.html").write_text(GOOD.replace("</body>", f"{fault}</body>"), encoding="utf-8")
    found = check(site)
    assert len(found) == 1, found
    assert found[0].startswith("index.html: ") and problem in found[0]


def test_the_repository_itself_is_a_machine_path(site, tmp_path_factory):
    root = tmp_path_factory.mktemp("checkout")
    (site / "index.html").write_text(GOOD.replace("T</h1>", f"{root}/x</h1>"), encoding="utf-8")
    assert len(check(site, root=root)) == 1


def test_style_sheets_and_notebooks_are_looked_into(site):
    (site / "s.css").write_text("@font-face { src: url('https://example.org/f.woff2') }", encoding="utf-8")
    (site / "a.ipynb").write_text("x" * 1_600_000, encoding="utf-8")
    assert check(site) == ["s.css: loads https://example.org/f.woff2", "a.ipynb: 1.6 MB, more than 1.5"]
