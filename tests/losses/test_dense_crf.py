"""The dense CRF loss against all pairs written out, finite differences and cases with a known answer."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nucseg.errors import DataError
from nucseg.losses import crf_kernel, crf_triton, dense_crf_loss
from nucseg.losses.dense_crf import windowed_sums


def all_pairs(prob, image, valid, sigma_xy, sigma_rgb, radius):
    """Loss and gradient of one image from the full matrix W, in double precision."""
    rows, columns = (axis.ravel() for axis in np.indices(prob.shape))
    down, right = rows[:, None] - rows, columns[:, None] - columns
    colors = image.reshape(3, -1).T.astype(np.float64)
    color = np.square(colors[:, None] - colors).sum(axis=2)
    weights = np.exp(-(down**2 + right**2) / (2 * sigma_xy**2) - color / (2 * sigma_rgb**2))
    weights *= (abs(down) <= radius) & (abs(right) <= radius)
    weights *= np.outer(valid.ravel(), valid.ravel())
    y = prob.ravel().astype(np.float64)
    loss = y @ weights @ (1 - y) / valid.sum()
    return loss, (weights @ (1 - 2 * y) / valid.sum()).reshape(prob.shape)


def scene(rng, shape=(24, 24), batch=2):
    """Smooth colors, so that weights are far from 0 and from 1, and a mask with a padded corner."""
    image = rng.random((batch, 3, *shape)) * 0.3 + 0.5
    valid = rng.random((batch, *shape)) > 0.1
    valid[:, : shape[0] // 3, : shape[1] // 4] = False
    return rng.random((batch, *shape)), image, valid


def tensors(prob, image, dtype):
    return torch.tensor(prob, dtype=dtype, requires_grad=True), torch.tensor(image, dtype=dtype)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-6), (torch.float64, 1e-13)])
@pytest.mark.parametrize("sigma_xy, sigma_rgb, radius", [(9, 0.1, 27), (3, 0.2, 9), (6, 0.05, 5), (1.5, 0.3, 1)])
def test_loss_and_gradient_equal_all_pairs(rng, dtype, tolerance, sigma_xy, sigma_rgb, radius):
    prob, image, valid = scene(rng)
    y, colors = tensors(prob, image, dtype)
    loss = dense_crf_loss(y, colors, sigma_xy, sigma_rgb, valid=torch.from_numpy(valid), radius=radius)
    loss.backward()
    wanted = [all_pairs(*one, sigma_xy, sigma_rgb, radius) for one in zip(prob, image, valid)]
    assert loss.dtype == y.grad.dtype == dtype
    assert loss.item() == pytest.approx(np.mean([one[0] for one in wanted]), rel=tolerance)
    gradient = np.stack([one[1] for one in wanted]) / len(prob)
    np.testing.assert_allclose(y.grad.numpy(), gradient, rtol=0, atol=tolerance * abs(gradient).max())
    assert not y.grad.numpy()[~valid].any()


@pytest.mark.parametrize("shape", [(40, 7), (7, 40), (1, 20), (20, 1)])
def test_kernel_equals_plain_torch_on_other_shapes(rng, shape):
    prob, image, valid = scene(rng, shape, batch=3)
    energy, gradient = crf_kernel.windowed_sums(prob.astype("f4"), image.astype("f4"), valid, 4, 0.1, 12)
    wanted = windowed_sums(*(torch.from_numpy(array) for array in (prob, image, valid)), 4, 0.1, 12)
    np.testing.assert_allclose(energy, wanted[0].numpy(), rtol=2e-6)
    np.testing.assert_allclose(gradient, wanted[1].numpy(), rtol=0, atol=2e-6 * abs(wanted[1].numpy()).max())


def test_default_window_holds_three_spatial_widths(rng):
    prob, image, _ = scene(rng, (24, 24), batch=1)
    y, colors = tensors(prob, image, torch.float64)
    for sigma_xy, radius in [(2, 6), (2.5, 8)]:
        wanted, _ = all_pairs(prob[0], image[0], np.ones((24, 24), bool), sigma_xy, 0.2, radius)
        assert dense_crf_loss(y, colors, sigma_xy, 0.2).item() == pytest.approx(wanted, rel=1e-12)


def test_gradient_passes_the_numerical_check(rng):
    prob, image, valid = scene(rng, (6, 5))
    y, colors = tensors(prob * 0.8 + 0.1, image, torch.float64)
    mask = torch.from_numpy(valid)
    assert torch.autograd.gradcheck(lambda y: dense_crf_loss(y, colors, 2, 0.1, valid=mask), (y,))


def test_kernel_gradient_is_the_slope_of_the_kernel_loss(rng):
    # The loss is quadratic in the probabilities, so that central differences are exact for steps of any size.
    prob, image, _ = scene(rng, (30, 25))
    y, colors = tensors(prob * 0.5 + 0.25, image, torch.float32)
    dense_crf_loss(y, colors, 5, 0.1).backward()
    for _ in range(3):
        step = torch.tensor(rng.choice([-0.25, 0.25], y.shape), dtype=torch.float32)
        ahead, behind = (dense_crf_loss(y.detach() + sign * step, colors, 5, 0.1).item() for sign in (1, -1))
        slope = (step * y.grad).sum(dtype=torch.float64).item()
        assert (ahead - behind) / 2 == pytest.approx(slope, rel=1e-4, abs=1e-5 * ahead)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_twice_the_gradient_is_the_loss_of_both_classes(rng, dtype):
    # Sending +W (1 - 2 y) / N to the nucleus channel and its negative to the background channel, through the
    # softmax, is the loss summed over both classes and twice the gradient of the loss as stated.
    _, image, valid = scene(rng, batch=1)
    logits = torch.tensor(rng.normal(size=(1, 2, 24, 24)), dtype=dtype, requires_grad=True)
    colors, mask = torch.tensor(image, dtype=dtype), torch.from_numpy(valid)

    def gradient(loss_of):
        return torch.autograd.grad(loss_of(logits.softmax(dim=1)), logits)[0].numpy()

    def loss(y):
        return dense_crf_loss(y, colors, 9, 0.1, valid=mask)

    with torch.no_grad():
        y = logits.softmax(dim=1)[0, 1].double().numpy()
    _, one = all_pairs(y, image[0], valid[0], 9, 0.1, 27)
    by_hand = torch.tensor(np.stack([-one, one])[None], dtype=dtype)
    stated = gradient(lambda channels: loss(channels[:, 1]))
    scale = {"rtol": 0, "atol": 2e-6 * abs(stated).max()}
    np.testing.assert_allclose(gradient(lambda channels: (channels * by_hand).sum()), 2 * stated, **scale)
    np.testing.assert_allclose(gradient(lambda c: loss(c[:, 0]) + loss(c[:, 1])), 2 * stated, **scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_weights_count_pairs(dtype):
    # One color and a very wide kernel: every W is 1, so the sum counts (nucleus, background) pairs.
    y = torch.zeros(1, 20, 30, dtype=dtype)
    y[0, 3:9, 4:11] = 1
    image = torch.full((1, 3, 20, 30), 0.7, dtype=dtype)
    image[0, :, 15:] = 0
    loss = dense_crf_loss(y, image, sigma_xy=1e5, sigma_rgb=0.1, radius=30)
    assert loss.item() == pytest.approx(42 * (450 - 42) / 450, rel=1e-6)


def test_pixels_of_unlike_color_do_not_meet(rng):
    # Black-and-white columns: no weight between them, so the loss of each half adds to the other's.
    y = torch.tensor(rng.random((1, 16, 16)), dtype=torch.float32)
    image = torch.ones(1, 3, 16, 16)
    image[..., 8:] = 0.01
    every = torch.ones(1, 16, 16, dtype=torch.bool)
    left = every.clone()
    left[..., 8:] = False
    whole, *halves = (dense_crf_loss(y, image, 3, 0.05, valid=mask).item() for mask in (every, left, ~left))
    assert whole == pytest.approx(np.mean(halves), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_black_padding_takes_no_part(rng, dtype):
    prob, image, _ = scene(rng, (18, 18))
    y, colors = tensors(prob, image, dtype)
    colors[:, 0, 4:9] = 0  # without red, but not black
    every = torch.ones(y.shape, dtype=torch.bool)
    inside = dense_crf_loss(y, colors, 3, 0.1, valid=every).item()
    around = [torch.nn.functional.pad(tensor, (5, 2, 3, 4)) for tensor in (1 - y, colors)]
    assert dense_crf_loss(1 - around[0], around[1], 3, 0.1).item() == pytest.approx(inside, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_image_without_valid_pixels_adds_nothing(rng, dtype):
    prob, image, _ = scene(rng, (12, 12))
    y, colors = tensors(prob, image, dtype)
    alone = dense_crf_loss(y[:1], colors[:1], 3, 0.1).item()
    colors[1] = 0
    loss = dense_crf_loss(y, colors, 3, 0.1)
    loss.backward()
    assert loss.item() == pytest.approx(alone / 2, rel=1e-6)
    assert y.grad[0].any() and not y.grad[1].any()


def test_powers_of_two_are_close_over_the_whole_range():
    x = np.concatenate([np.linspace(-125.9, 0, 4001), -np.logspace(-30, 0, 500), -np.arange(126.0)]).astype("f4")
    values = np.array([crf_kernel._power_of_two(one) for one in x], np.float64)
    assert abs(values / np.exp2(x.astype(np.float64)) - 1).max() < 3e-7
    assert 0 <= crf_kernel._power_of_two(np.float32(-1e9)) < 1.2e-38


def test_same_bits_on_any_number_of_threads(rng):
    prob, image, valid = scene(rng, (70, 40))
    arrays = prob.astype("f4"), image.astype("f4"), valid
    energy, gradient = crf_kernel.windowed_sums(*arrays, 9, 0.1, 27, threads=1)
    for threads in (2, 3, 16):
        again = crf_kernel.windowed_sums(*arrays, 9, 0.1, 27, threads=threads)
        np.testing.assert_array_equal(again[0], energy)
        np.testing.assert_array_equal(again[1], gradient)
    for one in range(2):
        alone = crf_kernel.windowed_sums(*(array[one : one + 1] for array in arrays), 9, 0.1, 27)
        np.testing.assert_array_equal(alone[1][0], gradient[one])


def test_half_precision_is_computed_in_single(rng):
    prob, image, _ = scene(rng)
    y, colors = tensors(prob, image, torch.bfloat16)
    loss = dense_crf_loss(y, colors, 3, 0.1)
    loss.backward()
    single = dense_crf_loss(y.detach().float(), colors.float(), 3, 0.1)
    assert loss.dtype == torch.float32 and loss.item() == single.item()
    assert y.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype, wanted", [("float32", 1), ("bfloat16", 1), ("float64", 0)])
def test_gpu_kernel_takes_all_but_double_precision(rng, monkeypatch, dtype, wanted):
    calls = []

    def kernel(*arguments):
        calls.append(arguments[0].dtype)
        return windowed_sums(*arguments)

    monkeypatch.setattr(crf_triton, "available", lambda device: True)
    monkeypatch.setattr(crf_triton, "windowed_sums", kernel)
    prob, image, _ = scene(rng, (6, 6))
    dense_crf_loss(*tensors(prob, image, getattr(torch, dtype)), 3, 0.1).backward()
    assert calls == [torch.float32] * wanted


def test_no_value_is_read_back_by_itself(rng):
    # Reading one value from a GPU waits for all work before it.
    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count += function is torch.ops.aten._local_scalar_dense.default
            return function(*args, **(kwargs or {}))

    prob, image, _ = scene(rng, (6, 6))
    arguments = tensors(prob, image, torch.float64)
    with Reads() as reads:
        dense_crf_loss(*arguments, 3, 0.1).backward()
        assert reads.count == 0
        float(arguments[1].sum())
    assert reads.count == 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"prob": torch.full((1, 4, 4), 1.2)}, r"prob must lie in \[0, 1\].*1.2"),
        ({"prob": torch.full((1, 4, 4), float("nan"))}, "prob must lie"),
        ({"prob": torch.zeros(4, 4)}, r"prob must be .*\(4, 4\)"),
        ({"image": torch.full((1, 3, 4, 4), -2.0)}, r"image must lie in \[0, 1\].*-2"),
        ({"image": torch.zeros(1, 1, 4, 4)}, r"image must be .*\(1, 1, 4, 4\)"),
        ({"valid": torch.ones(1, 4, 4)}, "valid must be a bool"),
        ({"image": torch.zeros(1, 3, 4, 4, device="meta")}, "image is on meta, prob on cpu"),
        ({"valid": torch.ones(1, 4, 4, dtype=torch.bool, device="meta")}, "valid is on meta, prob on cpu"),
        ({"sigma_xy": 0}, "positive, got 0"),
        ({"sigma_rgb": -0.1}, "positive, got .*-0.1"),
        ({"radius": 0}, "radius .* got 0"),
        ({"radius": 2.5}, "radius .* got 2.5"),
    ],
)
def test_bad_input_is_named(change, message):
    good = {"prob": torch.zeros(1, 4, 4), "image": torch.zeros(1, 3, 4, 4), "sigma_xy": 3, "sigma_rgb": 0.1}
    with pytest.raises(DataError, match=message):
        dense_crf_loss(**(good | change))
