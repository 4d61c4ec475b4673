"""One training loop for all methods: any device or several, progress, and exact resume after a kill."""

import contextlib
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from tqdm import tqdm

from nucseg.engine.checkpoint import load_checkpoint, save_checkpoint, save_weights
from nucseg.engine.device import fabric as default_fabric
from nucseg.errors import DataError, NucsegError
from nucseg.seeding import generator


@dataclass
class History:
    """What happened epoch by epoch.

    Parameters
    ----------
    epochs : list of dict
        ``epoch`` (from 1), ``loss`` (mean over steps and processes), ``score`` (of validation, None where there was
        none) and ``seconds``.
    best_epoch : int
        Epoch of the highest score, 0 before the first; the last epoch without any validation.
    best_score : float, optional
        The highest score.
    """

    epochs: list = field(default_factory=list)
    best_epoch: int = 0
    best_score: float | None = None


def fit(network, optimizer, batches, loss, *, epochs, run_dir, config, seed=0, fabric=None, validate=None,
        validate_every=1, checkpoint_seconds=10.0, progress=True):
    """Train a network, or go on with a training that was interrupted.

    All randomness of an epoch (batches, augmentation, dropout) follows from the seed, the number of the epoch and
    the rank of the process, so a run that was killed in the middle of an epoch begins that epoch again and ends with
    the same weights as one that was not.

    Each of several processes draws the same batches, computes on its own share of the images (equal shares, or one
    image more or less) and steps by the mean of all gradients. Batch normalization and losses averaged over pixels
    then average over each process's share, not over the batch; the running statistics kept are those of rank 0.

    Parameters
    ----------
    network : torch.nn.Module
        Holds the final weights afterwards, in channels-last memory format, which convolutions compute faster in.
    optimizer : torch.optim.Optimizer
        Over the network's parameters.
    batches : callable
        ``batches(epoch, generator) -> iterable of batches``; epoch counts from 1, all random choices come from the
        generator (a CPU torch.Generator). A batch is a dict; its entry ``names``, if any, names its images. With
        several processes its tensors, arrays, lists and tuples hold one item per image, other entries go to all.
    loss : callable
        ``loss(network, batch) -> scalar tensor``.
    epochs : int
        Number of epochs in all; a finished run may be continued with a larger number.
    run_dir : path-like
        Receives ``last.ckpt`` after each epoch and, with it, ``best.safetensors`` if there was a better one, from
        rank 0. One run uses it at a time; a second one waits.
    config : dict
        Settings, JSON values; a checkpoint of other settings is refused.
    seed : int
        Seed of the run.
    fabric : lightning_fabric.Fabric, optional
        Devices and precision, launched; by default those of :func:`nucseg.engine.fabric`.
    validate : callable, optional
        ``validate(network) -> float``, higher is better; called in evaluation mode, on rank 0.
    validate_every : int
        Validation follows the epochs divisible by this number, 1 or more, and the last.
    checkpoint_seconds : float
        An epoch that ends sooner than this after the last checkpoint writes none, unless it is the last one.
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
        The checkpoint is damaged or has other settings, or a batch cannot be shared among the processes.
    """
    fabric = default_fabric() if fabric is None else fabric
    with _alone(fabric, Path(run_dir)):
        run = _Run(fabric, network, optimizer, Path(run_dir), {**config, "seed": seed}, checkpoint_seconds)
        return run.go(batches, loss, epochs, validate, validate_every, progress)


@contextlib.contextmanager
def _alone(fabric, folder):
    """Wait until no other run trains in this folder; the operating system frees the folder of a killed run."""
    lock = FileLock(folder / "run.lock")
    if fabric.is_global_zero:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError as error:
            raise NucsegError(f"cannot write to {folder}: {error.strerror or error}") from error
    fabric.barrier()
    try:
        yield
    finally:
        lock.release()


class _Run:
    """A network in training, and what is known of it so far."""

    def __init__(self, fabric, network, optimizer, folder, config, checkpoint_seconds):
        self.fabric, self.network, self.folder, self.config = fabric, network, folder, config
        self.checkpoint_seconds, self.written, self.best = checkpoint_seconds, -math.inf, None
        self.module, self.optimizer = fabric.setup(network.to(memory_format=torch.channels_last), optimizer)
        self.history = History()
        if self.last.is_file():
            saved = load_checkpoint(self.last, config)
            # After Fabric's setup: the optimizer's state goes to the device that its parameters are on by then.
            network.load_state_dict(saved["network"])
            optimizer.load_state_dict(saved["optimizer"])
            self.history = History(**saved["history"])
        _match_layout(optimizer)

    @property
    def last(self):
        return self.folder / "last.ckpt"

    def go(self, batches, loss, epochs, validate, validate_every, progress):
        """Train up to a number of epochs and return the history."""
        if validate_every < 1:
            raise NucsegError(f"validate_every: expected 1 or more, got {validate_every}")
        done, silent = len(self.history.epochs), not (progress and self.fabric.is_global_zero)
        bar = tqdm(range(done + 1, epochs + 1), initial=done, total=epochs, unit="epoch", disable=silent)
        for epoch in bar:
            start = time.perf_counter()
            line = {"epoch": epoch, "loss": self.train(batches, loss, epoch), "score": None}
            if validate is not None and (epoch % validate_every == 0 or epoch == epochs):
                line["score"] = self.score(validate)
            self.history.epochs.append({**line, "seconds": round(time.perf_counter() - start, 3)})
            self.keep(best_is_last=validate is None)
            if epoch == epochs or time.perf_counter() - self.written >= self.checkpoint_seconds:
                self.write()
            self.fabric.barrier()
            bar.set_postfix({name: f"{value:.4f}" for name, value in line.items() if isinstance(value, float)})
        if self.fabric.world_size > 1:
            for buffer in self.network.buffers():  # each process went on with its own after the last step
                torch.distributed.broadcast(buffer, src=0)
        return self.history

    def train(self, batches, loss, epoch):
        """Return the mean loss of one epoch of optimizer steps."""
        self.module.train()
        rank = self.fabric.global_rank
        torch.manual_seed(self.seed("network", epoch, *([rank] if rank else [])))
        draws = torch.Generator().manual_seed(self.seed("batches", epoch))
        values = []
        for step, batch in enumerate(batches(epoch, draws), start=1):
            self.optimizer.zero_grad()
            value = loss(self.module, _share(batch, rank, self.fabric.world_size))
            # The mean over processes is finite where all are, so all of them go on or none does.
            values.append(self.fabric.all_reduce(value.detach().clone()).item())
            if not math.isfinite(values[-1]):
                kept = f"last good checkpoint: {self.last}" if self.last.is_file() else "there is no checkpoint yet"
                names = ", ".join(map(str, batch.get("names", ()))) or "not named"
                raise NucsegError(f"epoch {epoch}, step {step}: the loss is {values[-1]} (images: {names}); {kept}")
            self.fabric.backward(value)
            self.optimizer.step()
        if not values:
            raise NucsegError(f"epoch {epoch}: there is no batch to train on")
        return sum(values) / len(values)

    def seed(self, *purpose):
        """Return a seed of PyTorch for one purpose."""
        return int(generator(self.config["seed"], "fit", *purpose).integers(2**63 - 1))

    def score(self, validate):
        """Return the score that rank 0 finds."""
        self.module.eval()
        with torch.inference_mode():
            score = float(validate(self.network)) if self.fabric.is_global_zero else None
        score = self.fabric.broadcast(score)
        if not math.isfinite(score):
            raise NucsegError(f"validation returned {score}; a score must be finite")
        return score

    def keep(self, best_is_last):
        """Remember the weights if this epoch was the best so far."""
        history, score = self.history, self.history.epochs[-1]["score"]
        if best_is_last or (score is not None and (history.best_score is None or score > history.best_score)):
            history.best_epoch, history.best_score = len(history.epochs), score
            self.best = {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def write(self):
        """Write the best weights, if they are newer than the file, then the checkpoint."""
        if self.fabric.is_global_zero:
            if self.best is not None:
                save_weights(self.folder / "best.safetensors", self.best)
            state = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
            save_checkpoint(self.last, {**state, "history": vars(self.history)}, self.config)
        self.best, self.written = None, time.perf_counter()


def _match_layout(optimizer):
    """Lay out what an optimizer remembers as its parameters are; fused optimizers compute nonsense otherwise."""
    for parameter, memory in optimizer.state.items():
        for name, value in memory.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                memory[name] = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def _share(batch, rank, processes):
    """Return the images of a batch that one of several processes computes on."""
    if processes == 1:
        return batch
    kinds = (torch.Tensor, np.ndarray, list, tuple)
    lengths = {k: len(e) for k, e in batch.items() if isinstance(e, kinds) and getattr(e, "ndim", 1) > 0}
    if len(set(lengths.values())) != 1:
        raise DataError(f"batch: one item per image is needed to share it among {processes} processes, got {lengths}")
    size = next(iter(lengths.values()))
    if size < processes:
        raise DataError(f"batch: {processes} processes cannot share {size} images")
    first, end = size * rank // processes, size * (rank + 1) // processes
    return {name: entry[first:end] if name in lengths else entry for name, entry in batch.items()}
