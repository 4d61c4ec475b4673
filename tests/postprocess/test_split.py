"""Split against brute force, disks whose border is known, pieces laid by hand, and the true nuclei of real images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg.data import available, load_dataset
from nucseg.errors import DataError
from nucseg.metrics import aji, object_dice
from nucseg.postprocess import components, fit_mixture, split_instances
from nucseg.postprocess.pieces import settle_parts
from nucseg.supervision import box_centers, nearest_points

METHODS = ["gmm", "gmm-tied", "gmm-uniform", "nearest", "kmeans", "watershed-distance", "watershed-center"]


def bumps(points, shape, sigma=2.0):
    distance, _ = nearest_points(points, shape)
    return np.exp(-(distance**2) / (2 * sigma**2))


def disks(centers, radii, shape):
    """Each pixel of a union of disks with the number of the disk it lies deepest in."""
    rows, columns = np.indices(shape)
    depth = np.stack([radius - np.hypot(rows - r, columns - c) for (r, c), radius in zip(centers, radii)])
    return np.where(depth.max(axis=0) >= 0, depth.argmax(axis=0) + 1, 0)


@st.composite
def scenes(draw):
    """Any label map, with gaps between ids, and any map and centers on it."""
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    labels = draw(arrays(np.int64, shape, elements=st.sampled_from([0, 3, 3, 3, 70])))
    center_map = draw(arrays(float, shape, elements=st.sampled_from([0, 0.01, 0.3, 1])))
    centers = draw(st.lists(st.tuples(*(st.integers(0, n - 1) for n in shape)), max_size=8))
    return labels, center_map, np.array(centers, float).reshape(-1, 2)


@pytest.mark.parametrize("method", METHODS)
@given(scenes(), st.sampled_from([0, 0.05]), st.sampled_from([1, 4]))
def test_what_holds_for_any_objects(method, scene, floor, min_size):
    labels, center_map, centers = scene
    options = dict(method=method, floor=floor, min_size=min_size)
    split = split_instances(labels, center_map, centers=centers, **options)
    assert split.dtype == np.int32
    np.testing.assert_array_equal(split > 0, labels > 0)
    assert set(split.flat) - {0} == set(range(1, split.max() + 1)), "ids without gaps"
    pixels = {tuple(map(int, center)) for center in centers}
    for value in np.unique(labels[labels > 0]):
        own = [pixel for pixel in pixels if labels[pixel] == value]
        found = np.unique(split[labels == value])
        assert 1 <= len(found) <= max(1, len(own))
        assert not np.isin(split[labels != value], found).any(), "no nucleus lies in two objects"
        for number in found if len(own) > 1 and components(labels == value).max() == 1 else ():
            assert components(split == number).max() == 1, "one piece"
            assert (split == number).sum() >= min_size or len(found) == 1
    turned = split_instances(labels, center_map, centers=centers[::-1], **options)
    np.testing.assert_array_equal(split, turned, "the order of the centers does not matter")


@pytest.mark.parametrize("method", METHODS)
def test_touching_disks_are_cut_where_they_meet(method):
    """Equal disks: the true border is the line half-way. Near it pixels may go astray, at most one column."""
    centers = [(20, 15), (20, 35)]
    truth = disks(centers, (11, 11), (41, 51))
    split = split_instances(truth > 0, bumps(centers, truth.shape), centers=centers, method=method)
    wrong = np.argwhere(split != truth)
    assert split.max() == 2
    assert len(wrong) == 0 or (abs(wrong[:, 1] - 25) <= 1).all()


def test_a_mixture_finds_the_border_of_unequal_disks_that_the_nearest_center_misses():
    centers = [(20, 17), (20, 38)]
    truth = disks(centers, (15, 7), (41, 51))
    mixture, nearest = (split_instances(truth > 0, bumps(centers, truth.shape), centers=centers, method=method)
                        for method in ("gmm", "nearest"))
    assert (mixture != truth).sum() < 20 < 60 < (nearest != truth).sum()


def test_nearest_equals_a_search_over_all_centers(rng):
    labels = disks([(20, 20), (25, 38), (40, 30)], (14, 11, 12), (60, 60)) > 0
    centers = rng.permutation(np.argwhere(labels))[:6]
    split = split_instances(labels, np.zeros(labels.shape), centers=centers, method="nearest", min_size=0)
    away = np.linalg.norm(np.argwhere(labels)[:, None] - centers, axis=2)
    numbers = split[tuple(centers.T)]
    chosen = (numbers == split[labels][:, None]).argmax(axis=1)
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]
    # Strays can go elsewhere, but disks that meet are nearly convex.
    assert (away[np.arange(len(away)), chosen] == away.min(axis=1)).mean() > 0.99


def test_a_mixture_is_what_fit_mixture_says():
    centers = np.array([(15, 14), (20, 32), (34, 22)])
    labels = disks(centers, (11, 10, 9), (50, 50)) > 0
    center_map = bumps(centers, labels.shape)
    split = split_instances(labels, center_map, centers=centers)
    fitted = fit_mixture(np.argwhere(labels), centers, center_map[labels], floor=0.05)
    np.testing.assert_array_equal(split[labels], fitted.assignment + 1)


def test_floor_and_uniform_weights():
    centers = [(15, 14), (20, 34)]
    labels = disks(centers, (9, 13), (50, 50)) > 0
    center_map = bumps(centers, labels.shape)
    uniform = split_instances(labels, center_map, centers=centers, method="gmm-uniform")
    np.testing.assert_array_equal(uniform, split_instances(labels, center_map, centers=centers, floor=1))
    assert (uniform != split_instances(labels, center_map, centers=centers, floor=0)).any()
    # Where nothing weighs anything, all weigh the same.
    nothing = np.zeros(labels.shape)
    np.testing.assert_array_equal(uniform, split_instances(labels, nothing, centers=centers, floor=0))


def test_k_means_is_at_rest():
    centers = np.array([(15, 14), (20, 32), (34, 22)])
    labels = disks(centers, (13, 10, 7), (50, 50)) > 0
    split = split_instances(labels, np.zeros(labels.shape), centers=centers, method="kmeans")
    means = np.array([np.argwhere(split == number).mean(axis=0) for number in (1, 2, 3)])
    away = np.linalg.norm(np.argwhere(labels)[:, None] - means, axis=2)
    np.testing.assert_array_equal(split[labels], away.argmin(axis=1) + 1)


def test_centers_come_from_the_map_and_objects_keep_their_order():
    """Ids 9 and 4: 4 is whole and comes first, 9 is divided. A center in the background does nothing."""
    labels = np.zeros((40, 100), np.uint8)
    labels[disks([(15, 14), (15, 32)], (11, 11), labels.shape) > 0] = 9
    labels[10:13, 60:63] = 4  # below the least size, but it is not divided
    dots = [(15, 14), (15, 32), (11, 61), (30, 90)]
    split = split_instances(labels, bumps(dots, labels.shape))
    np.testing.assert_array_equal(split == 1, labels == 4)
    assert split[15, 14] == 2 and split[15, 32] == 3 and split.max() == 3


def test_objects_that_touch_are_divided_each_for_itself():
    """Two objects side by side: no pixel changes from one to the other, though its centers are nearer."""
    labels = np.zeros((20, 40), int)
    labels[:, :20], labels[:, 20:] = 1, 2
    centers = [(4, 17), (15, 17), (4, 36), (15, 36)]
    for method in METHODS:
        split = split_instances(labels, bumps(centers, labels.shape), centers=centers, method=method)
        np.testing.assert_array_equal(split > 2, labels == 2)
        assert split.max() == 4


def test_small_nuclei_are_merged():
    """The center at the tip takes 9 px. Where the least size is 10 they go back, and the object is whole."""
    labels = np.zeros((20, 30), int)
    labels[:, :20] = labels[9:12, 20:26] = 1
    options = dict(centers=[(10, 20), (10, 25)], method="nearest")
    assert (split_instances(labels, np.zeros(labels.shape), **options, min_size=9) == 2).sum() == 9
    np.testing.assert_array_equal(split_instances(labels, np.zeros(labels.shape), **options, min_size=10), labels)


def test_strays_go_to_the_neighbor_with_most_border():
    """A pixel of part 1 touches 2 at three pixels and 3 at five; elsewhere in the map 2 is the larger part."""
    parts = np.array([
        [1, 2, 2, 2, 2, 2],
        [1, 2, 2, 1, 3, 2],
        [1, 2, 3, 3, 3, 2],
        [1, 2, 2, 2, 2, 2],
    ], np.int32)
    places = np.array([(0, 0), (0, 1), (2, 3)], float)
    owners = np.array([7, 7, 7])
    assert settle_parts(parts, owners, places, 1)[1, 3] == 2, "four and four: of equals the lower number"
    parts[1, 2] = 3
    assert settle_parts(parts, owners, places, 1)[1, 3] == 3
    expected = parts.copy()
    expected[1, 3] = 3
    np.testing.assert_array_equal(settle_parts(parts, owners, places, 1), expected)
    np.testing.assert_array_equal(settle_parts(parts, np.array([7, 8, 9]), places, 1), parts)  # others' borders


def test_a_part_without_pixels_changes_nothing():
    """Number 3 has lost all its pixels; the stray piece of 1, the first of the map, must still move."""
    parts = np.array([[1, 2, 2, 1, 1]], np.int32)
    places = np.array([(0, 4), (0, 1), (0, 3.0)])
    assert settle_parts(parts, np.ones(3, int), places, 1).tolist() == [[2, 2, 2, 1, 1]]


def test_the_piece_at_the_place_stays_else_the_largest():
    parts = np.array([[1, 2, 1, 1, 2, 1]], np.int32)
    owners = np.array([1, 1])
    assert settle_parts(parts, owners, np.array([(0, 0), (0, 1.0)]), 1).tolist() == [[1, 2, 2, 2, 2, 2]]
    # The place of 1 lies in 2: its largest piece stays. Strays that touch only strays wait for those to settle.
    assert settle_parts(parts, owners, np.array([(0, 1), (0, 4.0)]), 1).tolist() == [[1, 1, 1, 1, 2, 2]]


def test_small_parts_merge_smallest_first():
    """3 (1 px) goes to 2, which then has 3 px and stays; borders add up when parts merge."""
    parts = np.array([[1, 1, 1, 1, 2, 2, 3]], np.int32)
    places = np.array([(0, 0), (0, 4), (0, 6.0)])
    assert settle_parts(parts, np.ones(3, int), places, 3).tolist() == [[1, 1, 1, 1, 2, 2, 2]]
    assert settle_parts(parts, np.ones(3, int), places, 4).tolist() == [[1] * 7]
    assert settle_parts(parts, np.array([1, 1, 2]), places, 2).tolist() == parts.tolist(), "alone in its object"


def test_islands_without_a_center_are_divided_and_stay():
    """One id in two pieces: the second has no center and nothing to merge with."""
    labels = np.zeros((20, 60), int)
    labels[:, :24] = labels[5:15, 40:50] = 1
    centers = [(10, 4), (10, 18)]
    for method in METHODS:
        split = split_instances(labels, bumps(centers, labels.shape), centers=centers, method=method)
        np.testing.assert_array_equal(split > 0, labels > 0)
        assert split.max() == 2


def test_nothing_to_divide():
    empty = np.zeros((6, 7), int)
    assert not split_instances(empty, np.ones((6, 7))).any()
    labels = empty.copy()
    labels[2, 3], labels[4, 4:] = 8, 5
    expected = np.where(labels == 5, 1, np.where(labels == 8, 2, 0))
    for centers in (None, [], [(2, 3)], [(2, 3), (2, 3), (2.4, 3.4)], [(0, 0), (5, 5)]):
        split = split_instances(labels, np.zeros((6, 7)), centers=centers)
        np.testing.assert_array_equal(split, expected)
        assert split.dtype == np.int32


@pytest.mark.parametrize("method", METHODS)
def test_objects_with_as_many_centers_as_pixels_and_pixels_on_a_line(method):
    line = np.ones((1, 24), int)
    center_map = np.full((1, 24), 0.5)
    split = split_instances(line, center_map, centers=[(0, 5), (0, 18)], method=method)
    np.testing.assert_array_equal(split, [[1] * 12 + [2] * 12])
    everywhere = np.argwhere(np.ones((2, 4), bool))
    crowded = split_instances(np.ones((2, 4), int), np.ones((2, 4)), centers=everywhere, method=method, min_size=0)
    assert crowded.min() == 1 and crowded.max() <= 8
    assert split_instances(np.ones((2, 4), int), np.ones((2, 4)), centers=everywhere, method=method).max() == 1


GOOD = np.ones((3, 4), int), np.full((3, 4), 0.5)


@pytest.mark.parametrize(
    "labels, center_map, options, word", [
        (np.ones((3, 4)), GOOD[1], {}, "labels: .* float64"), (-GOOD[0], GOOD[1], {}, "labels: .* -1"),
        (GOOD[0], np.full((3, 4), np.nan), {}, "center_map: 12 of 12 .* nan"),
        (GOOD[0], np.full((3, 4), 1.01), {}, r"center_map: .* in \[0, 1\]; the first is 1.01"),
        (GOOD[0], np.full((3, 5), 0.5), {}, r"center_map: .* \(3, 4\) .* \(3, 5\)"),
        (GOOD[0], np.full((3, 4), "a"), {}, "center_map: .* <U1"),
        (*GOOD, dict(centers=[(0, 4)]), "centers: 1 of 1 points lie outside"),
        (*GOOD, dict(centers=[(0, 0, 1)]), r"centers: .* \(1, 3\)"),
        (*GOOD, dict(method="gm"), "gmm, gmm-tied, .* got 'gm'"), (*GOOD, dict(floor=-0.1), "got -0.1"),
        (*GOOD, dict(floor=np.nan), "got nan"),
    ],
)
def test_bad_input(labels, center_map, options, word):
    with pytest.raises(DataError, match=word):
        split_instances(labels, center_map, **options)


@pytest.mark.slow
@pytest.mark.data
def test_true_centers_divide_the_true_foreground_of_real_images():
    """With all centers right, clumps come apart nearly as annotated; without a split AJI is about 0.7."""
    if "monuseg" not in available():
        pytest.skip("monuseg is not in the data folder")
    scores = {"none": [], "gmm": [], "gmm, floor 0": [], "nearest": []}
    for sample in load_dataset("monuseg", "test"):
        whole, dots = components(sample.labels > 0), box_centers(sample.labels)
        center_map = bumps(dots, whole.shape)
        found = {
            "none": whole,
            "gmm": split_instances(whole, center_map, centers=dots),
            "gmm, floor 0": split_instances(whole, center_map, centers=dots, floor=0),
            "nearest": split_instances(whole, center_map, centers=dots, method="nearest"),
        }
        for name, split in found.items():
            np.testing.assert_array_equal(split > 0, sample.labels > 0)
            scores[name].append((aji(sample.labels, split), object_dice(sample.labels, split)))
    mean = {name: np.mean(values, axis=0) for name, values in scores.items()}
    assert mean["none"][0] == pytest.approx(0.706, abs=0.01) and mean["none"][1] == pytest.approx(0.899, abs=0.005)
    assert mean["gmm"][0] > 0.98 and mean["gmm"][1] > 0.99
    assert mean["gmm"][0] > max(mean["gmm, floor 0"][0], mean["nearest"][0]) + 0.005
