"""Encoders of torchvision without their classifier, their last stage dilated instead of strided."""

from http.client import HTTPException

from torch import nn
from torchvision import models

from nucseg.errors import NucsegError, UnknownNameError

#: Names of the encoders and the channels that they end with.
CHANNELS = {"resnet18": 512, "resnet34": 512, "resnet50": 2048}
_WEIGHTS = {
    "resnet18": models.ResNet18_Weights.IMAGENET1K_V1, "resnet34": models.ResNet34_Weights.IMAGENET1K_V1,
    "resnet50": models.ResNet50_Weights.IMAGENET1K_V1,
}


def residual_network(name="resnet50", weights="imagenet"):
    """Return torchvision's residual network of a name, with its strides, pooling and classifier.

    Random weights come from PyTorch's global generator.

    Parameters
    ----------
    name : {"resnet50", "resnet34", "resnet18"}
        Which network.
    weights : {"imagenet", None}
        ``"imagenet"`` loads torchvision's ImageNet weights, downloading them on first use; None starts from random
        weights.

    Returns
    -------
    torchvision.models.ResNet

    Raises
    ------
    UnknownNameError
        Another name or other weights.
    NucsegError
        The ImageNet weights cannot be loaded.
    """
    if name not in CHANNELS:
        raise UnknownNameError(f"unknown encoder {name!r}; known: {', '.join(CHANNELS)}")
    if weights not in (None, "imagenet"):
        raise UnknownNameError(f"weights: expected 'imagenet' or None, got {weights!r}")
    network = getattr(models, name)(weights=None)
    if weights == "imagenet":
        network.load_state_dict(_imagenet(name))
    return network


def dilated_resnet(name="resnet50", weights="imagenet"):
    """Return a residual network that ends at stride 16, without pooling and classifier.

    The stride of the last stage becomes a dilation of 2, as in DeepLab (Chen et al. 2017).

    Parameters
    ----------
    name : {"resnet50", "resnet34", "resnet18"}
        Which network.
    weights : {"imagenet", None}
        See :func:`residual_network`.

    Returns
    -------
    torch.nn.Sequential
        Maps (B, 3, H, W) to (B, C, ceil(H / 16), ceil(W / 16)), C as in :data:`CHANNELS`.

    Raises
    ------
    UnknownNameError, NucsegError
        As :func:`residual_network`.
    """
    network = residual_network(name, weights)
    _dilate(network.layer4)
    return nn.Sequential(
        network.conv1, network.bn1, network.relu, network.maxpool,
        network.layer1, network.layer2, network.layer3, network.layer4,
    )


def _imagenet(name):
    try:
        # weights_only: the file is a download, so nothing but tensors may be read from it.
        return _WEIGHTS[name].get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, HTTPException, RuntimeError) as error:
        raise NucsegError(
            f"the ImageNet weights of {name} could not be loaded from {_WEIGHTS[name].url} ({error}); "
            "weights=None trains from scratch"
        ) from error


def _dilate(stage):
    """Turn the stride of a stage into a dilation of its 3x3 convolutions after the first one that had it.

    torchvision does the same by ``replace_stride_with_dilation``, but only for the blocks of its larger networks.
    """
    strided = True
    for part in stage.modules():
        if isinstance(part, nn.Conv2d):
            if part.kernel_size == (3, 3) and not strided:
                part.dilation = part.padding = (2, 2)
            if part.kernel_size == (3, 3):
                strided = False
            part.stride = (1, 1)
