"""What the chapter on canonical shape shows: outlines, a moving picture without scripts, curves from the records."""

from dataclasses import replace
from html import escape

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.patches import Ellipse
from torch.nn.utils import vector_to_parameters

from nucseg.errors import DataError
from nucseg.methods.canonical_shape import CanonicalShape
from nucseg.metrics.f1 import TEN_THRESHOLDS
from nucseg.models import ImplicitShape
from nucseg.study.experiment import record_path, rows
from nucseg.study.measures.canonical_shape import describe_shapes
from nucseg.study.records import read_record
from nucseg.viz import CYCLE

SLUG = "canonical-shape"
PAPER = "costa2022"
METRICS = ("iou", "dice", "f1_50", "f1_mean")
NAMES = {"iou": "IoU", "dice": "Dice", "f1_50": "F1 at 0.5", "f1_mean": "mean F1", "bbbc038": "BBBC038",
         "nuclei": "nuclei", "objects": "objects", "expected": "sum of p(z)", "count_error": "error of the count"}


def variant(method, **changes):
    """Return a fitted method with other settings of prediction and the same networks.

    Raises
    ------
    DataError
        A setting that training depends on.
    """
    other = CanonicalShape(replace(method.config, **changes))
    if other.training_settings() != method.training_settings():
        raise DataError(f"{', '.join(changes)}: a variant may not change what training depends on")
    other.preprocessing, other.networks, other.histories = method.preprocessing, method.networks, method.histories
    return other


def pooled(experiment, scores=METRICS):
    """Return recorded pooled scores of the rows of an experiment.

    Parameters
    ----------
    experiment : str
        As in the declared rows.
    scores : sequence of str
        Names in the records' notes.

    Returns
    -------
    pandas.DataFrame
        One line for each recorded row of seed 0, in the order of declaration; empty where there is none.
    """
    lines = {}
    for row in rows(SLUG):
        path = record_path(SLUG, row)
        if row.experiment == experiment and row.seed == 0 and path.is_file():
            notes = read_record(path)["notes"]["pooled"]
            lines[row.row] = [notes[name] for name in scores]
    return pd.DataFrame.from_dict(lines, orient="index", columns=list(scores), dtype=float)


def notes(experiment, row):
    """Return the notes of a recorded row of seed 0, or None."""
    for declared in rows(SLUG):
        path = record_path(SLUG, declared)
        if (declared.experiment, declared.row, declared.seed) == (experiment, row, 0) and path.is_file():
            return read_record(path)["notes"]
    return None


def recorded_shapes(experiment, row):
    """Return the canonical shapes of a recorded row of seed 0, from the parameters in its record.

    Returns
    -------
    list of nucseg.models.ImplicitShape
        Empty where the row was not recorded or its shape is not learned.
    """
    shapes = []
    for values in (notes(experiment, row) or {}).get("shape_parameters", ()):
        if values:
            shapes.append(ImplicitShape())
            vector_to_parameters(torch.tensor(values), shapes[-1].parameters())
    return shapes


def in_words(shapes):
    """Return radius, eccentricity and middle of canonical shapes in words.

    Parameters
    ----------
    shapes : mapping of str to torch.nn.Module
        By title.

    Returns
    -------
    str
        Without a full stop; "Not recorded yet" where there is none.
    """
    parts = []
    for title, found in zip(shapes, describe_shapes(shapes.values())):
        said = "nowhere above one half" if found["peak"] <= 0.5 else "above one half without a border"
        if found["area_radius"] is not None:
            off = np.hypot(found["x"], found["y"])
            said = (f"radius {found['area_radius']:.2f}, eccentricity {found['eccentricity']:.2f}, middle {off:.2f} "
                    "from the origin")
        parts.append(f"{' '.join(title.split())}: {said}")
    return "; ".join(parts) or "Not recorded yet"


def draw_curves(axis, curves):
    """Draw F1 against the threshold of the IoU.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Drawn on.
    curves : mapping of str to sequence of float
        Ten values each, by label.
    """
    styles = ("-", "--", "-.", ":")
    for index, (label, values) in enumerate(curves.items()):
        axis.plot(TEN_THRESHOLDS, values, styles[index % 4], color=CYCLE[index % len(CYCLE)], marker="o",
                  markersize=3, label=label)
    axis.set_xlabel("IoU needed for a match")
    axis.set_ylabel("F1")
    axis.set_ylim(-0.02, 1.02)


def draw_ellipses(axis, placed, radius, color, **style):
    """Draw the outline of placed disks.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Drawn on, in pixels.
    placed : nucseg.methods.canonical_shape.PlacedShapes
        The instances.
    radius : float
        Of the canonical disk.
    color : color
        Of the outlines.
    **style
        Of :class:`matplotlib.patches.Ellipse`.
    """
    axes, angles = placed.semi_axes(radius), placed.angles()
    for (row, column), (long, short), angle in zip(placed.centers, axes, angles):
        axis.add_patch(Ellipse((column, row), 2 * long, 2 * short, angle=angle, fill=False, edgecolor=color, **style))


def likelihood(shape, places, half=1.0):
    """Return a canonical shape sampled in the middles of places x places cells over -half to half, float32."""
    axis = half * ((2 * torch.arange(places) + 1) / places - 1)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    with torch.inference_mode():
        return shape(x, y).exp().numpy()


def show_shapes(shapes, places, half=None):
    """Show canonical shapes at several resolutions (Costa et al. 2022, fig. 3).

    Parameters
    ----------
    shapes : mapping of str to torch.nn.Module
        One row each.
    places : sequence of int
        Places along a side, one column each.
    half : float, optional
        Half the side of the area; by default 1.5 times the radius of each shape.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = plt.subplots(len(shapes), len(places), figsize=(1.4 * len(places), 1.55 * len(shapes)),
                                squeeze=False, layout="constrained")
    for line, (name, shape) in zip(axes, shapes.items()):
        own = 1.5 * (describe_shapes([shape])[0]["area_radius"] or 1.0) if half is None else half
        for axis, count in zip(line, places):
            axis.imshow(likelihood(shape, count, own), vmin=0, vmax=1, cmap="gray")
            axis.set(xticks=[], yticks=[])
            if axis in axes[0]:
                axis.set_title(f"{count} x {count}", fontsize=9)
        line[0].set_ylabel(name, fontsize=9)
    return figure


def moving_picture(placed, size, radius, seconds=6.0):
    """Return an animation of how one disk becomes many nuclei, as SVG that needs no script.

    Every instance begins as the canonical disk in the middle of the picture and takes on its own place, axes and angle.
    It moves twice and then rests; viewers that do not animate show the end.

    Parameters
    ----------
    placed : nucseg.methods.canonical_shape.PlacedShapes
        The instances.
    size : tuple of int
        (H, W) of the image, px.
    radius : float
        Of the canonical disk, where 1 is half the height of the picture.
    seconds : float
        Length of one round.

    Returns
    -------
    str
        HTML.
    """
    height, width = size
    middle, start = (width / 2, height / 2), radius * height / 2
    parts = []
    for index, ((row, column), (long, short), angle) in enumerate(
            zip(placed.centers, placed.semi_axes(radius), placed.angles())):
        ends = {"cx": (middle[0], column), "cy": (middle[1], row), "rx": (start, long), "ry": (start, short)}
        moves = "".join(_move("animate", name, *pair, seconds) for name, pair in ends.items())
        turned = f"{angle:.1f} {column:.1f} {row:.1f}"
        moves += _turn(f"0 {middle[0]:.1f} {middle[1]:.1f}", turned, seconds)
        parts.append(
            f'<ellipse cx="{column:.1f}" cy="{row:.1f}" rx="{long:.1f}" ry="{short:.1f}" transform="rotate({turned})" '
            f'fill="{CYCLE[index % len(CYCLE)]}" fill-opacity="0.55" stroke="black">{moves}</ellipse>')
    text = escape(f"One disk becomes {len(placed)} nuclei: each is moved, stretched and turned")
    return (f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{text}" style="width: 20rem; max-width: 100%; '
            f'background: white; border: 1px solid gray"><title>{text}</title>{"".join(parts)}</svg>')


def _move(kind, name, start, end, seconds):
    return (f'<{kind} attributeName="{name}" values="{start:.1f};{start:.1f};{end:.1f};{end:.1f}" '
            f'keyTimes="0;0.1;0.6;1" dur="{seconds:g}s" repeatCount="2"/>')


def _turn(start, end, seconds):
    return (f'<animateTransform attributeName="transform" type="rotate" values="{start};{start};{end};{end}" '
            f'keyTimes="0;0.1;0.6;1" dur="{seconds:g}s" repeatCount="2"/>')


def true_axes(labels, least=20):
    """Return semi-axes and angles of true nuclei from their moments, as PlacedShapes reads them.

    Parameters
    ----------
    labels : numpy.ndarray, shape (H, W), int32
        Label map.
    least : int
        Smaller nuclei are left out, px.

    Returns
    -------
    numpy.ndarray, shape (N, 3)
        Major and minor semi-axis, px, and angle of the major axis, degrees in [0, 180).
    """
    found = []
    for name in np.unique(labels[labels > 0]):
        rows_, columns = np.nonzero(labels == name)
        if len(rows_) >= least:
            values, vectors = np.linalg.eigh(np.cov(columns, rows_) + np.eye(2) / 12)
            angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])) % 180
            found.append((*2 * np.sqrt(values[::-1]), angle))
    return np.array(found).reshape(-1, 3)
