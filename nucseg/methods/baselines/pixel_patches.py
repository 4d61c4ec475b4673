"""Square patches around pixels of given classes, cut on the device from whole images."""

from dataclasses import dataclass

import numpy as np
import torch

from nucseg.errors import DataError


@dataclass(eq=False)
class PixelPatches:
    """Images in one row of memory, mirrored at their borders, and the places of each class in it.

    Parameters
    ----------
    pixels : torch.Tensor, shape (3, N), uint8
        All images, one after the other, row by row.
    ends : torch.Tensor, shape (I,), int64
        Where each image ends.
    widths : torch.Tensor, shape (I,), int64
        Length of a row of each image, px.
    places : list of torch.Tensor, each of shape (M,), int32
        Pixels of each class.
    names : tuple of str
        Of the images.
    side : int
        Side of a patch, px, odd.
    """

    pixels: torch.Tensor
    ends: torch.Tensor
    widths: torch.Tensor
    places: list
    names: tuple
    side: int

    @classmethod
    def of(cls, names, images, classes, side, number, device="cpu"):
        """Return the patches of whole images.

        Parameters
        ----------
        names : sequence of str
            Of the images, for messages.
        images : sequence of numpy.ndarray, each of shape (H, W, 3), uint8
            Whole images.
        classes : sequence of numpy.ndarray, each of shape (H, W), int8
            Class of each pixel, 0 to number - 1.
        side : int
            Side of a patch, px, odd.
        number : int
            Number of classes.
        device : torch.device or str
            Where the images go.

        Raises
        ------
        DataError
            A class that no pixel of any image has.
        """
        reach = side // 2
        wide = [np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="reflect") for image in images]
        framed = [np.pad(own, reach, constant_values=-1).ravel() for own in classes]
        flat = np.concatenate(framed)
        places = [np.flatnonzero(flat == value).astype(np.int32) for value in range(number)]
        for value, found in enumerate(places):
            if not len(found):
                raise DataError(f"no pixel of the {len(names)} training images is of class {value}")
        return cls(
            torch.from_numpy(np.concatenate([image.reshape(-1, 3) for image in wide]).T.copy()).to(device),
            torch.tensor(np.cumsum([len(own) for own in framed]), device=device),
            torch.tensor([image.shape[1] for image in wide], device=device),
            [torch.from_numpy(found).to(device) for found in places],
            tuple(names),
            side,
        )

    def cut(self, centers):
        """Return the patches around pixels, (B, 3, side, side) uint8, and the numbers of their images, (B,)."""
        numbers = torch.searchsorted(self.ends, centers, right=True)
        steps = torch.arange(self.side, device=centers.device) - self.side // 2
        rows = centers[:, None, None] + steps[:, None] * self.widths[numbers][:, None, None]
        return self.pixels[:, rows + steps].transpose(0, 1), numbers


class BalancedBatches:
    """Batches with as many patches of each class, drawn anew in each epoch, for :func:`nucseg.engine.fit`.

    Calling it with an epoch's number and a generator yields dicts: ``image`` (B, 3, side, side) float32 in [0, 1];
    ``target`` (B,) int64, the class of the central pixel; ``names``, the image of each patch.

    Parameters
    ----------
    patches : PixelPatches
        What to draw from, with replacement.
    per_class : int
        Patches of each class in an epoch.
    batch : int
        Patches in a batch; the last one of an epoch may be smaller.
    turns : bool
        Whether each patch is turned by a random multiple of 90 degrees and mirrored or not.
    """

    def __init__(self, patches, per_class, batch, turns=True):
        self.patches, self.per_class, self.batch, self.turns = patches, per_class, batch, turns

    def __call__(self, epoch, generator):
        """Yield the batches of one epoch; all random choices come from `generator`."""
        places, device = self.patches.places, self.patches.pixels.device
        drawn = [torch.randint(len(own), (self.per_class,), generator=generator).to(device) for own in places]
        centers = torch.cat([own[chosen].long() for own, chosen in zip(places, drawn)])
        targets = torch.arange(len(places), device=device).repeat_interleave(self.per_class)
        for chosen in torch.randperm(len(centers), generator=generator).split(self.batch):
            turns = torch.randint(8, (len(chosen),), generator=generator).tolist() if self.turns else None
            where = chosen.to(device)
            images, numbers = self.patches.cut(centers[where])
            if turns is not None:
                images = torch.stack([_turned(image, turn) for image, turn in zip(images, turns)])
            names = [self.patches.names[number] for number in numbers.tolist()]
            yield {"image": images.float().div_(255), "target": targets[where], "names": names}


def _turned(image, turn):
    """Return one of the eight images of a square that turns and a mirror make."""
    image = image.rot90(turn % 4, (1, 2))
    return image.flip(2) if turn >= 4 else image
