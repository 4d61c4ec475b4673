"""The comparison of the lattice with the exact sum, against sums over all pairs."""

import numpy as np
import pytest

from nucseg.data import load_dataset
from nucseg.losses.lattice import lattice_filter
from nucseg.study.experiment import Row
from nucseg.study.measures.dense_crf import SIDE, compare_kernels, measure_lattice


def test_the_ratios_are_those_of_all_pairs():
    rng = np.random.default_rng(0)
    prob, image = rng.random((14, 12)).astype(np.float32), rng.uniform(0.2, 1, (14, 12, 3)).astype(np.float32)
    rows, columns = np.indices(prob.shape)
    features = np.column_stack([rows.ravel() / 5, columns.ravel() / 5, image.reshape(-1, 3) / 0.2])
    y = prob.ravel().astype(float)
    weights = np.exp(-((features[:, None] - features[None]) ** 2).sum(-1) / 2)  # no pixel is beyond the window
    exact, approximate = weights @ (1 - 2 * y), lattice_filter((1 - 2 * y)[:, None], features)[:, 0]
    found = compare_kernels(prob, image, 5.0, 0.2)
    assert found["energy_ratio"] == pytest.approx(
        y @ lattice_filter((1 - y)[:, None], features)[:, 0] / (y @ weights @ (1 - y)), rel=1e-4
    )
    assert found["gradient_ratio"] == pytest.approx(approximate @ exact / (exact @ exact), rel=1e-4)
    assert found["gradient_correlation"] == pytest.approx(np.corrcoef(approximate, exact)[0, 1], rel=1e-4)


def test_each_image_is_compared_in_its_middle():
    dataset = load_dataset("synthetic-he", "train")[:2]
    assert min(dataset[0].labels.shape) >= SIDE
    row = Row("x", "y", "synthetic-he", "train", "masks", measure_lattice, {"sigma_xy": 3.0, "sigma_rgb": 0.1})
    lines = dict(measure_lattice(dataset, row))
    assert list(lines) == list(dataset.ids)
    assert all(0 < line["energy_ratio"] < 1 and line["gradient_correlation"] > 0.9 for line in lines.values())
