"""Devices and precisions by name: what is chosen, and what is refused."""

import io

import pytest
import torch

from nucseg.engine import choose_device, choose_precision, fabric, hardware_bfloat16
from nucseg.engine import device as module
from nucseg.errors import NucsegError, UnknownNameError


@pytest.fixture
def gpus(monkeypatch):
    """Let PyTorch report a number of GPUs, with or without bfloat16."""

    def report(count, bfloat16=True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bfloat16)

    return report


@pytest.fixture
def processor(monkeypatch):
    """Let the system describe another processor; None stands for a system without such a description."""

    def describe(text):
        def opened(path, **options):
            assert path == "/proc/cpuinfo"
            if text is None:
                raise FileNotFoundError(path)
            return io.StringIO(text)

        monkeypatch.setattr(module, "open", opened, raising=False)

    return describe


def test_auto_takes_the_gpu_where_there_is_one(gpus):
    gpus(1)
    assert choose_device() == torch.device("cuda")
    assert choose_device("cpu") == torch.device("cpu")
    gpus(0)
    assert choose_device() == torch.device("cpu")


def test_cuda_without_a_gpu_is_refused(gpus):
    gpus(0)
    with pytest.raises(NucsegError, match="finds no GPU"):
        choose_device("cuda")
    with pytest.raises(NucsegError, match="finds no GPU"):
        fabric(device="cuda")


@pytest.mark.parametrize("name", ["gpu", "CPU", "", None, "cuda:99"])
def test_unknown_devices_are_refused_with_the_known_ones(name):
    with pytest.raises(UnknownNameError, match="known: auto, cpu, cuda"):
        choose_device(name)


@pytest.mark.parametrize("name", ["16-mixed", "bf16", 32, None])
def test_unknown_precisions_are_refused_with_the_known_ones(name):
    with pytest.raises(UnknownNameError, match="known: auto, 32-true, bf16-mixed"):
        choose_precision("cpu", name)


@pytest.mark.parametrize(
    ("text", "precision"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16\n", "bf16-mixed"),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", "bf16-mixed"),
        ("Features\t: fp asimd bf16\n", "bf16-mixed"),
        ("flags\t\t: fpu avx2 avx512f\nvmx flags\t: vnmi\n", "32-true"),
        ("flags\t\t: fpu no_avx512_bf16_here\n", "32-true"),
        ("model name\t: bf16\n", "32-true"),
        (None, "32-true"),
    ],
)
def test_the_cpu_computes_in_bfloat16_only_where_its_flags_say_so(processor, text, precision):
    processor(text)
    assert choose_precision("cpu") == precision
    assert hardware_bfloat16(torch.device("cpu")) == (precision == "bf16-mixed")


def test_a_gpu_computes_in_bfloat16_only_in_hardware(gpus, monkeypatch):
    gpus(1)
    assert choose_precision(torch.device("cuda")) == "bf16-mixed"
    # An older GPU: supported, but only by emulation.
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert choose_precision("cuda") == "32-true"


@pytest.mark.parametrize("name", ["32-true", "bf16-mixed"])
def test_a_precision_asked_for_is_taken(processor, name):
    processor(None)
    assert choose_precision("cpu", name) == name


@pytest.mark.parametrize(("precision", "dtype"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)])
def test_fabric_computes_in_the_precision_asked_for(precision, dtype):
    carrier = fabric(device="cpu", precision=precision)
    assert carrier.device == torch.device("cpu")
    assert carrier.world_size == 1
    with carrier.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    network = carrier.setup_module(torch.nn.Linear(2, 1))
    assert network.weight.dtype == torch.float32, "weights stay float32 in both"


def test_fabric_over_two_processes_averages_gradients():
    from lightning_fabric.strategies import DDPStrategy

    assert isinstance(fabric(2, device="cpu").strategy, DDPStrategy)
    assert not isinstance(fabric(1, device="cpu").strategy, DDPStrategy)


@pytest.mark.parametrize("devices", [0, -1, True, 1.0, "auto"])
def test_fabric_refuses_a_number_of_devices_that_is_none(devices):
    with pytest.raises(NucsegError, match="devices: expected a positive integer"):
        fabric(devices, device="cpu")


def test_fabric_refuses_more_gpus_than_there_are(gpus):
    gpus(1)
    with pytest.raises(NucsegError, match="2 GPUs are asked for, PyTorch finds 1"):
        fabric(2)
