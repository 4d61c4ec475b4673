"""Tiles against the whole image at once, brute force over the tiles, and hand-computed borders."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nucseg.engine import predict_tiled
from nucseg.errors import DataError, NucsegError, UnknownNameError

#: Network input equal to the pixel values, up to rounding.
PLAIN = {"mean": (0, 0, 0), "std": (1 / 255,) * 3, "precision": "32-true"}


class Round(nn.Module):
    """Makes the input whole numbers, so that sums of products are exact in any order."""

    def forward(self, x):
        return torch.round(x)


class Spy(nn.Module):
    """Shows each tile by its number, counted from 0, and keeps the tiles it was given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        count = sum(len(tiles) for tiles in self.seen)
        self.seen.append(x.clone())
        numbers = torch.arange(count, count + len(x), dtype=torch.float32)
        return numbers[:, None, None, None].expand(len(x), 1, *x.shape[2:])


def whole_number_network(seed=0):
    """Three 3x3 convolutions (they see 3 pixels in each direction) with weights -1, 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    layers = [nn.Conv2d(3, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)]
    for layer in layers:
        for parameter in layer.parameters():
            parameter.data = torch.randint(-1, 2, parameter.shape, generator=generator).float()
    return nn.Sequential(Round(), *layers)


def random_image(rng, height, width):
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_batch(image):
    return torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]


@pytest.mark.parametrize(("height", "width"), [(100, 77), (64, 32), (33, 65), (20, 90), (5, 7), (1, 1)])
@pytest.mark.parametrize(("tile", "stride"), [(32, 20), (32, 26), (33, 26)])
def test_a_local_network_gives_what_it_gives_on_the_whole_image(rng, height, width, tile, stride):
    # Every overlap is at least 6 = twice what the network sees in one direction.
    image = random_image(rng, height, width)
    network = whole_number_network()
    tiled = predict_tiled(network, image, tile=tile, stride=stride, batch=3, **PLAIN)
    assert tiled.shape == (2, height, width)
    assert tiled.dtype == torch.float32
    assert tiled.device.type == "cpu"
    assert not tiled.is_inference(), "it can be changed and trained on like any other tensor"
    with torch.no_grad():
        assert torch.equal(tiled[:, :-3, :-3], network(as_batch(image))[0][:, :-3, :-3])
        # With zeros up to the end of the last tiles, the two agree up to the border.
        down, right = (max(tile - size, (tile - size) % stride) for size in (height, width))
        padded = nn.functional.pad(as_batch(image), (0, right, 0, down))
        assert torch.equal(tiled, network(padded)[0, :, :height, :width])


def test_an_overlap_too_small_for_the_network_shows(rng):
    image = random_image(rng, 100, 100)
    tiled = predict_tiled(whole_number_network(), image, tile=32, stride=30, **PLAIN)
    with torch.no_grad():
        assert not torch.equal(tiled[:, :-3, :-3], whole_number_network()(as_batch(image))[0][:, :-3, :-3])


def test_default_tiles_keep_the_parts_computed_by_hand():
    # 400 rows: tiles start at 0, 144 and 288 and end at 224, 368 and 512, so parts meet at 184 and 328;
    # 300 columns: tiles start at 0 and 144, and meet at 184.
    expected = np.empty((400, 300))
    expected[:184, :184], expected[:184, 184:] = 0, 1
    expected[184:328, :184], expected[184:328, 184:] = 2, 3
    expected[328:, :184], expected[328:, 184:] = 4, 5
    found = predict_tiled(Spy(), np.zeros((400, 300, 3), np.uint8), **PLAIN)
    np.testing.assert_array_equal(found[0], expected)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 25), st.integers(1, 25), st.integers(1, 9))
def test_every_pixel_comes_from_the_one_tile_that_claims_it(height, width, tile, stride, batch):
    stride = min(tile, stride)
    spy = Spy()
    image = np.zeros((height, width, 3), np.uint8)
    (found,) = predict_tiled(spy, image, tile=tile, stride=stride, batch=batch, **PLAIN)

    def claims(size):
        """Which tile (second axis) claims which pixel (first axis): brute force."""
        starts = [start for start in range(0, size, stride) if start == 0 or start + tile < size + stride]
        before, overlap = (tile - stride) // 2, tile - stride
        table = np.zeros((size, len(starts)), int)
        for number, start in enumerate(starts):
            for pixel in range(size):
                low = 0 if start == 0 else start + before
                high = size if start + tile >= size else start + tile - (overlap - before)
                table[pixel, number] = low <= pixel < high <= start + tile
        return table

    rows, columns = claims(height), claims(width)
    assert (rows.sum(axis=1) == 1).all() and (columns.sum(axis=1) == 1).all()
    assert (rows.sum(axis=0) > 0).all() and (columns.sum(axis=0) > 0).all(), "a tile computed for nothing"
    expected = rows.argmax(axis=1)[:, None] * columns.shape[1] + columns.argmax(axis=1)
    np.testing.assert_array_equal(found, expected)
    sizes = [len(tiles) for tiles in spy.seen]
    assert sum(sizes) == rows.shape[1] * columns.shape[1], "each tile once"
    assert set(sizes[:-1]) <= {batch} and sizes[-1] <= batch


def test_pixels_are_standardized_and_padding_is_zero(rng):
    image = random_image(rng, 10, 12)
    mean, std = (0.5, 0.25, 0.75), (0.1, 0.2, 0.4)
    spy = Spy()
    predict_tiled(spy, image, mean=mean, std=std, tile=16, stride=16)
    (tiles,) = spy.seen
    expected = np.zeros((16, 16, 3))
    expected[:10, :12] = (image / 255 - mean) / std
    np.testing.assert_allclose(tiles[0].permute(1, 2, 0), expected, rtol=1e-5, atol=1e-6)


def test_tiles_of_one_batch_do_not_influence_one_another(rng):
    # Batch normalization in training mode would mix the tiles; prediction must not.
    image = random_image(rng, 48, 48)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5))
    options = dict(mean=(0.5,) * 3, std=(0.25,) * 3, tile=16, stride=12, precision="32-true")
    together = predict_tiled(network, image, batch=16, **options)
    changed = image.copy()
    changed[32:, 32:] = 255
    others = predict_tiled(network, changed, batch=16, **options)
    # Tiles start at 0, 12, 24 and 36 and meet at 14, 26 and 38; those starting at 0 and 12 end before 32.
    assert torch.equal(together[:, :26], others[:, :26])
    assert torch.equal(together[:, :, :26], others[:, :, :26])
    assert not torch.equal(together, others)
    alone = predict_tiled(network, image, batch=1, **options)
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


def test_the_network_is_left_as_it_was(rng):
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5))
    network.train()
    network[1].eval()  # frozen on purpose
    state = {name: value.clone() for name, value in network.state_dict().items()}
    predict_tiled(network, random_image(rng, 20, 20), tile=16, stride=12, **PLAIN)
    assert [part.training for part in network] == [True, False, True]
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_modes_come_back_when_the_network_fails(rng):
    network = nn.Conv2d(4, 1, 3)
    with pytest.raises(RuntimeError):
        predict_tiled(network, random_image(rng, 8, 8), tile=8, stride=8, **PLAIN)
    assert network.training


def test_mixed_precision_computes_in_bfloat16_and_returns_float32(rng):
    seen = []
    network = nn.Conv2d(3, 2, 3, padding=1)
    network.register_forward_hook(lambda module, given, output: seen.append(output.dtype))
    options = dict(mean=(0.5,) * 3, std=(0.25,) * 3, tile=16, stride=12, device="cpu")
    image = random_image(rng, 20, 20)
    mixed = predict_tiled(network, image, precision="bf16-mixed", **options)
    full = predict_tiled(network, image, precision="32-true", **options)
    assert seen == [torch.bfloat16, torch.float32]
    assert mixed.dtype == full.dtype == torch.float32
    # bfloat16 keeps 8 significant bits.
    torch.testing.assert_close(mixed, full, rtol=0.05, atol=0.05)


def test_gray_and_read_only_images_are_taken(rng):
    image = random_image(rng, 20, 20)[..., 0]
    image.setflags(write=False)
    network = whole_number_network()
    gray = predict_tiled(network, image, tile=16, stride=8, **PLAIN)
    color = predict_tiled(network, np.stack([image] * 3, axis=2), tile=16, stride=8, **PLAIN)
    assert torch.equal(gray, color)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 225}, "stride: 225 is more than the tile of 224"),
        ({"tile": 0}, "tile: expected a positive integer, got 0"),
        ({"stride": -1}, "stride: expected a positive integer, got -1"),
        ({"stride": 14.5}, "stride: expected a positive integer, got 14.5"),
        ({"batch": 0}, "batch: expected a positive integer, got 0"),
        ({"batch": True}, "batch: expected a positive integer, got True"),
        ({"mean": (0.5, 0.5)}, "mean: expected three finite numbers"),
        ({"mean": (0.5, 0.5, float("nan"))}, "mean: expected three finite numbers"),
        ({"mean": "red"}, "mean: expected one number per channel, got 'red'"),
        ({"std": (0.5, 0.5, 0)}, "std: expected three positive numbers"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        predict_tiled(Spy(), np.zeros((8, 8, 3), np.uint8), **{**PLAIN, **options})


@pytest.mark.parametrize("image", [np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8), np.zeros(8, np.uint8), "a.png"])
def test_what_is_no_image_is_refused_by_name(image):
    with pytest.raises(DataError, match=r"slide-1\.png"):
        predict_tiled(Spy(), image, name="slide-1.png", **PLAIN)


@pytest.mark.parametrize("network", [nn.MaxPool2d(2), nn.Flatten(2), nn.LSTM(8, 8)], ids=["smaller", "flat", "tuple"])
def test_a_network_that_does_not_answer_for_every_pixel_is_refused(network):
    if isinstance(network, nn.LSTM):
        network = nn.Sequential(nn.Flatten(1, 2), network)
    with pytest.raises(DataError, match="network: expected an output of shape"):
        predict_tiled(network, np.zeros((8, 8, 3), np.uint8), tile=8, stride=8, **PLAIN)


def test_unknown_devices_and_precisions_are_refused(monkeypatch):
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(UnknownNameError, match="unknown device"):
        predict_tiled(Spy(), image, device="tpu", **PLAIN)
    with pytest.raises(UnknownNameError, match="unknown precision"):
        predict_tiled(Spy(), image, **{**PLAIN, "precision": "8"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(NucsegError, match="finds no GPU"):
        predict_tiled(Spy(), image, device="cuda", **PLAIN)
