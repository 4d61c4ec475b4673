"""The experiments of the chapter on labels from dots, on an image whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest
from skimage.draw import disk

from nucseg.data import Dataset, Sample
from nucseg.study.experiment import rows
from nucseg.study.experiments import from_dots_to_labels as chapter

PITCH, RADIUS, COUNT = 40, 9, 4
SIDE = PITCH * COUNT + 1  # px, so that no box of side PITCH reaches over the border
ROWS = {(row.experiment, row.row, row.seed): row for row in rows("from-dots-to-labels")}


def dataset():
    """One image of dark disks on a square grid, so that every spacing is PITCH."""
    labels = np.zeros((SIDE, SIDE), np.int32)
    for k, (row, column) in enumerate(np.ndindex(COUNT, COUNT), start=1):
        labels[disk((PITCH * row + 20, PITCH * column + 20), RADIUS + 0.5)] = k
    image = np.where(labels[..., None] > 0, (90, 50, 120), (230, 200, 215)).astype(np.uint8)
    return Dataset("grid", ["one"], lambda name: Sample(name, image, labels))


def result(experiment, name, seed=0, **settings):
    row = ROWS[experiment, name, seed]
    row = replace(row, settings={**row.settings, **settings})
    (image, values), = row.measure(dataset(), row)
    assert image == "one"
    return values


def test_every_label_of_the_chapter_is_declared_for_all_seeds():
    sweep = {(name, row) for name, row, seed in ROWS if name.endswith("by dots") and seed == 2}
    assert len(sweep) == 3 * 4, "three labels at four ratios; all dots are drawn once"
    assert {row.split for row in ROWS.values()} == {"train", "val", "all"}


def test_sizes_and_dots_by_hand():
    area = (np.hypot(*np.mgrid[-10:11, -10:11]) < RADIUS + 0.5).sum()
    sizes = result("nuclei", "training images")
    assert sizes["nuclei"] == 16 and sizes["mean_area"] == sizes["median_area"] == area
    assert sizes["pooled_radius"] == pytest.approx(np.sqrt(area / np.pi))
    assert sizes["foreground"] == pytest.approx(16 * area / SIDE**2)
    inside = result("dots inside their own nucleus", "training images")
    assert inside["box_center_inside"] == inside["centroid_inside"] == inside["moved_centroid_inside"] == 1


@pytest.mark.parametrize("ratio", [1.0, 0.75, 0.5])
def test_boxes_have_the_side_of_the_spacing(ratio):
    found = result("boxes from all dots", f"side {ratio:g} x spacing")
    side, true = ratio * PITCH, 2 * RADIUS + 1
    assert found["side"] == pytest.approx(side) and found["true_side"] == true
    assert found["iou"] == pytest.approx(min(side, true) ** 2 / max(side, true) ** 2)
    assert found["iou_above_half"] == float(found["iou"] > 0.5)


def test_well_separated_disks_give_right_labels():
    assert result("labels from all dots", "Voronoi label")["wrong"] == 0
    # The farthest pixels between the dots are 20 sqrt(2) away, so there is background beyond d = 20.
    disks = result("labels from all dots", "disk label")
    assert disks["wrong"] == 0 and disks["nucleus"] == pytest.approx(16 * 49 / SIDE**2)
    clusters = result("labels from all dots", "cluster label, raw colors")
    assert clusters["nucleus_wrong"] == clusters["background_wrong"] == 0
    assert clusters["aji_components"] == clusters["aji_cut"] > 0.5
    assert clusters["wrong_if_exchanged"] >= clusters["wrong"]


def test_bumps_up_to_r1_cover_more_than_cut_bumps():
    cut = result("labels from all dots", "Gaussian mask, bump cut at 0.05")
    full = result("labels from all dots", "Gaussian mask, bump up to r1")
    assert cut["nucleus_wrong"] == 0 < full["nucleus_wrong"], "r1 = 11 is wider than the disks"
    assert cut["ignored"] == full["ignored"] and cut["nucleus"] < full["nucleus"]


def test_half_of_the_dots_are_half_of_the_dots():
    assert result("dots kept, drawn without replacement", "50 % of the dots")["kept"] == 0.5
    assert result("dots kept, drawn with replacement", "50 % of the dots")["kept"] <= 0.5
    assert result("dots kept, drawn without replacement", "100 % of the dots")["kept"] == 1
    few = [chapter.draw(dataset()[0], replace(ROWS["Voronoi label by dots", "50 % of the dots", s], seed=s)).tolist()
           for s in (0, 1)]
    assert few[0] != few[1], "another seed, another draw"
