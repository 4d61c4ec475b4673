"""The one-cycle learning rate as a function of the step, so that it survives an interruption (Smith and Topin 2019)."""

import torch

from nucseg.errors import DataError


class OneCycle:
    """Batches of another source, with the learning rate of each step set before it is taken.

    The rates are those of PyTorch's ``OneCycleLR`` with its defaults: they rise along a cosine for 30 % of the
    steps from a twenty-fifth of the peak and fall to 4e-6 of it. They depend on the number of the step alone, so
    nothing needs to be kept in a checkpoint. The momentum stays as it is.

    Parameters
    ----------
    batches : callable with a length
        ``batches(epoch, generator)``, see :func:`nucseg.engine.fit`; ``len(batches)`` is their number in an epoch.
    optimizer : torch.optim.Optimizer
        The one that is trained with.
    peak : float
        The highest learning rate.
    epochs : int
        Epochs in all.

    Raises
    ------
    DataError
        Fewer than one epoch or batch, or a peak that is not above 0.
    """

    def __init__(self, batches, optimizer, peak, epochs):
        if epochs < 1 or len(batches) < 1 or not peak > 0:
            raise DataError(
                f"one cycle: expected epochs, batches and a rate above 0, got {epochs}, {len(batches)}, {peak}"
            )
        self.batches, self.optimizer = batches, optimizer
        self.rates = one_cycle_rates(peak, epochs * len(batches))

    def __len__(self):
        """Batches in an epoch."""
        return len(self.batches)

    def __call__(self, epoch, generator):
        """Yield the batches of one epoch, counted from 1."""
        first = (epoch - 1) * len(self.batches)
        for step, batch in enumerate(self.batches(epoch, generator)):
            for group in self.optimizer.param_groups:
                group["lr"] = self.rates[first + step]
            yield batch


def one_cycle_rates(peak, steps):
    """Return the learning rate of each step, as PyTorch's ``OneCycleLR`` computes it.

    Parameters
    ----------
    peak : float
        The highest rate.
    steps : int
        Number of steps, 1 or more.

    Returns
    -------
    list of float
    """
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
