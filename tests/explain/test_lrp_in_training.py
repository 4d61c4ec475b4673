"""Relevance leaves a network as it found it, and in training mode explains the pass with that batch and those masks."""

import copy
import gc

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock
from zennit.types import BatchNorm

from nucseg.errors import DataError, UnknownNameError
from nucseg.explain import LRPRules, relevance
from nucseg.explain.passes import Trace, replica
from nucseg.models import ResNet34UNet


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def small(dropout=0.5):
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
        nn.MaxPool2d(2),
        BasicBlock(8, 8),
        nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(16), nn.Dropout2d(dropout)),
        nn.ConvTranspose2d(16, 2, 2, stride=2),
    )


@pytest.fixture
def batch():
    return normal(3, 3, 12, 12), normal(3, 12, 12, seed=1)


def condition(network):
    """Everything of a network that a pass or a hook could change, as copies."""
    state = {name: value.clone() for name, value in network.state_dict().items()}
    state |= {f"{name} gradient": p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    state |= {f"{name} address": torch.tensor(p.data_ptr()) for name, p in network.named_parameters()}
    state |= {f"{name} asks": torch.tensor(p.requires_grad) for name, p in network.named_parameters()}
    for name, module in network.named_modules():
        hooks = [len(v) for k, v in vars(module).items() if k.endswith("hooks")]
        state[f"{name} rest"] = torch.tensor([module.training, *hooks, len(vars(module))])
    state["random"] = torch.get_rng_state()
    return state


def same(before, after):
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("training", [True, False])
def test_network_and_random_numbers_stay_as_they_were(batch, training):
    network = small().train(training)
    network(batch[0]).square().mean().backward()
    network[0][0].weight.requires_grad_(False)
    before = condition(network)
    images, start = (values.clone() for values in batch)
    for at in ("input", "0"):
        result = relevance(network, images, start, at=at)
        assert not result.requires_grad and result.grad_fn is None
    assert same(before, condition(network))
    assert torch.equal(images, batch[0]) and torch.equal(start, batch[1])
    assert images.grad is None and not images.requires_grad


class Broken(nn.Module):
    def forward(self, _):
        raise RuntimeError("broken on purpose")


def test_errors_leave_nothing_behind(batch):
    network = small()
    before = condition(network)
    with pytest.raises(UnknownNameError):
        relevance(network, *batch, at="nowhere")
    with pytest.raises(DataError, match="start"):
        relevance(network, batch[0], batch[1][..., 1:])
    with pytest.raises(ZeroDivisionError):
        relevance(network, *batch, output=lambda logits: 1 / 0)
    assert same(before, condition(network))
    broken = nn.Sequential(network, Broken())
    with pytest.raises(RuntimeError, match="on purpose"):
        relevance(broken, *batch)
    assert same(before, condition(network))


def test_a_training_step_around_it_is_the_same_step(batch):
    def step(between):
        network = small()
        torch.manual_seed(5)
        loss = network(batch[0]).square().mean()
        between(network)
        loss.backward()
        return [p.grad for p in network.parameters()], network.state_dict()

    plain, state = step(lambda network: None)
    explained, other = step(lambda network: relevance(network, *batch, at="0"))
    assert all(torch.equal(a, b) for a, b in zip(plain, explained))
    assert all(torch.equal(state[name], other[name]) for name in state)


@pytest.mark.parametrize("at", ["input", "3.1"])
def test_memory_is_free_at_once(batch, at):
    network = small()

    def tensors():
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    relevance(network, *batch, at=at)
    gc.collect()
    gc.disable()  # so that nothing waits for it unseen
    try:
        before = tensors()
        relevance(network, *batch, at=at)
        assert tensors() == before
    finally:
        gc.enable()


def with_statistics_of(network, images):
    """Return the network in evaluation mode, its running statistics those of this batch."""
    other = copy.deepcopy(network).train()

    def set_statistics(module, inputs):
        module.running_mean.copy_(inputs[0].mean((0, 2, 3)))
        module.running_var.copy_(inputs[0].var((0, 2, 3), correction=0))

    norms = [module for module in other.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 0
        norm.register_forward_pre_hook(set_statistics)
    with torch.no_grad():
        other(images)
    for norm in norms:
        norm._forward_pre_hooks.clear()
    return other.eval()


@pytest.mark.parametrize("rules", [LRPRules(first="zplus"), LRPRules(batch_norm="share")])
def test_training_mode_takes_the_statistics_of_the_batch(batch, rules):
    network = small(dropout=0)
    fixed = with_statistics_of(network, batch[0])
    expected = relevance(fixed, *batch, rules=rules)
    result = relevance(network.train(), *batch, rules=rules)
    torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-5)
    difference = (relevance(network.eval(), *batch, rules=rules) - expected).abs().max()
    assert difference > 0.01 * expected.abs().max()


def test_frozen_batch_norms_keep_their_statistics_in_training(batch):
    network = small(dropout=0).train()
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.eval()
    result = relevance(network, *batch)
    torch.testing.assert_close(result, relevance(network.eval(), *batch))


def dropped(network, images):
    """Channels (B, C) that dropout sets to zero in a pass of the network."""
    seen = []
    hook = network[3][3].register_forward_hook(lambda _, __, output: seen.append(output))
    network(images)
    hook.remove()
    return seen[0].eq(0).all(-1).all(-1)


def test_training_mode_drops_what_the_next_pass_drops(batch):
    network = small().train()
    torch.manual_seed(11)
    result = relevance(network, *batch, at="3.2")
    off = dropped(network, batch[0])
    assert 5 < off.sum() < off.numel() - 5
    assert torch.equal(result.eq(0).all(-1).all(-1), off)


def test_a_pass_that_is_over_can_be_explained(batch):
    network = small().train()
    state = torch.get_rng_state()
    off = dropped(network, batch[0])
    before = torch.get_rng_state()
    with torch.random.fork_rng():
        torch.set_rng_state(state)
        result = relevance(network, *batch, at="3.2")
    assert torch.equal(result.eq(0).all(-1).all(-1), off)
    assert torch.equal(torch.get_rng_state(), before)


def test_dropped_channels_are_those_of_a_network_with_filters_taken_out(batch):
    network = small().train()
    images, start = batch[0][:1].repeat(3, 1, 1, 1), batch[1]
    torch.manual_seed(11)
    result = relevance(network, images, start, at="0")
    off = dropped(network, images) if torch.manual_seed(11) else None
    fixed = with_statistics_of(network, images)
    for one, channels in enumerate(off):
        thinned = copy.deepcopy(fixed)
        thinned[4].weight.data[channels] = 0
        expected = relevance(thinned, images[:1], start[one : one + 1], at="0")
        torch.testing.assert_close(result[one : one + 1], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "context", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)]
)
def test_surroundings_do_not_matter(batch, context):
    network = small().eval()
    expected = relevance(network, *batch)
    with context():
        images, start = (values.clone() for values in batch)
        result = relevance(network, images, start)
    assert torch.equal(result, expected)


def unet(training):
    torch.manual_seed(0)
    network = ResNet34UNet(classes=2, dropout=0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network.train(training)


@pytest.mark.parametrize("training", [False, True])
def test_merging_leaves_the_output_of_the_unet_as_it_was(training):
    network, images = unet(training), normal(2, 3, 33, 40)
    with torch.no_grad():
        expected = copy.deepcopy(network)(images)
    merged = replica(network)
    with Trace(merged, "input") as trace:
        merged(images.clone().requires_grad_())
        trace.merge_batch_norms()
    with torch.no_grad():
        output = merged.eval()(images)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    norms = {name: module for name, module in merged.named_modules() if isinstance(module, nn.BatchNorm2d)}
    identity = {name for name, norm in norms.items() if (norm.weight == 1).all() and not norm.bias.any()}
    assert identity == {name for name in norms if name.startswith("c")}
    assert len(identity) == 36
    assert all(torch.equal(p, q) for p, q in zip(network.parameters(), unet(training).parameters()))


def test_unet_in_training_mode_conserves_relevance():
    network, images, start = unet(training=True), normal(2, 3, 64, 64), normal(2, 64, 64, seed=1).abs()
    before = condition(network)
    total = relevance(network, images, start).double().sum()
    torch.testing.assert_close(total, start.double().sum(), rtol=1e-3, atol=0)
    assert same(before, condition(network))
