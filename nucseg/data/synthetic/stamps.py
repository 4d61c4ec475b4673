"""Nuclei of tissue textures: small elliptic stamps on a jittered grid."""

import numpy as np

from nucseg.data.synthetic.noise import ramp


def stamp_grid(rng, h, warp, region, step, radius, stretch, amount, *, keep=1.0, angle=None):
    """Stamp nuclei into a hematoxylin map, in place, on a jittered grid inside a region.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    h : numpy.ndarray, shape (H, W), float32
        Hematoxylin concentration; a stamp raises it to at least its own.
    warp : numpy.ndarray, shape (H, W), float32
        Factor on the distance from a center, near 1: makes outlines irregular.
    region : numpy.ndarray, shape (H, W), bool
        Where the centers may lie.
    step : float
        Distance of the grid in pixels; centers are jittered by up to 0.4 of it.
    radius, stretch, amount : tuple of float
        Ranges of the mean radius (px), of the ratio of the axes and of the concentration.
    keep : float
        Share of the grid that is used.
    angle : numpy.ndarray, shape (H, W), optional
        Direction of the long axes in radians; random without it.
    """
    height, width = h.shape
    rows, columns = np.meshgrid(np.arange(step / 2, height, step), np.arange(step / 2, width, step), indexing="ij")
    count = rows.size
    rows = rows.ravel() + step * rng.uniform(-0.4, 0.4, count)
    columns = columns.ravel() + step * rng.uniform(-0.4, 0.4, count)
    draws = [rng.uniform(*limits, count) for limits in (radius, stretch, amount, (0, np.pi), (0, 1))]
    for row, column, size, ratio, level, turn, luck in zip(rows, columns, *draws):
        r, c = round(float(row)), round(float(column))
        if luck >= keep or not (0 <= r < height and 0 <= c < width) or not region[r, c]:
            continue
        direction = turn if angle is None else angle[r, c]
        _stamp(h, warp, row, column, size * ratio**0.5, size / ratio**0.5, direction, level)


def _stamp(h, warp, row, column, long, short, direction, level):
    reach = int(np.ceil(1.3 * long)) + 1
    r0, c0 = max(int(row) - reach, 0), max(int(column) - reach, 0)
    window = (slice(r0, int(row) + reach + 2), slice(c0, int(column) + reach + 2))
    view = h[window]
    y = np.arange(r0, r0 + view.shape[0], dtype=np.float32)[:, None] - np.float32(row)
    x = np.arange(c0, c0 + view.shape[1], dtype=np.float32)[None, :] - np.float32(column)
    cos, sin = np.float32(np.cos(direction)), np.float32(np.sin(direction))
    rho = np.sqrt(((cos * x + sin * y) / np.float32(long)) ** 2 + ((cos * y - sin * x) / np.float32(short)) ** 2)
    rho *= warp[window]
    cover = ramp(-rho * np.float32(short), -np.float32(short) - 0.6, -np.float32(short) + 0.6)
    np.maximum(view, level * cover, out=view)
