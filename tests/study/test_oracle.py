"""Centers with known errors, bumps against a loop over all pixels, and clumps whose scores are known."""

from dataclasses import replace

import numpy as np
import pytest

from nucseg.data import Dataset, Sample
from nucseg.study.experiment import Row, rows
from nucseg.study.measures.oracle import bumps, damaged, measure_oracle

POINTS = np.array([[0.0, 0.0], [3.2, 4.5], [7.49, 2.5], [9.0, 11.0]])
SHAPE = (10, 12)


def squares(name):
    """Two touching squares of 12 px and one apart, their label map and a gray image."""
    labels = np.zeros((40, 60), np.int32)
    labels[4:16, 4:16], labels[4:16, 16:28], labels[24:36, 40:52] = 1, 2, 3
    return Sample(name, np.full((40, 60), 99, np.uint8), labels)


DATASET = Dataset("squares", ("a", "b"), squares)
ROW = Row("wrong centers", "x", "squares", "test", "masks", measure_oracle,
          {"clustering": "nearest", "floor": 0.05, "sigma": 2.0})


def measured(dataset=DATASET, **changes):
    """Return the metrics of each image under changed settings."""
    return dict(measure_oracle(dataset, replace(ROW, settings={**ROW.settings, **changes})))


def test_centers_without_errors_are_the_points_rounded_to_pixels(rng):
    found = damaged(POINTS, SHAPE, rng)
    assert found.tolist() == [[0, 0], [3, 5], [7, 3], [9, 11]] and found.dtype == np.int64


def test_missed_centers_are_a_share_of_the_true_ones(rng):
    assert damaged(POINTS, SHAPE, rng, missed=1.0).shape == (0, 2)
    many = np.stack([np.arange(4000), np.arange(4000)], axis=1).astype(float)
    found = damaged(many, (4000, 4000), rng, missed=0.25)
    assert set(map(tuple, found)) <= set(map(tuple, many.astype(int)))
    assert abs(len(found) - 3000) < 5 * np.sqrt(4000 * 0.25 * 0.75), "within five standard deviations"
    assert len(np.unique(found, axis=0)) == len(found), "none counts twice"


def test_moved_centers_are_off_by_the_stated_deviation(rng):
    many = np.full((4000, 2), 500.0)
    shifts = damaged(many, (1000, 1000), rng, moved=3.0) - many
    # Rounding to pixels adds a variance of 1 / 12; the error of a deviation from n draws is sd / sqrt(2 n).
    assert shifts.std(axis=0) == pytest.approx(np.sqrt(9 + 1 / 12), abs=5 * 3 / np.sqrt(8000))
    assert np.abs(shifts.mean(axis=0)).max() < 5 * 3 / np.sqrt(4000)
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 5 / np.sqrt(4000), "both axes are drawn apart"


def test_added_centers_lie_anywhere_in_the_image(rng):
    found = damaged(POINTS, SHAPE, rng, spurious=500.0)
    assert len(found) == 4 + 2000 and found[:4].tolist() == [[0, 0], [3, 5], [7, 3], [9, 11]]
    assert (found.min(axis=0) == 0).all() and found.max(axis=0).tolist() == [9, 11], "never outside"
    inner = found[4:][((found[4:] > 0) & (found[4:] < [9, 11])).all(axis=1)]
    counts = np.histogram2d(*inner.T, bins=[np.arange(1, 10), np.arange(1, 12)])[0]
    expected = 2000 / 120
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected), "as often in each pixel off the border"
    assert len(damaged(POINTS, SHAPE, rng, spurious=0.25)) == 5
    far = damaged(POINTS, SHAPE, rng, moved=100.0)
    assert (far >= 0).all() and (far < SHAPE).all()


def test_bumps_fall_off_with_the_distance_to_the_nearest_center():
    centers = np.array([[2, 3], [2, 4], [8, 10]])
    found = bumps(centers, SHAPE, 2.0)
    for row, column in np.ndindex(SHAPE):
        nearest = min((row - r) ** 2 + (column - c) ** 2 for r, c in centers)
        assert found[row, column] == pytest.approx(np.exp(-nearest / 8))
    assert found[2, 3] == found[8, 10] == 1 and found[4, 3] == pytest.approx(np.exp(-0.5)), "one sigma away"


def test_without_centers_or_width_a_map_is_the_same_everywhere():
    assert (bumps(np.zeros((0, 2), int), SHAPE, 2.0) == 0).all()
    for centers in (np.zeros((0, 2), int), np.array([[1, 1]])):
        assert (bumps(centers, SHAPE, None) == np.ones(SHAPE)).all()


def test_a_clump_that_is_not_divided_counts_as_one():
    """Both squares of 144 px match the one of 288, whose other half is charged each time; the third is right."""
    for line in (measured(clustering=None)["a"], measured(errors={"missed": 1.0})["b"]):
        assert (line["nuclei"], line["objects"], line["f1_pixel"]) == (3, 2, 1)
        assert line["aji"] == pytest.approx(3 * 144 / (288 + 288 + 144))


@pytest.mark.parametrize("clustering", ["gmm", "gmm-tied", "gmm-uniform", "nearest", "kmeans", "watershed-distance",
                                        "watershed-center"])
def test_true_centers_part_two_squares_at_their_border(clustering):
    line = measured(clustering=clustering)["a"]
    # Box centers lie half a pixel up and left of the middle, so that a column may go to the other square.
    assert line["objects"] == 3 and line["aji"] > 0.85
    if clustering == "nearest":
        assert line["aji"] == line["object_dice"] == line["pq"] == line["aji_small"] == 1


def test_errors_depend_on_the_seed_and_the_image_alone():
    errors = {"moved": 4.0, "spurious": 2.0}
    lines = measured(errors=errors)
    assert measured(DATASET.subset(("b", "a")), errors=errors) == lines and lines["a"] != lines["b"]
    other = dict(measure_oracle(DATASET, replace(ROW, settings={**ROW.settings, "errors": errors}, seed=1)))
    assert other["a"] != lines["a"]


def test_every_declared_row_keeps_the_true_foreground():
    declared = [row for row in rows("split-and-expand") if row.measure is measure_oracle]
    assert {row.experiment for row in declared} == {"true centers", "wrong centers"}
    for row in declared:
        (image, line), = measure_oracle(DATASET[:1], row)
        assert image == "a" and line["f1_pixel"] == 1 and line["objects"] >= 2, row.row
