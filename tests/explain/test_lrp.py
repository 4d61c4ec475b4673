"""Relevance against double loops, numbers worked out by hand, conservation, receptive fields and linearity."""

import copy
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock
from zennit.layer import Sum

from nucseg.errors import DataError, UnknownNameError
from nucseg.explain import LRPRules, relevance
from nucseg.models import Add, DistUNet, ResNet34UNet

EPS = LRPRules().stabilizer


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def seeded(layers, seed=0):
    """Return a network in evaluation mode whose batch norms have seen and learned something."""
    torch.manual_seed(seed)
    network = layers()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


@pytest.fixture(scope="module")
def unet():
    return seeded(lambda: ResNet34UNet(classes=2))


@pytest.fixture(scope="module")
def pictures():
    return normal(2, 3, 40, 37, seed=1), normal(2, 40, 37, seed=2).abs()


def outputs(network, names, images):
    """Return copies of what the named modules return in a pass."""
    seen = {}
    hooks = [
        # Copies, because a block of torchvision writes into them; update, because a hook that returns something
        # replaces the output.
        network.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: seen.update({name: output.clone()})
        )
        for name in names
    ]
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    return seen


# --- against loops ---------------------------------------------------------------------------------------------------

SHARES = {
    "zplus": lambda x, w: max(x * w, 0),
    "epsilon": lambda x, w: x * w,
    "wsquare": lambda _, w: w * w,
    "flat": lambda _, __: 1.0,
}


def conv_by_loop(x, weight, bias):
    out = np.zeros((len(weight), *x.shape[1:]))
    for (o, i, j), _ in np.ndenumerate(out):
        out[o, i, j] = bias[o] + sum(x[c, a, b] * weight[o, c, u, v] for c, a, b, u, v in seen(x, i, j))
    return out


def seen(x, i, j):
    """Channel, row, column and kernel place of what a 3 x 3 convolution with a border of zeros sees at (i, j)."""
    for c, u, v in product(range(len(x)), range(3), range(3)):
        if 0 <= i + u - 1 < x.shape[1] and 0 <= j + v - 1 < x.shape[2]:
            yield c, i + u - 1, j + v - 1, u, v


def relevance_by_loop(x, weight, above, share):
    below = np.zeros_like(x)
    for (o, i, j), amount in np.ndenumerate(above):
        parts = {(c, a, b): share(x[c, a, b], weight[o, c, u, v]) for c, a, b, u, v in seen(x, i, j)}
        total = sum(parts.values())
        total += EPS if total >= 0 else -EPS
        for place, part in parts.items():
            below[place] += amount * part / total
    return below


def unpool_by_loop(x, above):
    below = np.zeros_like(x)
    for (c, i, j), amount in np.ndenumerate(above):
        window = x[c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        u, v = np.unravel_index(window.argmax(), (2, 2))
        below[c, 2 * i + u, 2 * j + v] += amount
    return below


@pytest.mark.parametrize("first", ["flat", "zplus", "wsquare"])
@pytest.mark.parametrize("inside", ["zplus", "epsilon"])
def test_equals_a_loop_over_all_pairs(inside, first):
    layers = [nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 2, 3, padding=1)]
    network = seeded(lambda: nn.Sequential(*layers)).double()
    image, start = normal(1, 2, 6, 8, dtype=torch.double), normal(1, 3, 4, seed=1, dtype=torch.double)
    x, (w1, b1), (w2, _) = (
        image[0].numpy(),
        *([p.detach().numpy() for p in layers[place].parameters()] for place in (0, 3)),
    )
    rectified = np.maximum(conv_by_loop(x, w1, b1), 0)
    pooled = rectified.reshape(3, 3, 2, 4, 2).max((2, 4))
    margin_filter = w2[1:] - w2[:1]
    expected = relevance_by_loop(pooled, margin_filter, start.numpy(), SHARES[inside])
    expected = unpool_by_loop(rectified, expected)
    rules = LRPRules(convolution=inside, first=first)
    np.testing.assert_allclose(relevance(network, image, start, at="1", rules=rules)[0], expected, atol=1e-12)
    expected = relevance_by_loop(x, w1, expected, SHARES[first])
    np.testing.assert_allclose(relevance(network, image, start, rules=rules)[0], expected, atol=1e-12)


@pytest.mark.parametrize(
    "layer",
    [
        nn.ConvTranspose2d(2, 3, kernel_size=3, stride=2, output_padding=1),
        nn.Conv2d(2, 3, kernel_size=3, stride=2, padding=2, dilation=2),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
    ],
    ids=str,
)
def test_linear_layers_equal_their_matrix(layer):
    """Inside the network, so with z+ and inputs of either sign: a batch norm stands before the layer."""
    channels = getattr(layer, "out_channels", 2)
    network = seeded(lambda: nn.Sequential(nn.BatchNorm2d(2), layer, nn.Conv2d(channels, 1, 1))).double()
    image = normal(1, 2, 5, 5, dtype=torch.double)
    with torch.no_grad():
        x = network[0](image)
        base = layer(torch.zeros_like(x))
        units = torch.eye(x.numel(), dtype=torch.double).reshape(-1, *x.shape[1:])
        matrix = (layer(units) - base).flatten(1).T  # outputs, inputs
    start = normal(1, *base.shape[2:], seed=1, dtype=torch.double)
    above = relevance(network, image, start, at="1").flatten()
    parts = (matrix * x.flatten()).clamp(min=0)
    expected = (parts / (parts.sum(1, keepdim=True) + EPS)).T @ above
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(relevance(network, image, start, at="0").flatten(), expected)


# --- numbers worked out by hand --------------------------------------------------------------------------------------


def pointwise(*weights):
    layer = nn.Conv2d(len(weights), 1, 1, bias=False)
    layer.weight.data = torch.tensor([float(w) for w in weights]).reshape(1, -1, 1, 1)
    return layer


class Residual(nn.Module):
    def __init__(self, left, right):
        super().__init__()
        self.left, self.right, self.sum = pointwise(left), pointwise(right), Sum()
        self.last = pointwise(1 if left + right > 0 else -1)  # so that the sum contributes

    def forward(self, images):
        return self.last(self.sum(torch.stack([self.left(images), self.right(images)], dim=-1)))


class Addition(Residual):
    def __init__(self, left, right):
        super().__init__(left, right)
        self.sum = Add()

    def forward(self, images):
        return self.last(self.sum(self.left(images), self.right(images)))


class Side(nn.Module):
    def __init__(self, left, right):
        super().__init__()
        self.left, self.right, self.last = pointwise(left), pointwise(right), pointwise(2, 1)

    def forward(self, images):
        return self.last(torch.cat([self.left(images), self.right(images)], dim=1))


def one_pixel(network, amount=12.0, at="input", value=1.0, **rules):
    image, start = torch.full((1, 1, 1, 1), value), torch.full((1, 1, 1), amount)
    return relevance(network.eval(), image, start, at=at, rules=LRPRules(**rules)).item()


@pytest.mark.parametrize("kind", [Residual, Addition])
@pytest.mark.parametrize(
    "left, right, rule, expected",
    [
        (3, 1, "positive", (9, 3)),
        (3, -1, "positive", (12, 0)),
        (-3, 1, "positive", (0, 12)),
        (3, 1, "epsilon", (9, 3)),
        (3, -1, "epsilon", (18, -6)),
    ],
)
def test_residual_addition(kind, left, right, rule, expected):
    shares = [one_pixel(kind(left, right), at=at, residual=rule) for at in ("left", "right")]
    assert shares == pytest.approx(expected, rel=1e-5)


def test_concatenation_is_cut_apart():
    # Filters 2 and 1 see 1 and 4: contributions 2 and 4.
    assert one_pixel(Side(1, 4), at="left") == pytest.approx(4, rel=1e-5)
    assert one_pixel(Side(1, 4), at="right") == pytest.approx(8, rel=1e-5)


def test_batch_norm_in_front_of_a_convolution():
    norm = nn.BatchNorm2d(1)
    norm.weight.data[:], norm.bias.data[:] = 4, 3
    norm.running_mean[:], norm.running_var[:] = 1, 4 - norm.eps
    # 4 (x - 1) / 2 + 3 = 2 x + 1 at x = 2.5.
    network = nn.Sequential(norm, pointwise(1))
    assert one_pixel(network, value=2.5) == pytest.approx(12, rel=1e-5)
    assert one_pixel(network, value=2.5, batch_norm="share") == pytest.approx(12 * 5 / 6, rel=1e-5)


@pytest.mark.parametrize("choice", ["pass", "share"])
def test_batch_norm_behind_a_convolution_turns_its_filter(choice):
    def shares(gamma):
        norm = nn.BatchNorm2d(1)
        norm.weight.data[:], norm.bias.data[:] = gamma, 5
        layers = nn.Sequential(pointwise(1, -1), norm, nn.ReLU(), pointwise(1)).eval()
        rules = LRPRules(first="zplus", batch_norm=choice)
        return relevance(layers, torch.ones(1, 2, 1, 1), torch.full((1, 1, 1), 12.0), rules=rules).flatten()

    torch.testing.assert_close(shares(2.0), torch.tensor([12.0, 0]), rtol=1e-5, atol=0)
    torch.testing.assert_close(shares(-2.0), torch.tensor([0, 12.0]), rtol=1e-5, atol=0)


def test_winner_of_a_pooling_takes_all():
    network = nn.Sequential(nn.MaxPool2d(3, stride=2, padding=1), pointwise(1)).eval()
    image = torch.tensor([[1.0, 2, 3, 2], [0, 9, 0, 8], [1, 2, 0, 0], [0, 0, 5, 7]])
    start = torch.tensor([[1.0, 2], [4, 8]])
    # Of the four windows around (0, 0), (0, 2), (2, 0) and (2, 2) the 9 in (1, 1) is in all.
    expected = torch.zeros(4, 4)
    expected[1, 1] = 15
    torch.testing.assert_close(relevance(network, image[None, None], start[None])[0, 0], expected)


def test_first_layer_spreads_evenly_over_what_lies_in_the_image():
    network = nn.Conv2d(1, 1, 3, padding=1).eval()
    start = torch.zeros(1, 5, 5)
    start[0, 0, 0], start[0, 3, 3] = 8, 9
    expected = torch.zeros(5, 5)
    expected[:2, :2], expected[2:, 2:] = 2, 1
    torch.testing.assert_close(relevance(network, normal(1, 1, 5, 5), start)[0, 0], expected, rtol=1e-5, atol=0)


def test_margin_is_explained_by_one_merged_filter():
    network = nn.Conv2d(2, 2, 1).eval()
    network.weight.data = torch.tensor([[1.0, 5], [3, 4]]).reshape(2, 2, 1, 1)
    rules = LRPRules(first="zplus")
    # z1 - z0 = 2 a - b.
    split = relevance(network, torch.ones(1, 2, 1, 1), torch.ones(1, 1, 1), rules=rules)
    torch.testing.assert_close(split.flatten(), torch.tensor([1.0, 0]), rtol=1e-5, atol=0)
    # 3 z0 - z1 = 11 b.
    split = relevance(
        network, torch.ones(1, 2, 1, 1), torch.ones(1, 1, 1), rules=rules, output=lambda z: 3 * z[:, 0] - z[:, 1]
    )
    torch.testing.assert_close(split.flatten(), torch.tensor([0, 1.0]), rtol=1e-5, atol=0)


def test_nothing_contributed_so_nothing_is_handed_down():
    assert one_pixel(pointwise(-1), first="zplus") == 0
    assert one_pixel(nn.Sequential(pointwise(1), nn.ReLU(), pointwise(1)), value=-1.0) == 0


def test_residual_blocks_of_torchvision():
    network = seeded(lambda: nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), BasicBlock(4, 4), nn.Conv2d(4, 2, 1)))
    image, start = normal(1, 2, 6, 6), normal(1, 6, 6, seed=1)
    seen = outputs(network, ("1", "2.bn2"), image)
    direct, branch = (seen[name].clamp(min=0) for name in ("1", "2.bn2"))
    above = relevance(network, image, start, at="2")
    expected = above * branch / (direct + branch + EPS)
    assert (direct > 0).any() and (branch > 0).any()
    torch.testing.assert_close(relevance(network, image, start, at="2.bn2"), expected)
    through = relevance(network, image, start, at="1").sum()
    torch.testing.assert_close(through, above.sum(), rtol=1e-3, atol=1e-3)


# --- conservation, locality, linearity -------------------------------------------------------------------------------


def totals(network, images, start, names, **options):
    return {name: relevance(network, images, start, at=name, **options).double().sum().item() for name in names}


def test_unet_conserves_relevance_at_every_depth(unet, pictures):
    images, start = pictures[0][:1], pictures[1][:1]
    blocks = [f"u{k}" for k in (5, 6, 7, 8)]
    joined = [f"{block}.units.0.0" for block in blocks]
    inside = [f"u7.units.{i}.{j}" for i in (0, 1) for j in (0, 2)]
    names = [f"c{k}" for k in (1, 2, 3, 4, 5)] + blocks + joined + [f"{b}.up" for b in blocks] + inside
    total = totals(unet, images, start, [*names, "input"])
    whole = start.double().sum().item()
    close = {"rel": 1e-3}
    assert total["input"] == pytest.approx(whole, **close)
    assert total["c1"] == pytest.approx(whole, **close)
    assert total["u8"] == pytest.approx(whole, **close)
    for k, below in ((8, "u7"), (7, "u6"), (6, "u5"), (5, "c5")):
        assert total[f"u{k}"] == pytest.approx(total[f"u{k}.units.0.0"], **close)
        assert total[f"u{k}.up"] == pytest.approx(total[below], **close)
        skip = total[f"u{k}.units.0.0"] - total[f"u{k}.up"]
        assert skip > 0
        deeper = total["c5"] if k == 5 else total[f"c{10 - k}"]
        assert total[f"c{9 - k}"] == pytest.approx(skip + deeper, **close)
    assert all(total[name] == pytest.approx(total["u7"], **close) for name in inside)


@pytest.mark.parametrize("rules", [LRPRules(first="zplus"), LRPRules(first="wsquare"), LRPRules(residual="epsilon")])
def test_other_rules_conserve_relevance_too(unet, pictures, rules):
    images, start = pictures
    total = relevance(unet, images, start, rules=rules).double().sum()
    torch.testing.assert_close(total, start.double().sum(), rtol=1e-3, atol=0)


def test_sharing_with_the_shift_loses_relevance(unet, pictures):
    images, start = pictures
    shared = relevance(unet, images, start, at="u8.units.1.1", rules=LRPRules(batch_norm="share"))
    passed = relevance(unet, images, start, at="u8.units.1.1")
    assert (shared <= passed).all() and 0 < shared.sum() < 0.95 * passed.sum()


class Hourglass(nn.Module):
    """Everything that the U-Net is made of, but with a receptive field that is smaller than a picture."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.down = nn.Sequential(nn.MaxPool2d(3, stride=2, padding=1), BasicBlock(6, 6))
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.unit = nn.Sequential(nn.Conv2d(10, 6, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(6), nn.Dropout2d(0.5))
        self.out = nn.ConvTranspose2d(6, 2, 2, stride=2)

    def forward(self, images):
        skip = self.stem(images)
        return self.out(self.unit(torch.cat([self.up(self.down(skip)), skip], dim=1)))


@pytest.mark.parametrize("place", [(31, 32), (0, 0), (63, 20)])
def test_relevance_stays_in_the_receptive_field(place):
    network = seeded(Hourglass)
    start = torch.zeros(1, 64, 64)
    start[(0, *place)] = 1
    # The field, seen by gradients of the same network made linear and positive: there nothing cancels.
    positive = copy.deepcopy(network)
    for name, module in list(positive.named_modules()):
        parent, _, last = name.rpartition(".")
        if isinstance(module, (nn.ReLU, nn.BatchNorm2d, nn.MaxPool2d)):
            linear = nn.AvgPool2d(3, 2, 1) if isinstance(module, nn.MaxPool2d) else nn.Identity()
            setattr(positive.get_submodule(parent), last, linear)
        elif hasattr(module, "weight"):
            module.weight.data.abs_()
    image = normal(1, 3, 64, 64).requires_grad_()
    positive(image).sum(1)[(0, *place)].backward()
    field = image.grad[0].ne(0).any(0)
    assert field.sum() < 0.5 * field.numel()
    spread = relevance(network, image, start)[0].ne(0).any(0)
    assert spread.any() and not (spread & ~field).any()
    assert spread[place]


def test_unet_decoder_sees_five_by_five_features(unet, pictures):
    start = torch.zeros(1, 40, 37)
    start[0, 21, 16] = 1
    spread = relevance(unet, pictures[0][:1], start, at="u8.up")[0].ne(0).any(0)
    rows, columns = spread.nonzero().T
    # Pixel (21, 16) is made of feature (10, 8); two 3 x 3 convolutions look two features far.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 12, 6, 10)


def test_relevance_is_linear_in_the_start_and_keeps_its_sign(unet, pictures):
    images, start = pictures
    other = normal(*start.shape, seed=3)
    for at in ("input", "c1"):
        first, second = relevance(unet, images, start, at=at), relevance(unet, images, other, at=at)
        assert (first >= 0).all() and (second < 0).any()
        both = relevance(unet, images, 2 * start - other, at=at)
        torch.testing.assert_close(both, 2 * first - second, rtol=1e-4, atol=1e-4 * float(first.max()))


def test_images_of_a_batch_do_not_mix(unet, pictures):
    images, start = pictures
    alone = relevance(unet, images[:1], start[:1])
    torch.testing.assert_close(relevance(unet, images, start)[:1], alone, rtol=1e-4, atol=1e-6)
    start = torch.stack([start[0], torch.zeros_like(start[0])])
    assert not relevance(unet, images, start)[1].any()


class Twins(Hourglass):
    """The same network, but with a stem of its own for each of the two paths."""

    def forward(self, images):
        return self.out(self.unit(torch.cat([self.up(self.down(self.stem(images))), self.twin(images)], dim=1)))


def test_a_feature_map_read_twice_gets_the_sum_of_both_paths():
    network, image, start = seeded(Hourglass), normal(1, 3, 16, 16), normal(1, 16, 16, seed=1)
    twins = copy.deepcopy(network)
    twins.__class__, twins.twin = Twins, copy.deepcopy(network.stem)
    parts = [relevance(twins, image, start, at=at) for at in ("stem", "twin")]
    assert all(part.abs().max() > 0.01 for part in parts)
    torch.testing.assert_close(relevance(network, image, start, at="stem"), sum(parts))


def test_inactive_features_get_none(unet, pictures):
    features = outputs(unet, ["c1", "c3"], pictures[0])
    for at, values in features.items():
        spread = relevance(unet, *pictures, at=at)
        assert values.eq(0).any() and not spread[values.eq(0)].any()


def test_network_without_padding_conserves_relevance():
    torch.manual_seed(0)
    network, image, start = DistUNet(width=8).eval(), normal(1, 3, 204, 204), normal(1, 20, 20, seed=1).abs()
    # From the last features on: of these, all rectified, some have nothing to contribute to the output.
    total = totals(network, image, start, ["merge.3", "merge.3.0", "down.0", "input"])
    assert total["merge.3"] > 0.9 * start.sum()
    assert list(total.values()) == pytest.approx([total["merge.3"]] * 4, rel=1e-3)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(unet, pictures, bad):
    images, start = (values.clone() for values in pictures)
    start[0, 0, 0] = bad
    with pytest.raises(DataError, match="start: expected 3 axes of finite floats"):
        relevance(unet, images, start)
    images[0, 0, 0, 0] = bad
    with pytest.raises(DataError, match="images: expected 4 axes of finite floats"):
        relevance(unet, images, pictures[1])


def test_wrong_shapes_and_types_are_refused(unet, pictures):
    images, start = pictures
    with pytest.raises(DataError, match=r"start: expected the shape of the margin, \(2, 40, 37\), got \(2, 40, 36\)"):
        relevance(unet, images, start[..., :36])
    with pytest.raises(DataError, match=r"start: expected 3 axes .* got \(2, 1, 40, 37\)"):
        relevance(unet, images, start[:, None])
    with pytest.raises(DataError, match=r"start: .*int64"):
        relevance(unet, images, start.long())
    with pytest.raises(DataError, match=r"images: .*\(3, 40, 37\)"):
        relevance(unet, images[0], start)


def test_overflow_is_refused():
    def canceling():
        # Gives ones for ones, by its bias: each sum of two contributions is zero, so relevance is divided by 1e-6.
        layer = nn.Conv2d(2, 2, 1)
        layer.weight.data = torch.tensor([[1.0, -1], [-1, 1]]).reshape(2, 2, 1, 1)
        layer.bias.data[:] = 1
        return layer

    network = nn.Sequential(*(canceling() for _ in range(8)), pointwise(1, -1)).eval()
    rules = LRPRules(convolution="epsilon")
    with pytest.raises(DataError, match=r"too large for torch\.float32; the rule 'epsilon' needs a larger stabilizer"):
        relevance(network, torch.ones(1, 2, 1, 1), torch.ones(1, 1, 1), rules=rules)
    rules = LRPRules(convolution="epsilon", stabilizer=1)
    assert relevance(network, torch.ones(1, 2, 1, 1), torch.ones(1, 1, 1), rules=rules).abs().max() <= 2**8


def test_unknown_names_are_refused(unet, pictures):
    with pytest.raises(UnknownNameError, match=r"has no module 'stem'; expected 'input' .* one of c1, c2, c3"):
        relevance(unet, *pictures, at="stem")
    for field in ("convolution", "first", "batch_norm", "residual"):
        with pytest.raises(UnknownNameError, match=f"{field}: expected one of .*, got 'gamma'"):
            LRPRules(**{field: "gamma"})
    for stabilizer in (0, -1e-6, float("nan"), float("inf")):
        with pytest.raises(DataError, match="stabilizer: expected a positive number"):
            LRPRules(stabilizer=stabilizer)


def test_places_that_relevance_does_not_reach_are_refused(unet, pictures):
    with pytest.raises(DataError, match="at: out is not on the way"):
        relevance(unet, *pictures, at="out")
    with pytest.raises(DataError, match=r"at: c2\.1\.0\.relu must return one tensor once per pass, it returned 2"):
        relevance(unet, *pictures, at="c2.1.0.relu")


class Wrong(nn.Module):
    """A network that relevance cannot pass, in one of several ways."""

    def __init__(self, way):
        super().__init__()
        self.way, self.first, self.last = way, nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.middle = {"layer": nn.LeakyReLU(), "norm": nn.BatchNorm2d(2, affine=False)}.get(way, nn.Identity())

    def forward(self, images):
        features = self.middle(self.first(images))
        if self.way == "addition":
            features = features + self.first.bias[:, None, None] * images
        if self.way == "function":
            features = torch.relu(features)
        if self.way == "twice":
            features = self.last(features)
        logits = self.last(features)
        return logits.sigmoid() if self.way == "sigmoid" else logits


@pytest.mark.parametrize(
    "way, message",
    [
        ("layer", r"there is no rule for middle, LeakyReLU\("),
        ("norm", r"there is no rule for middle, BatchNorm2d\("),
        ("addition", "cannot pass AddBackward, an operation .* nucseg.models.Add"),
        ("function", "cannot pass ReluBackward"),
        ("twice", "last is used 2 times in a pass"),
        ("sigmoid", "the same weighted sum of logits at every pixel"),
    ],
)
def test_networks_without_a_rule_are_refused_by_name(way, message):
    with pytest.raises(DataError, match=message):
        relevance(Wrong(way).eval(), normal(1, 1, 8, 8), torch.ones(1, 8, 8))


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.other = nn.Conv2d(1, 4, 3, padding=1), nn.Sequential(nn.Conv2d(4, 1, 1), nn.Sigmoid())
        self.head, self.third = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)

    def forward(self, images):
        features = self.body(images)
        return {name: getattr(self, name)(features) for name in ("other", "head", "third")}


def test_one_head_of_several_can_be_explained():
    network, image, start = seeded(Heads), normal(1, 1, 8, 8), torch.ones(1, 8, 8)
    result = relevance(network, image, start, output=lambda answer: answer["head"][:, 1] - answer["head"][:, 0])
    torch.testing.assert_close(result, relevance(nn.Sequential(network.body, network.head), image, start))
    with pytest.raises(DataError, match="one or two channels, got dict; name the margin by output="):
        relevance(network, image, start)
    with pytest.raises(DataError, match=r"no rule for other\.1, Sigmoid"):
        relevance(network, image, start, output=lambda answer: answer["other"][:, 0])
    with pytest.raises(
        DataError, match=r"must come straight from one convolution .* comes from (third, head|head, third)"
    ):
        relevance(network, image, start, output=lambda answer: answer["head"][:, 0] + answer["third"][:, 0])


@pytest.mark.parametrize(
    "output, message",
    [
        (lambda z: z.softmax(1)[:, 1], "the same weighted sum of logits"),
        (lambda z: z[:, 0].cumsum(-1), "the same weighted sum of logits"),
        (lambda z: torch.zeros(1, 8, 8), "does not depend on the images"),
    ],
)
def test_margins_that_are_no_sum_of_logits_are_refused(output, message):
    network = nn.Conv2d(1, 2, 1).eval()
    with pytest.raises(DataError, match=message):
        relevance(network, normal(1, 1, 8, 8), torch.ones(1, 8, 8), output=output)
