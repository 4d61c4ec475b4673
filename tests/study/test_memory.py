"""What is remembered equals what was computed, is computed once, and is never half a file."""

import numpy as np
import pytest

from nucseg.errors import NucsegError
from nucseg.study.measures.memory import Memory

ARRAYS = {
    "heat": np.linspace(0, 1, 35, dtype=np.float32).reshape(5, 7), "blobs": np.eye(4, dtype=np.int32),
    "mask": np.array([True, False]), "nothing": np.zeros((0, 2)),
}
PARTS = ("weights", np.arange(6), {"rules": None})


class Counted:
    """Returns arrays and counts how often."""

    def __init__(self, arrays=ARRAYS):
        self.arrays, self.calls = arrays, 0

    def __call__(self):
        self.calls += 1
        return self.arrays


def same(found, expected):
    """Return whether two dicts hold the same arrays, of the same types."""
    return found.keys() == expected.keys() and all(
        found[name].dtype == array.dtype and np.array_equal(found[name], array) for name, array in expected.items()
    )


def test_computed_once_and_given_back_alike(tmp_path):
    compute = Counted()
    first = Memory(tmp_path).recall(compute, *PARTS)
    later = Memory(str(tmp_path)).recall(compute, *PARTS)
    assert compute.calls == 1 and same(first, ARRAYS) and same(later, ARRAYS)
    first["heat"][:] = 7
    assert same(Memory(tmp_path).recall(compute, *PARTS), ARRAYS), "who changes an array changes nobody else's"


@pytest.mark.parametrize("others", [
    ("weights", np.arange(6), {"rules": 1}), ("weights", np.arange(6)), ("weights", np.arange(6.0), {"rules": None}),
    ("weights", np.arange(6).reshape(2, 3), {"rules": None}), (np.arange(6), "weights", {"rules": None}),
])
def test_whatever_differs_is_kept_apart(tmp_path, others):
    memory, other = Memory(tmp_path), {"heat": np.ones(3)}
    memory.recall(Counted(), *PARTS)
    assert same(memory.recall(Counted(other), *others), other)
    assert same(memory.recall(Counted(other), *PARTS), ARRAYS)


def test_a_file_is_whole_or_absent(tmp_path):
    folder = tmp_path / "maps"

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Memory(folder).recall(interrupted, *PARTS)
    assert not list(tmp_path.rglob("*.*")), "no file is begun before its arrays are there"

    class Unwritable:
        def __array__(self, *_, **__):
            raise OSError(28, "No space left on device")

    with pytest.raises(NucsegError, match=r"cannot write .*\.npz: No space left on device"):
        Memory(folder).recall(lambda: {"heat": np.ones((50, 50)), "last": Unwritable()}, *PARTS)
    assert not list(folder.iterdir()), "what was written until then is gone"
    assert same(Memory(folder).recall(Counted(), *PARTS), ARRAYS)
    assert [path.suffix for path in folder.iterdir()] == [".npz"]


def test_recalling_writes_nothing(tmp_path):
    memory = Memory(tmp_path)
    memory.recall(Counted(), *PARTS)
    (path,) = tmp_path.iterdir()
    before = path.stat().st_mtime_ns
    memory.recall(Counted(), *PARTS)
    assert list(tmp_path.iterdir()) == [path] and path.stat().st_mtime_ns == before


def test_a_damaged_file_is_computed_again(tmp_path):
    memory, compute = Memory(tmp_path), Counted()
    memory.recall(compute, *PARTS)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    middle = bytearray(whole)
    middle[60:90] = b"\xff" * 30
    damaged = [whole[: len(whole) * share // 10] for share in range(10)]
    damaged += [whole[:-1], bytes(middle), b"\0" * 64, b"not an archive"]
    for number, content in enumerate(damaged, start=2):
        path.write_bytes(content)
        assert same(memory.recall(compute, *PARTS), ARRAYS), content[:8]
        assert compute.calls == number and list(tmp_path.iterdir()) == [path]
        assert same(memory.recall(compute, *PARTS), ARRAYS) and compute.calls == number, "mended"
