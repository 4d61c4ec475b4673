"""One-to-one assignment on a sparse graph, solved block by block."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def max_weight_assignment(rows, cols, weights, shape):
    """Return the pairs of the one-to-one assignment with the largest sum of weights.

    Pairs that share no row or column with others cannot influence one another, so each connected block of the
    graph is solved alone; nearly all blocks of an overlap graph hold one or two instances.

    Parameters
    ----------
    rows, cols : numpy.ndarray, shape (K,), int64
        Ends of each allowed pair.
    weights : numpy.ndarray, shape (K,), float64
        Weight of each pair, above 0.
    shape : tuple of int
        Number of rows and of columns.

    Returns
    -------
    numpy.ndarray, int64
        Positions (into `rows`) of the chosen pairs, ascending.
    """
    if len(rows) == 0:
        return np.zeros(0, np.int64)
    n, m = shape
    graph = coo_array((np.ones(len(rows), np.int8), (rows, n + cols)), shape=(n + m, n + m))
    count, block = connected_components(graph, directed=False)
    block_of_pair = block[rows]
    # In a star (one row, or one column) the heaviest pair wins; other blocks need the Hungarian algorithm.
    star = np.minimum(np.bincount(block[:n], minlength=count), np.bincount(block[n:], minlength=count)) == 1
    order = np.lexsort((-weights, block_of_pair))
    first = np.flatnonzero(np.diff(block_of_pair[order], prepend=-1))
    heaviest = order[first]
    chosen = [heaviest[star[block_of_pair[heaviest]]]]
    ends = np.append(first[1:], len(order))
    for start, end in zip(first, ends):
        if not star[block_of_pair[order[start]]]:
            chosen.append(_solve(np.sort(order[start:end]), rows, cols, weights))
    return np.sort(np.concatenate(chosen))


def _solve(pairs, rows, cols, weights):
    """Return the chosen ones among the pairs of one block."""
    block_rows, i = np.unique(rows[pairs], return_inverse=True)
    block_cols, j = np.unique(cols[pairs], return_inverse=True)
    dense = np.zeros((len(block_rows), len(block_cols)))
    position = np.full(dense.shape, -1, np.int64)
    dense[i, j], position[i, j] = weights[pairs], pairs
    found = position[linear_sum_assignment(dense, maximize=True)]
    return found[found >= 0]
