"""Where a network runs and in what precision, and the Lightning Fabric that carries both."""

import torch

from nucseg.errors import NucsegError, UnknownNameError

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "32-true", "bf16-mixed")


def choose_device(name="auto"):
    """Return the device that a name stands for.

    Parameters
    ----------
    name : {"auto", "cpu", "cuda"}
        ``"auto"`` is a GPU where PyTorch can use one, else the CPU.

    Returns
    -------
    torch.device

    Raises
    ------
    UnknownNameError
        Another name.
    NucsegError
        ``"cuda"`` where PyTorch finds no GPU.

    Examples
    --------
    >>> choose_device("cpu")
    device(type='cpu')
    """
    if name not in DEVICES:
        raise UnknownNameError(f"unknown device {name!r}; known: {', '.join(DEVICES)}")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise NucsegError("device 'cuda': PyTorch finds no GPU here; see 'nucseg doctor', or use 'auto'")
    return torch.device(name)


def choose_precision(device, name="auto"):
    """Return the precision that a name stands for on a device, as Lightning Fabric calls it.

    Parameters
    ----------
    device : torch.device or str
        What :func:`choose_device` returned.
    name : {"auto", "32-true", "bf16-mixed"}
        ``"auto"`` is ``"bf16-mixed"`` (float32 weights, bfloat16 convolutions and matrix products) where the
        device computes bfloat16 in hardware, else ``"32-true"``. Where it does not, ``"bf16-mixed"`` works,
        but is slower than ``"32-true"``.

    Returns
    -------
    {"32-true", "bf16-mixed"}

    Raises
    ------
    UnknownNameError
        Another name.

    Examples
    --------
    >>> choose_precision("cpu", "32-true")
    '32-true'
    """
    if name not in PRECISIONS:
        raise UnknownNameError(f"unknown precision {name!r}; known: {', '.join(PRECISIONS)}")
    if name == "auto":
        return "bf16-mixed" if hardware_bfloat16(device) else "32-true"
    return name


def hardware_bfloat16(device):
    """Tell whether a device computes bfloat16 in hardware rather than by emulation.

    Parameters
    ----------
    device : torch.device or str
        A GPU or the CPU.

    Returns
    -------
    bool
        False also where the system does not tell (processor flags are read from ``/proc/cpuinfo``).
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return any(flag in _processor_flags() for flag in ("avx512_bf16", "amx_bf16", "bf16"))


def _processor_flags():
    """Return what the first processor can do, in the words of Linux; nothing where there is no such list."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            return next((line for line in stream if line.startswith(("flags", "Features"))), "").split()
    except OSError:
        return []


def fabric(devices=1, *, device="auto", precision="auto"):
    """Return a Lightning Fabric with the chosen device and precision.

    More than one device means as many processes, each with a copy of the network and its share of a batch,
    whose gradients are averaged (distributed data parallel).

    Parameters
    ----------
    devices : int
        Number of GPUs, or of processes on the CPU.
    device : {"auto", "cpu", "cuda"}
        See :func:`choose_device`.
    precision : {"auto", "32-true", "bf16-mixed"}
        See :func:`choose_precision`.

    Returns
    -------
    lightning_fabric.Fabric
        Not launched yet: call its ``launch()`` before use if `devices` is more than 1.

    Raises
    ------
    UnknownNameError
        An unknown device or precision.
    NucsegError
        ``"cuda"`` without a GPU, fewer GPUs than `devices`, or `devices` not a positive integer.
    """
    # Lightning takes as long to import as PyTorch itself, and prediction does without it.
    from lightning_fabric import Fabric

    if not isinstance(devices, int) or isinstance(devices, bool) or devices < 1:
        raise NucsegError(f"devices: expected a positive integer, got {devices!r}")
    chosen = choose_device(device)
    if chosen.type == "cuda" and devices > torch.cuda.device_count():
        raise NucsegError(f"devices: {devices} GPUs are asked for, PyTorch finds {torch.cuda.device_count()}")
    return Fabric(
        accelerator=chosen.type,
        devices=devices,
        strategy="auto" if devices == 1 else "ddp",
        precision=choose_precision(chosen, precision),
    )
