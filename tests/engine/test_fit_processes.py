"""Two processes train as one does: shared batches, one checkpoint, errors for all, and exact resume after a kill.

The tests run this file as a script, which Fabric then starts once more for its second process.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nucseg.engine import fabric, fit
from nucseg.errors import NucsegError

#: Seconds after which a run that hangs is ended.
PATIENCE = 90


def problem(seed, noisy):
    torch.manual_seed(seed)
    extra = [torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5)] if noisy else []
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), *extra, torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(16, 1)
    )
    return network, torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)


def batches(epoch, draws):
    for _ in range(3):
        yield {"image": torch.randn(6, 3, 4, 4, generator=draws), "names": list("abcdef"), "power": 2}


def loss(network, batch):
    image = batch["image"]
    return ((network(image).squeeze(1) - image.mean(dim=(1, 2, 3))).abs() ** batch["power"]).mean()


def train(carrier, folder, noisy, **options):
    network, optimizer = problem(carrier.global_rank, noisy)  # DDP starts from the weights of rank 0
    options = {"batches": batches, "loss": loss, "epochs": 4, "checkpoint_seconds": 0, **options}
    history = fit(network, optimizer, run_dir=folder, config={}, fabric=carrier, progress=False, **options)
    weights = {name: tensor.tolist() for name, tensor in network.state_dict().items()}
    return {"weights": weights, "losses": [line["loss"] for line in history.epochs], "score": history.best_score}


def refused(carrier, folder, **options):
    try:
        train(carrier, folder, noisy=False, **options)
    except NucsegError as error:
        return str(error)


def dying(epoch, draws):
    for step, batch in enumerate(batches(epoch, draws)):
        if (epoch, step, os.environ["LOCAL_RANK"]) == (3, 1, "0"):
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch


def first_script(carrier, folder):
    """Try everything, then begin a run in which the first process is killed."""
    rank, seen, noise = carrier.global_rank, [], []

    def looking(network, batch):
        seen.append(batch)
        noise.append(torch.rand(()).item())
        return loss(network, batch)

    def failing(network, batch):
        return loss(network, batch) * (float("nan") if rank == 1 else 1)

    def validate(network):
        assert rank == 0
        return 0.25

    def uneven(epoch, draws):
        yield {"image": torch.arange(5.0).reshape(5, 1, 1, 1).expand(5, 3, 4, 4), "names": list("abcde"), "power": 2}

    def short(epoch, draws):
        yield {"image": torch.ones(1, 3, 4, 4), "names": ["a"], "power": 2}

    def ragged(epoch, draws):
        yield {"image": torch.ones(6, 3, 4, 4), "names": ["a", "b"], "power": 2}

    found = {
        # A folder for each process shows who writes.
        "exact": train(carrier, folder / f"exact{rank}", noisy=False, validate=validate, validate_every=3),
        "noisy": train(carrier, folder / "noisy", noisy=True),
        "nan": refused(carrier, folder / "nan", loss=failing),
        "short": refused(carrier, folder / "short", batches=short),
        "ragged": refused(carrier, folder / "ragged", batches=ragged),
    }
    train(carrier, folder / "uneven", noisy=False, batches=uneven, loss=looking, epochs=1)
    found["share"] = {"names": seen[0]["names"], "image": seen[0]["image"][:, 0, 0, 0].tolist()}
    found["noise"] = noise
    (folder / f"first{rank}.json").write_text(json.dumps(found))
    train(carrier, folder / "killed", noisy=True, batches=dying)


def second_script(carrier, folder):
    """Go on where the killed run ended."""
    found = train(carrier, folder / "killed", noisy=True)
    (folder / f"second{carrier.global_rank}.json").write_text(json.dumps(found))


def start(name, folder):
    """Run one of the scripts in two processes and return its exit status and messages."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    for variable in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        environment.pop(variable, None)
    command = [sys.executable, __file__, name, str(folder)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        # The pipe closes when both processes have ended, so coming back means that none is left.
        _, messages = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, messages


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def first(folder):
    status, messages = start("first", folder)
    assert status == -signal.SIGKILL, messages
    return [json.loads((folder / f"first{rank}.json").read_text()) for rank in (0, 1)]


def close(weights, expected):
    return all(torch.allclose(torch.tensor(weights[k]), torch.tensor(expected[k]), atol=1e-5) for k in expected)


def test_two_halves_of_a_batch_are_one_batch(first, tmp_path):
    expected = train(fabric(device="cpu", precision="32-true"), tmp_path, noisy=False)
    start = {name: tensor.tolist() for name, tensor in problem(0, noisy=False)[0].state_dict().items()}
    assert not close(start, expected["weights"]), "nothing was learned"
    for found in first:
        assert close(found["exact"]["weights"], expected["weights"])
        assert found["exact"]["losses"] == pytest.approx(expected["losses"], rel=1e-5)
    assert first[0]["exact"]["weights"] == first[1]["exact"]["weights"]


def test_only_rank_0_writes_and_validates_and_all_know_the_score(first, folder):
    assert sorted(path.name for path in (folder / "exact0").iterdir()) == ["best.safetensors", "last.ckpt", "run.lock"]
    assert not (folder / "exact1").exists()
    assert [found["exact"]["score"] for found in first] == [0.25, 0.25]


def test_each_process_has_its_share_of_images_and_its_own_noise(first):
    assert [found["share"]["names"] for found in first] == [["a", "b"], ["c", "d", "e"]]
    assert [found["share"]["image"] for found in first] == [[0, 1], [2, 3, 4]]
    assert first[0]["noise"] != first[1]["noise"]
    # Both end with the same weights and the same running statistics all the same.
    assert first[0]["noisy"] == first[1]["noisy"]


def test_errors_reach_every_process(first):
    for found in first:
        assert "epoch 1, step 1: the loss is nan (images: a, b, c, d, e, f)" in found["nan"]
        assert found["short"] == "batch: 2 processes cannot share 1 images"
        assert "got {'image': 6, 'names': 2}" in found["ragged"]


@pytest.mark.slow
def test_killed_and_resumed(first, folder):
    assert torch.load(folder / "killed" / "last.ckpt", weights_only=True)["state"]["history"]["best_epoch"] == 2
    status, messages = start("second", folder)
    assert status == 0, messages
    for rank in (0, 1):
        found = json.loads((folder / f"second{rank}.json").read_text())
        assert found == first[rank]["noisy"]


if __name__ == "__main__":
    pair = fabric(2, device="cpu", precision="32-true")
    pair.launch()
    {"first": first_script, "second": second_script}[sys.argv[1]](pair, Path(sys.argv[2]))
