"""Instances that may overlap one another, kept as one sparse matrix, and the merging of contained ones."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from nucseg.errors import DataError

ORDERS = ("leader", "union", "closure")
#: A share of overlap this little below the bound still reaches it.
_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class InstanceMasks:
    """Masks of instances of one image, with a likelihood at each of their pixels.

    Parameters
    ----------
    size : tuple of int
        (H, W) of the image, px.
    values : scipy.sparse.csr_array, shape (N, H * W), float32
        Likelihood of each pixel of each mask, above 0; pixels row by row.
    """

    size: tuple[int, int]
    values: csr_array

    @classmethod
    def from_stack(cls, values):
        """Return the masks of a dense stack.

        Parameters
        ----------
        values : array_like, shape (N, H, W), bool or float
            Likelihoods; pixels of 0 or less do not belong to the instance.

        Returns
        -------
        InstanceMasks

        Raises
        ------
        DataError
            Not three axes, or values that are not finite.
        """
        values = np.asarray(values, np.float32)
        if values.ndim != 3 or not np.isfinite(values).all():
            raise DataError(f"masks: expected finite values of shape (N, H, W), got {values.shape}")
        flat = np.maximum(values, 0).reshape(len(values), values.shape[1] * values.shape[2])
        return cls(tuple(values.shape[1:]), csr_array(flat))

    def __len__(self):
        return self.values.shape[0]

    @property
    def support(self):
        """Which pixels belong to which instance, csr_array (N, H * W), int64 ones."""
        ones = np.ones(self.values.nnz, np.int64)
        return csr_array((ones, self.values.indices, self.values.indptr), shape=self.values.shape)

    @property
    def areas(self):
        """Pixels of each mask, (N,) int64."""
        return np.diff(self.values.indptr).astype(np.int64)

    def stack(self):
        """Return the masks as a dense stack, (N, H, W) bool."""
        return (self.values.toarray() > 0).reshape(len(self), *self.size)

    def union(self):
        """Return the pixels of any mask, (H, W) bool."""
        found = np.zeros(self.size[0] * self.size[1], bool)
        found[self.values.indices] = True
        return found.reshape(self.size)

    def labels(self):
        """Return the label map in which every pixel goes to the instance that is likeliest there.

        Returns
        -------
        numpy.ndarray, shape (H, W), int32
            Ids are 1 + the position of the mask; of equal likelihoods the first one wins. An instance that wins
            nowhere does not occur.
        """
        entries = self.values.tocoo()
        order = np.lexsort((-entries.row, entries.data))  # the last one written to a pixel stays
        found = np.zeros(self.size[0] * self.size[1], np.int32)
        found[entries.col[order]] = entries.row[order] + 1
        return found.reshape(self.size)

    def chosen(self, which):
        """Return the masks at given positions, or where a boolean array is True."""
        which = np.asarray(which)
        return InstanceMasks(self.size, self.values[np.flatnonzero(which) if which.dtype == bool else which])

    def grouped(self, groups):
        """Return one mask for each group: the union, and the largest likelihood at each pixel.

        Parameters
        ----------
        groups : numpy.ndarray, shape (N,), int64
            Number of the group of each mask, 0 to G - 1.

        Returns
        -------
        InstanceMasks
            G masks.
        """
        entries = self.values.tocoo()
        owner = np.asarray(groups, np.int64)[entries.row]
        order = np.lexsort((-entries.data, entries.col, owner))
        owner, pixel, value = owner[order], entries.col[order], entries.data[order]
        first = np.ones(len(owner), bool)
        first[1:] = (owner[1:] != owner[:-1]) | (pixel[1:] != pixel[:-1])
        shape = (int(np.max(groups, initial=-1)) + 1, self.values.shape[1])
        return InstanceMasks(self.size, csr_array((value[first], (owner[first], pixel[first])), shape=shape))


def containment_groups(masks, overlap=0.5, order="leader"):
    """Return which masks belong together because a bigger one covers a large part of a smaller one.

    The rule of Costa et al. (2022, sec. 2.3): a bigger mask b and a smaller one m are merged if
    ``|b and m| / |m| >= overlap``. It is neither symmetric nor transitive, so the order matters, which the article
    leaves open.

    Parameters
    ----------
    masks : InstanceMasks
        Of one image, none of them empty.
    overlap : float
        Share of the smaller mask, above 0 and at most 1.
    order : {"leader", "union", "closure"}
        ``"leader"``: from the largest mask down, each joins the largest leader that covers enough of it, or becomes a
        leader; leaders keep their own mask for later tests. ``"union"``: the same, but a leader's mask grows by those
        that join it. ``"closure"``: all chains of pairs that fulfill the rule.

    Returns
    -------
    numpy.ndarray, shape (N,), int64
        Groups 0, 1, ... in the order of their first mask.

    Raises
    ------
    DataError
        An empty mask, a share out of range, or another order.
    """
    if order not in ORDERS or not 0 < overlap <= 1:
        raise DataError(f"merging: expected a share in (0, 1] and one of {', '.join(ORDERS)}, got {overlap}, {order!r}")
    areas = masks.areas
    if (areas == 0).any():
        raise DataError(f"merging: mask {int(np.argmin(areas))} is empty")
    if len(masks) == 0:
        return np.zeros(0, np.int64)
    support = masks.support
    if order == "union":
        found = _growing(support, areas, overlap)
    else:
        shared = (support @ support.T).tocoo()
        rank = np.empty(len(areas), np.int64)
        rank[np.argsort(-areas, kind="stable")] = np.arange(len(areas))
        inside = (rank[shared.row] < rank[shared.col]) & (shared.data >= overlap * areas[shared.col] - _TOLERANCE)
        bigger, smaller = shared.row[inside], shared.col[inside]
        found = (_closure if order == "closure" else _leaders)(bigger, smaller, rank)
    return np.unique(_first_of(found), return_inverse=True)[1]


def merge_contained(masks, overlap=0.5, order="leader"):
    """Return the masks of an image after those that belong together were merged; see :func:`containment_groups`.

    The union of all masks stays as it is.

    Parameters
    ----------
    masks : InstanceMasks
        Of one image, none of them empty.
    overlap : float
        Share of the smaller mask, above 0 and at most 1.
    order : {"leader", "union", "closure"}
        In which pairs are merged.

    Returns
    -------
    InstanceMasks

    Raises
    ------
    DataError
        As :func:`containment_groups`.
    """
    return masks.grouped(containment_groups(masks, overlap, order))


def _leaders(bigger, smaller, rank):
    """Return the leader of each mask, itself if it leads."""
    leader = np.arange(len(rank))
    covering = {}
    for b, m in zip(bigger.tolist(), smaller.tolist()):
        covering.setdefault(m, []).append(b)
    for mask in np.argsort(rank).tolist():  # from the largest down
        leaders = [b for b in covering.get(mask, ()) if leader[b] == b]
        if leaders:
            leader[mask] = min(leaders, key=rank.__getitem__)
    return leader


def _growing(support, areas, overlap):
    leader, grown = np.arange(len(areas)), {}
    for mask in np.argsort(-areas, kind="stable").tolist():
        pixels = support.indices[support.indptr[mask] : support.indptr[mask + 1]]
        for first, covered in grown.items():  # in the order of the areas of the first masks
            if covered[pixels].sum() >= overlap * areas[mask] - _TOLERANCE:
                covered[pixels] = True
                leader[mask] = first
                break
        else:
            covered = np.zeros(support.shape[1], bool)
            covered[pixels] = True
            grown[mask] = covered
    return leader


def _closure(bigger, smaller, rank):
    size = len(rank)
    graph = csr_array((np.ones(len(bigger), np.int8), (bigger, smaller)), shape=(size, size))
    return connected_components(graph, directed=False)[1]


def _first_of(groups):
    """Return the position of the first member of each one's group."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return first[inverse]
