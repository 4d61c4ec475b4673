"""What happens while a network trains, kept with its weights, so that an interruption loses nothing."""

import torch
from torch import nn

COLUMNS = ("classification", "auxiliary", "tokens", "contrast", "inhibition", "attraction", "segmentation",
           "foreground", "uncertain", "pairs", "labeled")


class TrainingLog(nn.Module):
    """Means over the batches of each epoch, as buffers that checkpoints hold.

    Parameters
    ----------
    epochs : int
        Epochs in all.
    """

    def __init__(self, epochs):
        super().__init__()
        self.register_buffer("sums", torch.zeros(epochs, len(COLUMNS), dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(epochs, len(COLUMNS), dtype=torch.int64))

    def add(self, epoch, **values):
        """Add values of a batch, numbers or 0-d tensors, to an epoch, counted from 1."""
        for name, value in values.items():
            column = COLUMNS.index(name)
            self.sums[epoch - 1, column] += value
            self.counts[epoch - 1, column] += 1

    def lines(self):
        """Return one dict for each epoch: ``epoch``, and the means of what there was.

        Losses are those before their weights. ``foreground`` and ``uncertain`` are shares of the patches of images
        with a class, ``labeled`` is a share of pixels, ``pairs`` a number of positive pairs in a batch.
        """
        return [
            {"epoch": number, **{name: total / count for name, total, count in zip(COLUMNS, *row) if count}}
            for number, row in enumerate(zip(self.sums.tolist(), self.counts.tolist()), start=1) if any(row[1])
        ]
