"""The optimizer of SIA-WSSS, and learning rates as functions of the step, so that they survive an interruption."""

import torch

from nucseg.engine.schedules import Scheduled


def optimizer_of(network, config):
    """Return the optimizer over a network, whose transformer may learn at another rate than the rest.

    Parameters
    ----------
    network : nucseg.models.SIANet
        The network.
    config : SIAWSSSConfig
        Choices; Adam's weight decay is added to the gradient, AdamW's is not.

    Returns
    -------
    torch.optim.Optimizer
        Each group has an entry ``factor``, which :class:`FactoredRates` multiplies rates by.
    """
    encoder = {id(parameter) for parameter in network.encoder.parameters()}
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in learned if (id(p) in encoder) == inner], "factor": factor}
        for inner, factor in ((True, 1.0), (False, config.head_rate))
    ]
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, config.learning_rate, weight_decay=config.weight_decay)


def polynomial_rates(peak, steps, warm_up=0, schedule="polynomial", power=0.9):
    """Return the learning rate of each step of a training.

    Parameters
    ----------
    peak : float
        The highest rate.
    steps : int
        Steps in all.
    warm_up : int
        The rate rises along a line for so many steps, at most a fifth of all.
    schedule : {"polynomial", "fixed"}
        Then it falls as ``(1 - share of the remaining steps) ** power``, or stays.
    power : float
        0.9 in Ru et al. (2023).

    Returns
    -------
    list of float

    Examples
    --------
    >>> [round(rate, 2) for rate in polynomial_rates(1.0, 6, warm_up=1, power=1)]
    [1.0, 1.0, 0.8, 0.6, 0.4, 0.2]
    """
    warm_up = min(warm_up, steps // 5)
    rates = [peak * (step + 1) / warm_up for step in range(warm_up)]
    left = steps - warm_up
    return rates + [peak * (1 - step / left) ** power if schedule == "polynomial" else peak for step in range(left)]


class FactoredRates(Scheduled):
    """Batches of another source, with the learning rate of each step and group set before it is taken.

    Like :class:`nucseg.engine.schedules.Scheduled`, over an optimizer of :func:`optimizer_of`: the rates are those of
    a group with the factor 1.
    """

    def __call__(self, epoch, generator):
        """Yield the batches of one epoch, counted from 1."""
        for batch in super().__call__(epoch, generator):
            for group in self.optimizer.param_groups:
                group["lr"] *= group["factor"]
            yield batch
