"""Training on hidden squares: what is hidden does not leak, textures are learned, weights arrive where they should."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from nucseg.engine import AugmentConfig, fabric, save_weights
from nucseg.errors import DataError
from nucseg.methods.self_supervised import (
    SelfSupervisedConfig,
    hidden_color_error,
    hidden_squares,
    load_pretrained,
    pretrain_unet,
)
from nucseg.models import ResNet34UNet

TINY = SelfSupervisedConfig(
    cell=4,
    epochs=2,
    passes=2,
    batch=2,
    learning_rate=0.01,
    patch=40,
    patches_per_side=2,
    augment=AugmentConfig(crop=32),
)
STILL = replace(TINY, augment=AugmentConfig.crop_only(32), stain=None)


class Small(nn.Module):
    """A network with normalization, dropout and an output layer, which sees 15 px around each pixel."""

    def __init__(self, classes=3):
        super().__init__()
        layers = []
        for channels, dilation in ((3, 1), (16, 2), (16, 4)):
            layers += [nn.Conv2d(channels, 16, 3, padding=dilation, dilation=dilation), nn.BatchNorm2d(16), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Dropout2d(0.02))
        self.out = nn.Conv2d(16, classes, 1)

    def forward(self, images):
        return self.out(self.body(images))


def stripes(side=64):
    """A texture whose hidden parts follow from what is shown, 11 px from stripe to stripe."""
    rows, columns = np.mgrid[:side, :side]
    wave = np.sin(2 * np.pi * (rows + columns) / 11)
    return np.stack([160 + 60 * wave, 120 - 60 * wave, 140 + 30 * wave], axis=-1).astype(np.uint8)


def noise(number=2, seed=0):
    return list(np.random.default_rng(seed).integers(1, 256, (number, 64, 64, 3), dtype=np.uint8))


def statistics(images):
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]) / 255
    return {"mean": pixels.mean(axis=0), "std": pixels.std(axis=0)}


def run(folder, images, config=TINY, build=Small, **options):
    plain = fabric(device="cpu", precision="32-true")
    if "mean" not in options:
        options.update(statistics(images))
    return pretrain_unet(build, images, run_dir=folder, config=config, fabric=plain, progress=False, **options)


def weights(folder):
    return load_file(folder / "best.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def spy(seen):
    """A factory of networks that note down what they are given."""

    def build():
        network = Small()
        network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
        return network

    return build


@pytest.mark.parametrize("cell, size", [(4, (32, 20)), (16, (50, 64)), (7, (7, 30))])
def test_what_is_hidden_is_whole_squares(cell, size):
    config = replace(TINY, cell=cell)
    masks = hidden_squares(5, size, config, torch.Generator().manual_seed(0))
    assert masks.shape == (5, 1, *size) and masks.dtype == torch.bool
    for mask in masks[:, 0].numpy():
        fits = [
            all(len(np.unique(part)) == 1
                for band in np.split(mask, range(top, size[0], cell))
                for part in np.split(band, range(left, size[1], cell), axis=1) if part.size)
            for top in range(cell) for left in range(cell)
        ]  # fmt: skip
        assert any(fits), "there is a grid on which every square is of one kind"


def test_the_share_is_hidden_everywhere_alike():
    config = replace(TINY, cell=4, share=0.25)
    masks = hidden_squares(2000, (12, 12), config, torch.Generator().manual_seed(0)).float()
    everywhere = masks.mean(dim=0)
    # Standard deviation of a share of 0.25 in 2000 draws: 0.0097.
    assert abs(everywhere - 0.25).max() < 0.04 and abs(everywhere.mean() - 0.25) < 0.01
    first, second = (hidden_squares(3, (12, 12), config, torch.Generator().manual_seed(s)) for s in (4, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, hidden_squares(3, (12, 12), config, torch.Generator().manual_seed(5)))


def test_the_error_counts_the_right_pixels():
    colors = torch.zeros(1, 3, 1, 3)
    output = torch.tensor([1.0, 2.0, 9.0]).expand(1, 3, 1, 3).clone().requires_grad_()
    counted = torch.tensor([True, True, False]).reshape(1, 1, 1, 3)
    error = hidden_color_error(output, colors, counted)
    error.backward()
    assert error.item() == pytest.approx((1 + 4) / 2)
    assert output.grad[0, 0, 0].tolist() == pytest.approx([2 / 6, 4 / 6, 0])
    nothing = hidden_color_error(output, colors, torch.zeros_like(counted))
    assert nothing.item() == 0
    with pytest.raises(DataError, match=r"network: expected an output of shape \(1, 3, 1, 3\), got \(1, 2, 1, 3\)"):
        hidden_color_error(torch.zeros(1, 2, 1, 3), colors, counted)


def test_the_mean_color_has_an_error_of_one(tmp_path):
    def build():
        network = Small()
        nn.init.zeros_(network.out.weight)
        nn.init.zeros_(network.out.bias)
        return network

    history = run(tmp_path, noise(), replace(STILL, learning_rate=1e-12, epochs=1), build)
    assert history.epochs[0]["loss"] == pytest.approx(1, abs=0.03)


def test_hidden_pixels_do_not_leak(tmp_path):
    """Other colors below the squares are the same input; and squares are the mean color, the rest is the image."""
    images = [np.full((40, 40, 3), 100, np.uint8)]
    config = replace(STILL, patches_per_side=1, epochs=1, passes=1, augment=AugmentConfig.crop_only(None))
    fixed = {"mean": (0.5, 0.4, 0.6), "std": (0.2, 0.1, 0.3)}
    seen, again = [], []
    run(tmp_path / "a", images, config, spy(seen), **fixed)
    expected = (torch.full((3,), 100 / 255) - torch.tensor(fixed["mean"])) / torch.tensor(fixed["std"])
    shown = (seen[0][0] != 0).any(dim=0)
    torch.testing.assert_close(seen[0][0, :, shown], expected[:, None].expand(3, int(shown.sum())))
    assert 0.3 < shown.float().mean() < 0.7
    changed = images[0].copy()
    changed[~shown.numpy()] = np.random.default_rng(0).integers(1, 256, (int((~shown).sum()), 3))
    run(tmp_path / "b", [changed], config, spy(again), **fixed)
    assert len(seen) == len(again) == 1 and torch.equal(seen[0], again[0])


def test_padding_does_not_count(tmp_path):
    """The network predicts the one color there is: no error, though the black surroundings are far from it."""

    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.color = nn.Parameter(torch.zeros(3))

        def forward(self, images):
            return self.color[:, None, None].expand_as(images)

    shrink = replace(AugmentConfig.crop_only(32), resize=(0.5, 0.5))
    fixed = {"mean": (0.4, 0.4, 0.4), "std": (0.01, 0.01, 0.01)}
    images = [np.full((40, 40, 3), 102, np.uint8)]
    history = run(
        tmp_path, images, replace(STILL, augment=shrink, patches_per_side=1, learning_rate=1e-12), Constant, **fixed
    )
    assert history.epochs[0]["loss"] < 1e-6


def test_a_texture_is_learned_and_noise_is_not(tmp_path):
    """The mean color has an error of 1; of noise nothing better can be known, unless hidden pixels were seen."""
    losses = {
        name: [line["loss"] for line in run(tmp_path / name, images, replace(STILL, epochs=8, passes=4)).epochs]
        for name, images in (("stripes", [stripes()]), ("noise", noise(1)))
    }
    assert losses["stripes"][-1] < 0.1 < losses["stripes"][0]
    assert losses["noise"][-1] > 0.9


def test_two_halves_equal_a_whole(tmp_path):
    images = noise()
    whole = run(tmp_path / "whole", images, replace(TINY, epochs=4))
    run(tmp_path / "halves", images, replace(TINY, epochs=2))
    halves = run(tmp_path / "halves", images, replace(TINY, epochs=4))
    assert [line["loss"] for line in whole.epochs] == [line["loss"] for line in halves.epochs]
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "halves"))


def test_everything_follows_from_the_seed(tmp_path):
    for name, seed, state in (("a", 1, 10), ("b", 1, 20), ("c", 2, 10)):
        torch.manual_seed(state)
        run(tmp_path / name, noise(), seed=seed)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_other_settings_or_images_are_refused(tmp_path):
    run(tmp_path, noise())
    with pytest.raises(DataError, match=r"last\.ckpt: .*share is 0\.4, was 0\.5"):
        run(tmp_path, noise(), replace(TINY, share=0.4))
    with pytest.raises(DataError, match=r"last\.ckpt: .*images is '8 patches"):
        run(tmp_path, noise(seed=1), **statistics(noise()))


def test_unusable_images_and_networks_are_named(tmp_path):
    with pytest.raises(DataError, match="no training images"):
        run(tmp_path, [], mean=(0, 0, 0), std=(1, 1, 1))
    with pytest.raises(DataError, match="slide 7: 30x64 pixels are less"):
        run(tmp_path, [noise()[0][:30]], names=["slide 7"])
    with pytest.raises(DataError, match="names: expected one for each of 2 images, got 1"):
        run(tmp_path, noise(), names=["slide 7"])
    with pytest.raises(DataError, match="network: expected an output of shape"):
        run(tmp_path, noise(), build=lambda: Small(classes=2))


@pytest.mark.parametrize(
    "name, bad",
    [("cell", 0), ("epochs", 0), ("passes", 0), ("batch", 0), ("patch", 0), ("patches_per_side", 0), ("share", 0.0),
     ("share", 1.0), ("learning_rate", 0.0), ("learning_rate", float("nan"))],
)  # fmt: skip
def test_settings_are_checked(name, bad):
    with pytest.raises(DataError, match=name):
        SelfSupervisedConfig(**{name: bad})
    with pytest.raises(FrozenInstanceError):
        SelfSupervisedConfig().cell = 1


def test_all_but_the_output_layer_is_copied(tmp_path):
    """With the real network, and as many classes as it was trained with, where a plain copy would go unnoticed."""
    torch.manual_seed(0)
    source = ResNet34UNet(classes=3)
    for buffer in source.buffers():
        buffer.add_(1)  # running statistics count as well
    save_weights(tmp_path / "weights.safetensors", source)
    for classes in (2, 3):
        target = ResNet34UNet(classes=classes)
        before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
        load_pretrained(target, tmp_path / "weights.safetensors")
        for name, tensor in target.state_dict().items():
            origin = before[name] if name.startswith("out.") else source.state_dict()[name]
            assert torch.equal(tensor, origin), name
        assert not torch.equal(target.state_dict()["u8.up.weight"], before["u8.up.weight"])


def test_weights_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(DataError, match=r"weights\.safetensors: no readable weights"):
        load_pretrained(Small(), path)
    path.write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"weights\.safetensors: no readable weights"):
        load_pretrained(Small(), path)
    save_weights(path, Small())
    with pytest.raises(DataError, match="there is no output layer 'head'"):
        load_pretrained(Small(), path, output="head")
    wider, deeper = Small(), Small()
    wider.body[0] = nn.Conv2d(3, 16, 5, padding=2)
    with pytest.raises(DataError, match=r"body\.0\.weight has shape \(16, 3, 3, 3\), expected \(16, 3, 5, 5\)"):
        load_pretrained(wider, path)
    deeper.extra = nn.Conv2d(3, 3, 1)
    with pytest.raises(DataError, match=r"extra\.bias is missing from the file"):
        load_pretrained(deeper, path)
    save_weights(path, deeper)
    plain = Small()
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    with pytest.raises(DataError, match=r"extra\.bias is not part of the network"):
        load_pretrained(plain, path)
    assert same(plain.state_dict(), before)
