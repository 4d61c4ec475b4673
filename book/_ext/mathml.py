"""Math as MathML, written when the book is built: the pages need neither network nor JavaScript for it."""

import re
from html import escape, unescape
from xml.etree import ElementTree

from docutils import nodes
from latex2mathml.converter import convert_to_element
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

logger = logging.getLogger(__name__)

#: LaTeX that the converter does not know, and the same in words that it does.
_REWRITES = (
    (re.compile(r"\\(begin|end)\{(?:aligned|align|eqnarray\*?)\}"), r"\\\1{split}"),
    (re.compile(r"\\(begin|end)\{align\*\}"), r"\\\1{split}"),
    (re.compile(r"\\(begin|end)\{(?:gather|gathered)\*?\}"), r"\\\1{matrix}"),
    (re.compile(r"\\(?:begin|end)\{equation\*?\}"), ""),
    (re.compile(r"\\operatorname\*"), r"\\operatorname"),
    (re.compile(r"\\arg\s*\\?,?\s*\\(min|max)(?![A-Za-z])"), r"\\operatorname{arg\1}"),
    (re.compile(r"\\setminus(?![A-Za-z])"), r"\\smallsetminus"),
    # Bars that \left and \right do not govern keep their size.
    (re.compile(r"(?<!left)(?<!right)\\[lr]Vert(?![A-Za-z])"), r"\\|"),
    (re.compile(r"(?<!left)(?<!right)\\[lr]vert(?![A-Za-z])"), "|"),
    (re.compile(r"\\(?:label|tag)\{[^}]*\}|\\(?:nonumber|notag|limits)(?![A-Za-z])"), ""),
)
#: Operators whose subscript stands below them in display math.
_LIMITS = frozenset({"max", "min", "argmax", "argmin", "sup", "inf", "lim", "⋃", "⋂", "⨆", "∐", "∏", "∑"})
_RELATIONS = {":", "⌊", "⌋", "⌈", "⌉", "∖", "⧵", "∣"}
_SPACES = {"negativethinmathspace": "-0.167em", "negativemediummathspace": "-0.222em"}
#: First code points of the styled alphabets: capital and small Latin, capital and small Greek, digits.
_ALPHABETS = {
    "bold": (0x1D400, 0x1D41A, 0x1D6A8, 0x1D6C2, 0x1D7CE),
    "bold-italic": (0x1D468, 0x1D482, 0x1D71C, 0x1D736, 0x1D7CE),
    "double-struck": (0x1D538, 0x1D552, None, None, 0x1D7D8),
}
_STARTS = ("A", "a", "\u0391", "\u03b1", "0")
_LENGTHS = (26, 26, 25, 25, 10)


def mathml(latex, display=False):
    """Return LaTeX math as a MathML element in text form.

    Parameters
    ----------
    latex : str
        Without dollar signs.
    display : bool
        Whether it stands in a line of its own.

    Returns
    -------
    str
        ``<math ...>...</math>`` as it goes into HTML, with the LaTeX as its accessible text.

    Raises
    ------
    ValueError
        The LaTeX has a command that the converter does not know; names it.
    """
    text = latex.strip()
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    if "\\\\" in text and "\\begin" not in text:
        text = rf"\begin{{split}}{text}\end{{split}}"
    try:
        element = convert_to_element(text, display="block" if display else "inline")
    except Exception as error:
        raise ValueError(f"cannot read the LaTeX {latex!r}: {type(error).__name__} {error}") from error
    _tidy(element, display)
    # What the converter does not know it passes through as text.
    unknown = re.search(r"\\[A-Za-z]+" if "\\&" in latex else r"\\[A-Za-z]+|&", " ".join(element.itertext()))
    if unknown:
        raise ValueError(f"unknown LaTeX {unknown.group()!r} in {latex!r}")
    element.attrib.pop("xmlns", None)
    element.set("alttext", " ".join(latex.split()))
    return ElementTree.tostring(element, encoding="unicode", short_empty_elements=False)


def _tidy(element, display):
    """Replace, in place, what browsers ignore: styled letters, named spaces, limits beside an operator."""
    for node in element.iter():
        node.text = unescape(node.text or "")  # the converter writes its own character references
    for node in element.iter():
        if node.get("mathvariant") in _ALPHABETS:
            node.text = "".join(_styled(letter, node.get("mathvariant")) for letter in node.text)
            del node.attrib["mathvariant"]
        if node.tag == "mi" and node.text in _RELATIONS:
            node.tag = "mo"
            node.set("stretchy", "false")
        if node.tag == "mspace" and node.get("width") in _SPACES:
            node.set("width", _SPACES[node.get("width")])
        if display and node.tag in ("msub", "msubsup") and node[0].tag in ("mo", "mi") and node[0].text in _LIMITS:
            node.tag = {"msub": "munder", "msubsup": "munderover"}[node.tag]
            node[0].tag = "mo"
        if node.tag == "mover" and node[-1].tag == "mo":
            node.set("accent", "true")


def _styled(letter, variant):
    for first, start, length in zip(_ALPHABETS[variant], _STARTS, _LENGTHS):
        offset = ord(letter) - ord(start)
        if first is not None and 0 <= offset < length:
            special = {"double-struck": dict(zip("CHNPQRZ", "ℂℍℕℙℚℝℤ"))}.get(variant, {})
            return special.get(letter, chr(first + offset))
    return letter


def _converted(node, display):
    """Return the MathML of a node, or the bare LaTeX and a build warning."""
    try:
        return mathml(node.astext(), display)
    except ValueError as error:
        logger.warning(str(error), location=node, type="mathml")
        return f"<code>{escape(node.astext(), quote=False)}</code>"


def visit_math(translator, node):
    """Write inline math."""
    translator.body.append(translator.starttag(node, "span", "", CLASS="math") + _converted(node, False) + "</span>")
    raise nodes.SkipNode


def visit_math_block(translator, node):
    """Write display math, with its number and a link to it if it has one."""
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    translator.body.append(f'<div class="equation">{_converted(node, True)}</div>')
    if node["number"]:
        translator.body.append(f'<span class="eqno">({get_node_equation_number(translator, node)})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app):
    """Register the renderer under the name ``mathml``."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
