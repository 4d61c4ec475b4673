"""Links inside the library's own docstrings may name private parts: there they stay plain words."""


def leave_as_words(app, env, node, contnode):
    """Resolve a missing Python reference on a reference page to its text (a ``missing-reference`` handler)."""
    del app, env
    if node.get("refdomain") == "py" and node.get("refdoc", "").startswith("book/api/"):
        return contnode
    return None


def setup(app):
    """Connect the handler; pages outside ``book/api`` keep their errors."""
    app.connect("missing-reference", leave_as_words, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
