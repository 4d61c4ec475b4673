"""Admonitions and solutions of the class ``dropdown`` as ``<details>``: they open without JavaScript."""

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

_REPEATED = ("exercise-content", "solution-content")


class fold(nodes.General, nodes.Element):
    """Something folded; its first child is a :class:`fold_title`."""


class fold_title(nodes.General, nodes.TextElement):
    """The line that stays visible."""


class FoldDropdowns(SphinxPostTransform):
    """Turn every titled admonition of the class ``dropdown`` into a fold."""

    # After sphinx-exercise has resolved its titles, before anything is written.
    default_priority = 900
    formats = ("html",)

    def run(self, **kwargs):
        """Replace the nodes in place."""
        del kwargs
        for section in self.document.findall(nodes.section):
            # sphinx-exercise gives the content of every exercise of a page the same id.
            section["ids"] = [name for name in section["ids"] if name not in _REPEATED]
        for node in list(self.document.findall(nodes.Admonition)):
            if "dropdown" not in node.get("classes", ()) or not len(node):
                continue
            head, *body = node.children
            if not isinstance(head, nodes.title):
                continue
            folded = fold("", ids=node["ids"], classes=["admonition", *node["classes"]])
            folded += fold_title("", "", *head.children)
            folded.extend(body)
            node.replace_self(folded)


def _open_fold(translator, node):
    translator.body.append(translator.starttag(node, "details"))


def _close_fold(translator, node):
    del node
    translator.body.append("</details>\n")


def _open_title(translator, node):
    translator.body.append(translator.starttag(node, "summary", "", CLASS="admonition-title"))


def _close_title(translator, node):
    del node
    translator.body.append('<span class="fold-hint" aria-hidden="true"></span></summary>\n')


def setup(app):
    """Register the nodes and the transform."""
    app.add_node(fold, html=(_open_fold, _close_fold))
    app.add_node(fold_title, html=(_open_title, _close_title))
    app.add_post_transform(FoldDropdowns)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
