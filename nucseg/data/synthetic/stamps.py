"""Nuclei of tissue textures: small elliptic stamps on a jittered grid."""

import numpy as np

from nucseg.data.synthetic.noise import ramp


def stamp_grid(rng, h, region, step, radius, stretch, amount, *, keep=1.0, angle=None, pale=0.0):
    """Stamp nuclei into a hematoxylin map, in place, on a jittered grid inside a region.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    h : numpy.ndarray, shape (H, W), float32
        Hematoxylin concentration; a stamp raises it to at least its own.
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
    pale : float
        How much paler the middle is, 0 to 1.
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
        _stamp(h, row, column, size * ratio**0.5, size / ratio**0.5, direction, level, pale)


def _stamp(h, row, column, long, short, direction, level, pale):
    reach = int(np.ceil(long)) + 1
    r0, c0 = max(int(row) - reach, 0), max(int(column) - reach, 0)
    view = h[r0 : int(row) + reach + 2, c0 : int(column) + reach + 2]
    y = np.arange(r0, r0 + view.shape[0], dtype=np.float32)[:, None] - np.float32(row)
    x = np.arange(c0, c0 + view.shape[1], dtype=np.float32)[None, :] - np.float32(column)
    cos, sin = np.float32(np.cos(direction)), np.float32(np.sin(direction))
    rho = np.sqrt(((cos * x + sin * y) / np.float32(long)) ** 2 + ((cos * y - sin * x) / np.float32(short)) ** 2)
    cover = ramp(-rho * np.float32(short), -np.float32(short) - 0.6, -np.float32(short) + 0.6)
    content = level * (1 - pale * ramp(-rho, -0.8, -0.2))
    np.maximum(view, (view * (1 - cover) + content * cover), out=view)
