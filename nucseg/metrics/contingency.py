"""The contingency table of two instance maps: who overlaps whom, by how many pixels.

Every metric of this package is a function of this one table, so an image pair is read once however many
metrics are asked for.  The table is sparse: it holds the pairs that overlap, never all pairs.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from nucseg.arrays import as_label_map, as_label_pair
from nucseg.errors import DataError


@dataclass(frozen=True, eq=False)
class ContingencyTable:
    """Areas of the instances of two maps and the pixel counts of their overlaps.

    Build it with :meth:`from_labels`, :meth:`from_masks`, :meth:`per_patch` or :meth:`pooled`, and give it to
    a metric in place of the two maps: ``aji(table)`` equals ``aji(gt, pred)``.

    Parameters
    ----------
    gt_ids, pred_ids : numpy.ndarray, shape (n,) and (m,), int64
        Ids of the instances as in the maps, ascending within an image.
    gt_areas, pred_areas : numpy.ndarray, shape (n,) and (m,), int64
        Areas in pixels.
    rows, cols : numpy.ndarray, shape (K,), int64
        Positions (not ids) in the ground truth and in the prediction of each overlapping pair, sorted.
    overlaps : numpy.ndarray, shape (K,), int64
        Pixels shared by each pair, 1 or more.
    pixels : int
        Number of pixels of the maps.
    gt_image, pred_image : numpy.ndarray, shape (n,) and (m,), int64
        Number of the image that each instance comes from; all 0 unless tables were pooled.
    gt_counts, pred_counts : numpy.ndarray, shape (n,) and (m,), bool
        Which instances a metric charges. A matched pair is charged if its ground truth is, an unmatched
        instance by its own flag. All True unless :mod:`nucseg.metrics.small_cells` restricted the table.
    flat : bool
        Whether every pixel belongs to at most one instance on each side.
    """

    gt_ids: np.ndarray
    pred_ids: np.ndarray
    gt_areas: np.ndarray
    pred_areas: np.ndarray
    rows: np.ndarray
    cols: np.ndarray
    overlaps: np.ndarray
    pixels: int
    gt_image: np.ndarray
    pred_image: np.ndarray
    gt_counts: np.ndarray
    pred_counts: np.ndarray
    flat: bool = True

    @classmethod
    def from_labels(cls, gt, pred):
        """Return the table of two label maps, in time linear in the number of pixels.

        Parameters
        ----------
        gt, pred : array_like, shape (H, W)
            Instance maps, 0 = background, positive ids in any order, gaps allowed; one id is one instance
            even if it lies in several pieces.

        Returns
        -------
        ContingencyTable

        Raises
        ------
        DataError
            Not label maps (see :func:`nucseg.arrays.as_label_map`), or of different sizes.

        Examples
        --------
        >>> table = ContingencyTable.from_labels([[1, 1, 0]], [[0, 7, 7]])
        >>> table.overlaps.tolist(), table.unions.tolist()
        ([1], [3])
        """
        gt, pred = as_label_pair(gt, pred)
        gt, pred = gt.ravel(), pred.ravel()
        # Runs of equal pairs are some twenty times fewer than pixels, so the sorting below is cheap.
        starts = np.flatnonzero((gt[1:] != gt[:-1]) | (pred[1:] != pred[:-1])) + 1
        starts = np.concatenate(([0], starts))
        lengths = np.diff(starts, append=gt.size)
        gt_ids, rows, gt_areas = _ranked(gt[starts], lengths)
        pred_ids, cols, pred_areas = _ranked(pred[starts], lengths)
        both = (rows >= 0) & (cols >= 0)
        pairs, position = np.unique(rows[both] * len(pred_ids) + cols[both], return_inverse=True)
        overlaps = _sums(position, lengths[both], len(pairs))
        rows, cols = np.divmod(pairs, max(len(pred_ids), 1))
        return cls._of(gt_ids, pred_ids, gt_areas, pred_areas, rows, cols, overlaps, gt.size)

    @classmethod
    def from_masks(cls, gt, pred):
        """Return the table of instances given as stacks of masks, which may overlap one another.

        Parameters
        ----------
        gt, pred : array_like, shape (N, H, W) bool, or (H, W) integer
            One mask per instance, or a label map. Empty masks are dropped. Ids are 1 + the position in the
            stack.

        Returns
        -------
        ContingencyTable
            Not flat if masks of one stack overlap; only the F1 of :mod:`nucseg.metrics.f1` takes such a
            table.

        Raises
        ------
        DataError
            A stack that is not bool or not 3-D, or different image sizes.
        """
        gt_ids, gt_rows, gt_size = _sparse(gt, "gt")
        pred_ids, pred_rows, pred_size = _sparse(pred, "pred")
        if gt_size != pred_size:
            raise DataError(f"gt and pred must have one size, got {gt_size} and {pred_size}")
        overlap = (gt_rows @ pred_rows.T).tocoo()
        order = np.lexsort((overlap.col, overlap.row))
        flat = all(rows.sum(axis=0).max(initial=0) <= 1 for rows in (gt_rows, pred_rows))
        table = cls._of(gt_ids, pred_ids, gt_rows.sum(axis=1), pred_rows.sum(axis=1),
                        overlap.row[order], overlap.col[order], overlap.data[order], gt_size[0] * gt_size[1])
        return replace(table, flat=flat)

    @classmethod
    def _of(cls, gt_ids, pred_ids, gt_areas, pred_areas, rows, cols, overlaps, pixels):
        columns = (gt_ids, pred_ids, gt_areas, pred_areas, rows, cols, overlaps)
        n, m = len(gt_ids), len(pred_ids)
        return cls(*(np.asarray(column, dtype=np.int64) for column in columns), int(pixels),
                   np.zeros(n, np.int64), np.zeros(m, np.int64), np.ones(n, bool), np.ones(m, bool))

    @classmethod
    def per_patch(cls, gt, pred, size):
        """Return one table for each square patch of two label maps, row by row.

        Parameters
        ----------
        gt, pred : array_like, shape (H, W)
            Instance maps. An instance cut by a patch border counts in each patch with the part that lies in
            it.
        size : int
            Side of a patch in pixels; patches do not overlap, the last ones of a row or column may be
            smaller.

        Returns
        -------
        list of ContingencyTable

        Raises
        ------
        DataError
            As :meth:`from_labels`, or a size below 1.
        """
        gt, pred = as_label_pair(gt, pred)
        if size < 1:
            raise DataError(f"a patch is at least 1 pixel wide, got {size}")
        corners = [(r, c) for r in range(0, gt.shape[0], size) for c in range(0, gt.shape[1], size)]
        return [cls.from_labels(gt[r:r + size, c:c + size], pred[r:r + size, c:c + size]) for r, c in corners]

    @classmethod
    def pooled(cls, tables):
        """Return one table of all instances of several image pairs, as if the images lay side by side.

        A metric of the pooled table is the metric over the whole set: sums of pixels or counts over all
        images, divided once.

        Parameters
        ----------
        tables : iterable of ContingencyTable
            One or more.

        Returns
        -------
        ContingencyTable

        Raises
        ------
        DataError
            No table at all.
        """
        tables = list(tables)
        if not tables:
            raise DataError("nothing to pool: no contingency table was given")

        def joined(name, counts=None):
            offsets = np.zeros(len(tables), np.int64) if counts is None else np.cumsum([0, *counts[:-1]])
            return np.concatenate([getattr(table, name) + at for table, at in zip(tables, offsets)])

        plain = {name: joined(name) for name in ("gt_ids", "pred_ids", "gt_areas", "pred_areas", "overlaps")}
        flags = {name: np.concatenate([getattr(table, name) for table in tables])
                 for name in ("gt_counts", "pred_counts")}
        images = [1 + max(t.gt_image.max(initial=0), t.pred_image.max(initial=0)) for t in tables]
        return cls(**plain, **flags, rows=joined("rows", [table.n for table in tables]),
                   cols=joined("cols", [table.m for table in tables]), pixels=sum(t.pixels for t in tables),
                   gt_image=joined("gt_image", images), pred_image=joined("pred_image", images),
                   flat=all(table.flat for table in tables))

    @property
    def n(self):
        """Number of ground-truth instances."""
        return len(self.gt_ids)

    @property
    def m(self):
        """Number of predicted instances."""
        return len(self.pred_ids)

    @property
    def is_empty(self):
        """Whether nothing on either side is charged, which leaves every object metric undefined."""
        return not (self.gt_counts.any() or self.pred_counts.any())

    @cached_property
    def unions(self):
        """Pixels in the union of each overlapping pair, shape (K,), int64."""
        return self.gt_areas[self.rows] + self.pred_areas[self.cols] - self.overlaps

    @cached_property
    def jaccard(self):
        """Intersection over union of each overlapping pair, shape (K,), float64 in (0, 1]."""
        return self.overlaps / self.unions

    def best_for_gt(self, score):
        """Return for each ground truth the position of its pair of highest score, -1 without any overlap.

        Parameters
        ----------
        score : numpy.ndarray, shape (K,)
            One number per overlapping pair; of equal scores the prediction with the lowest id wins.

        Returns
        -------
        numpy.ndarray, shape (n,), int64
        """
        return _best(self.rows, score, self.n)

    def best_for_pred(self, score):
        """Return for each prediction the position of its pair of highest score (see :meth:`best_for_gt`)."""
        return _best(self.cols, score, self.m)

    def restricted(self, keep_gt, keep_pred):
        """Return the table with some instances erased from their map.

        Parameters
        ----------
        keep_gt, keep_pred : numpy.ndarray, shape (n,) and (m,), bool
            Which instances stay.

        Returns
        -------
        ContingencyTable
        """
        pairs = keep_gt[self.rows] & keep_pred[self.cols]
        gt = {name: getattr(self, name)[keep_gt] for name in ("gt_ids", "gt_areas", "gt_image", "gt_counts")}
        pred = {name: getattr(self, name)[keep_pred]
                for name in ("pred_ids", "pred_areas", "pred_image", "pred_counts")}
        return replace(self, **gt, **pred, rows=(np.cumsum(keep_gt) - 1)[self.rows[pairs]],
                       cols=(np.cumsum(keep_pred) - 1)[self.cols[pairs]], overlaps=self.overlaps[pairs])


def as_table(gt, pred=None, *, flat=True):
    """Return the contingency table that a metric works on.

    Parameters
    ----------
    gt : array_like, shape (H, W), or ContingencyTable
        Ground-truth label map, or a table made before, which several metrics can share.
    pred : array_like, shape (H, W), optional
        Predicted label map; left out if `gt` is a table.
    flat : bool
        Whether the metric needs instances that do not overlap one another.

    Returns
    -------
    ContingencyTable

    Raises
    ------
    DataError
        A table and a prediction, a ground truth without a prediction, unusable maps, or overlapping instances
        where the metric needs a flat map.
    """
    if isinstance(gt, ContingencyTable):
        if pred is not None:
            raise DataError("give either two label maps or one contingency table, not a table and a map")
        if flat and not gt.flat:
            raise DataError("this metric needs instances that do not overlap; flatten them to a label map")
        return gt
    if pred is None:
        raise DataError("pred is missing: give two label maps or one contingency table")
    return ContingencyTable.from_labels(gt, pred)


def _ranked(ids, lengths):
    """Return the ids that occur (without 0), each run's position among them (-1 for 0), and areas."""
    present, position = np.unique(ids, return_inverse=True)
    areas = _sums(position, lengths, len(present))
    background = int(present[0] == 0)
    return present[background:], position - background, areas[background:]


def _sums(position, lengths, size):
    # Sums of whole numbers below 2**53 are exact in float64, the type that bincount adds in.
    return np.bincount(position, weights=lengths, minlength=size).astype(np.int64)


def _best(groups, score, size):
    best = np.full(size, -1, np.int64)
    order = np.lexsort((-score, groups))
    first = np.flatnonzero(np.diff(groups[order], prepend=-1))
    best[groups[order[first]]] = order[first]
    return best


def _sparse(masks, name):
    """Return ids, a sparse (instances x pixels) matrix of ones, and the image size."""
    masks = np.asarray(masks)
    if masks.ndim == 2:
        labels = as_label_map(masks, name)
        ids, position = np.unique(labels[labels > 0], return_inverse=True)
        pixels = np.flatnonzero(labels)
        shape = labels.shape
    else:
        if masks.ndim != 3 or masks.dtype != np.bool_:
            raise DataError(f"{name}: a stack of masks is (N, H, W) bool, got {masks.shape}, {masks.dtype}")
        shape = masks.shape[1:]
        owner, pixels = np.nonzero(masks.reshape(len(masks), -1)) if masks.size else (np.zeros(0, int),) * 2
        ids, position = np.unique(owner, return_inverse=True)
        ids = ids + 1
    ones = np.ones(len(pixels), np.int64)
    matrix = csr_array((ones, (position, pixels)), shape=(len(ids), shape[0] * shape[1]))
    return ids, matrix, shape
