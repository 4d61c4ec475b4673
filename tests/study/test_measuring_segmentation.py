"""The experiment on metric conventions, on images whose scores are known."""

import numpy as np
import pytest

from nucseg.data import Dataset, Sample
from nucseg.study.experiment import Row
from nucseg.study.experiments import measuring_segmentation as study


def image_of(labels):
    """Dark purple nuclei on pale pink tissue."""
    return np.where(labels[..., None] > 0, np.uint8([70, 40, 120]), np.uint8([235, 200, 220])).astype(np.uint8)


@pytest.fixture
def dataset():
    """One image with two touching squares of 100 px, one with three squares of 100 px apart."""
    touching, apart = np.zeros((40, 80), int), np.zeros((40, 80), int)
    touching[10:20, 10:20], touching[10:20, 20:30] = 1, 2
    apart[10:20, 10:20], apart[10:20, 30:40], apart[10:20, 60:70] = 1, 2, 3
    maps = {"touching": touching, "apart": apart}
    return Dataset("toy", tuple(maps), lambda name: Sample(name, image_of(maps[name]), maps[name]))


def measured(dataset, instances):
    settings = {"instances": instances, "colors": "raw", "patch": 40}
    return dict(study.measure(dataset, Row("scores", instances, "toy", "all", "none", study.measure, settings)))


def test_fused_squares_under_every_convention(dataset):
    """AJI: 200/400 and 1; pooled (200 + 300)/(400 + 300); AJI+ pooled (100 + 300)/(200 + 100 + 300)."""
    values = measured(dataset, "true mask")
    touching, apart = values["touching"], values["apart"]
    assert (touching["aji"], apart["aji"]) == (0.5, 1)
    assert touching["aji_plus"] == pytest.approx(1 / 3)
    assert touching["dice_pixel"] == 1
    assert touching["pooled_aji"] == apart["pooled_aji"] == pytest.approx(5 / 7)
    assert touching["pooled_aji_plus"] == pytest.approx(4 / 6)
    # Patches of 40 px: the right one of the first image is empty, the second image has nuclei in both.
    assert (touching["patch_aji"], touching["patch_undefined"]) == (0.5, 1)
    assert (apart["patch_aji"], apart["patch_undefined"]) == (1, 0)


def test_a_cut_costs_the_edge(dataset):
    """The Voronoi edge between two squares is two columns wide: 90 of 100 px stay on either side."""
    touching = measured(dataset, "true mask cut by Voronoi edges")["touching"]
    assert (touching["instances"], touching["aji"]) == (2, pytest.approx(0.9))


def test_a_watershed_parts_two_disks_that_a_threshold_fuses():
    rows, columns = np.mgrid[:40, :60]
    labels = np.zeros((40, 60), int)
    labels[np.hypot(rows - 20, columns - 20) < 9] = 1
    labels[np.hypot(rows - 20, columns - 37) < 9] = 2
    sample = Sample("disks", image_of(labels), labels)
    fused, parted = study.otsu(sample), study.otsu_watershed(sample)
    assert (fused.max(), parted.max()) == (1, 2)
    assert study.scores(study.as_table(labels, parted))["f1_iou_50"] == 1


def test_every_row_names_a_way_to_make_instances():
    assert {row.settings["instances"] for row in study.ROWS} == set(study.INSTANCES)
    assert all(row.row.endswith(study.SPLITS[row.split]) for row in study.ROWS)
