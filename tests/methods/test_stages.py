"""What stages share: fingerprints that miss nothing, networks that follow from seed and purpose, run folders."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from method_checks import TinyNet, changed, cpu, disks, same_weights

from nucseg.engine import choose_precision, fit, save_weights
from nucseg.errors import DataError
from nucseg.methods import DetectorConfig, Preprocessing, SegmenterConfig, stages
from nucseg.methods.stages import Images, adam, fingerprint, load_best, logits_of, plain, unet, weights_fingerprint

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
    max_leaves=4,
)


@given(st.lists(VALUES, max_size=3), st.lists(VALUES, max_size=3))
def test_fingerprints_differ_where_json_does(one, other):
    assert (fingerprint(*one) == fingerprint(*other)) == (
        json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    )


@pytest.mark.parametrize("one, other", [
    (np.zeros(4), np.zeros((2, 2))), (np.zeros(4), np.zeros(4, np.int64)), (np.zeros(4), [0.0] * 4),
    (np.arange(4), np.arange(4)[::-1]), (np.eye(3)[:2], np.eye(3)[:, :2]), (np.zeros((0, 2)), np.zeros((0, 3))),
])
def test_arrays_differ_by_shape_type_and_order(one, other):
    assert fingerprint(one) != fingerprint(other)
    assert len(fingerprint(one)) == 16 and int(fingerprint(one), 16) >= 0


def test_arrays_are_the_same_however_they_lie_in_memory():
    array = np.random.default_rng(0).random((6, 5))
    assert fingerprint(array) == fingerprint(np.asfortranarray(array)) == fingerprint(array.T.copy().T)
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_every_weight_and_buffer_counts():
    torch.manual_seed(0)
    network, seen = TinyNet(2), set()
    seen.add(weights_fingerprint(network))
    assert weights_fingerprint(network.to(memory_format=torch.channels_last)) in seen, "where it lies does not count"
    for tensor in network.state_dict().values():
        tensor[(0,) * tensor.ndim] += 1
        seen.add(weights_fingerprint(network))
    assert len(seen) == 1 + len(network.state_dict())


def test_images_are_normalized_and_counted_with_their_truth():
    source = disks("a", "b")
    preprocessing = Preprocessing.learn(source)
    images = Images.read(source, preprocessing)
    assert images.names == ("a", "b") and [sample.id for sample in images.samples] == ["a", "b"]
    for pixels, sample in zip(images.pixels, source):
        np.testing.assert_array_equal(pixels, preprocessing.colors(sample.image))

    def other_labels(sample):
        labels = sample.labels.copy()
        labels[0, 0] = 99
        return type(sample)(sample.id, sample.image, labels)

    def dots(sample, place=(3, 3)):
        return type(sample)(sample.id, sample.image, points=[place])

    def other_color(sample):
        image = sample.image.copy()
        image[5, 5] ^= 64
        return type(sample)(sample.id, image, sample.labels)

    kinds = [source, *(changed(source, change) for change in (other_labels, dots, other_color)),
             changed(source, lambda sample: dots(sample, (3, 4)))]
    assert len({Images.read(kind, preprocessing).fingerprint() for kind in kinds}) == len(kinds)
    assert Images.read(source, preprocessing).fingerprint() == images.fingerprint()
    with pytest.raises(DataError, match=r"^disks: there are no images"):
        Images.read(disks(), preprocessing)


@pytest.fixture
def small(monkeypatch):
    """Note what networks are asked for, and make tiny ones."""
    asked = []
    monkeypatch.setattr(stages, "ResNet34UNet", lambda classes, weights: asked.append(weights) or TinyNet(classes))
    return asked


def test_networks_follow_from_seed_and_purpose(small):
    first = unet(2, None, None, 0, "detection", 1)
    torch.manual_seed(99)
    assert same_weights(first, unet(2, None, None, 0, "detection", 1))
    for other in ((1, "detection", 1), (0, "detection", 2), (0, "segmentation", 1), (0, "detection")):
        assert not same_weights(first, unet(2, None, None, *other))
    unet(1, "imagenet", None, 0)
    assert small == [None] * 6 + ["imagenet"]


def test_initial_weights_replace_all_but_the_output(small, tmp_path):
    torch.manual_seed(5)
    pretrained = TinyNet(3)
    save_weights(tmp_path / "initial.safetensors", pretrained)
    plain_one, network = unet(2, None, None, 0, "x"), unet(2, None, tmp_path / "initial.safetensors", 0, "x")
    assert same_weights(network.body, pretrained.body) and same_weights(network.out, plain_one.out)
    with pytest.raises(DataError, match=r"missing\.safetensors"):
        unet(2, None, tmp_path / "missing.safetensors", 0, "x")


@pytest.mark.parametrize("config", [DetectorConfig(learning_rate=0.5, weight_decay=0.25), SegmenterConfig()])
def test_the_optimizer_has_the_rates_of_its_config(config):
    (group,) = adam(TinyNet(1), config).param_groups
    assert (group["lr"], group["weight_decay"]) == (config.learning_rate, config.weight_decay)
    assert group["betas"] == (0.9, 0.99) and not group["amsgrad"]


def test_logits_are_those_of_the_standardized_image():
    """On one tile with zeros around, which stand for the mean color."""
    torch.manual_seed(0)
    network, preprocessing = TinyNet(2).eval(), Preprocessing(None, (0.7, 0.5, 0.6), (0.2, 0.1, 0.3))
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    tile = torch.zeros(1, 3, 224, 224)
    tile[0, :, :30, :40] = preprocessing.standardize(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)[0]
    with torch.no_grad():
        expected = network(tile)[0, :, :30, :40]
    error = 0.05 if choose_precision("cpu") == "bf16-mixed" else 1e-5
    torch.testing.assert_close(logits_of(network, image, preprocessing), expected, atol=error, rtol=error)


def test_the_best_epoch_comes_back(tmp_path):
    """Scores fall, so the first epoch is the best, while the network holds the last."""
    torch.manual_seed(0)
    network, scores, after_first = TinyNet(1), iter([3.0, 2.0, 1.0]), []

    def validate(current):
        after_first.append({name: tensor.clone() for name, tensor in current.state_dict().items()})
        return next(scores)

    fit(
        network, adam(network, DetectorConfig()), lambda epoch, draws: [torch.rand(2, 3, 9, 9, generator=draws)] * 2,
        lambda net, batch: net(batch).square().mean(), epochs=3, run_dir=tmp_path, config={}, fabric=cpu(),
        validate=validate, progress=False,
    )
    assert not torch.equal(network.out.weight, after_first[0]["out.weight"])
    assert load_best(tmp_path, network.train()) is network and not network.training
    assert all(torch.equal(tensor, after_first[0][name]) for name, tensor in network.state_dict().items())
    with pytest.raises(DataError, match=r"best\.safetensors"):
        load_best(tmp_path / "nothing", network)


def test_plain_settings_equal_themselves_after_json():
    settings = plain({"pair": (1, 2.5), "inner": {"deep": ((1,),)}, "none": None})
    assert settings == {"pair": [1, 2.5], "inner": {"deep": [[1]]}, "none": None}
    assert json.loads(json.dumps(settings)) == settings


def test_the_fused_step_is_that_of_plain_adam():
    config = SegmenterConfig(learning_rate=1e-2)
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    weights = []
    for build in (adam, plain_adam):
        torch.manual_seed(0)
        network = TinyNet(2)
        optimizer = build(network, config)
        for _ in range(20):
            optimizer.zero_grad()
            network(images).square().mean().backward()
            optimizer.step()
        weights.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-5)


def plain_adam(network, config):
    """The same optimizer, stepping parameter by parameter."""
    return torch.optim.Adam(network.parameters(), config.learning_rate, betas=config.betas,
                            weight_decay=config.weight_decay, fused=False, foreach=False)
