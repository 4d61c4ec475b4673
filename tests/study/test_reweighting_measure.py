"""Weights of features at dots and elsewhere, in a network whose relevance is known."""

import numpy as np
import pytest
import torch

from nucseg.data import Dataset, Sample
from nucseg.methods import Preprocessing, SplitAndExpand
from nucseg.study.experiment import Row
from nucseg.study.measures import reweighting
from nucseg.study.measures.reweighting import at_dots, measure_weights, stem_weights
from nucseg.supervision.centers import center_squares

#: What an image of this gray is once it is standardized: 1 in every channel.
GRAY, PREPROCESSING = 102, Preprocessing(None, (0.2,) * 3, (0.2,) * 3)


class TwoFeatures(torch.nn.Module):
    """Each feature sees the first of 2 x 2 pixels and speaks for a center in all four, three times as loud in one.

    On an image of ones both features are 1, so they get 3/4 and 1/4 of the relevance of their four pixels.
    """

    weighted = "c1"

    def __init__(self):
        super().__init__()
        self.c1 = torch.nn.Conv2d(3, 2, 1, stride=2, bias=False)
        self.center = torch.nn.ConvTranspose2d(2, 2, 2, stride=2, bias=False)
        torch.nn.init.constant_(self.c1.weight, 1 / 3)
        with torch.no_grad():
            self.center.weight[:] = torch.tensor([[0.0, 3.0], [0.0, 1.0]])[:, :, None, None]

    def forward(self, images):
        return images[:, :2], self.center(self.c1(images))[..., : images.shape[2], : images.shape[3]]


def contrast(dots, start, scope, side=9):
    """Return what is measured on an image of ones."""
    squares = center_squares([torch.tensor(dots, dtype=torch.float64).reshape(-1, 2)], (side, side))
    return at_dots(stem_weights(TwoFeatures().eval(), torch.ones(1, 3, side, side), squares, start, scope), squares)


def test_relevance_that_starts_at_dots_strengthens_features_there():
    """A square over rows and columns 2 to 4 meets features 1 and 2 with 4, 2, 2 and 1 of its pixels."""
    found = contrast([(3, 3)], "dots", "image")
    # The largest relevance is 3/4 of 4 pixels, so that k pixels give weights of 1 + k / 4 and 1 + k / 12.
    assert found["at_dots"] == pytest.approx(1 + np.mean([4, 2, 2, 1]) / 6, rel=1e-4)
    assert found["elsewhere"] == 1 and found["contrast"] == pytest.approx(0.375, rel=1e-3)


def test_each_position_may_have_its_own_largest():
    found = contrast([(3, 3)], "dots", "position")
    assert found["at_dots"] == pytest.approx((2 + 4 / 3) / 2, rel=1e-4) and found["elsewhere"] == 1


def test_a_feature_at_the_border_sees_the_dots_of_the_pixels_it_has():
    # Of 9 pixels the last belongs to feature 4 alone. A dot in the corner covers 4 pixels, one of each feature there.
    found = contrast([(8, 8)], "dots", "image")
    assert found["at_dots"] == pytest.approx((2 + 4 / 3) / 2, rel=1e-4) and found["elsewhere"] == 1


@pytest.mark.parametrize("start", ["probability", "margin"])
def test_relevance_that_starts_everywhere_tells_no_dot_from_its_surroundings(start):
    found = contrast([(3, 3)], start, "image", side=8)
    assert found["at_dots"] == pytest.approx(5 / 3, rel=1e-4) and found["contrast"] == pytest.approx(0, abs=1e-6)


def test_an_image_without_dots_has_no_weight_at_dots():
    found = contrast([], "dots", "image")
    assert np.isnan(found["at_dots"]) and np.isnan(found["contrast"]) and found["elsewhere"] == 1


def test_each_image_is_measured_in_its_middle(monkeypatch):
    """The window of 8 px begins at (2, 6); the box center (5, 10) is (3, 4) there, outside of it lies one more."""
    labels = np.zeros((12, 21), np.int32)
    labels[5, 9:12], labels[0, 0:3] = 1, 2
    image = np.full((12, 21, 3), GRAY, np.uint8)
    image[:, 14:] = image[:2] = 255  # what lies outside does not count
    dataset = Dataset("toy", ("a", "b"), lambda name: Sample(name, image, labels))
    small = Dataset("toy", ("c",), lambda name: Sample(name, image[2:9, 6:13], labels[2:9, 6:13]))
    method = SplitAndExpand()
    method.networks, method.preprocessing, method.histories = {"two heads": TwoFeatures().eval()}, PREPROCESSING, {}
    asked = []
    monkeypatch.setattr(reweighting, "SIDE", 8)
    monkeypatch.setattr(reweighting, "fitted", lambda row, runner: asked.append(row) or method)
    row = Row("weights", "dots", "toy", "all", "all dots", measure_weights, {"start": "dots", "scope": "image"})
    for images in (dataset, small):
        generator, lines = measure_weights(images, row), {}
        while True:
            try:
                lines.update([next(generator)])
            except StopIteration as stop:
                notes = stop.value
                break
        assert list(lines) == list(images.ids)
        for line in lines.values():
            assert line["contrast"] == pytest.approx(0.375, rel=1e-3) and line["elsewhere"] == 1
        assert notes.keys() == {"device", "precision", "training"}, "the record says how the network was trained"
    assert asked == [row, row]
