"""One pass of a network: a replica to hook into, what its layers did, and how their operations connect."""

from collections import Counter
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from zennit.canonizers import NamedMergeBatchNorm
from zennit.types import Convolution

from nucseg.errors import DataError, UnknownNameError
from nucseg.explain.rules import MOVING, PASSING, has_rule

#: Operations that only move, pick or mirror values: gradients through them are relevance handed on unchanged.
_MOVES = {
    "AccumulateGrad", "AliasBackward0", "CatBackward0", "CloneBackward0", "ConstantPadNdBackward0",
    "MaxPool2DWithIndicesBackward0", "PermuteBackward0", "ReflectionPad2DBackward0", "ReplicationPad2DBackward0",
    "SelectBackward0", "SliceBackward0", "SplitBackward0", "SplitWithSizesBackward0", "StackBackward0",
    "UnsqueezeBackward0", "ViewBackward0",
}  # fmt: skip


def replica(network):
    """Return a network of the same layers and modes that shares the weights but nothing that a pass changes.

    Running statistics are copies, parameters ask for no gradient, and hooks are left behind: whatever is done to the
    replica, short of writing into a weight, the network does not notice.

    Parameters
    ----------
    network : torch.nn.Module
        Any network.

    Returns
    -------
    torch.nn.Module
        Of the same class.
    """
    return _replica(network, {})


def _replica(module, made):
    if id(module) not in made:
        copy = made[id(module)] = module.__new__(type(module))
        copy.__dict__ = {**module.__dict__, **nn.Module().__dict__, "training": module.training}
        for name, weight in module._parameters.items():
            alias = None if weight is None else nn.Parameter(weight.detach(), requires_grad=False)
            copy.register_parameter(name, alias)
        for name, buffer in module._buffers.items():
            copy.register_buffer(name, None if buffer is None else buffer.detach().clone())
        for name, part in module._modules.items():
            copy.add_module(name, None if part is None else _replica(part, made))
    return made[id(module)]


@dataclass(frozen=True)
class Call:
    """One use of a layer in a pass."""

    name: str
    module: nn.Module
    source: torch.Tensor | None  # what it was given; kept for convolutions only, because it takes memory
    source_node: object  # the operation that made what it was given, None for the images
    edge: GradientEdge  # where its output lies in the graph


class Trace:
    """What the layers of a network do in its next pass, in the order of the pass.

    A context, to be entered when zennit's hooks are in place. It notes which batch norms follow a convolution, and
    sets the running statistics of each batch norm to those by which it normalized in the pass: the batch's own in
    training mode.

    Parameters
    ----------
    network : torch.nn.Module
        A replica, which is changed.
    at : str
        Name of the module whose output matters, or ``"input"``.

    Raises
    ------
    UnknownNameError
        There is no module of that name.
    """

    def __init__(self, network, at):
        modules = dict(network.named_modules())
        if at != "input" and (not at or at not in modules):
            parts = ", ".join(name for name, _ in network.named_children())
            raise UnknownNameError(
                f"at: {type(network).__name__} has no module {at!r}; expected 'input' or the name of a module, for "
                f"example one of {parts}"
            )
        self.calls, self._features, self._merges, self._handles = [], [], [], []
        self._network, self._at = network, at
        self._given = self._made = None
        for name, module in modules.items():
            if next(module.children(), None) is None and not isinstance(module, MOVING):
                # First of all hooks: zennit's replace what is given by a copy.
                self._handles.append(module.register_forward_pre_hook(self._enter, prepend=True))
                self._handles.append(module.register_forward_hook(partial(self._leave, name)))
        if at != "input":
            self._handles.append(modules[at].register_forward_hook(self._keep))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Let go of the pass at once: hooks and layers refer to each other, and with them to all that was computed."""
        for handle in self._handles:
            handle.remove()
        self.calls.clear()
        self._features.clear()
        self._given = self._made = None

    def _keep(self, _, __, output):
        self._features.append(output)

    def _enter(self, _, inputs):
        self._given = inputs[0] if inputs else None

    def _leave(self, name, module, _, output):
        given, made = self._given, self._made
        if not isinstance(output, torch.Tensor) or output.grad_fn is None or not isinstance(given, torch.Tensor):
            return
        if isinstance(module, nn.BatchNorm2d) and has_rule(module):
            if made is given:
                self._merges.append(([self.calls[-1].name], name))
            if module.training:
                # New tensors, because the graph still holds the old ones.
                module.running_mean = given.detach().mean((0, 2, 3))
                module.running_var = given.detach().var((0, 2, 3), correction=0)
        source = given if isinstance(module, Convolution) else None
        self.calls.append(Call(name, module, source, given.grad_fn, get_gradient_edge(output)))
        self._made = output if isinstance(module, Convolution) else None

    def merge_batch_norms(self):
        """Make each batch norm that followed a convolution part of it (zennit's canonizer), in the replica only.

        In evaluation mode the replica then computes what the network computed in the pass, dropout aside.
        """
        NamedMergeBatchNorm(self._merges).apply(self._network)
        for _, name in self._merges:
            norm = self._network.get_submodule(name)
            # The canonizer leaves a variance of 1, to which the layer would still add its eps.
            norm.running_var = norm.running_var - norm.eps

    def target(self, images):
        """Return where in the graph of the pass the relevance is wanted.

        Parameters
        ----------
        images : torch.Tensor
            What the network was given.

        Returns
        -------
        torch.autograd.graph.GradientEdge

        Raises
        ------
        DataError
            The module that was asked for did not return exactly one tensor, once.
        """
        if self._at == "input":
            return get_gradient_edge(images)
        if len(self._features) != 1 or not isinstance(self._features[0], torch.Tensor):
            raise DataError(f"at: {self._at} must return one tensor once per pass, it returned {len(self._features)}")
        return get_gradient_edge(self._features[0])

    def head(self, margin):
        """Return the convolution that the explained output comes from, after a check of all that lies before it.

        Parameters
        ----------
        margin : torch.Tensor
            What is to be explained, made from the network's output.

        Returns
        -------
        Call

        Raises
        ------
        DataError
            The output does not come from one convolution, or relevance would have to pass through a layer or an
            operation for which there is no rule.
        """
        nodes = {call.edge.node: call for call in self.calls}
        heads, passed, seen, ahead = [], set(), set(), [(margin.grad_fn, True)]
        while ahead:
            node, behind = ahead.pop()  # behind: no layer lies between this operation and the margin
            if node is None or (node, behind) in seen:
                continue
            seen.add((node, behind))
            if node in nodes:
                call = nodes[node]
                _check_rule(call)
                passed.add(call.name)
                heads += [call] if behind else []
                ahead.append((call.source_node, False))
            elif behind or type(node).__name__ in _MOVES:
                ahead += [(before, behind) for before, _ in node.next_functions]
            else:
                operation = type(node).__name__.removesuffix("0")
                raise DataError(
                    f"network: relevance cannot pass {operation}, an operation outside of the layers that have a rule; "
                    "additions need nucseg.models.Add or a residual block of torchvision"
                )
        self._check_used_once(passed)
        if len(heads) != 1 or not isinstance(heads[0].module, Convolution) or heads[0].module.groups != 1:
            names = ", ".join(call.name for call in heads) or "no layer"
            raise DataError(f"output: must come straight from one convolution without groups, comes from {names}")
        return heads[0]

    def _check_used_once(self, names):
        # zennit's rules remember one input per layer.
        uses = Counter(call.name for call in self.calls if not isinstance(call.module, PASSING))
        for name in sorted(names):
            if uses[name] > 1:
                raise DataError(f"network: {name} is used {uses[name]} times in a pass, expected once")


def _check_rule(call):
    if not has_rule(call.module):
        raise DataError(f"network: there is no rule for {call.name}, {call.module}")
