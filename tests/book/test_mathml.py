"""LaTeX becomes MathML that browsers draw without help, or an error that names what is wrong."""

import re
from xml.etree import ElementTree

import pytest
from mathml import mathml


def parsed(latex, display=True):
    return ElementTree.fromstring(mathml(latex, display))


def tags(element):
    return [node.tag for node in element.iter()]


def test_fraction_by_hand():
    element = parsed(r"\frac{a}{2}", display=False)
    assert element.get("display") == "inline" and element.get("alttext") == r"\frac{a}{2}"
    fraction = element.find(".//mfrac")
    assert ["".join(part.itertext()) for part in fraction] == ["a", "2"]


def test_a_sum_and_an_operator_have_their_limits_below_in_display_only():
    assert "munder" in tags(parsed(r"\max_j x_j"))
    assert "munder" in tags(parsed(r"\bigcup_i S_i"))
    assert "munder" not in tags(parsed(r"\max_j x_j", display=False))
    assert "".join(parsed(r"\operatorname*{argmin}_\theta L").itertext()) == "argminθL"
    assert "".join(parsed(r"\arg\min_\theta L").itertext()) == "argminθL"


@pytest.mark.parametrize("environment", ["aligned", "align", "align*", "split"])
def test_alignment_is_a_table_of_two_columns_without_stray_marks(environment):
    element = parsed(rf"\begin{{{environment}}} a &= b \\ c &= d \end{{{environment}}}")
    rows = element.findall(".//mtr")
    assert [len(row) for row in rows] == [2, 2]
    assert ["".join(row.itertext()) for row in rows] == ["a=b", "c=d"]


def test_lines_without_an_environment_are_aligned_too():
    assert ["".join(row.itertext()) for row in parsed(r"a &= b \\ c &= d").findall(".//mtr")] == ["a=b", "c=d"]


def test_letters_that_browsers_do_not_style_are_written_as_such():
    text = "".join(parsed(r"\mathbf{x} \boldsymbol{\mu} \mathbb{R} \mathbb{1} \bm{A}").itertext())
    assert text == "\U0001d431\U0001d741\u211d\U0001d7d9\U0001d468"
    assert "double-struck" not in mathml(r"\mathbb{1}") and "bold-italic" not in mathml(r"\boldsymbol{\mu}")


def test_cases_and_text():
    element = parsed(r"f = \begin{cases} 1 & x > 0 \\ 0 & \text{otherwise}\end{cases}")
    assert ["".join(row.itertext()) for row in element.findall(".//mtr")] == ["1x>0", "0otherwise"]


def test_markup_in_the_source_cannot_leave_the_attribute():
    source = mathml(r'a < b \& "c"')
    assert ElementTree.fromstring(source).get("alttext") == r'a < b \& "c"'
    assert "<b" not in source.replace("<b>", "")


@pytest.mark.parametrize("latex", [r"\foo x", "a & b", r"\frac{1}{", r"\unknown_{x}"])
def test_what_cannot_be_read_is_an_error_that_shows_it(latex):
    with pytest.raises(ValueError, match=re.escape(repr(latex))):
        mathml(latex)


@pytest.mark.parametrize("bar", ["Vert", "vert"])
def test_bars_keep_their_size_and_governed_ones_stretch(bar):
    def stretch(text):
        return [node.get("stretchy") for node in parsed(text).iter("mo") if node.text in "|‖"]

    assert stretch(rf"\l{bar} x \r{bar}^2") == ["false", "false"]
    assert stretch(rf"\left\l{bar} x \right\r{bar}^2") == ["true", "true"]
