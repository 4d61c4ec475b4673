"""The palette stays readable for color-blind readers and on print; the style fits the page."""

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from nucseg.errors import UnknownNameError
from nucseg.viz import CYCLE, PAGE_WIDTH, PALETTE, rgb, use_style

#: Machado, Oliveira and Fernandes (2009), complete loss of one cone type, for linear RGB.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)
#: CIEDE2000 distance between any two colors that may stand beside each other; about 2 is just noticeable.
DISTANCE = 10
GROUPS = {
    "weak labels": ["nucleus", "background", "ignored", "edge"],
    "matches": ["true_positive", "false_positive", "false_negative"],
    "sources": ["ground_truth", "prediction"],
    "cycle": list(CYCLE),
}


def as_seen(color, matrix):
    """The Lab color that a reader with this color vision sees."""
    c = rgb(color) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    seen = np.clip(matrix @ linear, 0, 1)
    srgb = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    return rgb2lab(srgb[None, None])[0, 0]


@pytest.mark.parametrize("vision", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["full", "deutan", "protan"])
@pytest.mark.parametrize("group", GROUPS)
def test_colors_that_meet_stay_apart(group, vision):
    for first, second in combinations(GROUPS[group], 2):
        distance = deltaE_ciede2000(as_seen(first, vision), as_seen(second, vision))
        assert distance > DISTANCE, (first, second, float(distance))


def test_the_distance_test_can_fail():
    red, green = "#C04000", "#5C7800"
    assert deltaE_ciede2000(as_seen(red, np.eye(3)), as_seen(green, np.eye(3))) > 40
    assert deltaE_ciede2000(as_seen(red, DEUTERANOPIA), as_seen(green, DEUTERANOPIA)) < DISTANCE


def test_rgb_reads_names_codes_and_tuples():
    assert rgb("orange").tolist() == [230, 159, 0]
    assert rgb("#0072B2").tolist() == [0, 114, 178]
    assert rgb((1, 0, 0.2)).tolist() == [255, 0, 51]
    assert rgb("orange").dtype == np.uint8
    assert {"nucleus", "background", "ignored"} <= set(PALETTE)
    with pytest.raises(UnknownNameError, match="nucleolus"):
        rgb("nucleolus")


def test_a_full_width_figure_fills_the_text_column():
    with mpl.rc_context():
        use_style()
        assert 720 <= PAGE_WIDTH * mpl.rcParams["figure.dpi"] <= 750
        assert mpl.rcParams["figure.facecolor"] == "white"
        names = ("font.size", "axes.titlesize", "xtick.labelsize", "legend.fontsize")
        assert min(mpl.rcParams[name] for name in names) >= 9
