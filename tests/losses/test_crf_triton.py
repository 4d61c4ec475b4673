"""The GPU kernel of the dense CRF loss: run by Triton's interpreter, compiled for several cards, and on a GPU.

The interpreter runs the kernel on the CPU, in a process of its own because it must be asked for before Triton is
imported. It forgives what a compiler does not, such as types that change in a loop, so the kernel is compiled too.
"""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from nucseg.losses import crf_triton, dense_crf_loss
from nucseg.losses.dense_crf import windowed_sums

needs_triton = pytest.mark.skipif(crf_triton.triton is None, reason="Triton is not installed")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

#: Shape of the batch, spatial and color width, radius. A tile has 8 x 32 pixels.
CASES = {
    "square": ((2, 24, 24), 3, 0.1, 5),
    "odd": ((2, 19, 37), 1.5, 0.3, 2),
    "radius_over_image": ((1, 9, 5), 4, 0.2, 12),
    "strip": ((1, 3, 40), 12, 0.1, 36),
    "column": ((1, 20, 1), 2, 0.1, 9),
    "pixel": ((2, 1, 1), 1, 0.1, 1),
    "sharp_colors": ((1, 9, 9), 3, 1e-4, 3),
}
PUBLISHED = {"published": ((2, 24, 24), 9, 0.1, 27)}
LOSS = ((2, 5, 6), 2, 0.1, 6)

SCRIPT = """
import sys
import numpy as np, torch
from nucseg.losses import crf_triton, dense_crf_loss

given, wanted = np.load(sys.argv[1]), {}
for name in given["names"]:
    arrays = [torch.from_numpy(given[f"{name}_{part}"]) for part in ("prob", "image", "valid")]
    *widths, radius = given[f"{name}_settings"].tolist()
    prob, image, valid = arrays
    if name == "loss":  # the whole function, from what mixed precision gives it, in a layout of strides
        crf_triton.available = lambda device: True
        y = prob.bfloat16().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
        colors = image.contiguous(memory_format=torch.channels_last).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            loss = dense_crf_loss(y, colors, *widths, valid=valid, radius=int(radius))
        loss.backward()
        wanted["loss_energy"], wanted["loss_gradient"] = loss.detach().numpy(), y.grad.float().numpy()
        assert loss.dtype == torch.float32 and y.grad.dtype == torch.bfloat16
        continue
    energy, gradient = crf_triton.windowed_sums(prob, image, valid, *widths, int(radius))
    assert energy.dtype == gradient.dtype == torch.float32
    wanted[f"{name}_energy"], wanted[f"{name}_gradient"] = energy.numpy(), gradient.numpy()
np.savez(sys.argv[2], **wanted)
"""


def scene(shape, seed=0):
    """Smooth colors and a mask with holes and a padded corner, but never an image without valid pixels."""
    rng = np.random.default_rng(seed)
    batch, height, width = shape
    valid = rng.random(shape) > 0.1
    valid[:, : height // 3, : width // 4] = False
    valid[:, -1, -1] = True
    image = rng.random((batch, 3, height, width)) * 0.3 + 0.5
    return rng.random(shape).astype("f4"), image.astype("f4"), valid


def all_pairs(prob, image, valid, sigma_xy, sigma_rgb, radius):
    """Energy and gradient of a batch from the full matrices W, in double precision."""
    batch, height, width = prob.shape
    places = np.indices((height, width)).reshape(2, -1).T
    offsets = places[:, None] - places
    colors = image.reshape(batch, 3, -1).astype("f8")
    unlike = np.square(colors[:, :, :, None] - colors[:, :, None]).sum(axis=1)
    weights = np.exp(-np.square(offsets).sum(axis=2) / (2 * sigma_xy**2) - unlike / (2 * sigma_rgb**2))
    weights *= abs(offsets).max(axis=2) <= radius
    mask, y = valid.reshape(batch, -1), prob.reshape(batch, -1).astype("f8")
    weights *= mask[:, :, None] & mask[:, None]
    energy = np.einsum("bi,bij,bj->b", y, weights, 1 - y)
    return energy, np.einsum("bij,bj->bi", weights, 1 - 2 * y).reshape(prob.shape)


def interpret(cases, folder):
    """Run the kernel on the scenes of several cases in Triton's interpreter."""
    inputs = {"names": np.array(list(cases))}
    for name, (shape, *settings) in cases.items():
        for part, array in zip(("prob", "image", "valid"), scene(shape)):
            inputs[f"{name}_{part}"] = array
        inputs[f"{name}_settings"] = np.array(settings, "f8")
    np.savez(folder / "inputs.npz", **inputs)
    command = [sys.executable, "-c", SCRIPT, str(folder / "inputs.npz"), str(folder / "results.npz")]
    done = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.load(folder / "results.npz")


def check(results, name, settings):
    shape, *widths = settings
    arrays = scene(shape)
    tensors = (torch.from_numpy(array) for array in (arrays[0].astype("f8"), arrays[1].astype("f8"), arrays[2]))
    plain = [tensor.numpy() for tensor in windowed_sums(*tensors, *widths)]
    energy, gradient = results[f"{name}_energy"], results[f"{name}_gradient"]
    for wanted in (all_pairs(*arrays, *widths), plain):
        np.testing.assert_allclose(energy, wanted[0], rtol=2e-6)
        np.testing.assert_allclose(gradient, wanted[1], rtol=0, atol=2e-6 * abs(wanted[1]).max())
    assert not gradient[~arrays[2]].any()


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    """Results of all cases; the second run of one has its own name."""
    cases = CASES | {"again": CASES["odd"], "loss": LOSS}
    return interpret(cases, tmp_path_factory.mktemp("interpreted"))


@needs_triton
@pytest.mark.parametrize("name", CASES)
def test_kernel_equals_all_pairs_and_plain_torch(interpreted, name):
    check(interpreted, name, CASES[name])


@needs_triton
@pytest.mark.slow
def test_kernel_equals_all_pairs_at_the_published_widths(tmp_path):
    check(interpret(PUBLISHED, tmp_path), "published", PUBLISHED["published"])


@needs_triton
def test_kernel_gives_the_same_bits_again(interpreted):
    for part in ("energy", "gradient"):
        np.testing.assert_array_equal(interpreted[f"odd_{part}"], interpreted[f"again_{part}"])


@needs_triton
def test_loss_by_the_kernel_takes_half_precision_and_any_strides(interpreted):
    shape, *widths, radius = LOSS
    prob, image, valid = (torch.from_numpy(array) for array in scene(shape))
    y = prob.bfloat16().double().requires_grad_()
    loss = dense_crf_loss(y, image.bfloat16().double(), *widths, valid=valid, radius=radius)
    loss.backward()
    assert interpreted["loss_energy"] == pytest.approx(loss.item(), rel=2e-6)
    np.testing.assert_allclose(interpreted["loss_gradient"], y.grad.numpy(), rtol=2**-8, atol=1e-6)


@needs_triton
@pytest.mark.parametrize("capability, size", [(75, "i32"), (80, "i32"), (90, "i32"), (90, "i64"), (120, "i32")])
def test_kernel_compiles_without_atomics_and_double_precision(tmp_path, monkeypatch, capability, size):
    pytest.importorskip("triton.backends.nvidia")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    types = dict.fromkeys(crf_triton._kernel.arg_names, "i32")
    types |= dict.fromkeys(("planes", "gradient", "energies"), "*fp32")
    types |= {"scale": "fp32", "plane": size, "rows": "constexpr", "columns": "constexpr"}
    tile = {"rows": crf_triton.ROWS, "columns": crf_triton.COLUMNS}
    source = ASTSource(crf_triton._kernel, types, constexprs=tile)
    compiled = crf_triton.triton.compile(source, target=GPUTarget("cuda", capability, 32))
    text = compiled.asm["ptx"]
    assert "ex2.approx" in text and "ld.global" in text
    assert not re.search(r"\batom\.|\bred\.|\.f64", text)
    assert len(compiled.asm["cubin"]) > 0


def test_no_kernel_on_the_cpu():
    assert not crf_triton.available(torch.device("cpu"))


def test_a_kernel_that_does_not_compile_is_left_out_with_a_warning(monkeypatch):
    def fail(*_):
        raise RuntimeError("no C compiler")

    monkeypatch.setattr(crf_triton, "windowed_sums", fail)
    with pytest.warns(RuntimeWarning, match="slow path.*no C compiler"):
        assert not crf_triton._runs_on.__wrapped__(torch.device("cpu"))


@needs_gpu
@needs_triton
@pytest.mark.parametrize("device", [f"cuda:{number}" for number in range(min(2, torch.cuda.device_count()))])
@pytest.mark.parametrize("name", CASES | PUBLISHED)
def test_kernel_on_a_gpu_equals_all_pairs_and_plain_torch(name, device):
    # A second GPU is not the current one.
    shape, *widths = settings = (CASES | PUBLISHED)[name]
    assert crf_triton.available(torch.device(device))
    tensors = [torch.from_numpy(array).to(device) for array in scene(shape)]
    runs = [crf_triton.windowed_sums(*tensors, *widths) for _ in range(2)]
    energy, gradient = (tensor.cpu().numpy() for tensor in runs[0])
    check({f"{name}_energy": energy, f"{name}_gradient": gradient}, name, settings)
    for first, again in zip(*runs):
        assert torch.equal(first, again)
    plain = windowed_sums(*tensors, *widths)
    np.testing.assert_allclose(energy, plain[0].cpu().numpy(), rtol=1e-5)
    np.testing.assert_allclose(gradient, plain[1].cpu().numpy(), rtol=0, atol=1e-5 * abs(gradient).max())


@needs_gpu
@needs_triton
def test_loss_on_a_gpu_equals_the_loss_on_the_cpu():
    prob, image, valid = (torch.from_numpy(array) for array in scene((3, 45, 70)))
    results = []
    for device, dtype in [("cpu", torch.float64), ("cuda", torch.float64), ("cuda", torch.float32)]:
        # Every second column of a wider tensor, and channels that come last: neither lies in one piece.
        wide = torch.zeros(3, 45, 140, device=device, dtype=dtype)
        wide[..., ::2] = prob.to(device, dtype)
        y = wide[..., ::2].detach().requires_grad_()
        colors = image.to(device, dtype).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device, torch.bfloat16):
            loss = dense_crf_loss(y, colors, 5, 0.1, valid=valid.to(device))
        loss.backward()
        results.append((loss.item(), y.grad.cpu().double().numpy()))
    for (loss, gradient), tolerance in zip(results[1:], (1e-12, 2e-6)):
        assert loss == pytest.approx(results[0][0], rel=tolerance)
        np.testing.assert_allclose(gradient, results[0][1], rtol=0, atol=tolerance * abs(results[0][1]).max())


@needs_gpu
def test_gradient_on_a_gpu_passes_the_numerical_check():
    prob, image, valid = (torch.from_numpy(array).cuda() for array in scene((2, 6, 5)))
    y = (prob.double() * 0.8 + 0.1).requires_grad_()
    colors = image.double()
    assert torch.autograd.gradcheck(lambda y: dense_crf_loss(y, colors, 2, 0.1, valid=valid), (y,))
