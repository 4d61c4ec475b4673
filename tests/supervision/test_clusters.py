"""Cluster labels: images whose answer is known, and a slow restatement of the recipe."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import draw, measure, morphology

from nucseg.errors import DataError
from nucseg.supervision import cluster_labels, cluster_roles, refine_roles, voronoi_cells

PALE, DARK = (230, 190, 210), (90, 40, 120)
CENTERS = [(30, 30), (30, 95), (95, 30), (95, 95)]
DOTS = st.lists(st.tuples(st.integers(0, 39), st.integers(0, 44)), min_size=1, max_size=6)


def blobs(radius=12, noise=0.0, size=(126, 126)):
    """Dark disks on a pale ground, and the map of the disks."""
    labels = np.zeros(size, int)
    for k, center in enumerate(CENTERS, 1):
        labels[draw.disk(center, radius, shape=size)] = k
    grain = np.random.default_rng(0).normal(0, noise, (*size, 3))
    image = np.where(labels[..., None] > 0, DARK, PALE) + grain
    return np.clip(image, 0, 255).astype(np.uint8), labels


@pytest.mark.parametrize("noise", [0, 12])
def test_two_colors_give_the_disks(noise):
    image, labels = blobs(noise=noise)
    found = cluster_labels(image, CENTERS)
    assert found.dtype == np.int8
    assert (labels[found == 1] > 0).all(), "the label shrinks the disks by 2 px, so none of it is wrong"
    assert (labels[found == 0] == 0).all()
    inner = np.zeros(labels.shape, bool)
    for center in CENTERS:
        inner[draw.disk(center, 9)] = True
    assert (found[inner] == 1).all()


def test_the_report_describes_the_two_colors():
    image, labels = blobs()
    roles, report = cluster_roles(image, CENTERS)
    assert report.roles == ("nucleus", "ignored", "background")
    np.testing.assert_allclose(report.centers[0, :3], DARK)
    np.testing.assert_allclose(report.centers[2, :3], PALE)
    assert report.contrast == pytest.approx(np.linalg.norm(np.subtract(PALE, DARK)))
    for share in (report.pixel_share, report.dot_share, report.disk_share):
        assert share.sum() == pytest.approx(1)
    assert report.pixel_share.tolist() == [(roles == v).mean() for v in (1, -1, 0)]
    np.testing.assert_array_equal(roles == 1, labels > 0)
    assert report.dot_share[0] == 1


def test_roles_of_clusters_follow_the_dots():
    # Three flat stripes, far from each other in color; dots in the first, some px of the second near them.
    image = np.zeros((60, 120, 3), np.uint8)
    image[:, :40], image[:, 40:80], image[:, 80:] = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    roles, report = cluster_roles(image, [(30, 38), (10, 37), (50, 38)])
    assert np.unique(roles[:, :40]).tolist() == [1]
    assert np.unique(roles[:, 40:80]).tolist() == [-1], "more of the radius-5 disks: ignored"
    assert np.unique(roles[:, 80:]).tolist() == [0]
    assert report.disk_share[2] == 0 < report.disk_share[1]


def slow_recipe(roles, points):
    """Steps 4 to 6 with plain morphology on the whole image, cell by cell."""
    dots = np.zeros(roles.shape, bool)
    dots[tuple(np.array(points).T)] = True
    parts = measure.label(roles == 1, connectivity=2)
    kept = np.isin(parts, [r.label for r in measure.regionprops(parts) if r.area >= 30])
    cells = voronoi_cells(points, roles.shape)
    nuclei = np.zeros(roles.shape, bool)
    for k in range(1, cells.max() + 1):
        grown = morphology.dilation((cells == k) & kept, morphology.disk(5))
        outside = measure.label(np.pad(~grown, 1, constant_values=True), connectivity=1)
        filled = (outside != outside[0, 0])[1:-1, 1:-1]
        # Beyond the image counts as nucleus, so that the border does not erode.
        nuclei |= morphology.erosion(np.pad(filled, 8, constant_values=True), morphology.disk(7))[8:-8, 8:-8]
    near = morphology.dilation(dots, morphology.disk(10))
    return np.where(nuclei, 1, np.where((roles == 0) & ~near, 0, -1))


@given(DOTS, st.integers(0, 1000), st.floats(0.35, 0.8))
def test_refinement_equals_plain_morphology(points, seed, density):
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.random((10, 9)) < density, np.ones((4, 5), bool))
    roles = np.where(coarse, 1, rng.integers(-1, 1, (40, 45)))
    np.testing.assert_array_equal(refine_roles(roles, points), slow_recipe(roles, points))


@given(DOTS, st.integers(0, 3))
def test_roles_follow_step_three(points, seed):
    image = np.random.default_rng(seed).integers(0, 256, (8, 9, 3)).repeat(5, 0).repeat(5, 1).astype(np.uint8)
    roles, report = cluster_roles(image, points, restarts=2)
    dots = np.zeros((40, 45), bool)
    dots[tuple(np.array(points).T)] = True
    disks = morphology.dilation(dots, morphology.disk(5))
    in_dots = {v: (dots & (roles == v)).sum() for v in (-1, 0, 1)}
    in_disks = {v: (disks & (roles == v)).sum() for v in (-1, 0, 1)}
    assert in_dots[1] == max(in_dots.values()) and in_disks[0] <= in_disks[-1]
    # Every pixel is in the cluster whose center is nearest, and centers are means within a tolerance.
    apart = np.argwhere(np.ones((40, 45)))[:, None] - np.argwhere(dots)[None]
    distance = np.linalg.norm(apart, axis=2).min(1)
    features = np.column_stack([image.reshape(-1, 3) / 10, np.minimum(distance, 20)])
    centers = report.centers / [10, 10, 10, 1]
    nearest = np.array([1, -1, 0])[((features[:, None] - centers) ** 2).sum(2).argmin(1)]
    assert (nearest == roles.ravel()).mean() > 0.99
    for value, center in zip((1, -1, 0), centers):
        np.testing.assert_allclose(features[roles.ravel() == value].mean(0), center, atol=0.3)


def test_small_specks_go_and_holes_close():
    roles = np.zeros((60, 60), np.int8)
    roles[draw.disk((30, 30), 14)] = 1
    roles[draw.disk((30, 30), 4)] = -1
    roles[2:7, 2:7] = 1
    found = refine_roles(roles, [(30, 30)])
    assert found[30, 30] == 1, "the hole in the nucleus is filled"
    assert (found[:10, :10] != 1).all(), "25 px are below 30"


def test_the_image_border_does_not_erode():
    roles = np.zeros((60, 60), np.int8)
    roles[:, :20] = 1
    found = refine_roles(roles, [(30, 10)])
    assert (found[:, :18] == 1).all() and (found[:, 18:] != 1).all(), "2 px go on the inner side only"
    everything = refine_roles(np.ones((30, 30), np.int8), [(15, 15)])
    assert (everything == 1).all()


def test_touching_nuclei_come_apart_at_the_voronoi_edge():
    roles = np.zeros((60, 90), np.int8)
    roles[20:40, 15:75] = 1
    nuclei = measure.label(refine_roles(roles, [(30, 30), (30, 59)]) == 1)
    assert nuclei.max() == 2 and nuclei[30, 30] != nuclei[30, 59]


def test_background_keeps_ten_pixels_from_dots():
    roles = np.zeros((50, 50), np.int8)
    found = refine_roles(roles, [(25, 25)])
    radius = np.hypot(*(np.mgrid[:50, :50] - 25))
    np.testing.assert_array_equal(found == 0, radius > 10)
    assert not (found == 1).any()


def test_no_dots_means_no_statement():
    image, _ = blobs()
    roles, report = cluster_roles(image, [])
    assert (roles == -1).all() and report.roles == () and len(report.centers) == 0
    assert np.isnan(report.contrast)
    assert (cluster_labels(image, []) == -1).all()


def test_one_dot_is_enough():
    image, labels = blobs()
    found = cluster_labels(image, CENTERS[:1])
    assert found[30, 30] == 1 and (labels[found == 1] > 0).all()


@pytest.mark.parametrize("shape, points, names", [
    ((1, 1), [(0, 0)], ("nucleus",)),
    ((1, 2), [(0, 0)], ("nucleus", "background")),
    ((1, 2), [(0, 0), (0, 1)], ("nucleus",)),
])
def test_images_with_fewer_than_three_distinct_pixels(shape, points, names):
    roles, report = cluster_roles(np.full((*shape, 3), 99, np.uint8), points)
    assert report.roles == names and roles[points[0]] == 1


def test_the_order_of_dots_and_repeats_do_not_matter():
    image, _ = blobs(noise=20)
    once = cluster_labels(image, CENTERS)
    np.testing.assert_array_equal(once, cluster_labels(image, CENTERS[::-1] + CENTERS[:2]))


@pytest.mark.slow
def test_one_thread_and_many_give_the_same_label():
    code = (
        "import numpy as np, hashlib\n"
        "from nucseg.supervision import cluster_labels\n"
        "rng = np.random.default_rng(0)\n"
        "image = rng.integers(0, 256, (300, 300, 3)).astype(np.uint8)\n"
        "label = cluster_labels(image, rng.integers(0, 300, (40, 2)))\n"
        "print(hashlib.sha256(label.tobytes()).hexdigest())"
    )
    prints = {
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": n},
                       capture_output=True, text=True, check=True).stdout
        for n in ("1", "4")
    }
    assert len(prints) == 1


def test_bad_input_is_named():
    image, _ = blobs()
    with pytest.raises(DataError, match=r"image: .*float64"):
        cluster_labels(image / 255, CENTERS)
    with pytest.raises(DataError, match="points: 1 of 1"):
        cluster_labels(image, [(200, 3)])
    with pytest.raises(DataError, match="restarts"):
        cluster_roles(image, CENTERS, restarts=0)
    with pytest.raises(DataError, match="roles"):
        refine_roles(np.full((5, 5), 2), CENTERS)
