"""What a solution is, and that nothing else goes."""

import nbformat
import pytest
from student import without_solutions

CODE, TEXT = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell


def notebook(*cells):
    return nbformat.v4.new_notebook(cells=list(cells))


def sources(result):
    return [cell.source for cell in result.cells]


def test_blocks_and_tagged_cells_go_and_the_rest_stays():
    start = "Before.\n\n```{solution-start} ex-1\n:label: sol-1\n:class: dropdown\n```\nThe answer."
    end = "More.\n```{solution-end}\n```\n\n## Quiz"
    given = notebook(
        TEXT("# Title"), CODE("x = ..."), TEXT(start), CODE("x = 1"), TEXT(end), CODE("y = 2"),
        CODE("z = 3", metadata={"tags": ["solution"]}),
    )  # fmt: skip
    assert sources(without_solutions(given)) == ["# Title", "x = ...", "Before.", "## Quiz", "y = 2"]


def test_a_block_within_one_cell_and_colon_fences():
    text = "Task.\n:::{solution-start} ex-1\n:::\nAnswer.\n:::{solution-end}\n:::\nNext."
    assert sources(without_solutions(notebook(TEXT(text)))) == ["Task.\nNext."]


def test_outputs_go_and_the_original_is_untouched():
    cell = CODE("1", outputs=[nbformat.v4.new_output("stream", text="1")], execution_count=4)
    given = notebook(cell)
    student = without_solutions(given)
    assert student.cells[0].outputs == [] and student.cells[0].execution_count is None
    assert given.cells[0].execution_count == 4 and len(given.cells[0].outputs) == 1


@pytest.mark.parametrize("text", ["```{solution-end}\n```", "```{solution-start} a\n```"])
def test_a_block_without_its_other_end_is_an_error(text):
    with pytest.raises(ValueError, match="solution"):
        without_solutions(notebook(TEXT(text)))
