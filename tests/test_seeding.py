"""Random streams depend on the seed and the names, on nothing else."""

import subprocess
import sys

from nucseg.seeding import generator


def test_streams_are_separate_and_repeatable():
    draws = {
        names: generator(*names).integers(2**60)
        for names in [(0, "a"), (1, "a"), (0, "b"), (0, "a", "b"), (0, "ab")]
    }
    assert len(set(draws.values())) == len(draws)
    assert generator(0, "a").integers(2**60) == draws[(0, "a")]


def test_another_process_with_another_hash_seed_draws_the_same():
    code = "from nucseg.seeding import generator; print(generator(3, 'x', 7).integers(2**60))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{generator(3, 'x', 7).integers(2**60)}\n"}
