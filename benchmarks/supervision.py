"""Time the label makers on one image: ``python benchmarks/supervision.py [--size 1000] [--dots 600]``.

Times depend on the number of pixels and hardly on the number of dots. On one core of a server a 1000x1000
image with 600 dots took less than 0.1 s for each label but the cluster label, which took 2 s, nearly all
of it in k-means.
"""

import argparse
import time

import numpy as np

from nucseg.data.normalization import reinhard_normalize
from nucseg.supervision import (
    box_centers,
    centroids,
    cluster_roles,
    disk_labels,
    extended_gaussian_mask,
    nearest_points,
    pseudo_boxes,
    refine_roles,
    voronoi_cells,
    voronoi_labels,
)


def scene(size, dots, seed=0):
    """Return an image of dark disks on a pale ground, its label map and its dots."""
    rng = np.random.default_rng(seed)
    points = rng.integers(12, size - 12, (dots, 2))
    distance, nearest = nearest_points(points, (size, size))
    labels = np.where(distance < 9, nearest + 1, 0)
    image = np.where(labels[..., None] > 0, (110, 70, 130), (220, 180, 205))
    image = image + rng.normal(0, 15, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), labels, points


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=1000, help="side of the image, px")
    parser.add_argument("--dots", type=int, default=600, help="number of nuclei")
    options = parser.parse_args()
    image, labels, points = scene(options.size, options.dots)
    shape, roles = labels.shape, None
    jobs = {
        "box_centers": lambda: box_centers(labels),
        "centroids": lambda: centroids(labels, inside=True),
        "nearest_points": lambda: nearest_points(points, shape),
        "extended_gaussian_mask": lambda: extended_gaussian_mask(points, shape, 11, 22, 2.75),
        "disk_labels": lambda: disk_labels(points, shape, 4, 20),
        "voronoi_labels": lambda: voronoi_labels(points, shape),
        "voronoi_cells": lambda: voronoi_cells(points, shape),
        "pseudo_boxes": lambda: pseudo_boxes(points, shape),
        "reinhard_normalize": lambda: reinhard_normalize(image, image),
        "cluster_roles": lambda: cluster_roles(image, points)[0],
        "refine_roles": lambda: refine_roles(roles, points),
    }
    print(f"{options.size} x {options.size} px, {options.dots} dots")
    for name, job in jobs.items():
        start = time.perf_counter()
        result = job()
        print(f"{name:<24} {time.perf_counter() - start:7.3f} s")
        if name == "cluster_roles":
            roles = result


if __name__ == "__main__":
    main()
