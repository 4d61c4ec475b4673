"""The U-Net against the table of the article: layers, sizes, order of operations, and that it learns."""

from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import resnet34

from nucseg.errors import DataError, NucsegError, UnknownNameError
from nucseg.models import MIN_SIZE, ResNet34UNet

#: Transposed convolution, first unit, second unit: weights and biases, multiplied out by hand.
CONVOLUTIONS = {
    "u5": (512 * 256 * 4 + 256, (256 + 256) * 256 * 9 + 256, 256 * 256 * 9 + 256),
    "u6": (256 * 128 * 4 + 128, (128 + 128) * 128 * 9 + 128, 128 * 128 * 9 + 128),
    "u7": (128 * 64 * 4 + 64, (64 + 64) * 64 * 9 + 64, 64 * 64 * 9 + 64),
    "u8": (64 * 32 * 4 + 32, (32 + 64) * 64 * 9 + 64, 64 * 64 * 9 + 64),
}
#: Channels and stride of what each step returns.
STEPS = {
    "c1": (64, 2), "c2": (64, 4), "c3": (128, 8), "c4": (256, 16), "c5": (512, 32),
    "u5": (256, 16), "u6": (128, 8), "u7": (64, 4), "u8": (64, 2), "out": (2, 1),
}  # fmt: skip
#: Side of the pictures that the tests make, px.
SIDE = 64


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def seeded(seed=0, **options):
    torch.manual_seed(seed)
    return ResNet34UNet(**options)


def recorded(network, names, images):
    """Inputs and outputs of the named modules during one pass."""
    seen = {}
    modules = dict(network.named_modules())
    hooks = [
        modules[name].register_forward_hook(
            # Copies, because a ReLU of the encoder may write into its input.
            lambda _, inputs, output, name=name: seen.update({name: (inputs[0].clone(), output.clone())})
        )
        for name in names
    ]
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    return seen


def pictures(batch=1, height=SIDE, width=SIDE):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def network():
    """A network for segmentation in evaluation mode; tests do not change it."""
    return seeded(classes=2).eval()


@pytest.mark.parametrize("size", [(64, 64), (65, 65), (97, 130), (17, 33), (224, 160)])
def test_output_is_as_large_as_the_input(network, size):
    with torch.no_grad():
        assert network(pictures(2, *size)).shape == (2, 2, *size)


def test_every_size_from_the_smallest_on_works():
    with torch.device("meta"):
        network = ResNet34UNet()
        for side in range(MIN_SIZE, 49):
            assert network(torch.zeros(2, 3, side, 65 - side)).shape == (2, 1, side, 65 - side)


def test_smallest_size_is_the_limit_of_mirroring(network):
    with pytest.raises(DataError, match=r"at least 17, got \(1, 3, 40, 16\)"):
        network(pictures(1, 40, 16))
    # At 16 px the skip of stride 16 is one pixel wide; that of stride 32 is doubled to two, and one cannot be mirrored.
    with pytest.raises(RuntimeError, match=r"[Pp]adding size"):
        network.u5(torch.zeros(1, 512, 1, 1), torch.zeros(1, 256, 1, 1))


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 4, 64, 64)])
def test_bad_images_are_refused(network, shape):
    with pytest.raises(DataError, match="images: expected shape"):
        network(torch.zeros(shape))


def test_steps_have_the_channels_and_strides_of_the_table(network):
    seen = recorded(network, STEPS, pictures(1, 96, 160))
    for name, (channels, stride) in STEPS.items():
        assert seen[name][1].shape == (1, channels, 96 // stride, 160 // stride), name


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_decoder_convolutions_have_the_sizes_of_the_table(network, name):
    block = getattr(network, name)
    convolutions = [m for m in block.modules() if isinstance(m, (nn.ConvTranspose2d, nn.Conv2d))]
    assert tuple(count(m) for m in convolutions) == CONVOLUTIONS[name]
    assert all(m.bias is not None for m in convolutions)
    assert [m.kernel_size for m in convolutions] == [(2, 2), (3, 3), (3, 3)]
    assert convolutions[0].stride == (2, 2)


@pytest.mark.parametrize("classes", [1, 2])
def test_total_number_of_parameters(classes):
    with torch.device("meta"):
        network = ResNet34UNet(classes=classes)
    # ResNet-34 is published with 21 797 672 parameters, 512 * 1000 + 1000 of them in the classifier.
    encoder = 21_797_672 - 513_000
    assert sum(count(getattr(network, name)) for name in ("c1", "c2", "c3", "c4", "c5")) == encoder
    normalization = 2 * 2 * (256 + 128 + 64 + 64)
    decoder = sum(map(sum, CONVOLUTIONS.values())) + normalization + 64 * classes * 4 + classes
    assert count(network) == encoder + decoder


@pytest.mark.parametrize("unit", ["u5.units.0", "u6.units.1", "u7.units.0", "u8.units.1"])
def test_units_rectify_before_they_normalize(network, unit):
    order = [type(module) for module in network.get_submodule(unit)]
    assert order == [nn.Conv2d, nn.ReLU, nn.BatchNorm2d, nn.Dropout2d]
    training = seeded()
    seen = recorded(training, [f"{unit}.2"], pictures(2))[f"{unit}.2"]
    assert seen[0].min() == 0, "the normalization sees rectified values"
    assert seen[1].min() < 0, "nothing rectifies its output"


def test_skips_come_after_the_features_and_are_mirrored_at_the_bottom_and_right(network):
    seen = recorded(network, ["c1", "u8.up", "u8.units"], pictures(1, 65, 70))
    skip, entering = seen["c1"][1].numpy(), seen["u8.units"][0].numpy()
    assert skip.shape[2:] == (33, 35) and entering.shape[2:] == (48, 48)
    mirrored = np.pad(skip, ((0, 0), (0, 0), (0, 15), (0, 13)), mode="reflect")
    np.testing.assert_array_equal(entering[:, 32:], mirrored)
    np.testing.assert_array_equal(entering[:, :32], seen["u8.up"][1].numpy())


def test_surplus_is_cut_off_at_the_bottom_and_right(network):
    images = pictures(1, 65, 70)
    with torch.no_grad():
        logits = network(images)
    full = recorded(network, ["out"], images)["out"][1]
    assert full.shape[2:] == (96, 96)
    assert torch.equal(logits, full[:, :, :65, :70])


def test_encoder_computes_what_resnet34_computes(network):
    reference = resnet34(weights=None)
    for part, mine in {"conv1": network.c1[0], "bn1": network.c1[1], "layer1": network.c2[1]}.items():
        reference.get_submodule(part).load_state_dict(mine.state_dict())
    for part, mine in {"layer2": network.c3, "layer3": network.c4, "layer4": network.c5}.items():
        reference.get_submodule(part).load_state_dict(mine.state_dict())
    reference.eval()
    reference.avgpool, reference.fc = nn.Identity(), nn.Identity()
    with torch.no_grad():
        expected = reference(pictures())
    np.testing.assert_allclose(recorded(network, ["c5"], pictures())["c5"][1].flatten(1), expected, atol=1e-6)


def test_dropout_acts_on_whole_channels_and_in_training_only(network):
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Dropout2d)]
    assert len(names) == 8
    dropped = total = 0
    for before, after in recorded(seeded(), names, pictures(4)).values():
        off = (after == 0).flatten(2).all(dim=2)
        torch.testing.assert_close(after[~off], before[~off] / 0.9)
        dropped, total = dropped + int(off.sum()), total + off.numel()
    assert total == 4 * 2 * (256 + 128 + 64 + 64)
    # Binomial with p = 0.1: five standard deviations to either side.
    assert abs(dropped / total - 0.1) < 5 * np.sqrt(0.09 / total)
    for before, after in recorded(network, names, pictures(4)).values():
        assert torch.equal(before, after)


def test_training_without_dropout_is_free_of_chance():
    network, images = seeded(dropout=0), pictures(2, 33, 33)
    with torch.no_grad():
        assert torch.equal(network(images), network(images))


def test_output_of_an_image_does_not_depend_on_its_batch(network):
    images = pictures(3)
    with torch.no_grad():
        together, alone = network(images), torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def train(steps, seed=0):
    """Losses and final weights of a network that learns where one bright disk is."""
    network = seeded(seed, classes=1)
    rows, columns = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    target = (((rows - 12) ** 2 + (columns - 20) ** 2) < 8**2).float().expand(2, 1, 48, 48)
    images = target + 0.2 * pictures(2, 48, 48)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(steps):
        loss = nn.functional.binary_cross_entropy_with_logits(network(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, network.state_dict()


def test_one_batch_can_be_learned_by_heart():
    losses, _ = train(50)
    assert losses[0] > 0.3
    assert np.mean(losses[-5:]) < 0.15 * losses[0]


def test_same_seed_same_training():
    losses, state = train(2)
    again, state_again = train(2)
    other, _ = train(2, seed=1)
    assert losses == again != other
    assert all(torch.equal(state[name], state_again[name]) for name in state)


def test_every_parameter_takes_part():
    network = seeded(classes=2)
    network(pictures(2)).square().mean().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


def test_imagenet_weights_reach_the_encoder(monkeypatch):
    torch.manual_seed(5)
    published = resnet34(weights=None).state_dict()
    asked = {}

    def load(url, **options):
        asked.update(options, url=url)
        return published

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", load)
    network = seeded(weights="imagenet")
    assert asked["url"].rsplit("/", 1)[1] == "resnet34-b627a593.pth"
    assert asked["check_hash"] and asked["weights_only"]
    assert torch.equal(network.c1[0].weight, published["conv1.weight"])
    assert torch.equal(network.c2[1][2].bn2.bias, published["layer1.2.bn2.bias"])
    assert torch.equal(network.c5[2].conv2.weight, published["layer4.2.conv2.weight"])


@pytest.mark.parametrize("cause", [URLError("no route to host"), RuntimeError("invalid hash value")])
def test_failed_download_says_what_to_do(monkeypatch, tmp_path, cause):
    def fail(*_, **__):
        raise cause

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub._hub_dir", None)
    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    with pytest.raises(NucsegError, match=r"resnet34-b627a593.*weights=None trains from scratch") as caught:
        ResNet34UNet(weights="imagenet")
    assert str(cause) in str(caught.value)


def test_unknown_options_are_refused():
    with pytest.raises(UnknownNameError, match="expected 'imagenet' or None, got 'coco'"):
        ResNet34UNet(weights="coco")
    with pytest.raises(DataError, match="classes must be 1 or more, got 0"):
        ResNet34UNet(classes=0)
    with pytest.raises(DataError, match=r"dropout must be in \[0, 1\), got 1"):
        ResNet34UNet(dropout=1)
