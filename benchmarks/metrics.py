"""Time the object metrics of one image pair: one contingency table against loops over nuclei.

Run ``python benchmarks/metrics.py``; one core is used.  The loops are the obvious implementation, one mask per
nucleus and a visit to every prediction under it.
"""

import time

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from nucseg.metrics import (
    TEN_THRESHOLDS,
    ContingencyTable,
    aji,
    aji_plus,
    aji_release,
    detection_scores,
    f1_at_iou,
    object_dice,
    object_dice_half,
    panoptic_quality,
    pixel_scores,
)

SIDE = 1000  # pixels
METRICS = (pixel_scores, aji, aji_release, aji_plus, object_dice, object_dice_half, panoptic_quality, f1_at_iou)


def nuclei_pair(count, seed=0):
    """Return two label maps of `count` nuclei: touching disks, and the same jittered, merged and thinned out."""
    rng = np.random.default_rng(seed)
    points, radius = rng.uniform(0, SIDE, (count, 2)), 0.33 * SIDE / np.sqrt(count)
    grid = np.stack(np.mgrid[:SIDE, :SIDE], axis=-1).reshape(-1, 2)

    def disks(centers, ids, radii):
        distance, nearest = cKDTree(centers).query(grid)
        return np.where(distance < radii[nearest], ids[nearest], 0).reshape(SIDE, SIDE).astype(np.int32)

    ids, radii = np.arange(1, count + 1), rng.uniform(0.6, 1.4, count) * radius
    kept = rng.random(count) > 0.1
    merged = np.where(rng.random(count) < 0.1, np.roll(ids, 1), ids)
    moved = points + rng.normal(0, 0.2 * radius, points.shape)
    resized = rng.uniform(0.8, 1.2, count) * radii
    return disks(points, ids, radii), disks(moved[kept], merged[kept], resized[kept])


def by_table(gt, pred):
    """Return AJI, AJI+, object Dice, PQ and the ten F1 from one shared table."""
    table = ContingencyTable.from_labels(gt, pred)
    return [aji(table), aji_plus(table), object_dice(table), panoptic_quality(table).pq, *f1_at_iou(table)]


def by_loops(gt, pred):
    """Return the same numbers from one mask per nucleus and dense matrices of all pairs."""
    truths = [gt == value for value in np.unique(gt) if value]
    found = {value: pred == value for value in np.unique(pred) if value}
    overlap = np.zeros((len(truths), len(found)), int)
    position = {value: j for j, value in enumerate(found)}
    for i, truth in enumerate(truths):
        for value in np.unique(pred[truth]):
            if value:
                overlap[i, position[value]] = np.count_nonzero(truth & found[value])
    area_gt, area_pred = np.array([a.sum() for a in truths]), np.array([b.sum() for b in found.values()])
    union = area_gt[:, None] + area_pred - overlap
    iou = overlap / union
    rows, best = np.arange(len(truths)), iou.argmax(axis=1)
    hit = iou[rows, best] > 0
    total = union[rows, best][hit].sum() + area_gt[~hit].sum() + np.delete(area_pred, best[hit]).sum()
    i, j = linear_sum_assignment(iou, maximize=True)
    i, j = i[iou[i, j] > 0], j[iou[i, j] > 0]
    plus = union[i, j].sum() + np.delete(area_gt, i).sum() + np.delete(area_pred, j).sum()
    dice = 2 * overlap / (area_gt[:, None] + area_pred)
    halves = [
        (area_gt * dice[rows, overlap.argmax(axis=1)]).sum() / area_gt.sum(),
        (area_pred * dice[overlap.argmax(axis=0), np.arange(len(found))]).sum() / area_pred.sum(),
    ]
    f1 = []
    for threshold in TEN_THRESHOLDS:
        allowed = iou >= threshold - 1e-9
        tp = allowed[linear_sum_assignment(allowed, maximize=True)].sum()
        f1.append(2 * tp / (len(truths) + len(found)))
    pq = iou[iou > 0.5].sum() / (0.5 * (len(truths) + len(found)))
    return [overlap[rows, best][hit].sum() / total, overlap[i, j].sum() / plus, np.mean(halves), pq, *f1]


def seconds(function, *arguments, repeats=7):
    """Return the median time of a call in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def report(count):
    """Print the times for a pair with so many nuclei."""
    gt, pred = nuclei_pair(count)
    table = ContingencyTable.from_labels(gt, pred)
    print(f"\n{SIDE} x {SIDE} pixels, {table.n} nuclei, {table.m} predicted, {len(table.rows)} overlapping pairs")
    print(f"  the table                                {1e3 * seconds(ContingencyTable.from_labels, gt, pred):9.1f} ms")
    for metric in METRICS:
        print(f"  {metric.__name__:<20} from the table      {1e3 * seconds(metric, table):9.1f} ms")
    ours, loops = seconds(by_table, gt, pred), seconds(by_loops, gt, pred, repeats=1)
    np.testing.assert_allclose(by_table(gt, pred), by_loops(gt, pred), rtol=1e-9)
    print(f"  AJI, AJI+, object Dice, PQ, ten F1       {1e3 * ours:9.1f} ms")
    print(f"  the same values by loops over nuclei     {1e3 * loops:9.1f} ms, {loops / ours:.0f} times as long")


def main():
    """Print one line per measurement."""
    maps = np.ones((2, 8, 8), int)
    print(f"first call on 8 x 8 pixels: {1e3 * seconds(by_table, *maps, repeats=1):.1f} ms")
    for count in (600, 2000):
        report(count)
    points = np.random.default_rng(1).uniform(0, 10 * SIDE, (50_000, 2))
    took = seconds(detection_scores, points, points + 3, 11, repeats=3)
    print(f"\ndetection scores of {len(points)} points: {1e3 * took:.0f} ms")


if __name__ == "__main__":
    main()
