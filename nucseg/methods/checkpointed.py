"""A network and what belongs to its training, kept together."""

from torch import nn


class Checkpointed(nn.Module):
    """A network and modules that its checkpoints hold beside it, a log for example, as one module.

    Parameters
    ----------
    network : torch.nn.Module
        Called as it is.
    **beside : torch.nn.Module
        Become attributes of these names.
    """

    def __init__(self, network, **beside):
        super().__init__()
        self.network = network
        for name, module in beside.items():
            self.add_module(name, module)

    def forward(self, *args, **options):
        """Return what the network returns."""
        return self.network(*args, **options)
