"""Check the built pages: links, nothing loaded from elsewhere, pictures described, sizes, no machine paths.

python workflow/check_site.py [_build/html]
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from execute import LIMIT_MB
from places import BUILD, ROOT

PAGE_MB = 3.0
#: Attributes through which a page loads something by itself, by tag.
_LOADS = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "iframe": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "image": ("href", "xlink:href"),
}
#: Kinds of <link> that are followed without a click.
_LINKS = {
    "stylesheet",
    "preload",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "modulepreload",
    "icon",
    "manifest",
}
_ELSEWHERE = re.compile(r"^\s*(?:https?:)?//", re.IGNORECASE)
_STYLE_LOAD = re.compile(r"(?:@import\s+|url\(\s*)[\"']?\s*((?:https?:)?//[^\"')\s]+)", re.IGNORECASE)
_HOSTS_OF_SCRIPTS = re.compile(r"(?:unpkg\.com|jsdelivr\.net|cdnjs\.|googleapis\.com|gstatic\.com|cdn\.)[^\s\"']*")
#: Elements whose text is quoted, where markup may stand for itself.
_QUOTES = {"pre", "code"}
_MARKUP = re.compile(r"```\{[\w:-]+\}|\{(?:glue:\w+|term|numref|eq|cite(?::\w)?|ref|doc|func)\}")
_PICTURE_NAME = re.compile(r"\.(?:png|jpe?g|svg|webp|gif)$", re.IGNORECASE)
_MACHINE_PATH = re.compile(
    r"(?<![\w.~/-])(?:/(?:root|work|tmp|opt|home/\w+|Users/\w+)/[\w.-]+|[A-Z]:\\Users\\\w+)|site-packages/"
)


class Page(HTMLParser):
    """What one page defines, links to and loads."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.ids, self.links, self.loads, self.problems = set(), [], [], []
        self._inside, self._quoted = None, 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Collect ids, links, things loaded, and pictures without a description."""
        values = {name: value or "" for name, value in attributes}
        if values.get("id"):
            if values["id"] in self.ids:
                self.problems.append(f"two elements have the id {values['id']!r}")
            self.ids.add(values["id"])
        if tag == "a" and values.get("name"):
            self.ids.add(values["name"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        self.loads += [values[name] for name in _LOADS.get(tag, ()) if values.get(name)]
        if tag == "link" and _LINKS & set(values.get("rel", "").lower().split()):
            self.loads.append(values.get("href", ""))
        if tag == "img":
            described = values.get("alt", "").strip()
            if not described or _PICTURE_NAME.search(described):
                self.problems.append(f"no description (alt) for the picture {values.get('src', '')[:80]!r}")
        self.problems += [f"style loads {url}" for url in _STYLE_LOAD.findall(values.get("style", ""))]
        self._inside = tag if tag in ("script", "style") else None
        self._quoted += tag in _QUOTES

    def handle_endtag(self, tag):
        """Leave a script, a style or quoted text."""
        self._inside = None
        self._quoted -= tag in _QUOTES

    def handle_data(self, data):
        """Look for addresses in scripts and styles, and for markup that was left as it is."""
        if self._inside == "script":
            self.problems += [f"script mentions {hit}" for hit in _HOSTS_OF_SCRIPTS.findall(data)]
        elif self._inside == "style":
            self.problems += [f"style loads {url}" for url in _STYLE_LOAD.findall(data)]
        elif not self._quoted:
            self.problems += [f"markup left as it is: {hit}" for hit in _MARKUP.findall(data)]


def check(folder, root=ROOT):
    """Return what is wrong with the pages in a folder.

    Parameters
    ----------
    folder : pathlib.Path
        With ``index.html``.
    root : pathlib.Path
        The repository, whose own path must not appear in a page.

    Returns
    -------
    list of str
        One problem each, naming the page; empty if all is well.
    """
    folder = folder.resolve()
    if not (folder / "index.html").is_file():
        return [f"{folder.name}: there is no index.html"]
    texts = {
        path: path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(folder.rglob("*.html"))
        if "_static" not in path.relative_to(folder).parts
    }
    parsed = {path: Page(text) for path, text in texts.items()}
    problems = []
    for path, text in texts.items():
        name = str(path.relative_to(folder))
        found = parsed[path].problems + _sizes_and_paths(text, root)
        found += [f"loads {url}" for url in parsed[path].loads if _ELSEWHERE.match(url)]
        found += _dead(path, parsed, folder)
        problems += [f"{name}: {problem}" for problem in dict.fromkeys(found)]
    return problems + _assets(folder, root)


def _sizes_and_paths(text, root):
    found = []
    if len(text.encode()) > PAGE_MB * 1e6:
        found.append(f"{len(text.encode()) / 1e6:.1f} MB, more than {PAGE_MB}")
    hit = _MACHINE_PATH.search(text)
    if hit or f"{root}/" in text:
        found.append(f"shows a path of the machine: {hit.group() if hit else root}")
    return found


def _dead(path, parsed, folder):
    """Problems with the links and files that one page refers to."""
    found = []
    page = parsed[path]
    for url in [*page.links, *page.loads]:
        parts = urlsplit(url)
        if parts.scheme or parts.netloc or _ELSEWHERE.match(url):
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        target = target / "index.html" if target.is_dir() else target
        if not target.is_relative_to(folder) or not target.is_file():
            found.append(f"dead link {url}")
        elif parts.fragment and target in parsed and unquote(parts.fragment) not in parsed[target].ids:
            found.append(f"dead anchor {url}")
    return found


def _assets(folder, root):
    """Problems with style sheets, the search index and the notebooks offered for download."""
    problems = []
    for path in sorted(folder.rglob("*.css")):
        for url in _STYLE_LOAD.findall(path.read_text(encoding="utf-8", errors="replace")):
            problems.append(f"{path.relative_to(folder)}: loads {url}")
    for path in [*sorted(folder.rglob("*.ipynb")), folder / "searchindex.js"]:
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        hit = _MACHINE_PATH.search(text)
        if hit or f"{root}/" in text:
            problems.append(f"{path.relative_to(folder)}: shows a path of the machine: {hit.group() if hit else root}")
        if path.suffix == ".ipynb" and len(text.encode()) > LIMIT_MB * 1e6:
            problems.append(f"{path.relative_to(folder)}: {len(text.encode()) / 1e6:.1f} MB, more than {LIMIT_MB}")
    return problems


def main(arguments):
    """Check the folder given (default ``_build/html``); returns the exit status."""
    problems = check(Path(arguments[0]) if arguments else BUILD / "html")
    print("\n".join(problems) if problems else "The pages are in order.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
