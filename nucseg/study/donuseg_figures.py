"""What the chapter on DoNuSeg shows before any training: labels, the similarity of empty ones, boxes, assembly."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from nucseg.arrays import as_image
from nucseg.losses import FCOSLossConfig, fcos_targets
from nucseg.models.detections import STRIDES, level_locations
from nucseg.postprocess import assemble
from nucseg.postprocess.boxes_and_mask import RULES
from nucseg.study.tables import published
from nucseg.supervision import cluster_labels, disk_labels, pseudo_boxes, voronoi_labels
from nucseg.supervision.dynamic_cam import agreement
from nucseg.viz import CYCLE, PAGE_WIDTH, crop, instance_colors, rgb, show_panels, weak_label_image
from nucseg.viz.panels import draw_image, draw_points, make_grid

SLUG = "donuseg"
PAPER = "wang2024"
METRICS = ("f1_pixel", "aji", "dq", "sq", "pq")
#: How the article names metrics and images. MoNuSeg is none of its datasets.
NAMES = {"f1_pixel": "DICE", "aji": "AJI", "dq": "DQ", "sq": "SQ", "pq": "PQ", "cryonuseg": "CryoNuSeg",
         "consep": "CoNSeP", "tnbc": "TNBC", "monuseg": "MoNuSeg (not in the article)", "synthetic-he": "synthetic"}
#: Ways to choose the largest distance on each level but the last: 2, 4 and 8 strides.
LIMITS = {"2 strides": (8, 16, 32), "4 strides": (16, 32, 64), "8 strides": (32, 64, 128)}
_MARKERS, _LINES = "osD^", ("-", "--", "-.", ":")


def printed_gains(metric, rows):
    """Return in words what rows of the article's table 2 gain over the row without both losses.

    Parameters
    ----------
    metric : str
        As in ``results/paper.csv``.
    rows : sequence of str
        As there.

    Returns
    -------
    str
        Without a full stop.
    """
    table = published(PAPER, "table 2").query("metric == @metric").pivot(index="dataset", columns="row", values="value")
    parts = []
    for dataset in ("cryonuseg", "consep"):
        gains = [f"{table.loc[dataset, row] - table.loc[dataset, 'neither']:+.3f}" for row in rows]
        parts.append(f"{', '.join(gains)} ({NAMES[dataset]})")
    return " and ".join(parts)


def fullest_window(points, shape, side, step=16):
    """Return the window of an image that holds the most dots, the first of several.

    Parameters
    ----------
    points : numpy.ndarray, shape (N, 2)
        Dots, px.
    shape : tuple of int
        (H, W) of the image.
    side, step : int
        Of the window, at most that of the image, and between windows, px.

    Returns
    -------
    tuple of int
        (row, column, side) for :func:`nucseg.viz.crop`.
    """
    side = min(side, *shape)
    corners = np.stack(np.meshgrid(*(np.arange(0, length - side + 1, step) for length in shape), indexing="ij"), -1)
    corners = corners.reshape(-1, 2)
    inside = ((points >= corners[:, None]) & (points < corners[:, None] + side)).all(axis=2).sum(axis=1)
    return (*corners[inside.argmax()].tolist(), side)


def boxes_on(image, boxes, color="prediction", width=1):
    """Return a copy of an image with the edges of boxes painted on it.

    Parameters
    ----------
    image : array_like, shape (H, W, 3), uint8
        The picture.
    boxes : array_like, shape (N, 4)
        Top, left, bottom, right edge in pixel coordinates; parts beyond the image are not drawn.
    color : str
        As in :func:`nucseg.viz.rgb`.
    width : int
        Of the lines, px; they lie inside the box.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8
    """
    painted = as_image(image, "image").copy()
    for top, left, bottom, right in np.reshape(boxes, (-1, 4)):
        edge = _in_box((top, left, bottom, right), painted.shape[:2])
        edge &= ~_in_box((top + width, left + width, bottom - width, right - width), painted.shape[:2])
        painted[edge] = rgb(color)
    return painted


def box_label(boxes, shape):
    """Return the weak label that boxes alone would give: nucleus inside any of them, background elsewhere.

    Parameters
    ----------
    boxes : array_like, shape (N, 4)
        Top, left, bottom, right edge in pixel coordinates.
    shape : tuple of int
        (H, W) of the image.

    Returns
    -------
    numpy.ndarray, shape (H, W), int8
    """
    label = np.zeros(shape, np.int8)
    for box in np.reshape(boxes, (-1, 4)):
        label[_in_box(box, shape)] = 1
    return label


def _in_box(box, shape):
    """Return the pixels whose middles lie in a box; there are none in a box turned inside out."""
    rows, columns = np.arange(shape[0]), np.arange(shape[1])
    return np.outer((rows >= box[0]) & (rows <= box[2]), (columns >= box[1]) & (columns <= box[3]))


def labels_of_dots(image, points, r=4, d=20, box_ratio=1.0, restarts=10):
    """Return the labels of the article's Fig. 1 that dots alone give, with boxes in place of its level sets.

    Parameters
    ----------
    image : array_like, shape (H, W, 3), uint8
        The whole image, so that no label depends on where a window is cut.
    points : array_like, shape (N, 2)
        A dot on every nucleus, px.
    r, d : float
        Of the initial label, px.
    box_ratio : float
        Side of a pseudo box over the spacing of dots.
    restarts : int
        Of k-means, for the cluster label.

    Returns
    -------
    dict of str to numpy.ndarray, shape (H, W), int8
        By printed title.
    """
    shape = np.shape(image)[:2]
    return {
        "Voronoi": voronoi_labels(points, shape), "cluster": cluster_labels(image, points, restarts=restarts),
        "pseudo boxes": box_label(pseudo_boxes(points, shape, box_ratio), shape),
        "initial, M": disk_labels(points, shape, r, d),
    }


def show_labels(image, truth, labels, window=None, dynamic=None, points=None):
    """Show an image, its truth and weak labels (Wang et al. 2024, Fig. 1).

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        The whole image.
    truth : numpy.ndarray, shape (H, W), int
        Instance map.
    labels : mapping of str to numpy.ndarray, shape (H, W)
        Weak labels by title.
    window : tuple, optional
        (row, column, size) of the part to show.
    dynamic : numpy.ndarray, optional
        The label P of the window, shown last.
    points : numpy.ndarray, shape (N, 2), optional
        Dots of the whole image, drawn on its picture.

    Returns
    -------
    matplotlib.figure.Figure
    """
    pictures = {"image and dots": image, "truth": weak_label_image(truth > 0)}
    pictures |= {title: weak_label_image(label) for title, label in labels.items()}
    if window is not None:
        pictures = {title: crop(picture, *window) for title, picture in pictures.items()}
        if points is not None:
            size = np.broadcast_to(window[2], 2)
            points = points - np.array(window[:2])
            points = points[((points >= 0) & (points < size)).all(axis=1)]
    if dynamic is not None:
        pictures["dynamic, P"] = weak_label_image(dynamic)
    dots = [points] + [None] * (len(pictures) - 1)
    return show_panels(list(pictures.values()), list(pictures), points=dots, columns=4)


def background_scores(points_of, shapes, r=4, d=20):
    """Return what eq. 4 gives a label that says "background" everywhere, image by image.

    Parameters
    ----------
    points_of : mapping of str to array_like, shape (N, 2)
        Dots by name of the image, px.
    shapes : mapping of str to tuple of int
        (H, W) by name.
    r, d : float
        Of the initial label, px.

    Returns
    -------
    pandas.DataFrame
        Index: name; columns: `nucleus` and `background`, shares of the image in M; `literal` and `balanced`, the
        similarity alpha of the empty label.
    """
    lines = {}
    for name, points in points_of.items():
        initial = torch.from_numpy(disk_labels(points, shapes[name], r, d))
        empty = torch.zeros_like(initial)
        lines[name] = [float((initial == value).float().mean()) for value in (1, 0)]
        lines[name] += [float(agreement(empty, initial, balanced)) for balanced in (False, True)]
    return pd.DataFrame.from_dict(lines, orient="index", columns=["nucleus", "background", "literal", "balanced"])


def show_background_scores(table, levels=None):
    """Show the similarity of the empty label in each image, and of other labels beside it.

    Parameters
    ----------
    table : pandas.DataFrame
        Of :func:`background_scores`.
    levels : mapping of str to float, optional
        Literal similarities of real candidates, drawn as dashed lines with their names.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axis = plt.subplots(figsize=(PAGE_WIDTH, 3.0), layout="constrained")
    plt.close(figure)
    ordered = table.sort_values("literal")
    for index, (column, title) in enumerate({"literal": "literal (eq. 4)", "balanced": "balanced"}.items()):
        axis.plot(range(len(ordered)), ordered[column], "os"[index], color=CYCLE[index], markersize=4, label=title)
    for index, (name, value) in enumerate((levels or {}).items()):
        axis.axhline(value, color=CYCLE[(2 + index) % len(CYCLE)], linestyle=_LINES[index % len(_LINES)],
                     linewidth=1.2, label=name)
    axis.set(xlabel="images, sorted by the literal score", ylabel="alpha", ylim=(0, 1.02), xticks=[])
    figure.legend(fontsize=8, loc="outside upper center", ncols=3)
    return figure


def positives(boxes, size, limits=(8, 16, 32), radius=1.5):
    """Return the locations of a pyramid that learn a box.

    Parameters
    ----------
    boxes : array_like, shape (N, 4)
        Top, left, bottom, right edge, px.
    size : tuple of int
        (H, W) of the patch, px.
    limits : sequence of float
        Largest distance to an edge on each level but the last, px.
    radius : float or None
        See :class:`nucseg.losses.FCOSLossConfig`.

    Returns
    -------
    pandas.DataFrame
        One line for each such location: row, column (px), level (2 to 5), box.
    """
    shapes = [tuple(-(-side // stride) for side in size) for stride in STRIDES]
    boxes = torch.as_tensor(np.reshape(boxes, (-1, 4)), dtype=torch.float32)
    matched = fcos_targets(boxes, shapes, FCOSLossConfig(limits=tuple(limits), radius=radius)).matched.numpy()
    locations, spacing = (values.numpy() for values in level_locations(shapes))
    level = np.log2(spacing).astype(int)
    table = pd.DataFrame({"row": locations[:, 0], "column": locations[:, 1], "level": level, "box": matched})
    return table[table.box >= 0].reset_index(drop=True)


def count_positives(boxes, size, ways=None):
    """Return how many locations learn a box under several limits.

    Parameters
    ----------
    boxes, size
        See :func:`positives`.
    ways : mapping of str to sequence of float, optional
        Limits by printed name; by default :data:`LIMITS`.

    Returns
    -------
    pandas.DataFrame
        Index: name; columns: locations on P2 to P5, the mean number for a box, and the boxes that none learns.
    """
    lines = {}
    for name, limits in (ways or LIMITS).items():
        found = positives(boxes, size, limits)
        levels = [int((found.level == level).sum()) for level in (2, 3, 4, 5)]
        lines[name] = [*levels, len(found) / max(len(boxes), 1), len(boxes) - found.box.nunique()]
    return pd.DataFrame.from_dict(lines, orient="index", columns=["P2", "P3", "P4", "P5", "for a box", "boxes without"])


def show_positives(image, boxes, ways=None):
    """Show the boxes of a patch and the locations that learn them, one panel for each choice of limits.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        The patch.
    boxes : array_like, shape (N, 4)
        Its boxes, px.
    ways : mapping of str to sequence of float, optional
        As for :func:`count_positives`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    ways = ways or LIMITS
    figure, axes = make_grid([image.shape[:2]] * len(ways), len(ways), extra_height=0.35)
    for axis, (name, limits) in zip(axes, ways.items()):
        draw_image(axis, boxes_on(image, boxes, "white"))
        found = positives(boxes, image.shape[:2], limits)
        for level, marker, color in zip((2, 3, 4, 5), _MARKERS, ("point", "sky_blue", "vermilion", "purple")):
            own = found[found.level == level]
            label = f"P{level}" if axis is axes[0] else None
            draw_points(axis, own[["row", "column"]].to_numpy(float).reshape(-1, 2), color, marker, 12, label)
        axis.set_title(f"up to {name}")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def blob_and_boxes(shape=(40, 72)):
    """Return the likelihoods of one blob, two boxes that share it, and their scores.

    Parameters
    ----------
    shape : tuple of int
        (H, W) of the map, px.

    Returns
    -------
    prob : numpy.ndarray, shape (H, W), float
        1 in two disks of different size that touch, and in a bar that leads out of both boxes.
    boxes : numpy.ndarray, shape (2, 4), float
        The larger first.
    scores : numpy.ndarray, shape (2,), float
    """
    rows_, columns = np.indices(shape)
    middle = shape[0] / 2
    blob = (np.hypot(rows_ - middle, columns - 22) < 15) | (np.hypot(rows_ - middle, columns - 44) < 10)
    blob |= (np.abs(rows_ - middle) < 3) & (columns > 44) & (columns < shape[1] - 4)
    boxes = np.array([[middle - 15.5, 6.5, middle + 15.5, 41.5], [middle - 12.5, 27.5, middle + 12.5, 60.5]])
    return blob.astype(float), boxes, np.array([0.9, 0.8])


def show_assembly(prob, boxes, scores, outside="discard"):
    """Show what the rules of :func:`nucseg.postprocess.assemble` make of a mask and boxes.

    Parameters
    ----------
    prob : numpy.ndarray, shape (H, W), float
        Likelihood of a nucleus.
    boxes : numpy.ndarray, shape (N, 4)
        Top, left, bottom, right edge, px.
    scores : numpy.ndarray, shape (N,)
        Of the boxes.
    outside : {"discard", "components"}
        What becomes of foreground in no box.

    Returns
    -------
    matplotlib.figure.Figure
    """
    mask = np.repeat((255 * (prob > 0.5))[..., None], 3, axis=2).astype(np.uint8)
    pictures = {"mask and boxes": mask}
    for rule in RULES:
        pictures[rule] = instance_colors(assemble(prob, boxes, scores, outside=outside, rule=rule), gap=0)
    return show_panels([boxes_on(picture, boxes, "vermilion") for picture in pictures.values()], list(pictures))
