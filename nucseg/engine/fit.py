"""One training loop for all methods: any device, progress, and exact resume after a kill."""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from nucseg.engine.checkpoint import load_checkpoint, save_checkpoint, save_weights
from nucseg.engine.device import fabric as default_fabric
from nucseg.errors import NucsegError
from nucseg.seeding import generator


@dataclass
class History:
    """What happened epoch by epoch.

    Parameters
    ----------
    epochs : list of dict
        ``epoch`` (from 1), ``loss`` (mean over steps), ``score`` (of validation, None without) and ``seconds``.
    best_epoch : int
        Epoch of the highest score, 0 before the first; the last epoch without validation.
    best_score : float, optional
        The highest score.
    """

    epochs: list = field(default_factory=list)
    best_epoch: int = 0
    best_score: float | None = None


def fit(network, optimizer, batches, loss, *, epochs, run_dir, config, seed=0, fabric=None, validate=None,
        progress=True):
    """Train a network, or go on with a training that was interrupted.

    All randomness of an epoch (batches, augmentation, dropout) follows from the seed and the number of the epoch,
    so a run that was killed in the middle of an epoch begins that epoch again and ends with the same weights as
    one that was not.

    Parameters
    ----------
    network : torch.nn.Module
        Holds the final weights afterwards.
    optimizer : torch.optim.Optimizer
        Over the network's parameters.
    batches : callable
        ``batches(epoch, generator) -> iterable of batches``; epoch counts from 1, all random choices come from the
        generator (a CPU torch.Generator). A batch is a dict; its entry ``names``, if any, names its images.
    loss : callable
        ``loss(network, batch) -> scalar tensor``.
    epochs : int
        Number of epochs in all; a finished run may be continued with a larger number.
    run_dir : path-like
        Receives ``last.ckpt`` after each epoch and ``best.safetensors`` after each better one.
    config : dict
        Settings, JSON values; a checkpoint of other settings is refused.
    seed : int
        Seed of the run.
    fabric : lightning_fabric.Fabric, optional
        Device and precision; by default those of :func:`nucseg.engine.fabric`.
    validate : callable, optional
        ``validate(network) -> float``, higher is better; called after each epoch, in evaluation mode.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    History

    Raises
    ------
    NucsegError
        The loss is not finite: names epoch, step and images; the last good checkpoint stays.
    DataError
        The checkpoint is damaged or has other settings.
    """
    fabric = default_fabric() if fabric is None else fabric
    run_dir, config = Path(run_dir), {**config, "seed": seed}
    module, stepper = fabric.setup(network, optimizer)
    history = _resumed(run_dir / "last.ckpt", config, network, optimizer)
    done = len(history.epochs)
    bar = tqdm(range(done + 1, epochs + 1), initial=done, total=epochs, unit="epoch", disable=not progress)
    for epoch in bar:
        start = time.perf_counter()
        mean = _train_epoch(fabric, module, stepper, batches, loss, epoch, seed, run_dir / "last.ckpt")
        line = {"epoch": epoch, "loss": mean, "score": _score(module, network, validate)}
        history.epochs.append({**line, "seconds": round(time.perf_counter() - start, 3)})
        _write(run_dir, config, network, stepper, history)
        bar.set_postfix({name: f"{value:.4f}" for name, value in line.items() if isinstance(value, float)})
    return history


def _resumed(last, config, network, optimizer):
    """Return the history so far, with network and optimizer as they were; an empty one without a checkpoint."""
    if not last.is_file():
        return History()
    saved = load_checkpoint(last, config)
    # Called after Fabric's setup: the optimizer's state goes to the device that its parameters are on by then.
    network.load_state_dict(saved["network"])
    optimizer.load_state_dict(saved["optimizer"])
    return History(**saved["history"])


def _write(run_dir, config, network, optimizer, history):
    """Write the weights if this epoch was the best so far, then the checkpoint."""
    epoch, score = len(history.epochs), history.epochs[-1]["score"]
    if score is None or history.best_score is None or score > history.best_score:
        history.best_epoch, history.best_score = epoch, score
        save_weights(run_dir / "best.safetensors", network)
    state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "history": vars(history)}
    save_checkpoint(run_dir / "last.ckpt", state, config)


def _train_epoch(fabric, module, optimizer, batches, loss, epoch, seed, last):
    """Return the mean loss of one epoch of optimizer steps."""
    module.train()
    torch.manual_seed(_epoch_seed(seed, "network", epoch))
    draws = torch.Generator().manual_seed(_epoch_seed(seed, "batches", epoch))
    values = []
    for step, batch in enumerate(batches(epoch, draws), start=1):
        optimizer.zero_grad()
        value = loss(module, batch)
        values.append(value.item())
        if not math.isfinite(values[-1]):
            kept = f"the last good checkpoint is {last}" if last.is_file() else "there is no checkpoint yet"
            names = ", ".join(map(str, batch.get("names", ()))) or "not named"
            raise NucsegError(f"epoch {epoch}, step {step}: the loss is {values[-1]} (images: {names}); {kept}")
        fabric.backward(value)
        optimizer.step()
    if not values:
        raise NucsegError(f"epoch {epoch}: there is no batch to train on")
    return sum(values) / len(values)


def _score(module, network, validate):
    if validate is None:
        return None
    module.eval()
    with torch.inference_mode():
        score = float(validate(network))
    if not math.isfinite(score):
        raise NucsegError(f"validation returned {score}; a score must be finite")
    return score


def _epoch_seed(seed, purpose, epoch):
    return int(generator(seed, "fit", purpose, epoch).integers(2**63 - 1))
