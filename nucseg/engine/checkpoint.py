"""Checkpoints: everything a run needs to go on, in one file that is whole or absent."""

from pathlib import Path

import safetensors.torch
import torch

from nucseg.atomic import atomic_path
from nucseg.errors import DataError

#: Stands in every checkpoint; raised when old files can no longer be read.
FORMAT = 1


def save_checkpoint(path, state, config):
    """Write a checkpoint, whole or not at all.

    Parameters
    ----------
    path : path-like
        The file; an older checkpoint there is replaced at the very end.
    state : dict
        Tensors, numbers, texts, and lists and dicts of these.
    config : dict
        Settings of the run, JSON values; a later run must have the same.

    Raises
    ------
    NucsegError
        The file cannot be written; names it.
    """
    with atomic_path(path) as temporary:
        torch.save({"format": FORMAT, "config": dict(config), "state": state}, temporary)


def load_checkpoint(path, config):
    """Return the state of a checkpoint of the same settings.

    Parameters
    ----------
    path : path-like
        Written by :func:`save_checkpoint`.
    config : dict
        Settings of this run.

    Returns
    -------
    dict
        The state, tensors on the CPU.

    Raises
    ------
    DataError
        The file is damaged or no checkpoint, or its settings differ; names the file and the fields that differ.
    """
    path = Path(path)
    try:
        # Only plain data is read: a file that wants to run code is refused.
        content = torch.load(path, map_location="cpu", weights_only=True)
        stored, state = content["config"], content["state"]
    except Exception as error:  # damaged files make the reader fail in many ways, none of them documented
        cause = type(error).__name__
        raise DataError(f"{path}: not a readable checkpoint ({cause}); delete it to start anew") from error
    if content.get("format") != FORMAT:
        raise DataError(f"{path}: checkpoint of format {content.get('format')}, this version reads {FORMAT}")
    differing = [
        f"{name} is {config.get(name, 'absent')!r}, was {stored.get(name, 'absent')!r}"
        for name in sorted(stored.keys() | config.keys())
        if stored.get(name, "absent") != config.get(name, "absent")
    ]
    if differing:
        raise DataError(f"{path}: checkpoint of other settings: {'; '.join(differing)}; use another run folder")
    return state


def save_weights(path, network):
    """Write the weights of a network as safetensors, whole or not at all.

    Parameters
    ----------
    path : path-like
        The file.
    network : torch.nn.Module or dict of str to torch.Tensor
        On any device; or its state dict.

    Raises
    ------
    NucsegError
        The file cannot be written; names it.
    """
    state = network.state_dict() if isinstance(network, torch.nn.Module) else network
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with atomic_path(path) as temporary:
        safetensors.torch.save_file(weights, temporary)


def load_weights(path, network):
    """Put weights written by :func:`save_weights` into a network.

    Parameters
    ----------
    path : path-like
        The file.
    network : torch.nn.Module
        Of the same architecture.

    Raises
    ------
    DataError
        The file is missing or damaged, or does not fit the network; names it.
    """
    try:
        network.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        raise DataError(f"{path}: these weights cannot be used here ({str(error).splitlines()[0]})") from error
