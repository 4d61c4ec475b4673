"""Split on the true foreground, with true centers or with centers that are wrong in a known way."""

import numpy as np
from scipy import ndimage

from nucseg.methods.partial_points.detector import true_points
from nucseg.postprocess import components, split_instances
from nucseg.seeding import generator
from nucseg.study.measures.instances import instance_metrics


def damaged(points, shape, rng, moved=0.0, missed=0.0, spurious=0.0):
    """Return centers with errors, rounded to pixels, (N, 2) int64.

    Parameters
    ----------
    points : numpy.ndarray, shape (N, 2), float
        Row and column of the true centers, px.
    shape : tuple of int
        (H, W) of the image, px.
    rng : numpy.random.Generator
        Draws the errors.
    moved : float
        Standard deviation of the shift along each axis, px.
    missed : float
        Share of the centers that are left out, 0 to 1.
    spurious : float
        Number of centers that are added at random places of the image, as share of the true ones.
    """
    kept = points[rng.random(len(points)) >= missed]
    kept = kept + rng.normal(0, moved, kept.shape)
    more = rng.random((round(spurious * len(points)), 2)) * shape
    found = np.floor(np.concatenate([kept, more]) + 0.5).astype(np.int64)
    return np.clip(found, 0, np.array(shape) - 1)


def bumps(centers, shape, sigma):
    """Return a map that is 1 at each center and falls off as a Gaussian, (H, W) float; 1 everywhere if sigma is None.

    Parameters
    ----------
    centers : numpy.ndarray, shape (N, 2), int
        Row and column, px.
    shape : tuple of int
        (H, W), px.
    sigma : float or None
        Width, px.
    """
    if sigma is None or not len(centers):
        return np.full(shape, float(sigma is None))
    free = np.ones(shape, bool)
    free[tuple(centers.T)] = False
    return np.exp(-(ndimage.distance_transform_edt(free) ** 2) / (2 * sigma**2))


def measure_oracle(dataset, row):
    """Yield the metrics of the true foreground, divided by centers that carry the row's errors; None: not divided."""
    settings = dict(row.settings)
    errors, clustering = settings.pop("errors", {}), settings.pop("clustering")
    for sample in dataset:
        objects = components(sample.labels > 0)
        rng = generator(row.seed, "oracle", sample.id)
        centers = damaged(true_points(sample), objects.shape, rng, **errors)
        if clustering is not None:
            bump = bumps(centers, objects.shape, settings["sigma"])
            objects = split_instances(objects, bump, centers=centers, method=clustering, floor=settings["floor"])
        yield sample.id, instance_metrics(sample.labels, objects)
