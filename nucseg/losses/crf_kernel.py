"""Windowed Gaussian affinity sums on the CPU: energy and gradient of the dense CRF loss in one pass.

Every pair of pixels is visited once, by half of the window's offsets, and serves both of its pixels. For a
fixed offset the innermost loop runs along a row, so that the compiler turns it into vector instructions.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numba
import numpy as np

#: Rows that one task works through. Fixed, so that sums add up in the same order on any number of cores.
STRIP = 16
#: Scaled color of invalid pixels, so far below any true color that no weight to a valid pixel is left.
_FAR = -1e4
#: Least power of two that is told from its neighbors: the smallest that float32 holds in full precision.
_LOWEST = np.float32(-126.0)


@numba.njit(inline="always")
def _power_of_two(x):
    # 2 ** x for x <= 0. The whole part goes into the exponent bits; a polynomial of degree 5, fitted for the
    # smallest relative error on (-1, 0], does the rest. Its error is below 1e-7, float32's rounding adds to it.
    x = max(x, _LOWEST)
    whole = np.int32(x)
    part = x - np.float32(whole)
    value = np.float32(9.38788335e-04)
    value = value * part + np.float32(9.18861185e-03)
    value = value * part + np.float32(5.52797228e-02)
    value = value * part + np.float32(2.40172189e-01)
    value = value * part + np.float32(6.93142253e-01)
    value = value * part + np.float32(9.99999925e-01)
    return value * np.int32((whole + np.int32(127)) << np.int32(23)).view(np.float32)


@numba.njit(fastmath={"contract", "reassoc", "nsz", "nnan", "ninf"}, error_model="numpy", cache=True)
def _row_pair(color, prob, color2, prob2, exponents, near, far, same):
    # Pixels of one row with their partners in another (or with those behind them in the same row): adds
    # W (1 - 2 y) to both, returns the energy.
    width, radius = len(prob), len(exponents) - 1
    one, two = np.float32(1.0), np.float32(2.0)
    energy = 0.0
    for dx in range(1 if same else -radius, radius + 1):
        start = max(0, -dx)
        exponent = exponents[abs(dx)]
        part = np.float32(0.0)
        for step in range(width - abs(dx)):
            # Unsigned, because a sign would be checked at every pixel.
            i, j = np.uint64(start + step), np.uint64(start + step + dx)
            dr, dg, db = color[0, i] - color2[0, j], color[1, i] - color2[1, j], color[2, i] - color2[2, j]
            weight = _power_of_two(exponent - (dr * dr + dg * dg + db * db))
            slope, slope2 = one - two * prob[i], one - two * prob2[j]
            near[i] += weight * slope2
            far[j] += weight * slope
            part += weight * (prob[i] + prob2[j] * slope)
        energy += part
    return energy


@numba.njit(cache=True, nogil=True)
def _strip_sums(color, prob, first, last, exponents, near, far):
    # Pixels of the rows first to last - 1 with all partners that follow them; `near` and `far` start at row
    # first. Colors are (H, 3, W), so that a row lies in one piece.
    height = len(prob)
    energy = 0.0
    for row in range(first, last):
        for other in range(row, min(row + len(exponents), height)):
            energy += _row_pair(
                color[row],
                prob[row],
                color[other],
                prob[other],
                exponents[other - row],
                near[row - first],
                far[other - first],
                other == row,
            )
    return energy


def windowed_sums(prob, image, valid, sigma_xy, sigma_rgb, radius, threads=1):
    """Energy and gradient of the dense CRF loss for a batch, not yet divided by the pixel numbers.

    The sums are those of Qu et al. 2020, eq. 7-10, over pairs at most `radius` apart in row and column:
    ``energy = sum_ij y_i (1 - y_j) W_ij`` and ``gradient_i = sum_j W_ij (1 - 2 y_j)``, the pairs of a pixel
    with itself included. The weights are exact up to float32 rounding; the result is the same, bit by bit,
    on any number of threads.

    Parameters
    ----------
    prob : (B, H, W) float32 array
        Nucleus probability y in [0, 1].
    image : (B, 3, H, W) float32 array
        Colors in [0, 1].
    valid : (B, H, W) bool array
        Pixels that take part.
    sigma_xy : float
        Spatial width, px.
    sigma_rgb : float
        Color width, on the scale of `image`.
    radius : int
        Half side of the window, px.
    threads : int
        Threads to use.

    Returns
    -------
    energy : (B,) float64 array
        Energy of each image.
    gradient : (B, H, W) float32 array
        Its derivative by `prob`, 0 outside `valid`.
    """
    radius = min(radius, max(prob.shape[1:]) - 1)
    # W = 2 ** (exponent - squared distance of scaled colors)
    scale = math.sqrt(0.5 * math.log2(math.e))
    color = np.where(valid[:, None], image * np.float32(scale / sigma_rgb), np.float32(_FAR))
    color = np.ascontiguousarray(color.transpose(0, 2, 1, 3))
    prob = np.where(valid, prob, np.float32(0))
    offsets = np.square(np.arange(radius + 1) * (scale / sigma_xy))
    exponents = -(offsets[:, None] + offsets).astype(np.float32)
    tasks = [(number, first) for number in range(len(prob)) for first in range(0, prob.shape[1], STRIP)]
    # A pair of a pixel with itself has weight 1.
    gradient = 1 - 2 * prob
    energy = np.sum(prob * (1 - prob), axis=(1, 2), dtype=np.float64)
    # Fresh threads for each call: systems spread new threads over idle cores, but often wake old ones on one core.
    with ThreadPoolExecutor(threads) as pool:
        results = pool.map(partial(_strip_task, color, prob, exponents), tasks)
        for (number, first), (part, near, far) in zip(tasks, results):
            energy[number] += part
            gradient[number, first : first + len(near)] += near
            gradient[number, first : first + len(far)] += far
    return energy, gradient * valid


def _strip_task(color, prob, exponents, task):
    number, first = task
    height, width = prob.shape[1:]
    last = min(first + STRIP, height)
    near = np.zeros((last - first, width), np.float32)
    far = np.zeros((min(last + len(exponents) - 1, height) - first, width), np.float32)
    energy = _strip_sums(color[number], prob[number], first, last, exponents, near, far)
    return energy, near, far
