"""Class maps get the colors of the book's cycle, and white where there is no class."""

import numpy as np
import pytest

from nucseg.errors import DataError
from nucseg.viz import CYCLE, class_colors, rgb


def test_each_class_has_its_color_and_the_rest_is_white():
    labels = np.array([[0, 1, 2], [3, 4, -1], [255, 6, 0]])
    painted = class_colors(labels)
    assert painted.shape == (3, 3, 3) and painted.dtype == np.uint8
    for index in range(4):
        assert (painted[labels == index] == rgb(CYCLE[index])).all()
    assert (painted[(labels < 0) | (labels > 3)] == 255).all()
    assert len({tuple(color) for color in class_colors(np.arange(8)[None], 7)[0].tolist()}) == 8


def test_what_is_no_class_map_is_refused():
    for wrong in (np.zeros((2, 2)), np.zeros(4, int), np.zeros((0, 2), int)):
        with pytest.raises(DataError, match="class map"):
            class_colors(wrong)
    with pytest.raises(DataError, match="not for 8"):
        class_colors([[0]], 8)
