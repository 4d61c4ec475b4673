"""A method as a flow of pictures: rows of panels with arrows from each to the next."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch

from nucseg.errors import DataError
from nucseg.viz.panels import draw_image, draw_points
from nucseg.viz.style import PAGE_WIDTH

#: Inches between two panels, above a row (for titles of two lines), and below it (for the arrow to the next row).
_GAP, _HEAD, _FOOT = 0.3, 0.42, 0.26


def show_flow(rows, width=PAGE_WIDTH):
    """Show the steps of a method as pictures, with an arrow from each picture to the next.

    Rows are read from left to right; an arrow leads from the last picture of a row to the first of the next.

    Parameters
    ----------
    rows : sequence of sequences of (str, array_like) or (str, array_like, numpy.ndarray)
        Title, picture (as for :func:`show_panels`) and, optionally, dots (N, 2) to draw on it. All rows have
        panels of the same width, that of the longest row; a shorter row stays short.
    width : float
        Width of the figure in inches.

    Returns
    -------
    matplotlib.figure.Figure
        One axis for each picture, in reading order.

    Raises
    ------
    DataError
        No rows, or a row without pictures.
    """
    rows = [list(row) for row in rows]
    if not rows or not all(rows):
        raise DataError("rows: a flow has at least one row, and every row at least one picture")
    across = max(map(len, rows))
    side = (width - (across - 1) * _GAP) / across
    tallest = [max(np.shape(step[1])[0] / np.shape(step[1])[1] for step in row) * side for row in rows]
    height = sum(tallest) + _HEAD * len(rows) + _FOOT * (len(rows) - 1)
    figure = plt.figure(figsize=(width, height), layout="none")
    plt.close(figure)  # a notebook cell that ends with it shows it once
    top, ends = height, []
    for row, tall in zip(rows, tallest):
        bottom = top - _HEAD - tall
        for index, step in enumerate(row):
            left = index * (side + _GAP)
            axis = figure.add_axes((left / width, bottom / height, side / width, tall / height))
            _draw(axis, *step)
            if index:
                middle = (bottom + tall / 2) / height
                _arrow(figure, ((left - _GAP + 0.03) / width, middle), ((left - 0.03) / width, middle))
        ends.append((len(row) * (side + _GAP) - _GAP - side / 2, bottom))
        top = bottom - _FOOT
    for right, bottom in ends[:-1]:
        _turn(figure, right, bottom, side / 2, width, height)
    return figure


def _draw(axis, title, picture, dots=None):
    picture = np.asarray(picture)
    draw_image(axis, picture)
    if dots is not None and len(dots):
        draw_points(axis, dots)
    axis.set_title(title, fontsize=9)


def _arrow(figure, start, end):
    figure.add_artist(FancyArrowPatch(
        start, end, transform=figure.transFigure, arrowstyle="-|>", mutation_scale=11, color="black", linewidth=1.4,
        shrinkA=0, shrinkB=0,
    ))


def _turn(figure, right, bottom, left, width, height):
    """Draw the way from below the last panel of a row to above the titles of the next row's first panel."""
    level = bottom - _FOOT / 2
    figure.add_artist(Line2D(
        [right / width, right / width, left / width], [(bottom - 0.03) / height, level / height, level / height],
        transform=figure.transFigure, color="black", linewidth=1.4,
    ))
    _arrow(figure, (left / width, level / height), (left / width, (bottom - _FOOT - 0.05) / height))
