"""What the selection does while a network trains, kept with its weights, so that an interruption loses nothing."""

import torch
from torch import nn

COUNTS = ("images", "block_1", "block_2", "block_3", "block_4", "none")
SUMS = ("alpha", "disk_recall", "with_disks", "ignored", "hits", "claimed", "nuclei", "detection", "segmentation",
        "localization", "dynamic", "contrast", "batches")
_COLUMNS = (*COUNTS, *SUMS)


class SelectionLog(nn.Module):
    """Sums over the images and batches of each epoch, as a buffer that checkpoints hold.

    Parameters
    ----------
    epochs : int
        Epochs in all.
    """

    def __init__(self, epochs):
        super().__init__()
        self.register_buffer("sums", torch.zeros(epochs, len(_COLUMNS), dtype=torch.float64))

    def add(self, epoch, **values):
        """Add values, numbers or 0-d tensors, to the sums of an epoch, counted from 1."""
        for name, value in values.items():
            self.sums[epoch - 1, _COLUMNS.index(name)] += value

    def add_selection(self, epoch, selection, blocks, truth):
        """Add what was chosen for a batch.

        Parameters
        ----------
        epoch : int
            Counted from 1.
        selection : nucseg.supervision.dynamic_cam.Selection
            Of the batch; its label is -1 beyond the image.
        blocks : sequence of int
            Encoder blocks that the choice was among, 0 for C2.
        truth : torch.Tensor, shape (B, H, W), int8
            True foreground 1, background 0, else unknown.
        """
        chosen = {f"block_{block + 1}": (selection.block == place).sum() for place, block in enumerate(blocks)}
        recall, compared = selection.foreground_recall, (selection.label >= 0) & ((truth == 0) | (truth == 1))
        claimed, nuclei = compared & (selection.label == 1), compared & (truth == 1)
        self.add(
            epoch, images=len(selection.block), **chosen, none=(selection.block < 0).sum(), alpha=selection.alpha.sum(),
            disk_recall=recall.nan_to_num().sum(), with_disks=(~recall.isnan()).sum(), ignored=selection.ignored.sum(),
            hits=(claimed & nuclei).sum(), claimed=claimed.sum(), nuclei=nuclei.sum(),
        )

    def lines(self):
        """Return one dict for each epoch: ``epoch``, means of the losses and, where blocks were chosen, their shares.

        ``block_1`` to ``block_4`` and ``none`` are shares of images; ``alpha``, ``disk_recall`` and ``ignored`` are
        means over images; ``precision`` and ``recall``, where the truth is known, are those of the nucleus pixels
        of the dynamic label where it is not ignored.
        """
        return [line for number, row in enumerate(self.sums.tolist(), 1) if (line := _line(number, row))]


def _line(number, row):
    sums = dict(zip(_COLUMNS, row))
    if not sums["batches"]:
        return None
    line = {"epoch": number}
    line |= {n: sums[n] / sums["batches"] for n in ("detection", "segmentation", "localization", "dynamic", "contrast")}
    if sums["images"]:
        line |= {name: sums[name] / sums["images"] for name in (*COUNTS[1:], "alpha", "ignored")}
    for name, part, whole in (("disk_recall", "disk_recall", "with_disks"), ("precision", "hits", "claimed"),
                              ("recall", "hits", "nuclei")):
        if sums[whole]:
            line[name] = sums[part] / sums[whole]
    if "recall" not in line:  # no truth is known
        line.pop("precision", None)
    return line
