"""Instances as placed shapes: six numbers that can be read, changed and drawn (Costa et al. 2022)."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array, vstack

from nucseg.errors import DataError
from nucseg.postprocess.masks import InstanceMasks

#: Half the side of the smallest canonical area that is searched for a shape, and places along the side of any.
SMALLEST_HALF, SEARCH_PLACES = 2.0, 401
#: Likelihood above which a pixel belongs to an instance.
LEVEL = 0.5
#: Instances that are drawn together, which bounds the memory.
TOGETHER = 256


@dataclass(frozen=True, eq=False)
class PlacedShapes:
    """Instances of an image, in pixels.

    Parameters
    ----------
    centers : numpy.ndarray, shape (N, 2), float64
        Row and column of the places that the canonical origin comes from, px.
    linear : numpy.ndarray, shape (N, 2, 2), float64
        From (x, y) offsets to the center, px, to canonical coordinates.
    presence : numpy.ndarray, shape (N,), float64
        p(z), 0 to 1.
    mixture : numpy.ndarray, shape (N, S), float64
        Logarithms of the share of each canonical shape.
    """

    centers: np.ndarray
    linear: np.ndarray
    presence: np.ndarray
    mixture: np.ndarray

    def __len__(self):
        return len(self.centers)

    def chosen(self, which):
        """Return the instances at given positions, or where a boolean array is True."""
        return PlacedShapes(self.centers[which], self.linear[which], self.presence[which], self.mixture[which])

    def moved(self, down, right):
        """Return the instances moved by whole or broken pixels."""
        return PlacedShapes(self.centers + np.array([down, right]), self.linear, self.presence, self.mixture)

    def semi_axes(self, radius):
        """Return major and minor semi-axis of instances whose canonical shape is a disk, (N, 2), px.

        Parameters
        ----------
        radius : float
            Of the canonical disk.
        """
        scales = np.linalg.svd(self.linear, compute_uv=False)
        return radius / scales[:, ::-1]

    def angles(self):
        """Return the orientation of each major axis, (N,), degrees in [0, 180): 0 along a row, 90 along a column."""
        # The long axis is the direction that the map shrinks most: the last right singular vector.
        directions = np.linalg.svd(self.linear)[2][:, -1]
        return np.degrees(np.arctan2(directions[:, 1], directions[:, 0])) % 180

    @classmethod
    def of(cls, transforms, patch):
        """Return the instances of each of B patches.

        Parameters
        ----------
        transforms : nucseg.models.affine_encoder.Transforms
            In coordinates of the patches.
        patch : int
            Side of the patches, px.

        Returns
        -------
        list of PlacedShapes
        """
        centers = transforms.centers.detach().cpu().numpy().astype(np.float64)
        linear, presence, mixture = (
            part.detach().float().cpu().numpy().astype(np.float64)
            for part in (transforms.linear, torch.sigmoid(transforms.presence.float()), transforms.mixture)
        )
        pixels = ((centers + 1) * patch - 1)[..., ::-1] / 2  # x, y in [-1, 1] to row, column
        return [cls(*parts) for parts in zip(pixels, linear * (2 / patch), presence, mixture)]

    @classmethod
    def joined(cls, several):
        """Return the instances of several lists as one."""
        several = list(several)
        if not several:
            raise DataError("placed shapes: there is nothing to join")
        return cls(*(np.concatenate([getattr(one, name) for one in several])
                     for name in ("centers", "linear", "presence", "mixture")))


def sampled(shapes, half):
    """Return the largest likelihood of several shapes on places over -half to half, their x, and their y.

    Parameters
    ----------
    shapes : iterable of torch.nn.Module
        Canonical shapes.
    half : float
        Half the side of the area.

    Returns
    -------
    tuple of numpy.ndarray, each of shape (401, 401), float32
    """
    axis = torch.linspace(-half, half, SEARCH_PLACES)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    with torch.inference_mode():
        return torch.stack([one(x, y) for one in shapes]).amax(dim=0).exp().numpy(), x.numpy(), y.numpy()


def enclosing_half(shapes):
    """Return half the side of an area around the origin that contains all places where a likelihood exceeds one half.

    Only the maps fix how large a shape is, so it may be large itself: the area is doubled until its border is free.

    Parameters
    ----------
    shapes : iterable of torch.nn.Module
        Canonical shapes.

    Returns
    -------
    float
        Infinity where even the largest area, 64 times the smallest, is not enough.
    """
    shapes, half = list(shapes), SMALLEST_HALF
    while half <= 64 * SMALLEST_HALF:
        inside = sampled(shapes, half)[0] > LEVEL
        if not (inside[[0, -1]].any() or inside[:, [0, -1]].any()):
            return half
        half *= 2
    return float("inf")


def extent(shape):
    """Return the largest distance from the origin at which a canonical shape has a likelihood above one half.

    Parameters
    ----------
    shape : nucseg.models.ShapeFamily
        One shape or several.

    Returns
    -------
    float
        0 where the shape is empty, infinity where it has no border.
    """
    half = enclosing_half(shape.shapes)
    if not np.isfinite(half):
        return half
    prob, x, y = sampled(shape.shapes, half)
    inside = prob > LEVEL
    spacing = 2 * half / (SEARCH_PLACES - 1)
    return float(np.hypot(x[inside], y[inside]).max() + np.sqrt(2) * spacing) if inside.any() else 0.0


def render_masks(shape, placed, size, *, step=1, reach=128):
    """Return the masks of placed shapes: the pixels where p(s) p(z) exceeds one half.

    Parameters
    ----------
    shape : nucseg.models.implicit_shape.ShapeFamily
        The canonical shapes.
    placed : PlacedShapes
        Of one image.
    size : tuple of int
        (H, W) of the image, px.
    step : int
        Side of the cells in whose middles the shape is sampled, px; bilinear in between, as after sampling on a
        coarser grid.
    reach : int
        No pixel farther than this from a center belongs to its instance, along rows and columns, px.

    Returns
    -------
    nucseg.postprocess.masks.InstanceMasks
        As many as placed shapes, some perhaps empty.
    """
    radius = extent(shape)
    parts = [_render(shape, placed.chosen(slice(first, first + TOGETHER)), size, radius, step, reach)
             for first in range(0, max(len(placed), 1), TOGETHER)]
    return InstanceMasks(tuple(size), csr_array(vstack(parts, format="csr")))


def _render(shape, placed, size, radius, step, reach):
    """Return the masks of a few placed shapes, csr_array (N, H * W)."""
    owner, rows, columns = _windows(placed, size, radius, step, reach)
    values = np.zeros(len(owner), np.float32)
    for weight, at_row, at_column in _samples(rows, columns, size, step):
        values += (weight * _likelihood(shape, placed, owner, at_row, at_column)).astype(np.float32)
    kept = values > LEVEL
    places = rows[kept] * size[1] + columns[kept]
    return csr_array((values[kept], (owner[kept], places)), shape=(len(placed), size[0] * size[1]))


def _windows(placed, size, radius, step, reach):
    """Return instance, row and column of all pixels that may belong to an instance."""
    spread = np.full((len(placed), 2), float(reach))
    if np.isfinite(radius):
        inverse = np.linalg.inv(np.einsum("nki,nkj->nij", placed.linear, placed.linear))
        bound = radius * np.sqrt(np.einsum("nii->ni", inverse))[:, ::-1] + step  # x, y to row, column
        spread = np.minimum(spread, bound)
    first = np.clip(np.floor(placed.centers - spread), 0, size).astype(np.int64)
    end = np.clip(np.ceil(placed.centers + spread) + 1, first, size).astype(np.int64)
    heights, widths = (end - first).T
    owner = np.repeat(np.arange(len(placed)), heights * widths)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(heights * widths) - heights * widths, heights * widths)
    down, right = np.divmod(within, np.maximum(widths, 1)[owner])
    return owner, first[owner, 0] + down, first[owner, 1] + right


def _samples(rows, columns, size, step):
    """Yield (weight, row, column) of the places that a pixel is interpolated from, clamped at the border."""
    if step == 1:
        yield 1.0, rows, columns
        return
    axes = []
    for values, length in ((rows, size[0]), (columns, size[1])):
        cell = np.clip((values - (step - 1) / 2) / step, 0, -(-length // step) - 1)
        low = np.floor(cell)
        high = np.minimum(low + 1, -(-length // step) - 1)
        axes.append([(1 - (cell - low), low * step + (step - 1) / 2), (cell - low, high * step + (step - 1) / 2)])
    for share, row in axes[0]:
        for other, column in axes[1]:
            yield share * other, row, column


def _likelihood(shape, placed, owner, rows, columns):
    offset = np.stack([columns - placed.centers[owner, 1], rows - placed.centers[owner, 0]], axis=1)
    x, y = np.einsum("pij,pj->ip", placed.linear[owner], offset)
    places = [torch.from_numpy(part.astype(np.float32)) for part in (x, y)]
    with torch.inference_mode():
        found = shape(*places, torch.from_numpy(placed.mixture[owner].astype(np.float32))).exp().numpy()
    return found * placed.presence[owner]
