"""What a method found, missed and made up, drawn on the image.

Found, extra and missed differ in line style or marker as well as in color.
"""

import matplotlib.patheffects as patheffects
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from scipy import ndimage
from skimage.measure import find_contours

from nucseg.arrays import as_image, as_label_map, as_points
from nucseg.errors import DataError
from nucseg.metrics.contingency import ContingencyTable
from nucseg.metrics.detection import detection_scores
from nucseg.viz.panels import draw_image, draw_scale_bar, make_grid
from nucseg.viz.style import PAGE_WIDTH, PALETTE

_LINES = {"true_positive": "-", "false_positive": (0, (4, 1.5)), "false_negative": (0, (1, 1.2))}
_MARKERS = {"true_positive": "o", "false_positive": "X", "false_negative": "s"}
_NAMES = {"true_positive": "found", "false_positive": "extra", "false_negative": "missed"}
_LEGEND_HEIGHT = 0.3


def show_matches(image, gt, predictions, iou=0.5, columns=None, width=PAGE_WIDTH, scale_bar=None):
    """Draw for each prediction which instances were found, which are extra and which were missed.

    An instance is found where its intersection over union with a true one exceeds `iou` (the pairs that
    panoptic quality counts).  Found and extra instances are drawn as predicted, missed ones as they are.

    Parameters
    ----------
    image : array_like, shape (H, W, 3), uint8
        The picture to draw on.
    gt : array_like, shape (H, W)
        True instance map.
    predictions : mapping of str to array_like, shape (H, W)
        Predicted instance maps; the keys become titles.
    iou : float
        Threshold, at least 0.5 and below 1: above one half an instance has at most one partner.
    columns : int, optional
        Panels per row.
    width : float
        Width of the figure in inches.
    scale_bar : float, optional
        Micrometers per pixel.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        No predictions, maps of different sizes, or a threshold out of range.
    """
    if not 0.5 <= iou < 1:
        raise DataError(f"iou: expected a threshold from 0.5 to below 1, got {iou}")
    image, gt = as_image(image), as_label_map(gt, "gt")
    if image.shape[:2] != gt.shape:
        raise DataError(f"image and gt must have one size, got {image.shape[:2]} and {gt.shape}")

    def draw(axis, pred):
        outcome = _outcome(gt, pred, iou)
        for kind, (labels, ids) in outcome.items():
            axis.add_collection(_contours(labels, ids, kind))
        return {kind: len(ids) for kind, (_, ids) in outcome.items()}

    handles = [Line2D([], [], color=PALETTE[k], linestyle=_LINES[k], label=_NAMES[k]) for k in _NAMES]
    return _figure(image, predictions, draw, handles, columns, width, scale_bar)


def show_detections(image, gt_points, detections, radius, columns=None, width=PAGE_WIDTH, scale_bar=None):
    """Draw for each set of points which true centers were found or missed, and which points are extra.

    The matching is that of :func:`nucseg.metrics.detection_scores`.  A thin line joins a found center with
    its detection.

    Parameters
    ----------
    image : array_like, shape (H, W, 3), uint8
        The picture to draw on.
    gt_points : array_like, shape (N, 2)
        True centers, row and column in pixels.
    detections : mapping of str to array_like, shape (M, 2)
        Detected points; the keys become titles.
    radius : float
        Largest distance of a match in pixels.
    columns : int, optional
        Panels per row.
    width : float
        Width of the figure in inches.
    scale_bar : float, optional
        Micrometers per pixel.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        No detections, points outside the image, or a radius that is not positive.
    """
    image = as_image(image)
    gt_points = as_points(gt_points, image.shape, "gt_points")

    def draw(axis, points):
        points = as_points(points, image.shape, "detections")
        gt_found, found = detection_scores(gt_points, points, radius).pairs.T
        pairs = np.stack([gt_points[gt_found], points[found]], axis=1)[..., ::-1]
        axis.add_collection(LineCollection(pairs, colors="black", linewidths=1))
        groups = {
            "true_positive": points[found],
            "false_positive": np.delete(points, found, axis=0),
            "false_negative": np.delete(gt_points, gt_found, axis=0),
        }
        for kind, group in groups.items():
            axis.scatter(group[:, 1], group[:, 0], zorder=3, **_marker(kind))
        return {kind: len(group) for kind, group in groups.items()}

    handles = [_handle(kind) for kind in _NAMES]
    return _figure(image, detections, draw, handles, columns, width, scale_bar)


def _outcome(gt, pred, iou):
    """Return for each kind of outcome the map to draw from and the ids in it."""
    table = ContingencyTable.from_labels(gt, pred)
    pairs = table.jaccard > iou
    found = np.unique(table.cols[pairs])
    return {
        "true_positive": (pred, table.pred_ids[found]),
        "false_positive": (pred, np.delete(table.pred_ids, found)),
        "false_negative": (gt, np.delete(table.gt_ids, np.unique(table.rows[pairs]))),
    }


def _contours(labels, ids, kind):
    """Return the contours of some instances as one collection of lines, in image coordinates."""
    labels = as_label_map(labels)
    windows = ndimage.find_objects(labels)
    lines = []
    for number in ids:
        window = windows[number - 1]
        mask = np.pad(labels[window] == number, 1)
        corner = np.array([window[1].start - 1, window[0].start - 1])
        lines += [contour[:, ::-1] + corner for contour in find_contours(mask.astype(float), 0.5)]
    rim = [patheffects.withStroke(linewidth=2.8, foreground="black")]
    return LineCollection(
        lines, colors=PALETTE[kind], linestyles=[_LINES[kind]], linewidths=1.6, path_effects=rim
    )


def _marker(kind):
    hollow = kind == "false_negative"
    color = PALETTE[kind]
    return {
        "marker": _MARKERS[kind],
        "s": 36,
        "facecolors": "none" if hollow else color,
        "edgecolors": color if hollow else "black",
        "linewidths": 1.8 if hollow else 0.8,
    }


def _handle(kind):
    style = _marker(kind)
    return Line2D(
        [],
        [],
        linestyle="",
        marker=style["marker"],
        markersize=style["s"] ** 0.5,
        markerfacecolor=style["facecolors"],
        markeredgecolor=style["edgecolors"],
        label=_NAMES[kind],
    )


def _figure(image, results, draw, handles, columns, width, scale_bar):
    """Return a figure with one panel per result, counts in the titles and one legend below."""
    if not results:
        raise DataError("nothing to show: no predictions were given")
    figure, axes = make_grid(
        [image.shape[:2]] * len(results), columns, width, title_lines=2, extra_height=_LEGEND_HEIGHT
    )
    for axis, (title, result) in zip(axes, results.items()):
        draw_image(axis, image)
        counts = draw(axis, result)
        axis.set_title(f"{title}\n" + ", ".join(f"{n} {_NAMES[kind]}" for kind, n in counts.items()))
    if scale_bar is not None:
        draw_scale_bar(axes[0], image.shape, scale_bar)
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure
