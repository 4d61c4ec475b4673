"""SIA-WSSS as a working diagram: the maps of one class of one image, with arrows (Fan et al. 2025, Fig. 1)."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch

from nucseg.explain import uncertain_regions
from nucseg.viz import PAGE_WIDTH, class_colors, weak_label_image
from nucseg.viz.panels import draw_image

#: Column and row of each panel; the upper branch activates, the lower one inhibits.
PLACES = {"image": (0, 0.5), "cam": (1, 0.5), "activation": (2, 0), "regional": (3, 0), "kinds": (2, 1),
          "inhibition": (3, 1), "confident": (4, 1), "result": (5, 0.5), "label": (3, 2), "decoder": (4, 2),
          "truth": (5, 2)}
TITLES = {
    "image": "image", "cam": "CAM,\nfor each patch", "activation": "contrast activation\nmap A",
    "regional": "region\nmeans A'", "kinds": "certain (orange),\nuncertain (gray)", "inhibition": "inhibition\nmap I",
    "confident": "I'_h: confident\npart, eroded", "result": "result R\n(eq. 3)", "label": "label for\nthe decoder",
    "decoder": "prediction of\nthe decoder", "truth": "truth",
}
#: From, to, and whether the first acts through the loss alone.
ARROWS = (("image", "cam", False), ("cam", "activation", False), ("activation", "regional", False),
          ("regional", "result", False), ("cam", "kinds", False), ("kinds", "inhibition", True),
          ("inhibition", "confident", False), ("confident", "result", False), ("label", "decoder", True))
#: Inches between panels across, above a panel (two lines of title), and from one row to the next.
_GAP, _HEAD, _STEP = 0.26, 0.34, 0.57


def pipeline_pictures(sample, found, grid, labels, index, classes):
    """Return the picture of each panel of the diagram.

    Parameters
    ----------
    sample : nucseg.data.Sample
        Image, mask and tags.
    found : nucseg.methods.sia_wsss.Explanation
        Of its tags.
    grid : numpy.ndarray, shape (C, h, w)
        Scaled activation maps at the places of patches.
    labels : numpy.ndarray, shape (H, W)
        Prediction of the decoder.
    index : int
        The class whose maps are shown.
    classes : int
        Number of classes; pixels whose true class is higher are white in the last two pictures.

    Returns
    -------
    dict of str to numpy.ndarray
        Pictures and maps from 0 to 1, by the names in :data:`PLACES`.
    """
    kinds = uncertain_regions(torch.as_tensor(grid)[None]).kind[0].numpy()
    predicted = np.where(sample.mask >= classes, classes, labels)
    return {
        "image": sample.image, "cam": grid[index], "kinds": weak_label_image(kinds),
        "activation": found.activation[index], "inhibition": found.inhibition[index],
        "regional": found.regional[index], "confident": found.confident[index], "result": found.refined[index],
        "label": class_colors(found.label, classes), "decoder": class_colors(predicted, classes),
        "truth": class_colors(sample.mask, classes),
    }


def show_pipeline(pictures, width=PAGE_WIDTH):
    """Show the maps of one class, with arrows from what is computed to what it is computed from.

    Parameters
    ----------
    pictures : mapping of str to numpy.ndarray
        Of :func:`pipeline_pictures`; all of the shape of a square.
    width : float
        Of the figure, inches.

    Returns
    -------
    matplotlib.figure.Figure
        Dashed arrows act through a loss, in training.
    """
    columns = 1 + max(column for column, _ in PLACES.values())
    side = (width - (columns - 1) * _GAP) / columns
    step, rows = side + _STEP, 1 + max(row for _, row in PLACES.values())
    height = rows * step - _STEP + _HEAD + 0.04
    figure = plt.figure(figsize=(width, height), layout="none")
    plt.close(figure)
    corners = {}
    for name, picture in pictures.items():
        column, row = PLACES[name]
        left, bottom = column * (side + _GAP), height - _HEAD - row * step - side
        axis = figure.add_axes((left / width, bottom / height, side / width, side / height))
        draw_image(axis, picture, (0, 1))
        axis.set_title(TITLES[name], fontsize=8, pad=3)
        corners[name] = (left, bottom)
    for first, second, dashed in ARROWS:
        (left, bottom), (right, end) = corners[first], corners[second]
        points = (left + side + 0.02, bottom + side / 2), (right - 0.02, end + side / 2)
        _arrow(figure, points, (width, height), dashed)
    (left, bottom), (right, end) = corners["result"], corners["label"]
    # From the result down, to the left below the panels of the lower branch, and onto the titles of the last row.
    level, down, over = end + side + _STEP - 0.06, left + side / 2, right + side / 2
    across, along = (down, down, over), (bottom - 0.03, level, level)
    figure.add_artist(Line2D([x / width for x in across], [y / height for y in along],
                             transform=figure.transFigure, color="black", linewidth=1.2))
    _arrow(figure, ((over, level), (over, level - 0.17)), (width, height))
    return figure


def _arrow(figure, points, size, dashed=False):
    start, end = ((x / size[0], y / size[1]) for x, y in points)
    figure.add_artist(FancyArrowPatch(
        start, end, transform=figure.transFigure, arrowstyle="-|>", mutation_scale=9, color="black", linewidth=1.2,
        linestyle="--" if dashed else "-", shrinkA=0, shrinkB=0,
    ))
