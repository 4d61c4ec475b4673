"""Outlines of nuclei: ellipses with a Fourier-perturbed, possibly bent contour."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Outline:
    """A closed contour around the origin, given by its size, orientation and irregularities.

    Parameters
    ----------
    long, short : float
        Semi-axes of the underlying ellipse in pixels.
    angle : float
        Direction of the long axis in radians, 0 along the columns, growing toward higher rows.
    waves : numpy.ndarray, shape (k, 2)
        Amplitude (relative to the radius) and phase (radians) of the contour harmonics 2, 3, ... k + 1.
    bend : float
        How far the tips are bent off the long axis, relative to the short semi-axis.
    """

    long: float
    short: float
    angle: float
    waves: np.ndarray
    bend: float = 0.0

    def depth(self, offset=(0.0, 0.0), zoom=1.0):
        """Rasterize the outline into a patch.

        Parameters
        ----------
        offset : tuple of float
            Row and column, in pixels, by which the center is shifted off the center of the middle pixel.
        zoom : float
            Enlargement of the outline.

        Returns
        -------
        depth : numpy.ndarray, shape (2 m + 1, 2 m + 1), float32
            Distance to the contour in pixels, measured toward the center; positive inside.
        radius : numpy.ndarray, same shape, float32
            0 at the center, 1 on the contour.
        """
        long, short = self.long * zoom, self.short * zoom
        reach = int(np.ceil(long * (1 + 1.5 * np.abs(self.waves[:, 0]).sum()) + abs(self.bend) * short)) + 4
        span = np.arange(-reach, reach + 1, dtype=np.float32)
        y, x = span[:, None] - np.float32(offset[0]), span[None, :] - np.float32(offset[1])
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        u = (cos * x + sin * y) / np.float32(long)
        v = (cos * y - sin * x) / np.float32(short) - np.float32(self.bend) * (u * u - np.float32(0.35))
        rho = np.maximum(np.sqrt(u * u + v * v), np.float32(1e-3))
        theta = np.arctan2(v, u)
        limit = np.ones_like(rho)
        for order, (amplitude, phase) in enumerate(self.waves, start=2):
            limit += np.float32(amplitude) * np.cos(order * theta + np.float32(phase))
        radius = rho / limit
        distance = np.sqrt(x * x + y * y)
        # Near the center the ratio of two small numbers is noise; the short axis bounds the depth anyway.
        depth = np.minimum(distance / np.maximum(radius, 0.02) - distance, np.float32(1.2 * short))
        depth = np.where(distance < 1, np.float32(short), depth)
        return depth.astype(np.float32), radius.astype(np.float32)


def draw_outline(rng, long, short, angle, roughness, bend=0.0):
    """Return an outline with random irregularities.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    long, short : float
        Semi-axes in pixels.
    angle : float
        Direction of the long axis in radians.
    roughness : float
        Standard deviation of the contour's second harmonic, relative to the radius; higher ones are weaker.
    bend : float
        Standard deviation of the bend, relative to the short semi-axis.

    Returns
    -------
    Outline
    """
    orders = np.arange(2, 8)
    amplitude = np.clip(rng.standard_normal(6), -2, 2) * roughness * (2 / orders) ** 1.15
    waves = np.stack([amplitude, rng.uniform(0, 2 * np.pi, 6)], axis=1)
    return Outline(long, short, angle, waves, float(np.clip(rng.standard_normal(), -2, 2) * bend))


def patch_window(row, column, reach, shape):
    """Return where a square patch lies in an image and which part of the patch that is.

    Parameters
    ----------
    row, column : int
        Center pixel of the patch.
    reach : int
        The patch spans ``2 * reach + 1`` pixels.
    shape : tuple of int
        (H, W) of the image.

    Returns
    -------
    window, part : tuple of slice
        Index of the image and index of the patch; empty slices where the patch lies outside.
    """
    window, part = [], []
    for center, size in ((row, shape[0]), (column, shape[1])):
        first = int(center) - reach
        start, stop = min(max(first, 0), size), max(min(first + 2 * reach + 1, size), 0)
        stop = max(start, stop)
        window.append(slice(start, stop))
        part.append(slice(start - first, stop - first))
    return tuple(window), tuple(part)
