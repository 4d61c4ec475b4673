"""Time the division of clumps on one image, and the mixture against others: ``python benchmarks/split.py``.

Every way of `split_instances` is timed on one scene. The mixture is then compared, clump by clump and in turns, with
the same EM as matrix products in NumPy and with scikit-learn's GaussianMixture, which knows no weights: each pixel is
repeated as often as its weight says, in twentieths. All take the same number of steps on one core.
"""

import argparse
import statistics
import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from nucseg.postprocess import components, fit_mixture, split_instances
from nucseg.supervision import nearest_points

METHODS = ("gmm", "gmm-tied", "gmm-uniform", "nearest", "kmeans", "watershed-distance", "watershed-center")
LEAST_WEIGHT = 0.05


def scene(size, count, seed=0):
    """Return clumps of disks of 9 to 13 px radius, the map of their centers, and the centers."""
    rng = np.random.default_rng(seed)
    centers = rng.integers(12, size - 12, (count, 2))
    distance, nearest = nearest_points(centers, (size, size))
    return components(distance < rng.uniform(9, 13, count)[nearest]), np.exp(-(distance**2) / 8), centers


def clumps(labels, center_map, centers):
    """Return the pixels, weights in whole twentieths and centers of each object with several centers."""
    centers = np.unique(centers, axis=0)
    owner = labels[tuple(centers.T)]
    found = []
    for number in np.flatnonzero(np.bincount(owner, minlength=2) > 1):
        pixels = np.argwhere(labels == number).astype(np.float64)
        weights = np.maximum(np.rint(center_map[labels == number] / LEAST_WEIGHT), 1)
        found.append((pixels, weights, centers[owner == number].astype(np.float64)))
    return found


def ours(pixels, weights, centers, steps):
    """Return our assignment after so many steps."""
    variance = weights.sum() / (2 * np.pi * len(centers))
    return fit_mixture(pixels, centers, weights, variance=variance, tol=-np.inf, max_iter=steps).assignment


def by_matrices(pixels, weights, centers, steps):
    """Return the assignment of the same EM with one matrix of responsibilities per step."""
    means, shares = centers.copy(), np.full(len(centers), 1 / len(centers))
    covariances = np.repeat(np.eye(2)[None] * weights.sum() / (2 * np.pi * len(centers)), len(centers), axis=0)
    for step in range(steps + 1):
        offsets = pixels[:, None] - means
        squares = np.einsum("nki,kij,nkj->nk", offsets, np.linalg.inv(covariances), offsets)
        logs = np.log(shares) - 0.5 * (squares + np.log(np.linalg.det(covariances)))
        if step == steps:
            return logs.argmax(axis=1)
        responsible = np.exp(logs - logs.max(axis=1, keepdims=True))
        responsible *= (weights / responsible.sum(axis=1))[:, None]
        mass = responsible.sum(axis=0)
        shares, means = mass / weights.sum(), responsible.T @ pixels / mass[:, None]
        offsets = pixels[:, None] - means
        covariances = np.einsum("nk,nki,nkj->kij", responsible, offsets, offsets) / mass[:, None, None] + np.eye(2)


def by_scikit_learn(pixels, weights, centers, steps):
    """Return scikit-learn's assignment, pixels repeated by their weights."""
    k = len(centers)
    precision = np.eye(2) * 2 * np.pi * k / weights.sum()
    model = GaussianMixture(
        k, reg_covar=1.0, tol=0.0, max_iter=steps, means_init=centers, weights_init=np.full(k, 1 / k),
        precisions_init=np.repeat(precision[None], k, axis=0),
    )
    return model.fit(np.repeat(pixels, weights.astype(int), axis=0)).predict(pixels)


def seconds(function, *arguments, repeats=5):
    """Return the median time of a call in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def compare(found, steps, rounds=3):
    """Print the time of each mixture over all clumps, timed in turns, and how far their answers agree."""
    ways, times, answers = (ours, by_matrices, by_scikit_learn), {}, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(rounds):
            for way in ways:
                start = time.perf_counter()
                answers[way] = np.concatenate([way(*clump, steps) for clump in found])
                times.setdefault(way, []).append(time.perf_counter() - start)
    base = statistics.median(times[ours])
    for way in ways:
        took, agree = statistics.median(times[way]), (answers[way] == answers[ours]).mean()
        print(f"  {way.__name__:<20} {1e3 * took:9.1f} ms, {took / base:6.1f} times ours, {agree:.4f} of pixels agree")


def main():
    """Print one line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=1000, help="side of the image, px")
    parser.add_argument("--nuclei", type=int, default=600, help="number of centers")
    parser.add_argument("--steps", type=int, default=20, help="steps of EM in the comparison")
    options = parser.parse_args()
    labels, center_map, centers = scene(options.size, options.nuclei)
    print(f"first call: {seconds(lambda: split_instances(labels, center_map, centers=centers), repeats=1):.2f} s")
    found = clumps(labels, center_map, centers)
    print(f"{options.size} x {options.size} px, {len(centers)} centers, {len(found)} clumps, the largest of "
          f"{max(len(c) for _, _, c in found)} centers, {sum(len(p) for p, _, _ in found)} px in clumps")
    for method in METHODS:
        took = seconds(lambda method=method: split_instances(labels, center_map, centers=centers, method=method))
        print(f"  {method:<20} {1e3 * took:9.1f} ms")
    print(f"mixtures alone, {options.steps} steps")
    compare(found, options.steps)


if __name__ == "__main__":
    main()
