"""ImageNet weights of torchvision's ViT-B/16 under the names of :class:`nucseg.models.TissueViT`."""

from http.client import HTTPException

import torch
from torch.nn import functional as F
from torchvision.models import ViT_B_16_Weights, vit_b_16

from nucseg.errors import NucsegError

_SOURCE = ViT_B_16_Weights.IMAGENET1K_V1
#: Names of the parts of a block, as torchvision has them and as they are here.
_PARTS = {
    "ln_1.": "norm_1.", "ln_2.": "norm_2.", "self_attention.in_proj_": "qkv.", "self_attention.out_proj.": "out.",
    "mlp.0.": "mlp.0.", "mlp.3.": "mlp.2.",
}


def imagenet_vit(tokens, grid, noise):
    """Return the weights of an encoder, downloading them on first use.

    Parameters
    ----------
    tokens : int
        Number of class and register tokens; each is a copy of the pretrained class token.
    grid : int
        Side of the grid of patches; positions are interpolated bicubically.
    noise : float
        Standard deviation of the normal noise on the positions of the copies, which are the same without it.

    Returns
    -------
    dict of str to torch.Tensor

    Raises
    ------
    NucsegError
        The weights cannot be loaded; says from where.
    """
    try:
        # weights_only: the file is a download, so nothing but tensors may be read from it.
        state = _SOURCE.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, HTTPException, RuntimeError) as error:
        raise NucsegError(
            f"the ImageNet weights of ViT-B/16 could not be loaded from {_SOURCE.url} ({error}); "
            "weights=None trains from scratch"
        ) from error
    network = vit_b_16(weights=None)
    network.load_state_dict(state)  # the file may have older names, which torchvision translates
    return renamed(network.state_dict(), tokens, grid, noise)


def renamed(state, tokens, grid, noise):
    """Return a state dict of torchvision's ViT-B/16 as one of :class:`nucseg.models.TissueViT`; see above."""
    positions = state["encoder.pos_embedding"][0]
    side = round((len(positions) - 1) ** 0.5)
    patches = positions[1:].T.reshape(1, -1, side, side)
    if side != grid:
        patches = F.interpolate(patches, size=(grid, grid), mode="bicubic", align_corners=False)
    own = {
        "stem.weight": state["conv_proj.weight"], "stem.bias": state["conv_proj.bias"],
        "tokens": state["class_token"][0].repeat(tokens, 1),
        "token_positions": positions[:1] + noise * torch.randn(tokens, positions.shape[1]),
        "patch_positions": patches.contiguous(),
        "norm.weight": state["encoder.ln.weight"], "norm.bias": state["encoder.ln.bias"],
    }
    layers = "encoder.layers.encoder_layer_"
    for name, values in state.items():
        if name.startswith(layers):
            number, _, part = name.removeprefix(layers).partition(".")
            theirs = next(known for known in _PARTS if part.startswith(known))
            own[f"blocks.{number}.{_PARTS[theirs]}{part.removeprefix(theirs)}"] = values
    return own
