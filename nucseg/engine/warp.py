"""One geometric change per image of a batch, applied alike to images, label maps and points.

Pixel centers lie at integer coordinates: (0, 0) is the center of the top-left pixel, as everywhere in the library.
All parts are composed into one map from pixels of the result to places in the source, so an image is interpolated
once however many parts there are, and what only passes through the black surroundings is not lost on the way.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from nucseg.arrays import as_points
from nucseg.errors import DataError

#: Nodes per axis on which an elastic field is kept; between them it is interpolated linearly.
NODES = 129
#: Largest slope of an elastic field.  Below 1 the map can be inverted, and the iteration that does so converges.
STEEPEST = 0.9
#: Steps of that iteration; what remains is below 0.9**80, about 0.0002, of the first displacement.
STEPS = 80


def _times(matrix, rows, columns):
    # Written out, because matrix products lose digits under autocast and in TensorFloat-32.
    extra = (1,) * (rows.ndim - 1)
    (a, b), (c, d) = ([matrix[:, i, j].reshape(-1, *extra) for j in range(2)] for i in range(2))
    return a * rows + b * columns, c * rows + d * columns


@dataclass(frozen=True, eq=False)
class Warp:
    """A geometric change for each image of a batch; made by :func:`~nucseg.engine.sample_warp`.

    Content moves in the order resize, flips, affine, elastic, rotation, crop, each about the center of a canvas.
    The canvas has the size of the source, or of the enlarged source.

    Parameters
    ----------
    size : tuple of int
        (H, W) of the source in pixels.
    crop : tuple of int
        (h, w) of the result in pixels.
    linear : torch.Tensor, shape (B, 2, 2), float32
        From the canvas to the source, both measured from their centers as (row, column).
    rotation : torch.Tensor, shape (B, 2, 2), float32
        From the rotated canvas to the canvas, measured from the center.
    reach : torch.Tensor, shape (B, 2), float32
        Distance from the center of the canvas to the centers of its outermost pixels, in pixels.
    origin : torch.Tensor, shape (B, 2), float32
        Top-left pixel of the result on the rotated canvas, measured from the center, in pixels.
    field : torch.Tensor, shape (B, 2, 129, 129), float32, optional
        Elastic displacement (row, column) in pixels, from the canvas after the elastic part to the one before it,
        on nodes spread evenly over the canvas; beyond the canvas the value at its border holds.
    """

    size: tuple[int, int]
    crop: tuple[int, int]
    linear: torch.Tensor
    rotation: torch.Tensor
    reach: torch.Tensor
    origin: torch.Tensor
    field: torch.Tensor | None = None

    def _displacement(self, rows, columns):
        half = self.reach[:, None, None].clamp_min(0.5)  # a canvas one pixel wide has no extent to divide by
        grid = torch.stack([columns / half[..., 1], rows / half[..., 0]], dim=-1)
        return functional.grid_sample(self.field, grid, padding_mode="border", align_corners=True).unbind(1)

    @cached_property
    def _sources(self):
        """Rows and columns in the source for every pixel of the result, each (B, h, w)."""
        device = self.origin.device
        rows = torch.arange(self.crop[0], device=device)[None, :, None] + self.origin[:, 0, None, None]
        columns = torch.arange(self.crop[1], device=device)[None, None, :] + self.origin[:, 1, None, None]
        rows, columns = _times(self.rotation, rows, columns)
        if self.field is not None:
            down, right = self._displacement(rows, columns)
            rows, columns = rows + down, columns + right
        rows, columns = _times(self.linear, rows, columns)
        return rows + (self.size[0] - 1) / 2, columns + (self.size[1] - 1) / 2

    def _check(self, array, name):
        wanted = (len(self.origin), *self.size)
        if array.ndim < 3 or (array.shape[0], *array.shape[-2:]) != wanted:
            raise DataError(f"{name}: expected {wanted[0]} maps of {self.size} pixels, got shape {tuple(array.shape)}")
        if array.device != self.origin.device:
            raise DataError(f"{name}: on {array.device}, but the warp is on {self.origin.device}")

    def image(self, images):
        """Return warped images: bilinear, black where nothing was.

        Parameters
        ----------
        images : torch.Tensor, shape (B, C, H, W), any real dtype
            The images, of any range, on the device of the warp.

        Returns
        -------
        torch.Tensor, shape (B, C, h, w), float32
            In the range of the input.

        Raises
        ------
        DataError
            Another number or size of images than the warp was made for, or another device.
        """
        self._check(images, "images")
        # Lengths that are powers of two make the coordinates of grid_sample exact: whole pixels stay what they were.
        height, width = (1 << (length - 1).bit_length() for length in self.size)
        padding = (0, width - self.size[1], 0, height - self.size[0])
        rows, columns = self._sources
        grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1)
        return functional.grid_sample(functional.pad(images.float(), padding), grid, align_corners=False)

    def labels(self, labels, outside=0):
        """Return warped label maps: the nearest pixel's value, never a mixture.

        Parameters
        ----------
        labels : torch.Tensor, shape (B, H, W) or (B, C, H, W), any integer or bool dtype
            The maps, on the device of the warp.
        outside : int
            Value where nothing was: 0 makes the black surroundings background, as the release of Qu et al. (2020)
            does, -1 leaves them out of the loss.

        Returns
        -------
        torch.Tensor, shape (B, h, w) or (B, C, h, w), dtype of the input

        Raises
        ------
        DataError
            Another number or size of maps than the warp was made for, or another device.
        """
        self._check(labels, "labels")
        rows, columns = (torch.floor(places + 0.5).long() for places in self._sources)
        inside = (rows >= 0) & (rows < self.size[0]) & (columns >= 0) & (columns < self.size[1])
        index = torch.where(inside, rows * self.size[1] + columns, 0)
        shape = (*labels.shape[:-2], *self.crop)
        flat = labels.reshape(labels.shape[0], -1, self.size[0] * self.size[1])
        index = index.reshape(index.shape[0], 1, -1).expand(-1, flat.shape[1], -1)
        inside = inside.reshape(inside.shape[0], *(1,) * (labels.ndim - 3), *self.crop)
        return torch.where(inside, flat.gather(2, index).reshape(shape), outside).to(labels.dtype)

    def points(self, points, margin=3.0):
        """Return warped points, without those that end up outside the result or too close to its border.

        Points move by the inverse of the map that images are sampled with.  The elastic part is inverted by a
        fixed-point iteration whose error is below 0.02 px for displacements up to 75 px (five times the usual 15).

        Parameters
        ----------
        points : sequence of array_like, each of shape (N, 2)
            Rows and columns in each source image, in pixels; one array for each image, of any lengths.
        margin : float
            Points less than this many pixels from the outermost pixel centers are dropped.  3 is the release's choice
            for dots (Qu et al., 2020); minus infinity keeps all points.

        Returns
        -------
        list of torch.Tensor, each of shape (M, 2), float32
            Rows and columns in each result, in the order of the input.

        Raises
        ------
        DataError
            Another number of arrays than images, or an array that holds no points.
        """
        if len(points) != len(self.origin):
            raise DataError(f"points: expected {len(self.origin)} arrays, one for each image, got {len(points)}")
        arrays = [torch.as_tensor(p).cpu().numpy() for p in points]
        arrays = [torch.from_numpy(as_points(p, name=f"points[{i}]")).float() for i, p in enumerate(arrays)]
        rows, columns = pad_sequence(arrays, batch_first=True).to(self.origin.device).unbind(-1)
        inverse = torch.linalg.inv(self.linear)
        rows, columns = _times(inverse, rows - (self.size[0] - 1) / 2, columns - (self.size[1] - 1) / 2)
        if self.field is not None and rows.numel():
            rows, columns = self._undo_field(rows, columns)
        rows, columns = _times(self.rotation.transpose(1, 2), rows, columns)
        moved = torch.stack([rows - self.origin[:, :1], columns - self.origin[:, 1:]], dim=-1)
        last = torch.tensor(self.crop, device=moved.device) - 1
        keep = ((moved >= margin) & (moved <= last - margin)).all(dim=-1)
        return [moved[i, : len(p)][keep[i, : len(p)]] for i, p in enumerate(arrays)]

    def _undo_field(self, rows, columns):
        new_rows, new_columns = rows, columns
        for _ in range(STEPS):
            down, right = self._displacement(new_rows[:, None], new_columns[:, None])
            new_rows, new_columns = rows - down[:, 0], columns - right[:, 0]
        return new_rows, new_columns


def _spline_weights(cells):
    """Return the weights of cells + 3 cubic B-splines at each node, (NODES, cells + 3), float64."""
    position = torch.linspace(0, cells, NODES, dtype=torch.float64)[:, None]
    distance = (position - torch.arange(-1, cells + 2, dtype=torch.float64)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    return torch.where(distance < 1, near, (2 - distance).clamp_min(0) ** 3 / 6)


def _steepness(field, reach):
    """Return the largest slope of each field in any direction, (B, 1, 1, 1)."""
    spacing = 2 * reach.clamp_min(0.5)[:, :, None, None] / (NODES - 1)
    down, right = field.diff(dim=2) / spacing[:, :1], field.diff(dim=3) / spacing[:, 1:]
    steepest = field.new_zeros(len(field))
    # Within a cell the slopes lie between those at its corners, and the largest stretch is at one of them.
    for a, c in (down[..., 1:].unbind(1), down[..., :-1].unbind(1)):
        for b, d in (right[:, :, 1:].unbind(1), right[:, :, :-1].unbind(1)):
            squares, determinant = a**2 + b**2 + c**2 + d**2, a * d - b * c
            stretch = (squares + (squares**2 - 4 * determinant**2).clamp_min(0).sqrt()) / 2
            steepest = torch.maximum(steepest, stretch.amax(dim=(1, 2)).sqrt())
    return steepest[:, None, None, None]


def compose(size, crop, scale, flip, jitter, angle, corner, control=None, device=None):
    """Return the warp made of given parts.

    Parameters
    ----------
    size : tuple of int
        (H, W) of the source in pixels.
    crop : tuple of int
        (h, w) of the result in pixels, at most ``size``.
    scale : torch.Tensor, shape (B,), float64
        Factor of the resize; the canvas grows with a factor above 1 and keeps the size of the source below it.
    flip : torch.Tensor, shape (B, 2), bool
        Whether to turn the image upside down and whether to swap left and right.
    jitter : torch.Tensor, shape (B, 2, 2), float64
        Added to the identity, this is the affine part as a map from the result to the source, in (row, column).
    angle : torch.Tensor, shape (B,), float64
        Rotation in degrees, counterclockwise.
    corner : torch.Tensor, shape (B, 2), float64
        Place of the crop, 0 (top, left) up to but not including 1 (bottom, right).
    control : torch.Tensor, shape (B, 2, K, K), float64, optional
        Displacements (row, column) in pixels at K control points per axis, K - 3 cells of cubic B-splines over the
        canvas.  A field with slopes above 0.9 is scaled down to that, because steeper ones fold the image.
    device : torch.device or str, optional
        Where the warp is applied; by default, where the parts are.

    Returns
    -------
    Warp
    """
    source = torch.tensor(size, dtype=torch.float64, device=scale.device)
    canvas = torch.maximum(source, torch.floor(source * scale[:, None]))
    reach = (canvas - 1) / 2
    room = canvas - torch.tensor(crop, device=scale.device) + 1
    identity = torch.eye(2, dtype=torch.float64, device=scale.device)
    sign = torch.where(flip, -1.0, 1.0).double()
    radians = torch.deg2rad(angle)
    cosine, sine = radians.cos(), radians.sin()
    field = None
    if control is not None:
        weights = _spline_weights(control.shape[-1] - 3).to(control.device)
        field = weights @ control @ weights.T
        field = field * (STEEPEST / _steepness(field, reach).clamp_min(STEEPEST))
        field = field.float().to(device)
    parts = {
        "linear": (sign / scale[:, None])[..., None] * (identity + jitter),
        "rotation": torch.stack([cosine, sine, -sine, cosine], dim=-1).reshape(-1, 2, 2),
        "reach": reach,
        "origin": torch.floor(corner * room) - reach,
    }
    parts = {name: part.float().to(device) for name, part in parts.items()}
    return Warp(tuple(size), tuple(crop), field=field, **parts)
