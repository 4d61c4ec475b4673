"""Ways to grow a center: distances, a flood fill and a derivative, each worked out pixel by pixel."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nucseg.explain import LRPRules
from nucseg.methods import Preprocessing, SplitAndExpand
from nucseg.study.measures.growth import (
    GROWTH,
    LOWER,
    RADIUS,
    by_disk,
    by_gradient,
    by_nothing,
    by_probability,
    by_relevance,
    take_away,
)

PREPROCESSING = Preprocessing(None, (0.5, 0.4, 0.3), (0.2, 0.25, 0.5))


def blobs_at(shape, *places):
    """Return groups of center pixels, numbered in the order of their (rows, columns)."""
    blobs = np.zeros(shape, np.int32)
    for number, place in enumerate(places, start=1):
        blobs[place] = number
    return blobs


class Linear(torch.nn.Module):
    """The logits of a center are sums over 3 x 3 pixels and three colors; those of a nucleus are of no account."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.center = torch.nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, images):
        return images[:, :2] * 1000, self.center(images)


def test_gradient_times_input_of_a_linear_network_is_weight_times_input(rng):
    network = Linear().eval()
    method = SplitAndExpand()
    method.networks, method.preprocessing = {"two heads": network}, PREPROCESSING
    image = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    blobs = blobs_at((7, 9), np.s_[1:3, 1:3], np.s_[5, 7])
    weights = network.center.weight.detach().numpy()
    margin = weights[1] - weights[0]
    pixels = (image / 255 - PREPROCESSING.mean) / PREPROCESSING.std
    expected = np.zeros((7, 9))
    for row, column in zip(*np.nonzero(blobs)):
        # Each group starts with 1 in all, divided among its pixels.
        start = 1 / (blobs == blobs[row, column]).sum()
        for r, c in np.ndindex(3, 3):
            y, x = row + r - 1, column + c - 1
            if 0 <= y < 7 and 0 <= x < 9:
                expected[y, x] += start * (margin[:, r, c] * pixels[y, x]).sum()
    assert (expected < 0).any() and (expected > 0).any()
    heat = by_gradient(method, image, blobs, None, None)
    np.testing.assert_allclose(heat, np.maximum(expected, 0), rtol=1e-4, atol=1e-6)
    assert network.center.weight.grad is None, "explaining does not train"
    assert not by_gradient(method, image, np.zeros_like(blobs), None, None).any()


def test_relevance_is_what_the_method_explains():
    image, blobs, rules = np.zeros((2, 2, 3), np.uint8), np.eye(2, dtype=int), LRPRules(first="wsquare")
    method = SimpleNamespace(explain=lambda *given: given)
    assert by_relevance(method, image, blobs, None, rules) == (image, blobs, rules)


def test_a_disk_has_the_stated_radius():
    # The second group is bent: its middle is a pixel of its own square all the same.
    bent = (np.array([30, 30, 30, 31, 32]), np.array([40, 41, 42, 42, 42]))
    blobs = blobs_at((40, 50), np.s_[10:13, 8:15], bent)
    middles = [(11, 11), (31, 41)]
    heat = by_disk(None, None, blobs, None, None)
    for row, column in np.ndindex(40, 50):
        near = min(np.hypot(row - r, column - c) for r, c in middles) <= RADIUS
        assert heat[row, column] == near, (row, column)
    # 149 pixels have a center within 7 px of a pixel's (Gauss circle problem); the image cuts nothing off.
    assert heat.sum() == 2 * 149 and RADIUS == 7
    assert heat[11, 18] == 1 and heat[11, 19] == 0


def test_without_centers_nothing_grows():
    nothing = np.zeros((6, 6), np.int32)
    assert not by_disk(None, None, nothing, None, None).any()
    assert not by_nothing(None, None, np.ones((6, 6), np.int32), None, None).any(), "nor from any, by nothing"
    assert not by_probability(None, None, nothing, {"nucleus": np.ones((6, 6))}, None).any()


def test_a_lower_threshold_floods_the_map_from_each_group():
    rows = ["..........",
            ".##.....#.",
            ".#B....#..",
            "...#......",
            "....B..##.",
            ".......##."]
    letters = np.array([list(row) for row in rows])
    # A group counts as a part of its piece even where its own probability is low.
    nucleus = np.where(letters == "#", LOWER, 0.19).astype(np.float32)
    nucleus[nucleus > 0.195] = np.float32(LOWER) + 1e-6
    blobs = blobs_at(letters.shape, np.s_[2, 2], np.s_[4, 4])
    reached, todo = set(), [(2, 2), (4, 4)]
    while todo:
        row, column = todo.pop()
        reached.add((row, column))
        for r, c in np.ndindex(3, 3):
            place = row + r - 1, column + c - 1
            if place not in reached and letters[place] in "#B":
                todo.append(place)
    assert len(reached) == 6, "corners join; the two pieces on the right hold no group"
    heat = by_probability(None, None, blobs, {"nucleus": nucleus}, None)
    assert set(zip(*np.nonzero(heat))) == reached and set(np.unique(heat)) == {0, 1}


@pytest.mark.parametrize("value, grows", [(LOWER, True), (np.nextafter(LOWER, 0), False)])
def test_the_lower_threshold_is_reached_by_what_equals_it(value, grows):
    blobs = blobs_at((3, 5), np.s_[1, 1])
    assert by_probability(None, None, blobs, {"nucleus": np.full((3, 5), value)}, None).all() == grows


def test_every_way_is_known_by_its_name():
    named = {"nothing": by_nothing, "relevance": by_relevance, "gradient x input": by_gradient, "disk": by_disk,
             "lower threshold": by_probability}
    assert named == GROWTH


def test_objects_below_a_size_are_taken_away_and_the_others_keep_their_order():
    labels = np.array([[7, 7, 7, 0, 2], [0, 0, 0, 0, 2], [5, 5, 5, 5, 0]])
    assert take_away(labels, 3).tolist() == [[2, 2, 2, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 0]]
    assert take_away(labels, 0).tolist() == [[3, 3, 3, 0, 1], [0, 0, 0, 0, 1], [2, 2, 2, 2, 0]]
    assert not take_away(labels, 5).any() and not take_away(np.zeros((2, 2), int), 5).any()
