"""Rates by numbers computed by hand, set before each step, independent of what went before; bounded gradients."""

import math

import pytest
import torch

from nucseg.engine import fabric, fit
from nucseg.engine.schedules import Scheduled, clip_gradients, one_cycle_rates, warm_up_rates
from nucseg.errors import DataError, UnknownNameError


def expected_rate(step, steps, peak):
    """Two halves of a cosine, from peak / 25 to the peak at 30 %, then to 4e-6 of it (Smith and Topin, PyTorch)."""
    turn = 0.3 * steps - 1
    low, floor = peak / 25, peak / 25 / 1e4
    if step <= turn:
        return peak + (low - peak) / 2 * (1 + math.cos(math.pi * step / turn))
    return floor + (peak - floor) / 2 * (1 + math.cos(math.pi * (step - turn) / (steps - 1 - turn)))


def test_rates_follow_two_cosines():
    found = one_cycle_rates(1e-2, 50)
    assert found == pytest.approx([expected_rate(step, 50, 1e-2) for step in range(50)], rel=1e-6)
    assert len(one_cycle_rates(0.1, 1)) == 1


def test_rates_after_a_warm_up():
    cosine = warm_up_rates(0.1, 10, warm_up=2)
    assert cosine[:3] == pytest.approx([0.05, 0.1, 0.1])
    assert cosine[6] == pytest.approx(0.05)
    assert cosine[9] == pytest.approx(0.1 * 0.0380602337)  # (1 + cos(7 pi / 8)) / 2
    steps = warm_up_rates(1.0, 20, warm_up=0, schedule="steps")
    assert steps == pytest.approx([1.0] * 12 + [0.1] * 5 + [0.01] * 3)
    assert max(warm_up_rates(1.0, 10, warm_up=200)) == warm_up_rates(1.0, 10, warm_up=200)[1] == 1.0
    assert warm_up_rates(1.0, 1) == [1.0]


class Three:
    def __len__(self):
        return 3

    def __call__(self, epoch, generator):
        yield from ({"x": torch.ones(1), "names": [f"{epoch}-{i}"]} for i in range(3))


def optimizer_of(value):
    return torch.optim.SGD([value], lr=1.0)


def test_the_rate_is_set_before_each_step_from_its_number_alone():
    optimizer = optimizer_of(torch.zeros(1, requires_grad=True))
    rates = one_cycle_rates(0.5, 12)
    cycle = Scheduled(Three(), optimizer, rates)
    assert len(cycle) == 3
    for epoch in (3, 1, 4):  # as after an interruption
        seen = [optimizer.param_groups[0]["lr"] for _ in cycle(epoch, None)]
        assert seen == rates[3 * (epoch - 1) : 3 * epoch]


def test_an_interrupted_training_goes_on_with_the_same_rates(tmp_path):
    def train(folder, *stops):
        torch.manual_seed(0)
        network = torch.nn.Linear(1, 1)
        optimizer = torch.optim.SGD(network.parameters(), lr=1.0, momentum=0.9, nesterov=True)
        for epochs in stops:
            fit(network, optimizer, Scheduled(Three(), optimizer, one_cycle_rates(0.1, 12)),
                lambda net, batch: net(batch["x"]).square(), epochs=epochs, run_dir=folder, config={},
                fabric=fabric(device="cpu", precision="32-true"), progress=False)
        return network.weight.item()

    assert train(tmp_path / "whole", 4) == train(tmp_path / "broken", 2, 4)


def test_gradients_are_bounded_together():
    first, second = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([first, second], lr=1.0)
    clip_gradients(optimizer, 1.0)
    (30 * first + 40 * second).sum().backward()
    optimizer.step()
    assert (first.item(), second.item()) == pytest.approx((-0.6, -0.8), rel=1e-4)
    optimizer.zero_grad()
    (0.3 * first).sum().backward()
    optimizer.step()
    assert first.item() == pytest.approx(-0.9, rel=1e-4)


def test_bad_input_is_named():
    for wrong in ((0.0, 5), (0.1, 0)):
        with pytest.raises(DataError, match="one cycle"):
            one_cycle_rates(*wrong)
    for wrong in ((0.0, 5), (1.0, 0), (1.0, 5, -1)):
        with pytest.raises(DataError, match="learning rates"):
            warm_up_rates(*wrong)
    with pytest.raises(UnknownNameError, match="triangle"):
        warm_up_rates(1.0, 5, schedule="triangle")
