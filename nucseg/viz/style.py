"""The look of every figure: one palette with meanings, one set of Matplotlib settings.

The colors are those of Okabe and Ito (2008), which stay apart for people who see no difference between red
and green, plus a gray and a navy.  A color never carries a meaning alone: line styles, markers or titles
repeat it.
"""

from types import MappingProxyType

import matplotlib as mpl
import numpy as np
from matplotlib.colors import is_color_like, to_rgb

from nucseg.errors import UnknownNameError

#: The eight colors of Okabe and Ito.
_OKABE_ITO = MappingProxyType(
    {
        "black": "#000000",
        "orange": "#E69F00",
        "sky_blue": "#56B4E9",
        "green": "#009E73",
        "yellow": "#F0E442",
        "blue": "#0072B2",
        "vermilion": "#D55E00",
        "purple": "#CC79A7",
    }
)

#: What each color means, everywhere in the book. Plain color names serve everything without a meaning.
PALETTE = MappingProxyType(
    {
        **_OKABE_ITO,
        # weak labels
        "nucleus": "#E69F00",
        "background": "#1B3A5C",
        "ignored": "#C9C9C9",
        "edge": "#56B4E9",
        "point": "#F0E442",
        # who drew it
        "ground_truth": "#009E73",
        "prediction": "#E69F00",
        # what became of it
        "true_positive": "#009E73",
        "false_positive": "#E69F00",
        "false_negative": "#56B4E9",
    }
)

#: Order in which lines, bars and instances take their colors.
CYCLE = tuple(
    PALETTE[name] for name in ("blue", "orange", "green", "purple", "sky_blue", "vermilion", "yellow")
)

#: Width of the book's text column in inches: 6.8 in at the 110 dots per inch of :func:`use_style` is 748 px.
PAGE_WIDTH = 6.8


def use_style():
    """Set Matplotlib's defaults for figures in the book; call it once, at the top of a chapter.

    White background, text of at least 9 points, 110 dots per inch (a figure of :data:`PAGE_WIDTH` inches then
    fills the 750-pixel text column), constrained layout, the palette of Okabe and Ito, unsmoothed pixels.
    """
    mpl.rcParams.update(
        {
            "figure.dpi": 110,
            "savefig.dpi": 110,
            "figure.figsize": (PAGE_WIDTH, 4.0),
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "axes.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.titlesize": 10,
            "axes.labelsize": 10,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": mpl.cycler(color=CYCLE),
            "lines.linewidth": 1.8,
            "image.cmap": "viridis",
            "image.interpolation": "nearest",
        }
    )


def rgb(color):
    """Return a color as three bytes.

    Parameters
    ----------
    color : str or sequence of float
        A name in :data:`PALETTE`, or anything Matplotlib takes for a color (``"#E69F00"``, ``(1, 0.5, 0)``).

    Returns
    -------
    numpy.ndarray, shape (3,), uint8

    Raises
    ------
    UnknownNameError
        Neither a name in the palette nor a color.

    Examples
    --------
    >>> rgb("nucleus").tolist()
    [230, 159, 0]
    """
    value = PALETTE.get(color, color) if isinstance(color, str) else color
    if not is_color_like(value):
        raise UnknownNameError(f"unknown color {color!r}; the palette has {', '.join(PALETTE)}")
    return np.round(np.array(to_rgb(value)) * 255).astype(np.uint8)
