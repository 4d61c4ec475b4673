"""Connected pieces of the parts of a label map: stray ones and small parts go to the neighbor with most border."""

from collections import Counter, defaultdict

import numpy as np
from skimage.measure import label

_STEPS = [(0, 1), (1, 0), (1, 1), (1, -1)]


def settle_parts(parts, owners, places, min_size):
    """Give each part of an object one piece and a least size, without changing what the object covers.

    Of a part in several pieces (8-connected), the one at the part's place stays, or the largest if the place lies
    elsewhere. Any other goes to the part it shares most border with, counted in pairs of pixels that touch; then parts
    below `min_size` do the same, smallest first. Of equals, the part with the lowest number counts. Pieces that touch
    no other part of their object stay.

    Parameters
    ----------
    parts : numpy.ndarray, shape (H, W), int32
        Numbers 1..n of the parts, 0 elsewhere.
    owners : numpy.ndarray, shape (n,), int
        The object that each part belongs to; borders between objects do not count.
    places : numpy.ndarray, shape (n, 2), float
        Row and column of the place of each part, px, in the image.
    min_size : int
        Least pixels of a part.

    Returns
    -------
    numpy.ndarray, shape (H, W), int32
        As `parts`; some numbers may be gone.
    """
    pieces, part_of, area = _pieces(parts)
    homes = _homes(pieces, part_of, area, places)
    borders = _borders(pieces, owners[part_of[1:] - 1])
    settled = _settle_strays(part_of, homes, borders)
    settled = _merge_small(settled, area, borders, min_size)
    return settled[pieces]


def largest_pieces(parts, min_size):
    """Keep of each part of a label map only its largest piece (8-connected), if it has at least `min_size` pixels.

    Parameters
    ----------
    parts : numpy.ndarray, shape (H, W), int32
        Numbers of the parts, 0 elsewhere.
    min_size : int
        Least pixels of a piece.

    Returns
    -------
    numpy.ndarray, shape (H, W), int32
        As `parts`, with 0 where a piece is gone; of equals the first in reading order stays.
    """
    pieces, part_of, area = _pieces(parts)
    kept = np.zeros(len(area), bool)
    kept[_largest(part_of, area, parts.max())] = True
    return np.where(kept & (area >= min_size), part_of, 0)[pieces]


def _pieces(parts):
    """Return the map of connected pieces and, for each piece, its part and area."""
    pieces, count = label(parts, connectivity=2, return_num=True)
    part_of = np.zeros(count + 1, np.int32)
    part_of[pieces] = parts
    return pieces, part_of, np.bincount(pieces.ravel(), minlength=count + 1)


def _homes(pieces, part_of, area, places):
    """Return the piece that each part keeps, by part number less 1; 0 for a part without pixels."""
    at = pieces[tuple(np.floor(places + 0.5).astype(np.int64).T)]
    own = part_of[at] == np.arange(1, len(places) + 1)
    return np.where(own, at, _largest(part_of, area, len(places)))


def _largest(part_of, area, parts):
    """Return the largest piece of each part, by part number less 1; of equals the first in reading order."""
    order = np.lexsort((-np.arange(len(area)), area))  # the largest comes last and is written last
    homes = np.zeros(parts, np.int64)
    homes[part_of[order[order > 0]] - 1] = order[order > 0]
    return homes


def _borders(pieces, owner_of):
    """Return, for each piece, how many pairs of touching pixels it shares with each other piece of its object."""
    height, width = pieces.shape
    found = []
    for down, right in _STEPS:
        one = pieces[: height - down, max(-right, 0) : width - max(right, 0)]
        other = pieces[down:, max(right, 0) : width + min(right, 0)]
        meet = (one != other) & (one > 0) & (other > 0)
        found.append(np.stack([one[meet], other[meet]]))
    pairs = np.sort(np.concatenate(found, axis=1), axis=0)
    pairs = pairs[:, owner_of[pairs[0] - 1] == owner_of[pairs[1] - 1]]
    pairs, counts = np.unique(pairs, axis=1, return_counts=True)
    borders = defaultdict(Counter)
    for one, other, shared in zip(*pairs.tolist(), counts.tolist()):
        borders[one][other] = borders[other][one] = shared
    return borders


def _settle_strays(part_of, homes, borders):
    """Return the part of each piece once strays have gone, in rounds, to parts that are settled around them."""
    is_home = np.zeros(len(part_of), bool)
    is_home[homes] = True
    is_home[0] = True  # no piece; also stands for the home of a part without pixels
    settled = np.where(is_home, part_of, 0)
    strays = np.flatnonzero(~is_home).tolist()
    while strays:
        moves = {}
        for stray in strays:
            around = _by_part(borders[stray], settled)
            if around:
                moves[stray] = _longest(around)
        if not moves:
            break
        for stray, part in moves.items():
            settled[stray] = part
        strays = [stray for stray in strays if stray not in moves]
    settled[strays] = part_of[strays]
    return settled


def _merge_small(settled, area, borders, min_size):
    """Return the part of each piece once no part with a neighbor is below the least size."""
    sizes = np.bincount(settled, weights=area, minlength=settled.max() + 1)
    around = defaultdict(Counter)
    for piece, shared in borders.items():
        around[settled[piece]] += _by_part(shared, settled)
    for part, shared in around.items():
        del shared[part]
    target = np.arange(len(sizes), dtype=np.int32)
    small = set(np.flatnonzero((sizes > 0) & (sizes < min_size)).tolist()) - {0}
    while small:
        part = min(small, key=lambda number: (sizes[number], number))
        small.remove(part)
        shared = around.pop(part, None)
        if not shared:
            continue
        into = _longest(shared)
        sizes[into] += sizes[part]
        target[target == part] = into
        for neighbor, length in shared.items():
            del around[neighbor][part]
            if neighbor != into:
                around[neighbor][into] += length
                around[into][neighbor] += length
        if sizes[into] >= min_size:
            small.discard(into)
    return target[settled]


def _by_part(shared, settled):
    """Return the borders of a piece added up by the part that its neighbors are settled in."""
    total = Counter()
    for neighbor, length in shared.items():
        if settled[neighbor]:
            total[int(settled[neighbor])] += length
    return total


def _longest(shared):
    return min(shared, key=lambda part: (-shared[part], part))
