"""Cross-validation: folds of images, and folds that never divide a group."""

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nucseg.errors import DataError
from nucseg.seeding import generator


@dataclass(frozen=True)
class Fold:
    """One round of cross-validation.

    Parameters
    ----------
    index : int
        Number of the round, from 0.
    train, val, test : tuple of str
        Image ids; every id of the dataset is in exactly one of them.
    """

    index: int
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    def of(self, dataset):
        """Return (train, val, test) as three datasets."""
        return dataset.subset(self.train), dataset.subset(self.val), dataset.subset(self.test)


def image_folds(ids, k=10, seed=12, order="val-test"):
    """Return k rounds of cross-validation over images.

    The ids are sorted, shuffled by `seed` and cut into k parts whose sizes differ by at most one; every image
    is tested exactly once and validated exactly once. Split and Expand (10 folds, 8:1:1) validates on part i
    and tests on part i + 1; DoNuSeg (5 folds, 3:1:1) leaves it open: part i tests, part i + 1 validates.

    Parameters
    ----------
    ids : sequence of str
        Image ids; their order does not matter.
    k : int
        Number of parts, 3 or more.
    seed : int
        Seed of the shuffle.
    order : {"val-test", "test-val"}
        Which of parts i and i + 1 (modulo k) is which in round i.

    Returns
    -------
    tuple of Fold

    Raises
    ------
    DataError
        Fewer ids than parts, k below 3, a repeated id, or an unknown order.
    """
    ids = _checked(ids, k)
    shuffled = [ids[i] for i in generator(seed, "image-folds").permutation(len(ids))]
    parts = [tuple(sorted(shuffled[i] for i in part)) for part in np.array_split(np.arange(len(ids)), k)]
    return _rounds(parts, order)


def group_folds(ids, groups, k=5, seed=12, order="test-val"):
    """Return k rounds of cross-validation in which no group is divided.

    Groups are dealt from the largest to the smallest, each to the part with the fewest images so far; `seed`
    orders groups of one size.

    Parameters
    ----------
    ids : sequence of str
        Image ids; their order does not matter.
    groups : mapping of str to str
        Group (patient, organ ...) of each id; "" means a group of its own.
    k : int
        Number of parts, 3 or more.
    seed : int
        Seed of the order among groups of one size.
    order : {"val-test", "test-val"}
        As in :func:`image_folds`.

    Returns
    -------
    tuple of Fold

    Raises
    ------
    DataError
        As :func:`image_folds`; also fewer groups than parts.
    """
    members = defaultdict(list)
    for i in _checked(ids, k):
        members[("group", groups[i]) if groups.get(i) else ("image", i)].append(i)
    if len(members) < k:
        raise DataError(f"{k} folds need at least {k} groups, got {len(members)}")
    keys = sorted(members)
    keys = [keys[i] for i in generator(seed, "group-folds").permutation(len(keys))]
    keys.sort(key=lambda key: -len(members[key]))
    parts = [[] for _ in range(k)]
    for key in keys:
        min(parts, key=len).extend(members[key])
    folds = _rounds([tuple(sorted(part)) for part in parts], order)
    for fold in folds:
        check_no_leak({"train": fold.train, "val": fold.val, "test": fold.test}, groups)
    return folds


def check_no_leak(splits, groups):
    """Raise unless the splits share neither an image nor a group.

    Parameters
    ----------
    splits : mapping of str to sequence of str
        Ids of each split.
    groups : mapping of str to str
        Group of each id; "" (unknown) is never shared.

    Raises
    ------
    DataError
        An id or group in two splits; names it and both splits.
    """
    seen = {}
    for split, ids in splits.items():
        for i in ids:
            for kind, name in (("image", i), ("group", groups.get(i, ""))):
                if name and seen.setdefault((kind, name), split) != split:
                    raise DataError(f"{kind} {name!r} is in both {seen[kind, name]} and {split}")


def _checked(ids, k):
    ids = sorted(ids)
    if k < 3:
        raise DataError(f"cross-validation with train, validation and test parts needs k >= 3, got {k}")
    if len(ids) < k:
        raise DataError(f"{k} folds need at least {k} images, got {len(ids)}")
    if len(set(ids)) < len(ids):
        raise DataError(f"repeated id {next(a for a, b in pairwise(ids) if a == b)!r}")
    return ids


def _rounds(parts, order):
    if order not in ("val-test", "test-val"):
        raise DataError(f"order is 'val-test' or 'test-val', got {order!r}")
    k, folds = len(parts), []
    for i in range(k):
        first, second = parts[i], parts[(i + 1) % k]
        rest = (part for j, part in enumerate(parts) if j not in (i, (i + 1) % k))
        train = tuple(sorted(name for part in rest for name in part))
        val, test = (first, second) if order == "val-test" else (second, first)
        folds.append(Fold(i, train, val, test))
    return tuple(folds)
