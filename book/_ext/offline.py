"""Keep the pages self-contained: leave out scripts that load from elsewhere or that no page needs."""

from pathlib import Path

from docutils import nodes

#: Parts of a script's address or text that mark it as not needed: live code cells, and the script that folds
#: admonitions (they are ``<details>`` here).
_UNWANTED = ("thebe", "togglebutton", "toggleHint", "toggleOpenOnPrint", "://")
_FILES = ("sphinx-thebe.*", "togglebutton.*")


def _wanted(asset):
    text = f"{getattr(asset, 'filename', asset) or ''} {getattr(asset, 'attributes', {}).get('body') or ''}"
    return not any(part in text for part in _UNWANTED)


def drop_scripts(app, pagename, templatename, context, doctree):
    """Filter the page's scripts and style sheets (a ``html-page-context`` handler)."""
    del app, pagename, templatename, doctree
    for name in ("script_files", "css_files"):
        context[name] = [asset for asset in context.get(name, ()) if _wanted(asset)]


def drop_live_code(app, doctree, docname):
    """Remove the settings of live code cells from a page (a ``doctree-resolved`` handler)."""
    del app, docname
    for node in list(doctree.findall(nodes.raw)):
        if "thebe" in node.astext():
            node.parent.remove(node)


def finish(app, exception):
    """Remove the files of what was left out, and make the pages light without scripts (``build-finished``)."""
    if exception is not None:
        return
    for pattern in _FILES:
        for path in (Path(app.outdir) / "_static").glob(pattern):
            path.unlink()
    # The theme colors code for "light" and "dark"; "auto" becomes one of them only where scripts run.
    for path in Path(app.outdir).rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(' data-theme="auto">', ' data-theme="light">', 1), encoding="utf-8")


def setup(app):
    """Connect after every extension that adds scripts."""
    app.connect("html-page-context", drop_scripts, priority=950)
    app.connect("doctree-resolved", drop_live_code, priority=950)
    app.connect("build-finished", finish, priority=950)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
