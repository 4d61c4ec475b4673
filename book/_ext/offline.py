"""Keep the pages self-contained: leave out scripts that load from elsewhere or that no page needs."""

#: Parts of a script's address or text that mark it as not needed: live code cells, and the script that folds
#: admonitions (they are ``<details>`` here).
_UNWANTED = ("thebe", "togglebutton", "toggleHint", "toggleOpenOnPrint", "://")


def _wanted(asset):
    text = f"{getattr(asset, 'filename', asset) or ''} {getattr(asset, 'attributes', {}).get('body') or ''}"
    return not any(part in text for part in _UNWANTED)


def drop_scripts(app, pagename, templatename, context, doctree):
    """Filter the page's scripts and style sheets (a ``html-page-context`` handler)."""
    del app, pagename, templatename, doctree
    for name in ("script_files", "css_files"):
        context[name] = [asset for asset in context.get(name, ()) if _wanted(asset)]


def setup(app):
    """Connect after every extension that adds scripts."""
    app.connect("html-page-context", drop_scripts, priority=950)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
