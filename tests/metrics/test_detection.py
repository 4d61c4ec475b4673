"""Detection scores against brute force and distances worked by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucseg.errors import DataError
from nucseg.metrics import DetectionScores, detection_scores, detection_scores_greedy

POINTS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=5)


def best_matching(gt, pred, radius):
    """Try every matching: most pairs within the radius, then the smallest sum of distances."""
    best = (0, 0.0)
    for size in range(1, min(len(gt), len(pred)) + 1):
        for rows in itertools.combinations(range(len(gt)), size):
            for cols in itertools.permutations(range(len(pred)), size):
                distances = [np.hypot(*np.subtract(gt[i], pred[j])) for i, j in zip(rows, cols)]
                if max(distances) <= radius:
                    best = max(best, (size, -sum(distances)))
    return best[0], -best[1]


def slow_greedy(gt, pred, radius):
    free, distances = list(range(len(pred))), []
    for point in sorted(gt):
        scores = [np.hypot(*np.subtract(point, pred[j])) for j in free]
        if scores and min(scores) < radius:
            distances.append(min(scores))
            free.pop(scores.index(min(scores)))
    return distances


@given(POINTS, POINTS, st.sampled_from([1.0, 3.0, 5.0, 20.0]))
def test_matching_is_the_best_of_all(gt, pred, radius):
    scores = detection_scores(gt, pred, radius)
    tp, total = best_matching(gt, pred, radius)
    assert scores.tp == tp
    assert scores.distances.sum() == pytest.approx(total)
    assert (scores.tp + scores.fn, scores.tp + scores.fp) == (len(gt), len(pred))
    assert len(np.unique(scores.pairs[:, 0])) == len(np.unique(scores.pairs[:, 1])) == tp
    for (i, j), distance in zip(scores.pairs, scores.distances):
        assert np.hypot(*np.subtract(gt[i], pred[j])) == distance <= radius


@given(POINTS, POINTS, st.sampled_from([1.0, 5.0, 20.0]))
def test_greedy_equals_the_loop(gt, pred, radius):
    scores = detection_scores_greedy(gt, pred, radius)
    assert sorted(scores.distances.tolist()) == pytest.approx(sorted(slow_greedy(gt, pred, radius)))


def test_exactly_at_the_radius():
    assert detection_scores([[0, 0]], [[0, 11]], 11).tp == 1
    assert detection_scores_greedy([[0, 0]], [[0, 11]], 11).tp == 0
    assert detection_scores([[0, 0]], [[0, 11.0001]], 11).tp == 0


def test_greedy_depends_on_order():
    """The upper truth takes the detection that the lower one needs; the assignment serves both."""
    gt, pred = [[0, 0], [4, 0]], [[3, 0], [-4, 0]]
    assert detection_scores(gt, pred, 5).tp == 2
    assert detection_scores_greedy(gt, pred, 5).tp == 1


def test_two_far_pairs_beat_one_near_pair():
    """On a line, truths at 0 and 10, detections at 9 and 19: two pairs at distance 9, or one at distance 1."""
    scores = detection_scores([[0, 0], [0, 10]], [[0, 9], [0, 19]], 10)
    assert scores.distances.tolist() == [9, 9]


def test_perfect_and_pooled():
    gt = [[1.5, 2], [30, 40], [8, 8]]
    assert detection_scores(gt, gt[::-1], 2).mu_d == 0
    one = detection_scores(gt, [[1.5, 5], [30, 41]], 4)
    two = detection_scores([[0, 0]], [[0, 2], [9, 9]], 4)
    pooled = DetectionScores.pooled([one, two])
    assert (pooled.tp, pooled.fp, pooled.fn) == (3, 1, 1)
    assert pooled.precision == pooled.recall == pooled.f1 == 0.75
    assert pooled.mu_d == pytest.approx(2)  # distances 3, 1 and 2
    assert pooled.sigma_d == pytest.approx(np.sqrt(2 / 3))
    assert pooled.pairs.tolist() == [[0, 0], [1, 1], [3, 2]]


def test_empty_sides():
    nothing = detection_scores([], [], 5)
    assert np.isnan([nothing.precision, nothing.recall, nothing.f1, nothing.mu_d, nothing.sigma_d]).all()
    for scores in (detection_scores([], [[1, 1]], 5), detection_scores([[1, 1]], [], 5)):
        assert scores.precision == scores.recall == scores.f1 == 0
        assert np.isnan(scores.mu_d)


def test_large_crowds_are_solved_by_cluster(rng):
    """5000 points, each moved less than half the distance to any other: all found, at the distance moved."""
    grid = np.stack(np.mgrid[:50, :100], axis=-1).reshape(-1, 2) * 20.0
    moved = grid + rng.uniform(-4, 4, grid.shape)
    scores = detection_scores(grid, rng.permutation(moved), 11)
    assert scores.tp == 5000
    assert scores.distances.sum() == pytest.approx(np.hypot(*(moved - grid).T).sum())


@pytest.mark.parametrize("radius", [0, -1, np.inf, np.nan, [3]])
def test_bad_radius(radius):
    with pytest.raises(DataError, match="radius"):
        detection_scores([[0, 0]], [[0, 0]], radius)


def test_bad_points():
    with pytest.raises(DataError, match="pred_points"):
        detection_scores([[0, 0]], [[0, 0, 0]], 5)
    with pytest.raises(DataError, match="nothing to pool"):
        DetectionScores.pooled([])
