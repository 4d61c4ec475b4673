"""Training can be killed at any point and ends the same; what goes wrong is named and nothing good is lost."""

import importlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from nucseg.engine import fabric, fit, load_weights
from nucseg.errors import DataError, NucsegError

training = importlib.import_module("nucseg.engine.fit")  # the package has the function under this name

CONFIG = {"width": 8, "lr": 0.05}


def problem(seed=0):
    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        torch.nn.Linear(3, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1)
    )
    return network, torch.optim.Adam(network.parameters(), lr=0.05)


def batches(epoch, draws):
    for _ in range(4):
        x = torch.randn(16, 3, generator=draws)
        yield {"x": x, "y": x.sum(dim=1, keepdim=True), "names": ["a", "b"]}


def loss(network, batch):
    return torch.nn.functional.mse_loss(network(batch["x"]), batch["y"])


def run(folder, epochs, **options):
    network, optimizer = problem()
    plain = fabric(device="cpu", precision="32-true")
    options = {"config": CONFIG, "loss": loss, "batches": batches, "checkpoint_seconds": 0, **options}
    history = fit(network, optimizer, epochs=epochs, run_dir=folder, fabric=plain, progress=False, **options)
    return network, history


def same(first, second):
    return all(torch.equal(a, second.state_dict()[name]) for name, a in first.state_dict().items())


def test_a_second_run_in_the_same_folder_waits_and_does_not_train_again(tmp_path):
    started, drawn = threading.Event(), []

    def slow(epoch, draws):
        drawn.append(epoch)
        started.set()
        for batch in batches(epoch, draws):
            time.sleep(0.01)
            yield batch

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run, tmp_path, 3, batches=slow)
        started.wait()
        second, history = run(tmp_path, 3, batches=slow)
    assert drawn == [1, 2, 3]
    assert len(history.epochs) == 3 and same(first.result()[0], second)


def test_checkpoints_are_as_far_apart_as_asked(tmp_path, monkeypatch):
    written, scores = [], iter([1.0, 3.0, 2.0, 2.5, 2.0])
    original = training.save_checkpoint
    monkeypatch.setattr(training, "save_checkpoint", lambda path, state, config: (
        written.append(len(state["history"]["epochs"])), original(path, state, config)))
    weights = {}

    def validate(network):
        weights[len(weights) + 1] = {name: value.clone() for name, value in network.state_dict().items()}
        return next(scores)

    # The first epoch has nothing to be near to; the last one always writes, and with it the best weights.
    _, history = run(tmp_path, 5, validate=validate, checkpoint_seconds=3600)
    assert written == [1, 5] and history.best_epoch == 2
    best, _ = problem(seed=1)
    load_weights(tmp_path / "best.safetensors", best)
    assert all(torch.equal(value, weights[2][name]) for name, value in best.state_dict().items())


def test_it_learns_and_writes_the_best_weights(tmp_path):
    held_out = torch.randn(200, 3, generator=torch.Generator().manual_seed(9))

    def validate(network):
        return -loss(network, {"x": held_out, "y": held_out.sum(dim=1, keepdim=True)}).item()

    _, history = run(tmp_path, 30, validate=validate)
    # A constant answer leaves the whole variance; a network that learned explains most of it.
    assert -history.best_score < 0.3 * held_out.sum(dim=1).var()
    scores = [line["score"] for line in history.epochs]
    assert history.best_score == max(scores) and history.best_epoch == 1 + scores.index(max(scores))
    best, _ = problem(seed=1)
    load_weights(tmp_path / "best.safetensors", best)
    assert validate(best.eval()) == pytest.approx(history.best_score)


def test_validation_every_other_epoch_and_after_the_last(tmp_path):
    scores = iter([3.0, 1.0, 2.0])
    trained = []

    def validate(network):
        trained.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return next(scores)

    _, history = run(tmp_path / "some", 5, validate=validate, validate_every=2)
    assert [line["score"] for line in history.epochs] == [None, 3.0, None, 1.0, 2.0]
    assert (history.best_epoch, history.best_score) == (2, 3.0)
    best, _ = problem(seed=1)
    load_weights(tmp_path / "some" / "best.safetensors", best)
    assert all(torch.equal(tensor, best.state_dict()[name]) for name, tensor in trained[0].items())
    whole, _ = run(tmp_path / "none", 5)
    assert all(torch.equal(tensor, whole.state_dict()[name]) for name, tensor in trained[2].items())


def test_nothing_is_best_before_the_first_validation(tmp_path):
    def validate(network):
        assert not (tmp_path / "best.safetensors").exists()
        return 0.0

    run(tmp_path, 3, validate=validate, validate_every=10)
    assert (tmp_path / "best.safetensors").exists()
    with pytest.raises(NucsegError, match="validate_every: expected 1 or more, got 0"):
        run(tmp_path, 3, validate=validate, validate_every=0)


def test_two_halves_equal_a_whole(tmp_path):
    whole, history = run(tmp_path / "whole", 6)
    run(tmp_path / "halves", 2)
    halves, resumed = run(tmp_path / "halves", 6)
    assert same(whole, halves)
    assert [line["loss"] for line in resumed.epochs] == [line["loss"] for line in history.epochs]
    again, _ = run(tmp_path / "halves", 6)
    assert same(whole, again)


def convolutional():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 1, 2))
    return network, torch.optim.Adam(network.parameters(), lr=0.05, fused=True)


def run_images(folder, epochs):
    network, optimizer = convolutional()
    history = fit(
        network,
        optimizer,
        lambda epoch, draws: ({"image": torch.randn(2, 3, 6, 6, generator=draws)} for _ in range(3)),
        lambda network, batch: (network(batch["image"]) - batch["image"][:, :1, 3:, 3:]).square().mean(),
        epochs=epochs,
        run_dir=folder,
        config={},
        fabric=fabric(device="cpu", precision="32-true"),
        progress=False,
    )
    return network, history


def test_the_order_of_values_in_memory_changes_no_weights(tmp_path):
    whole, _ = run_images(tmp_path / "whole", 4)
    assert whole[0].weight.is_contiguous(memory_format=torch.channels_last)
    fresh, _ = convolutional()
    assert fresh[0].weight.is_contiguous()
    load_weights(tmp_path / "whole" / "best.safetensors", fresh)
    assert same(fresh, whole) and fresh[0].weight.is_contiguous()
    run_images(tmp_path / "other", 2)
    path = tmp_path / "other" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    for memory in content["state"]["optimizer"]["state"].values():
        memory.update({name: value.contiguous() for name, value in memory.items()})
    torch.save(content, path)
    assert same(run_images(tmp_path / "other", 4)[0], whole)


def test_another_seed_is_another_run(tmp_path):
    assert not same(run(tmp_path / "a", 2)[0], run(tmp_path / "b", 2, seed=1)[0])


def test_killed_in_the_middle_of_an_epoch_and_resumed(tmp_path):
    code = textwrap.dedent(
        """
        import os, signal, sys
        from importlib.util import module_from_spec, spec_from_file_location
        spec = spec_from_file_location("training", sys.argv[1])
        training = module_from_spec(spec)
        spec.loader.exec_module(training)

        def dying(epoch, draws):
            for step, batch in enumerate(training.batches(epoch, draws)):
                if (epoch, step) == (4, 2):
                    os.kill(os.getpid(), signal.SIGKILL)
                yield batch

        training.run(sys.argv[2], 6, batches=dying)
        """
    )
    killed = subprocess.run([sys.executable, "-c", code, __file__, str(tmp_path / "killed")], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not list((tmp_path / "killed").glob(".*"))
    resumed, history = run(tmp_path / "killed", 6)
    whole, expected = run(tmp_path / "whole", 6)
    assert same(resumed, whole)
    assert [line["loss"] for line in history.epochs] == [line["loss"] for line in expected.epochs]


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    def failing(network, batch):
        failing.steps += 1
        return loss(network, batch) * (float("nan") if failing.steps == 10 else 1)

    failing.steps = 0
    message = r"epoch 3, step 2: the loss is nan \(images: a, b\); last good checkpoint: .*last\.ckpt"
    with pytest.raises(NucsegError, match=message):
        run(tmp_path, 5, loss=failing)
    whole, _ = run(tmp_path / "whole", 5)
    assert same(run(tmp_path, 5)[0], whole)


def test_other_settings_are_refused_and_named(tmp_path):
    run(tmp_path, 1)
    with pytest.raises(DataError, match=r"last\.ckpt: .*lr is 0\.1, was 0\.05; more is 1, was 'absent'"):
        run(tmp_path, 2, config={**CONFIG, "lr": 0.1, "more": 1})
    with pytest.raises(DataError, match="seed is 3, was 0"):
        run(tmp_path, 2, seed=3)


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None])
def test_damaged_checkpoint_is_named(tmp_path, damage):
    run(tmp_path, 1)
    path = tmp_path / "last.ckpt"
    path.write_bytes(path.read_bytes()[:-200] if damage is None else damage)
    with pytest.raises(DataError, match=r"last\.ckpt: not a readable checkpoint"):
        run(tmp_path, 2)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"format": 1, "config": {}, "state": Evil()}, tmp_path / "last.ckpt")
    with pytest.raises(DataError, match="not a readable checkpoint"):
        run(tmp_path, 1)
    assert not (tmp_path / "ran").exists()


def test_weights_that_do_not_fit_are_named(tmp_path):
    run(tmp_path, 1)
    with pytest.raises(DataError, match=r"best\.safetensors: these weights cannot be used here"):
        load_weights(tmp_path / "best.safetensors", torch.nn.Linear(2, 2))
    (tmp_path / "best.safetensors").write_bytes(json.dumps({}).encode())
    with pytest.raises(DataError, match=r"best\.safetensors"):
        load_weights(tmp_path / "best.safetensors", problem()[0])


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(NucsegError, match="epoch 1: there is no batch"):
        run(tmp_path, 1, batches=lambda epoch, draws: [])
