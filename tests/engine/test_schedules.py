"""Rates rise, then fall, by numbers computed by hand, and are set before each step."""

import pytest
import torch

from nucseg.engine.schedules import Scheduled, warm_up_rates
from nucseg.errors import DataError, UnknownNameError


def test_rates_by_hand():
    cosine = warm_up_rates(0.1, 10, warm_up=2)
    assert cosine[:3] == pytest.approx([0.05, 0.1, 0.1])
    assert cosine[6] == pytest.approx(0.05)
    assert cosine[9] == pytest.approx(0.1 * 0.0380602337)  # (1 + cos(7 pi / 8)) / 2
    steps = warm_up_rates(1.0, 20, warm_up=0, schedule="steps")
    assert steps == pytest.approx([1.0] * 12 + [0.1] * 5 + [0.01] * 3)
    assert max(warm_up_rates(1.0, 10, warm_up=200)) == warm_up_rates(1.0, 10, warm_up=200)[1] == 1.0
    assert warm_up_rates(1.0, 1) == [1.0]


def test_each_step_has_its_rate():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=9.0)

    class Source:
        def __len__(self):
            return 3

        def __call__(self, epoch, generator):
            return iter([f"{epoch}{letter}" for letter in "abc"])

    batches = Scheduled(Source(), optimizer, [0, 1, 2, 3, 4, 5])
    assert [(batch, optimizer.param_groups[0]["lr"]) for batch in batches(2, None)] == [("2a", 3), ("2b", 4), ("2c", 5)]


def test_bad_input():
    with pytest.raises(UnknownNameError, match="triangle"):
        warm_up_rates(1.0, 5, schedule="triangle")
    for wrong in ((0.0, 5), (1.0, 0), (1.0, 5, -1)):
        with pytest.raises(DataError):
            warm_up_rates(*wrong)
