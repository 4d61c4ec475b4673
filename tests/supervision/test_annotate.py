"""A whole dataset as an annotator leaves it: dots that depend on the seed and the image's name, and no masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucseg.data.sample import Dataset, Sample
from nucseg.errors import DataError
from nucseg.supervision import annotate_dots

NAMES = ("a", "b", "c", "d")


def blocks(name, side=10):
    """A map of side x side nuclei of 2 x 3 px, so that the dot of nucleus (i, j) is (4 i, 5 j + 1)."""
    labels = np.zeros((4 * side, 5 * side), int)
    numbers = np.arange(1, side * side + 1).reshape(side, side)
    for row, column in np.ndindex(2, 3):
        labels[row::4, column::5] = numbers
    image = np.full((*labels.shape, 3), 10 + NAMES.index(name), np.uint8)
    return Sample(name, image, labels, group=f"patient {name}", meta={"organ": "kidney"})


def dataset(names=NAMES, read=blocks):
    return Dataset("blocks", names, read, {n: f"patient {n}" for n in names}, "checksum")


def every_dot(side=10):
    return {(4 * i, 5 * j + 1) for i in range(side) for j in range(side)}


def dots(sample):
    return {tuple(point) for point in sample.points.tolist()}


@given(st.floats(0, 1), st.integers(0, 5))
def test_as_many_dots_as_asked_for_all_of_them_true(ratio, seed):
    for sample in annotate_dots(dataset(), ratio, seed):
        assert len(dots(sample)) == len(sample.points) == int(ratio * 100 + 1e-9)
        assert dots(sample) <= every_dot()


def test_masks_are_gone_and_the_rest_stays():
    source, annotated = dataset(), annotate_dots(dataset(), 0.5)
    assert (annotated.name, annotated.ids, annotated.groups) == (source.name, source.ids, source.groups)
    assert annotated.checksum == source.checksum
    for before, after in zip(source, annotated):
        assert after.labels is None and before.labels is not None
        np.testing.assert_array_equal(after.image, before.image)
        assert (after.id, after.group, after.meta) == (before.id, before.group, before.meta)
    assert dots(annotate_dots(dataset())["a"]) == every_dot(), "all dots by default"


@given(st.lists(st.sampled_from(NAMES), min_size=1, unique=True), st.integers(0, 3))
def test_the_draw_depends_on_seed_and_name_alone(names, seed):
    def other_colors(name):
        sample = blocks(name)
        return Sample(name, 255 - sample.image, sample.labels, group="another")

    annotated = annotate_dots(dataset(), 0.3, seed)
    changed = annotate_dots(dataset(names, other_colors), 0.3, seed)
    for name in names:
        expected = dots(annotated[name])
        assert dots(annotated.subset(names)[name]) == expected, "of a part, in another order"
        assert dots(changed[name]) == expected and dots(changed[name]) == expected, "also when read again"


def test_other_seeds_and_names_give_other_dots():
    drawn = [frozenset(dots(sample)) for seed in range(3) for sample in annotate_dots(dataset(), 0.5, seed)]
    assert len(set(drawn)) == 12


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 3))
def test_a_larger_share_keeps_the_dots_of_a_smaller_one(one, other, seed):
    few, many = (annotate_dots(dataset(), ratio, seed) for ratio in sorted((one, other)))
    for sample in few:
        assert dots(sample) <= dots(many[sample.id])


def test_drawing_with_replacement_keeps_each_dot_once():
    kept = []
    for seed in range(25):
        for sample in annotate_dots(dataset(), 0.5, seed, replacement=True):
            assert len(dots(sample)) == len(sample.points) and dots(sample) <= every_dot()
            kept.append(len(sample.points) / 100)
    # A dot escapes 50 draws from 100 with probability 0.99 ** 50; the mean of 100 images is off by less than 0.01.
    assert np.mean(kept) == pytest.approx(1 - 0.99**50, abs=0.01)


def test_dots_of_the_dataset_itself_are_thinned():
    own = np.array([[1.5, 2.5], [3.0, 4.0], [7.0, 0.0], [0.0, 9.0]])

    def read(name):
        return Sample(name, np.zeros((10, 10, 3), np.uint8), points=own)

    kept = annotate_dots(dataset(read=read), 0.5)["a"].points
    assert len(kept) == 2 and all(point in own.tolist() for point in kept.tolist())


def test_images_without_nuclei_and_shares_of_nothing_have_no_dots():
    def read(name):
        return Sample(name, np.zeros((10, 10, 3), np.uint8), np.zeros((10, 10), int))

    assert annotate_dots(dataset(read=read), 1.0)["a"].points.shape == (0, 2)
    assert annotate_dots(dataset(read=read), 1.0, replacement=True)["a"].points.shape == (0, 2)
    assert annotate_dots(dataset(), 0.0)["a"].points.shape == (0, 2)


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_a_share_out_of_range_is_refused_at_once(ratio):
    with pytest.raises(DataError, match="ratio must be between 0 and 1"):
        annotate_dots(dataset(), ratio)


def test_an_image_with_nothing_to_annotate_with_is_named():
    annotated = annotate_dots(dataset(read=lambda name: Sample(name, np.zeros((10, 10, 3), np.uint8))))
    with pytest.raises(DataError, match=r"^c: has neither labels nor dots"):
        annotated["c"]
