"""A look at the machine: what nucseg would run on, and whether it works."""

import shutil
import time
from dataclasses import dataclass

import psutil

from nucseg.data import available, data_root
from nucseg.study.records import versions


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was looked at, what was found, and advice where something is wrong."""

    subject: str
    found: str
    advice: str = ""


def examine(root=None):
    """Return what there is to know about this machine before a long run.

    Parameters
    ----------
    root : path-like, optional
        Data folder; see :func:`nucseg.data.load_dataset`.

    Returns
    -------
    list of Finding
        Versions, processor, memory, device, bfloat16 support, data and one forward pass, in that order.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    memory = psutil.virtual_memory()
    disk = shutil.disk_usage(".")
    findings = [Finding(name, version) for name, version in versions().items()]
    findings += [
        Finding(
            "processor",
            f"{psutil.cpu_count(logical=False) or '?'} cores, {psutil.cpu_count()} threads, "
            f"PyTorch uses {torch.get_num_threads()}",
        ),
        Finding(
            "memory",
            f"{memory.available / 2**30:.1f} GiB free of {memory.total / 2**30:.1f} GiB",
            "under 4 GiB free: use smaller tiles" if memory.available < 4 * 2**30 else "",
        ),
        Finding(
            "disk",
            f"{disk.free / 2**30:.1f} GiB free here",
            "under 5 GiB free: a full study needs more" if disk.free < 5 * 2**30 else "",
        ),
        _device(torch),
    ]
    findings += [_forward(torch, device, torch.float32), _forward(torch, device, torch.bfloat16)]
    return findings + _data(root)


def _device(torch):
    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        return Finding(
            "device", f"{torch.cuda.device_count()} x {', '.join(sorted(names))} (CUDA {torch.version.cuda})"
        )
    if shutil.which("nvidia-smi") is None:
        return Finding("device", "CPU (no NVIDIA GPU on this machine)")
    cause = (
        "this PyTorch has no CUDA support"
        if torch.version.cuda is None
        else f"PyTorch cannot use CUDA {torch.version.cuda}"
    )
    return Finding(
        "device",
        "CPU, although an NVIDIA driver is installed",
        f"{cause}: the GPU would be silently unused; check the driver or install a matching PyTorch",
    )


def _forward(torch, device, dtype):
    """Time one ResNet-34 forward pass on a 224x224 image, the smallest thing that proves the stack works."""
    from torchvision.models import resnet34

    from nucseg.engine import hardware_bfloat16

    name = str(dtype).removeprefix("torch.")
    torch.manual_seed(0)
    network, image = resnet34(weights=None).eval().to(device), torch.rand(1, 3, 224, 224, device=device)
    try:
        with torch.inference_mode(), torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32):
            network(image)
            start = time.perf_counter()
            output = network(image)
            finite = bool(torch.isfinite(output).all())
    except RuntimeError as error:
        return Finding(f"forward pass, {name}", f"failed: {error}", f"do not train in {name} here")
    seconds = time.perf_counter() - start
    text = f"ResNet-34 on 224x224 in {1000 * seconds:.0f} ms"
    if dtype == torch.bfloat16:
        text += " (in hardware)" if hardware_bfloat16(device) else " (emulated)"
    return Finding(
        f"forward pass, {name}", text, "" if finite else "the output is not finite: reinstall PyTorch"
    )


def _data(root):
    found = available(root)
    real = [name for name in found if not name.startswith("synthetic-")]
    folder = data_root(root)
    advice = "" if real else "no real data: chapters run on synthetic images; see 'nucseg data list'"
    return [Finding("data", f"{', '.join(real) or 'synthetic only'} (looked in {folder})", advice)]


def format_report(findings):
    """Return the findings as aligned text, advice on a line of its own marked with an exclamation mark."""
    width = max(len(finding.subject) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.subject:<{width}}  {finding.found}")
        if finding.advice:
            lines.append(f"{'':<{width}}  ! {finding.advice}")
    return "\n".join(lines)
