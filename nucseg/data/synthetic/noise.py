"""Random fields: the raw material of every texture."""

import numba
import numpy as np
from scipy import ndimage


def smooth_noise(rng, shape, sigma):
    """Return a random field of mean 0 and standard deviation 1, smooth on the scale of `sigma` pixels.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    shape : tuple of int
        (H, W) in pixels.
    sigma : float
        Standard deviation in pixels of the Gaussian that white noise is smoothed with.

    Returns
    -------
    numpy.ndarray, shape (H, W), float32
    """
    # A smooth field loses nothing by being drawn on a grid four times finer than itself and then enlarged.
    step = max(1, int(sigma / 4))
    grid = [-(-size // step) + 3 for size in shape]
    field = ndimage.gaussian_filter(rng.standard_normal(grid, dtype=np.float32), sigma / step, mode="wrap")
    if step > 1:
        field = _enlarge(field, step, shape)
    field = field[: shape[0], : shape[1]]
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def _enlarge(field, step, shape):
    """Linear interpolation by a whole factor, one axis after the other."""
    for axis, size in enumerate(shape):
        at = np.arange(size, dtype=np.float32) / step
        low = at.astype(np.intp)
        weight = (at - low).astype(np.float32)
        weight = weight[:, None] if axis == 0 else weight[None, :]
        field = np.take(field, low, axis) * (1 - weight) + np.take(field, low + 1, axis) * weight
    return field


def fibers(rng, angle, length, widths):
    """Return noise drawn out along a field of directions, like fibers (line integral convolution).

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    angle : numpy.ndarray, shape (H, W), float32
        Direction of the fiber at each pixel in radians, 0 along the columns, growing toward higher rows.
    length : int
        Length in pixels that a fiber stays coherent to each side.
    widths : sequence of float
        Standard deviation of the fiber profile in pixels, one per field.

    Returns
    -------
    list of numpy.ndarray, shape (H, W), float32
        One field per width, each of mean 0 and standard deviation 1.
    """
    seeds = np.stack([smooth_noise(rng, angle.shape, width) for width in widths], axis=2)
    streaks = _streaks(seeds, np.cos(angle, dtype=np.float32), np.sin(angle, dtype=np.float32), int(length))
    return [(field - field.mean()) / max(float(field.std()), 1e-6) for field in np.moveaxis(streaks, 2, 0)]


@numba.njit(cache=True)
def _streaks(seeds, along, across, length):
    height, width, fields = seeds.shape
    out = seeds.copy()
    for row in range(height):
        for column in range(width):
            count = 1
            for sign in (np.float32(-1), np.float32(1)):
                r, c = row, column
                y, x = np.float32(row + 0.5), np.float32(column + 0.5)
                for _ in range(length):
                    y += sign * across[r, c]
                    x += sign * along[r, c]
                    if y < 0 or x < 0 or y >= height or x >= width:
                        break
                    r, c = int(y), int(x)
                    count += 1
                    for k in range(fields):
                        out[row, column, k] += seeds[r, c, k]
            for k in range(fields):
                out[row, column, k] /= count
    return out


def ramp(values, low, high):
    """Return 0 below `low`, 1 above `high`, and a smooth rise between (`low` may exceed `high`: a fall)."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def irregular_angle(rng, shape, sigma, waviness):
    """Return a smooth field of directions in radians with finer waves of `waviness` radians on it."""
    # The direction of a random vector field turns smoothly and has no preferred orientation.
    large = np.arctan2(smooth_noise(rng, shape, sigma), smooth_noise(rng, shape, sigma) + 1.8)
    turn = rng.uniform(0, 2 * np.pi)
    return (large + turn + waviness * smooth_noise(rng, shape, sigma / 9)).astype(np.float32)
