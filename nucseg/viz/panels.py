"""Figures of images side by side, all cut at the same place."""

import math

import matplotlib.patheffects as patheffects
import matplotlib.pyplot as plt
import numpy as np

from nucseg.arrays import as_image, as_points
from nucseg.errors import DataError
from nucseg.viz.overlays import crop as cut
from nucseg.viz.overlays import crop_points
from nucseg.viz.style import PAGE_WIDTH, PALETTE

#: Height in inches kept for a line of title above a panel.
_LINE_HEIGHT = 0.25


def show_panels(
    images, titles=None, columns=None, points=None, scale_bar=None, width=PAGE_WIDTH, crop=None, **colors
):
    """Show images side by side without axes.

    Parameters
    ----------
    images : sequence of array_like
        Pictures of shape (H, W, 3), uint8, or maps of shape (H, W) with any numbers (a probability, a score),
        shown in a colormap; NaN is gray.
    titles : sequence of str, optional
        One per panel.
    columns : int, optional
        Panels per row; by default all in one row up to 4, else a grid of at most 4 columns.
    points : numpy.ndarray of shape (N, 2), or sequence of those, optional
        Dots (row, column) on every panel, or one entry per panel (None for a panel without dots).
    scale_bar : float, optional
        Micrometers per pixel; draws a bar of a round length on the first panel (on all, if sizes differ).
    width : float
        Width of the figure in inches.
    crop : (int, int, int) or (int, int, (int, int)), optional
        Row, column and size of one window, cut out of every panel.
    **colors
        For maps: `limits`, the values at the ends of the colormap (by default the extremes over all maps),
        and `cmap`, a Matplotlib colormap (by default the style's).

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        No images, as many titles or dots as not to fit the panels, or an array that is no image.
    """
    arrays, dots = _panels(images, points, crop)
    titles = [None] * len(arrays) if titles is None else list(titles)
    if len(titles) != len(arrays):
        raise DataError(f"titles: {len(titles)} titles for {len(arrays)} images")
    figure, axes = make_grid([a.shape[:2] for a in arrays], columns, width, title_lines=_lines(titles))
    colors.setdefault("limits", _limits(arrays))
    for axis, array, title, dot in zip(axes, arrays, titles, dots):
        draw_image(axis, array, **colors)
        if title:
            axis.set_title(title)
        if dot is not None and len(dot):
            draw_points(axis, dot)
    if scale_bar is not None:
        one_size = len({array.shape[:2] for array in arrays}) == 1
        for axis, array in list(zip(axes, arrays))[: 1 if one_size else None]:
            draw_scale_bar(axis, array.shape, scale_bar)
    return figure


def make_grid(shapes, columns=None, width=PAGE_WIDTH, title_lines=1, extra_height=0.0):
    """Return a figure and one axis per panel, sized so that panels of these shapes leave no holes.

    Parameters
    ----------
    shapes : sequence of (int, int)
        Height and width of every panel in pixels.
    columns : int, optional
        Panels per row.
    width : float
        Width of the figure in inches.
    title_lines : int
        Lines of text to leave room for above each panel.
    extra_height : float
        Inches to add at the bottom, for a legend.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Already closed in pyplot: a notebook cell that ends with it shows it once.
    axes : list of matplotlib.axes.Axes
    """
    if not shapes:
        raise DataError("images: nothing to show")
    columns = min(len(shapes), 4) if columns is None else columns
    if columns < 1:
        raise DataError(f"columns: expected at least 1, got {columns}")
    columns = min(columns, len(shapes))
    rows = math.ceil(len(shapes) / columns)
    tallest = max(height / across for height, across in shapes)
    panel = width / columns
    height = rows * (panel * tallest + title_lines * _LINE_HEIGHT) + extra_height
    figure = plt.figure(figsize=(width, height), layout="compressed")
    # Made by pyplot, so that a notebook can show it; let go of at once, so that it is shown once.
    plt.close(figure)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    axes = list(np.ravel(figure.subplots(rows, columns, squeeze=False)))
    for axis in axes:
        axis.set_axis_off()
    return figure, axes[: len(shapes)]


def draw_image(axis, array, limits=None, cmap=None):
    """Draw one picture or map on an axis, pixel centers at whole coordinates."""
    if array.ndim == 3:
        axis.imshow(array)
    else:
        low, high = limits if limits is not None else (None, None)
        colors = plt.get_cmap(cmap).with_extremes(bad=PALETTE["ignored"])
        axis.imshow(array, cmap=colors, vmin=low, vmax=high)
    axis.set_xlim(-0.5, array.shape[1] - 0.5)
    axis.set_ylim(array.shape[0] - 0.5, -0.5)
    axis.set_axis_off()


def draw_points(axis, points, color="point", marker="o", size=14, label=None):
    """Draw dots with a dark rim, so that they show on light and on dark tissue."""
    points = as_points(points)
    axis.scatter(
        points[:, 1],
        points[:, 0],
        s=size,
        marker=marker,
        color=PALETTE.get(color, color),
        edgecolors="black",
        linewidths=0.7,
        label=label,
        zorder=3,
    )


def draw_scale_bar(axis, shape, micrometers_per_pixel):
    """Draw a bar of a round length, between a tenth and a quarter of the panel's width, with its length."""
    if not micrometers_per_pixel > 0:
        raise DataError(f"scale_bar: expected micrometers per pixel, above 0, got {micrometers_per_pixel}")
    height, width = shape[:2]
    length = round_length(width * micrometers_per_pixel)
    pixels = length / micrometers_per_pixel
    right, bottom = width - 0.5 - 0.04 * width, height - 0.5 - 0.05 * height
    rim = [patheffects.withStroke(linewidth=4.5, foreground="black")]
    axis.plot(
        [right - pixels, right],
        [bottom] * 2,
        color="white",
        linewidth=2.5,
        solid_capstyle="butt",
        path_effects=rim,
        zorder=4,
    )
    rim = [patheffects.withStroke(linewidth=2, foreground="black")]
    axis.annotate(
        f"{length:g} µm",
        (right - pixels / 2, bottom),
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        va="bottom",
        color="white",
        fontsize=9,
        path_effects=rim,
        zorder=4,
    )


def round_length(extent):
    """Return the largest 1, 2 or 5 times a power of ten that is at most a quarter of an extent.

    Parameters
    ----------
    extent : float
        Any length, above 0.

    Returns
    -------
    float

    Examples
    --------
    >>> round_length(256 * 0.25)
    10.0
    """
    power = 10.0 ** math.floor(math.log10(extent / 4))
    return max(step * power for step in (1, 2, 5) if step * power <= extent / 4)


def _panels(images, points, crop):
    """Return arrays ready to draw and the dots of each, cut to the common window."""
    if isinstance(images, np.ndarray):
        raise DataError("images: pass a list of images, even for one")
    arrays = [_as_panel(image, f"images[{i}]") for i, image in enumerate(images)]
    one_for_all = points is None or isinstance(points, np.ndarray)
    dots = [points] * len(arrays) if one_for_all else list(points)
    if len(dots) != len(arrays):
        raise DataError(f"points: {len(dots)} sets of points for {len(arrays)} images")
    dots = [
        None if dot is None else as_points(dot, array.shape, f"points[{i}]")
        for i, (dot, array) in enumerate(zip(dots, arrays))
    ]
    if crop is not None:
        arrays = [cut(array, *crop) for array in arrays]
        dots = [None if dot is None else crop_points(dot, *crop) for dot in dots]
    return arrays, dots


def _as_panel(image, name):
    image = np.asarray(image)
    if image.ndim == 2 and image.size:
        return image.astype(float)
    return as_image(image, name)


def _lines(titles):
    return max((title.count("\n") + 1 for title in titles if title), default=0)


def _limits(arrays):
    finite = [array[np.isfinite(array)] for array in arrays if array.ndim == 2]
    finite = [values for values in finite if values.size]
    return (min(v.min() for v in finite), max(v.max() for v in finite)) if finite else None
