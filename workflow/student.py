"""The notebook a reader works in: the chapter without its solutions."""

import re

import nbformat

_START = re.compile(r"(?P<fence>`{3,}|:{3,})\{solution-start\}")
_END = re.compile(r"(?P<fence>`{3,}|:{3,})\{solution-end\}")


def without_solutions(notebook):
    """Return a copy of a notebook without solution blocks, cells tagged ``solution`` and outputs.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        A chapter. A block runs from a ``solution-start`` directive to the next ``solution-end``, over any
        number of cells.

    Returns
    -------
    nbformat.NotebookNode

    Raises
    ------
    ValueError
        A block does not end, or ends before it starts.
    """
    student = nbformat.from_dict(notebook)
    student.cells, inside = [], False
    for cell in notebook.cells:
        if cell.cell_type == "code":
            if not inside and "solution" not in cell.metadata.get("tags", ()):
                student.cells.append(nbformat.from_dict({**cell, "outputs": [], "execution_count": None}))
            continue
        text, inside = _strip(cell.source, inside)
        if text:
            student.cells.append(nbformat.from_dict({**cell, "source": text}))
    if inside:
        raise ValueError("a solution-start without its solution-end")
    return student


def _strip(text, inside):
    """Return the lines outside solution blocks, and whether a block is still open at the end."""
    kept, fence = [], None
    for line in text.splitlines():
        if fence is not None:  # within the start or end directive itself
            fence = None if line.strip() == fence else fence
            continue
        start, end = _START.match(line), _END.match(line)
        if (start and inside) or (end and not inside):
            raise ValueError(f"{line!r} where it cannot stand")
        if start or end:
            fence, inside = (start or end)["fence"], bool(start)
        elif not inside:
            kept.append(line)
    return "\n".join(kept).strip(), inside
