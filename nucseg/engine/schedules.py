"""Learning rates as functions of the number of the step, so that they survive an interruption."""

import math

import torch

from nucseg.errors import DataError, UnknownNameError

SCHEDULES = ("cosine", "steps")


def warm_up_rates(peak, steps, warm_up=200, schedule="cosine"):
    """Return the learning rate of each step of a training.

    Parameters
    ----------
    peak : float
        The highest rate.
    steps : int
        Steps in all.
    warm_up : int
        The rate rises along a line for so many steps, at most a fifth of all.
    schedule : {"cosine", "steps"}
        Then it falls along half a cosine towards 0, or by a factor of 10 at 60 % and again at 85 % of all steps.

    Returns
    -------
    list of float

    Raises
    ------
    UnknownNameError
        Another schedule.
    DataError
        A peak or number of steps that is not above 0, or a negative warm-up.

    Examples
    --------
    >>> [round(rate, 3) for rate in warm_up_rates(1.0, 6, warm_up=1)]
    [1.0, 1.0, 0.905, 0.655, 0.345, 0.095]
    """
    if schedule not in SCHEDULES:
        raise UnknownNameError(f"unknown schedule {schedule!r}; known: {', '.join(SCHEDULES)}")
    if not peak > 0 or steps < 1 or warm_up < 0:
        raise DataError(f"learning rates: expected a peak and steps above 0, a warm-up of 0 or more, got {peak}, "
                        f"{steps}, {warm_up}")
    warm_up = min(warm_up, steps // 5)

    def share(step):
        if step < warm_up:
            return (step + 1) / warm_up
        if schedule == "steps":
            return 0.1 ** ((step >= 0.6 * steps) + (step >= 0.85 * steps))
        return (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up))) / 2

    return [peak * share(step) for step in range(steps)]


def one_cycle_rates(peak, steps):
    """Return the learning rate of each step of one cycle (Smith and Topin 2019), as PyTorch's ``OneCycleLR`` has them.

    With the defaults of PyTorch, rates rise along a cosine for 30 % of the steps from a twenty-fifth of the peak and
    fall to 4e-6 of it. The momentum stays as it is.

    Parameters
    ----------
    peak : float
        The highest rate.
    steps : int
        Steps in all.

    Returns
    -------
    list of float

    Raises
    ------
    DataError
        A peak or number of steps that is not above 0.
    """
    if not peak > 0 or steps < 1:
        raise DataError(f"one cycle: expected a peak and steps above 0, got {peak}, {steps}")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=peak, total_steps=max(steps, 2),
                                                   cycle_momentum=False)
    rates = []
    for step in range(steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        if step + 1 < max(steps, 2):
            schedule.step()
    return rates


class Scheduled:
    """Batches of another source, with the learning rate of each step set before it is taken.

    Rates depend on the number of the step alone, so nothing needs to be kept in a checkpoint.

    Parameters
    ----------
    batches : callable with a length
        ``batches(epoch, generator)``, see :func:`nucseg.engine.fit`; ``len(batches)`` is their number in an epoch.
    optimizer : torch.optim.Optimizer
        The one that is trained with.
    rates : sequence of float
        The rate of each step of the whole training.
    """

    def __init__(self, batches, optimizer, rates):
        self.batches, self.optimizer, self.rates = batches, optimizer, rates

    def __len__(self):
        """Batches in an epoch."""
        return len(self.batches)

    def __call__(self, epoch, generator):
        """Yield the batches of one epoch, counted from 1."""
        first = (epoch - 1) * len(self.batches)
        for step, batch in enumerate(self.batches(epoch, generator), start=first):
            for group in self.optimizer.param_groups:
                group["lr"] = self.rates[step]
            yield batch


def clip_gradients(optimizer, norm):
    """Keep the norm of all gradients together below a bound before each step of an optimizer.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Changed in place.
    norm : float
        The bound, above 0.
    """
    def clip(stepping, *_):
        parameters = [p for group in stepping.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, norm)

    optimizer.register_step_pre_hook(clip)
