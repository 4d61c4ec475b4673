"""Where nuclei lie: an instance map filled one nucleus at a time, apart from each other or touching."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nucseg.data.synthetic.shapes import Outline, patch_window

_EIGHT = np.ones((3, 3), bool)


@dataclass(frozen=True)
class Nucleus:
    """One placed nucleus: its id in the instance map, kind, outline and center pixel."""

    id: int
    kind: str
    outline: Outline
    row: int
    column: int


class Layout:
    """An instance map under construction, and the nuclei in it.

    Parameters
    ----------
    shape : tuple of int
        (H, W) in pixels.
    gap : int
        Least number of background pixels between nuclei that do not touch, 1 or more.
    min_area : int
        Smallest visible area in pixels of a nucleus; less (at the image border) is not placed.
    """

    def __init__(self, shape, gap=2, min_area=25):
        self.labels = np.zeros(shape, np.int32)
        self.nuclei: list[Nucleus] = []
        self.touching: set[int] = set()
        self.gap, self.min_area = gap, min_area

    def place(self, rng, kind, outline, row, column, config):
        """Place a nucleus touching another one or apart from all, whichever the share of contacts calls for.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of randomness.
        kind : str
            Its kind; it touches nuclei of its own kind as long as there are any.
        outline : Outline
            Its outline.
        row, column : int
            Where it goes if it stays apart.
        config : HEConfig or FluorescenceConfig
            ``touching``, ``clumping`` and ``overlap`` are used.

        Returns
        -------
        bool
            Whether there was room.
        """
        if self.nuclei and self.touching_share() < config.touching:
            own = [n for n in self.nuclei if n.kind == kind] or self.nuclei
            joined = [n for n in own if n.id in self.touching]
            single = [n for n in own if n.id not in self.touching]
            pool = joined if joined and (not single or rng.random() < config.clumping) else single
            anchor, overlap = pool[rng.integers(len(pool))], int(rng.integers(config.overlap + 1))
            if self.place_touching(kind, outline, anchor, rng.uniform(0, 2 * np.pi), overlap):
                return True
        return self.place_apart(kind, outline, row, column)

    def place_apart(self, kind, outline, row, column):
        """Place a nucleus that touches no other one; return whether there was room."""
        if self.labels[row, column]:
            return False
        mask = outline.depth()[0] > 0
        window, inside = patch_window(row, column, mask.shape[0] // 2, self.labels.shape)
        taken = ndimage.binary_dilation(mask, _EIGHT, iterations=self.gap)[inside]
        if self.labels[window][taken].any():
            return False
        return self._commit(kind, outline, row, column, mask[inside], window)

    def place_touching(self, kind, outline, anchor, direction, overlap):
        """Slide a nucleus along a ray toward `anchor` until they touch; return whether it was placed.

        Parameters
        ----------
        kind : str
            Kind of the new nucleus.
        outline : Outline
            Its outline.
        anchor : Nucleus
            The nucleus to touch; it lies in front and keeps all of its pixels.
        direction : float
            Direction of the ray from the anchor in radians.
        overlap : int
            Pixels by which the new nucleus is pushed behind the anchor after the first contact.

        Returns
        -------
        bool
            False if the nucleus would lose a quarter of its area, fall apart or lie outside the image.
        """
        sin, cos = np.sin(direction), np.cos(direction)
        start = int(outline.long + anchor.outline.long + 4)
        mask = outline.depth()[0] > 0
        grown, reach = ndimage.binary_dilation(mask, _EIGHT), mask.shape[0] // 2
        for distance in range(start, 0, -1):
            row, column = round(anchor.row + distance * sin), round(anchor.column + distance * cos)
            window, inside = patch_window(row, column, reach, self.labels.shape)
            if (self.labels[window][grown[inside]] == anchor.id).any():
                break
        else:
            return False
        distance = max(distance - overlap, 1)
        row, column = round(anchor.row + distance * sin), round(anchor.column + distance * cos)
        window, inside = patch_window(row, column, reach, self.labels.shape)
        free = mask[inside] & (self.labels[window] == 0)
        if free.sum() < 0.75 * mask[inside].sum():
            return False
        return self._commit(kind, outline, row, column, free, window)

    def touching_share(self):
        """Return the share of placed nuclei that touch another one, 0 for an empty layout."""
        return len(self.touching) / max(len(self.nuclei), 1)

    def _commit(self, kind, outline, row, column, visible, window):
        """Write the visible pixels if they are enough and in one piece, and note who touches whom."""
        if visible.sum() < self.min_area or ndimage.label(visible, _EIGHT)[1] != 1:
            return False
        view, new = self.labels[window], len(self.nuclei) + 1
        grown = ndimage.binary_dilation(visible, _EIGHT)
        neighbors = {int(i) for i in np.unique(view[grown]) if i > 0}
        view[visible] = new
        if neighbors:
            self.touching |= neighbors | {new}
        self.nuclei.append(Nucleus(new, kind, outline, int(row), int(column)))
        return True


def draw_position(rng, cumulative, width, stride):
    """Return a random row and column, drawn from weights on a coarse grid.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    cumulative : numpy.ndarray, shape (n,)
        Running sum of the grid's weights in row order.
    width : int
        Columns of the grid.
    stride : int
        Pixels per grid cell.

    Returns
    -------
    tuple of int
    """
    cell = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
    row, column = divmod(min(cell, len(cumulative) - 1), width)
    return row * stride + int(rng.integers(stride)), column * stride + int(rng.integers(stride))
