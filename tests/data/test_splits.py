from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucseg.data.splits import Fold, check_no_leak, group_folds, image_folds
from nucseg.errors import DataError

IDS = [f"image-{n}" for n in range(30)]


@given(st.integers(3, 12), st.integers(12, 60), st.integers(0, 99), st.sampled_from(["val-test", "test-val"]))
def test_every_image_is_tested_and_validated_once(k, n, seed, order):
    ids = [f"{i:03d}" for i in range(n)]
    folds = image_folds(ids, k, seed, order)
    assert [fold.index for fold in folds] == list(range(k))
    for part in ("val", "test"):
        assert Counter(i for fold in folds for i in getattr(fold, part)) == Counter(ids)
    for fold in folds:
        assert sorted(fold.train + fold.val + fold.test) == ids
        assert {len(fold.val), len(fold.test)} <= {n // k, n // k + 1}


def test_the_sizes_of_split_and_expand():
    assert {(len(f.train), len(f.val), len(f.test)) for f in image_folds(IDS, 10)} == {(24, 3, 3)}
    fifty = [str(n) for n in range(50)]
    assert {(len(f.train), len(f.val), len(f.test)) for f in image_folds(fifty, 10)} == {(40, 5, 5)}


def test_part_i_validates_and_part_i_plus_one_tests():
    folds = image_folds(IDS, 10, order="val-test")
    assert all(folds[i].test == folds[(i + 1) % 10].val for i in range(10))
    folds = image_folds(IDS, 5, order="test-val")
    assert all(folds[i].val == folds[(i + 1) % 5].test for i in range(5))


def test_folds_depend_on_the_seed_only():
    assert image_folds(IDS, 5) == image_folds(reversed(IDS), 5)
    assert image_folds(IDS, 5, seed=1) != image_folds(IDS, 5, seed=2)


@given(st.lists(st.integers(1, 9), min_size=5, max_size=15), st.integers(0, 9))
def test_groups_are_never_divided_and_parts_stay_balanced(sizes, seed):
    groups = {f"{g}-{n}": f"patient {g}" for g, size in enumerate(sizes) for n in range(size)}
    folds = group_folds(groups, groups, 5, seed)
    parts = [fold.test for fold in folds]
    assert sorted(i for part in parts for i in part) == sorted(groups)
    for fold in folds:
        homes = [{groups[i] for i in part} for part in (fold.train, fold.val, fold.test)]
        assert not homes[0] & homes[1] and not homes[0] & homes[2] and not homes[1] & homes[2]
    # Dealing the largest first, each to the emptiest part: no two parts differ by more than the largest group.
    assert max(map(len, parts)) - min(map(len, parts)) <= max(sizes)


def test_images_of_unknown_group_stand_alone():
    folds = group_folds(IDS[:10], {i: "" for i in IDS}, 5)
    assert {len(fold.test) for fold in folds} == {2}


def test_a_leak_is_found_and_named():
    groups = {"a": "patient 1", "b": "patient 2", "c": "patient 1", "d": ""}
    check_no_leak({"train": ["a", "c"], "test": ["b", "d"]}, groups)
    with pytest.raises(DataError, match=r"group 'patient 1' is in both train and test"):
        check_no_leak({"train": ["a", "b"], "test": ["c"]}, groups)
    with pytest.raises(DataError, match=r"image 'd' is in both train and test"):
        check_no_leak({"train": ["d"], "test": ["d"]}, groups)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: image_folds(IDS, 2), "k >= 3, got 2"),
    (lambda: image_folds(IDS[:4], 5), "at least 5 images, got 4"),
    (lambda: image_folds(["a", "b", "a"], 3), "repeated id 'a'"),
    (lambda: image_folds(IDS, 5, order="both"), "got 'both'"),
    (lambda: group_folds(IDS, dict.fromkeys(IDS, "one"), 5), "at least 5 groups, got 1"),
])
def test_bad_requests(call, message):
    with pytest.raises(DataError, match=message):
        call()


def test_fold_gives_datasets():
    from nucseg.data import Dataset

    dataset = Dataset("d", IDS, lambda i: i)
    train, val, test = Fold(0, ("image-2", "image-1"), ("image-3",), ("image-4",)).of(dataset)
    assert (train.ids, val.ids, test.ids) == (("image-2", "image-1"), ("image-3",), ("image-4",))
