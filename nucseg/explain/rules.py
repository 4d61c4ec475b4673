"""The rules by which a layer hands its relevance down, put together from those of zennit."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from zennit.canonizers import AttributeCanonizer
from zennit.core import BasicHook, Composite, Hook
from zennit.layer import Sum
from zennit.rules import ClampMod, Epsilon, Flat, Norm, Pass, WSquare, ZPlus
from zennit.torchvision import ResNetBasicBlockCanonizer, ResNetBottleneckCanonizer
from zennit.types import Convolution

from nucseg.errors import DataError, UnknownNameError
from nucseg.models.joints import Add, Scale

#: Layers of one input per output: what reaches the output came from that input.
PASSING = (nn.ReLU, nn.Dropout, nn.Dropout2d)
#: Layers that only move or pick values; the gradient moves relevance the same way (max-pooling: the winner takes all).
MOVING = (nn.MaxPool2d, nn.Identity)
_CHOICES = {
    "convolution": ("zplus", "epsilon"),
    "first": ("flat", "zplus", "wsquare"),
    "batch_norm": ("pass", "share"),
    "residual": ("positive", "epsilon"),
}


@dataclass(frozen=True)
class LRPRules:
    """One rule per kind of layer; the defaults are alpha1-beta0 with a flat first layer (Kohlbrenner et al. 2020).

    Foo et al. (2022) say "LRP alpha1" and name no other rule. Biases take no part in any rule, so that relevance is
    neither made nor lost, except where nothing contributed to an output (its relevance is dropped).

    Raises
    ------
    UnknownNameError
        A rule that is not among those of its layer.
    DataError
        A stabilizer that is not a positive number.
    """

    # Convolutions, transposed ones too. "zplus": by x+ w+ + x- w-, also called alpha1-beta0 (Bach et al. 2015, eq. 60);
    # "epsilon": by x w of either sign (eq. 58); such sums come close to zero, so take a stabilizer of 0.25 or more.
    convolution: str = "zplus"
    # Convolutions that see the image. "flat": the same to every pixel in view (Kohlbrenner et al. 2020); "zplus";
    # "wsquare": by w^2, whatever the pixel.
    first: str = "flat"
    # Batch norms that do not follow a convolution, y = g x + h. "pass": all of it to x; "share": |g x| / (|g x| + |h|)
    # of it, the rest is dropped. Those behind a convolution are part of it.
    batch_norm: str = "pass"
    # Additions, y = a + b, as of residual blocks. "positive": by a+ and b+; "epsilon": by a and b.
    residual: str = "positive"
    # Keeps denominators from zero, in units of the layer's output. Larger values drop more relevance.
    stabilizer: float = 1e-6

    def __post_init__(self):
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise UnknownNameError(f"{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if not 0 < self.stabilizer < math.inf:
            raise DataError(f"stabilizer: expected a positive number, got {self.stabilizer}")


class _Placed(Hook):
    """Hands over to the rule for a convolution that sees the image, that sees no negative values, or any other."""

    def __init__(self, first, rectified, signed, images):
        super().__init__()
        self.first, self.rectified, self.signed, self.images = first, rectified, signed, images
        self.rule = first

    def pre_forward(self, module, input):
        if input[0] is self.images:
            self.rule = self.first
        else:
            self.rule = self.rectified if input[0].detach().min() >= 0 else self.signed
        return super().pre_forward(module, input)

    def forward(self, module, input, output):
        self.rule.forward(module, input, output)

    def backward(self, module, grad_input, grad_output):
        return self.rule.backward(module, grad_input, grad_output)

    def copy(self):
        return _Placed(self.first.copy(), self.rectified.copy(), self.signed.copy(), self.images)

    def remove(self):
        self.rule.remove()
        super().remove()


class _Constant(Pass):
    """All relevance goes to the features; the factors on them count as constants."""

    def pre_forward(self, module, input):
        features, factors = input
        return super().pre_forward(module, features), factors.detach()


class _Share(Hook):
    """A batch norm's input gets its part of the output beside the shift, which is 0 once it is merged."""

    def __init__(self, stabilizer):
        super().__init__()
        self.stabilizer = stabilizer

    def forward(self, module, input, output):
        self.stored_tensors["input"] = input[0]

    def backward(self, module, grad_input, grad_output):
        factor = module.weight / (module.running_var + module.eps).sqrt()
        shift = (module.bias - factor * module.running_mean).abs()[:, None, None]
        part = (self.stored_tensors["input"].detach() * factor[:, None, None]).abs()
        share = part / (part + shift + self.stabilizer)
        return (grad_output[0] * share.where(shift > 0, 1),)

    def copy(self):
        return _Share(self.stabilizer)


def has_rule(module):
    """Return whether relevance can go through a layer by one of the rules.

    Parameters
    ----------
    module : torch.nn.Module
        A layer without parts.

    Returns
    -------
    bool
    """
    if isinstance(module, nn.BatchNorm2d):  # zennit's merge needs both
        return module.affine and module.track_running_stats
    bilinear = isinstance(module, nn.Upsample) and module.mode == "bilinear"
    return bilinear or isinstance(module, (Convolution, Sum, Scale, *PASSING))


def composite(rules, images):
    """Return zennit's composite that gives each layer of a network its rule, and additions a sum to hook into.

    Parameters
    ----------
    rules : LRPRules
        Which rule for which layer.
    images : torch.Tensor
        The tensor that the network will be given; the layer that gets this very object is the first one.

    Returns
    -------
    zennit.core.Composite
    """

    def layer_rule(_, __, module):
        if not has_rule(module):
            return None
        if isinstance(module, Convolution):
            first, signed = (_linear(kind, rules.stabilizer) for kind in (rules.first, rules.convolution))
            rectified = _positive(rules.stabilizer) if rules.convolution == "zplus" else signed
            return _Placed(first, rectified, signed, images)
        if isinstance(module, Sum) and rules.residual == "epsilon":
            return Norm(rules.stabilizer)
        if isinstance(module, (Sum, nn.Upsample)):
            return _positive(rules.stabilizer)
        if isinstance(module, nn.BatchNorm2d) and rules.batch_norm == "share":
            return _Share(rules.stabilizer)
        return _Constant() if isinstance(module, Scale) else Pass()

    additions = [ResNetBasicBlockCanonizer(), ResNetBottleneckCanonizer(), AttributeCanonizer(_with_sum)]
    return Composite(layer_rule, additions)


def _with_sum(_, module):
    """Return the attributes by which an addition gets a sum to hook into, as zennit does for torchvision's blocks."""
    if isinstance(module, Add):
        return {"forward": _stack_and_sum.__get__(module), "canonizer_sum": Sum()}
    return None


def _stack_and_sum(module, first, second):
    return module.canonizer_sum(torch.stack([first, second], dim=-1))


def _linear(kind, stabilizer):
    rule = {"zplus": ZPlus, "epsilon": Epsilon, "flat": Flat, "wsquare": WSquare}[kind]
    return rule(stabilizer, zero_params="bias")


def _positive(stabilizer):
    """Return z+ for where positive inputs meet positive weights only: half the work of zennit's, the same result."""
    return BasicHook(
        input_modifiers=[lambda values: values.clamp(min=0)],
        param_modifiers=[ClampMod(min=0.0, zero_params="bias")],
        gradient_mapper=lambda above, outputs: [above / (outputs[0] + stabilizer)],
        reducer=lambda inputs, gradients: inputs[0] * gradients[0],
    )
