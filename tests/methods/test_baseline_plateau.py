"""The learning rate on a plateau: the rule by hand, and that an interruption does not show."""

import copy

import pytest
import torch
from torch import nn

from nucseg.methods.baselines.plateau import PlateauBatches


class OneProcess:
    """Broadcasts to nobody."""

    def broadcast(self, value):
        return value


class SecondProcess:
    """Hears what the first process says."""

    def __init__(self, said):
        self.said = said

    def broadcast(self, value):
        return self.said


def source(optimizer, process=None):
    process = OneProcess() if process is None else process
    return PlateauBatches(lambda epoch, generator: [epoch], optimizer, process, 0.5, 2)


def adam():
    return torch.optim.Adam(nn.Linear(1, 1).parameters(), 0.8)


#: Losses, and the rate after each: it falls with the third loss in a row that is not below the best.
LOSSES = [5, 4, 4, 4.1, 3, 3.5, 3.4, 3.3, 3.2, 3.1, 3.05, 2, 2, 2, 2]
RATES = [0.8] * 7 + [0.4] * 3 + [0.2] * 4 + [0.1]


def test_the_rate_falls_when_the_loss_stalls():
    optimizer = adam()
    batches, found = source(optimizer), []
    for epoch, loss in enumerate(LOSSES, start=1):
        assert batches(epoch, None) == [epoch]
        batches.step(loss)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx(RATES)


@pytest.mark.parametrize("stop", range(1, len(LOSSES)))
def test_an_interruption_does_not_show(stop, tmp_path):
    first = adam()
    batches = source(first)
    for loss in LOSSES[:stop]:
        batches.step(loss)
    torch.save(first.state_dict(), tmp_path / "optimizer")
    second = adam()
    batches, found = source(second), []  # made before the state is loaded, as in training
    second.load_state_dict(torch.load(tmp_path / "optimizer", weights_only=True))
    for loss in LOSSES[stop:]:
        batches.step(loss)
        found.append(second.param_groups[0]["lr"])
    assert found == pytest.approx(RATES[stop:])


def test_the_memory_does_not_change_the_steps():
    network = nn.Linear(3, 1)
    other = copy.deepcopy(network)
    with_memory, without = (torch.optim.Adam(n.parameters(), 0.1) for n in (network, other))
    source(with_memory).step(1.0)
    for module, optimizer in ((network, with_memory), (other, without)):
        module(torch.ones(2, 3)).sum().backward()
        optimizer.step()
    assert torch.equal(network.weight, other.weight)


def test_all_processes_have_the_rate_of_the_first():
    parts = nn.Linear(1, 1)
    optimizer = torch.optim.Adam([{"params": [parts.weight]}, {"params": [parts.bias]}], 0.8)
    source(optimizer, SecondProcess(0.2))(3, None)
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.2]
