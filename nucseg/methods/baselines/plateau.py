"""A learning rate that falls when the validation loss stalls, also over an interruption of the training."""

from torch.optim.lr_scheduler import ReduceLROnPlateau

#: Where the memory of the rule is kept in an optimizer's first group of parameters.
MEMORY = "plateau"


class PlateauBatches:
    """Batches of another source, and PyTorch's rule for the learning rate.

    The rule remembers the best loss and how long ago it was. This memory lies in the optimizer, whose state is part
    of every checkpoint, so a training that was interrupted goes on with the same rates. One process validates; the
    others get its rate at the beginning of an epoch.

    Parameters
    ----------
    batches : callable
        ``batches(epoch, generator)``, see :func:`nucseg.engine.fit`.
    optimizer : torch.optim.Optimizer
        The one that is trained with.
    fabric : lightning_fabric.Fabric
        The one that is trained with.
    factor : float
        The learning rate is multiplied by it, above 0 and below 1.
    patience : int
        Validations in a row without a lower loss (by 0.01 % at least) that are borne; the next one lowers the rate.
    """

    def __init__(self, batches, optimizer, fabric, factor, patience):
        self.batches, self.optimizer, self.fabric = batches, optimizer, fabric
        self.rule = ReduceLROnPlateau(optimizer, factor=factor, patience=patience)

    def __call__(self, epoch, generator):
        """Set the learning rate in every process and return the batches of one epoch, counted from 1."""
        rate = self.fabric.broadcast(self.optimizer.param_groups[0]["lr"])
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return self.batches(epoch, generator)

    def step(self, loss):
        """Take note of a validation loss and lower the learning rate if it stalls.

        Parameters
        ----------
        loss : float
            Lower is better.
        """
        memory = self.optimizer.param_groups[0].get(MEMORY)
        if memory is not None:  # that of the checkpoint, if there was one
            self.rule.load_state_dict(memory)
        self.rule.step(loss)
        self.optimizer.param_groups[0][MEMORY] = self.rule.state_dict()
