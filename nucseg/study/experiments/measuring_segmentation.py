"""How much of a score is the method, and how much the convention it is computed under.

Six ways to make instances from what is known about an image (its true mask, its dots, its colors), each scored under
every convention: three forms of AJI, object Dice with and without its 50 % rule, per image, pooled and per patch.
Supervision: true masks or dots, as each row says; nothing is trained.  Expected: AJI about 0.71 for the true masks of
the 14 test images of Qu et al. 2020, taken apart by connected components.  Cost: about 10 minutes on two CPU cores,
under 2 GiB of memory; no GPU.  Command: ``nucseg experiment run measuring-segmentation``.
"""

from dataclasses import replace

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.segmentation import watershed

from nucseg.data import load_dataset
from nucseg.data.normalization import MONUSEG_REFERENCE, color_statistics, reinhard_normalize
from nucseg.data.stain import separate_stains
from nucseg.metrics import (
    ContingencyTable,
    aji,
    aji_plus,
    aji_release,
    as_table,
    f1_at_iou,
    mean_over_units,
    object_dice,
    object_dice_half,
    object_dice_half_both,
    panoptic_quality,
    pixel_scores,
    small_cells,
    small_cells_gt_driven,
    small_cells_pair_driven,
    sq_matched,
)
from nucseg.postprocess import components
from nucseg.study.experiment import Row
from nucseg.supervision import box_centers, cluster_labels, voronoi_edges

PATCH = 256  # px, side of the patches of one convention; Wang et al. 2024 cut their images so
CLUSTERS = {"seed": 0, "restarts": 10}  # of k-means; the release of Qu et al. 2020
MIN_SIZE = 20  # px, smallest component kept in the classical method; the release of Qu et al. 2020
SMOOTHING = 1.0  # px, of the hematoxylin map and of the distance map, ours
SPACING = 6  # px, least distance of two watershed seeds, ours
#: The metrics that are also taken per patch and over all images pooled.
CONVENTIONS = ("aji", "aji_release", "aji_plus", "object_dice", "object_dice_half")
SPLITS = {"train": "training images", "test": "test images"}


def scores(table):
    """Return every object and pixel metric of one table, under the names used in the results.

    Parameters
    ----------
    table : nucseg.metrics.ContingencyTable
        One image, one patch, or several images pooled.

    Returns
    -------
    dict of str to float
        NaN where a metric is undefined.
    """
    quality, f1, pixels = panoptic_quality(table), f1_at_iou(table), pixel_scores(table)
    return {
        "aji": aji(table), "aji_release": aji_release(table), "aji_plus": aji_plus(table),
        "object_dice": object_dice(table), "object_dice_half": object_dice_half(table),
        "object_dice_half_both": object_dice_half_both(table),
        "dq": quality.dq, "sq": quality.sq, "pq": quality.pq, "sq_matched": sq_matched(table),
        "f1_iou_50": f1[4], "f1_iou_mean": f1.mean(), "dice_pixel": pixels.f1, "iou_pixel": pixels.iou,
    }


def small_scores(table):
    """Return AJI and object Dice of small nuclei in three readings (see :mod:`nucseg.metrics.small_cells`)."""
    readings = {
        "small": small_cells(table), "small_gt_driven": small_cells_gt_driven(table),
        "small_pair_driven": small_cells_pair_driven(table),
    }
    return {
        f"{name}_{reading}": metric(part)
        for reading, part in readings.items()
        for name, metric in (("aji", aji), ("object_dice", object_dice))
    }


def measure(dataset, row):
    """Yield the scores of each image, of its patches, and of all images pooled.

    Metrics without a prefix belong to the image, ``patch_...`` are means over its patches, and ``pooled_...`` belong
    to the whole dataset and are the same for every image.
    """
    make, per_image, tables = INSTANCES[row.settings["instances"]], {}, []
    reference = None
    if row.settings["colors"] == "normalized":
        reference = color_statistics(load_dataset(row.dataset, "train", scheme=row.scheme)[MONUSEG_REFERENCE].image)
    for sample in dataset:
        if reference is not None:
            sample = replace(sample, image=reinhard_normalize(sample.image, reference))
        pred = make(sample)
        table = as_table(sample.labels, pred)
        tables.append(table)
        per_image[sample.id] = {
            "nuclei": table.n, "instances": table.m, **scores(table), **small_scores(table),
            **patch_scores(sample.labels, pred, row.settings["patch"]),
        }
    all_images = scores(ContingencyTable.pooled(tables))
    pooled = {f"pooled_{name}": all_images[name] for name in CONVENTIONS}
    for image, values in per_image.items():
        yield image, {**values, **pooled}


def patch_scores(gt, pred, size):
    """Return means over the patches of an image, undefined patches left out.

    Parameters
    ----------
    gt, pred : numpy.ndarray, shape (H, W), int32
        Instance maps.
    size : int
        Side of a patch in pixels.

    Returns
    -------
    dict of str to float
        ``patch_<metric>``, and ``patch_undefined``, the number of patches without any nucleus, true or predicted.
    """
    each = [scores(table) for table in ContingencyTable.per_patch(gt, pred, size)]
    means = {name: mean_over_units([one[name] for one in each]) for name in CONVENTIONS}
    undefined = {"patch_undefined": means["aji"].undefined}
    return {**{f"patch_{name}": value.mean for name, value in means.items()}, **undefined}


def true_components(sample):
    """Return the true mask taken apart by connected components: what a perfect mask alone can give."""
    return components(sample.labels > 0)


def true_cut(sample):
    """Return the true mask cut by the Voronoi edges of the true dots, then taken apart."""
    return components((sample.labels > 0) & ~voronoi_edges(box_centers(sample.labels), sample.labels.shape))


def cluster(sample):
    """Return the cluster label of Qu et al. 2020 from all dots, its nuclei taken apart."""
    return components(cluster_labels(sample.image, box_centers(sample.labels), **CLUSTERS) == 1)


def cluster_cut(sample):
    """Return the cluster label cut by the Voronoi edges of the dots, then taken apart."""
    points = box_centers(sample.labels)
    nuclei = cluster_labels(sample.image, points, **CLUSTERS) == 1
    return components(nuclei & ~voronoi_edges(points, sample.labels.shape))


def otsu(sample):
    """Return Otsu's threshold on the hematoxylin of an image, taken apart: a prediction without annotation."""
    stain = gaussian(separate_stains(sample.image)[..., 0], SMOOTHING)
    return components(stain > threshold_otsu(stain), MIN_SIZE, fill_holes=True)


def otsu_watershed(sample):
    """Return the components of :func:`otsu` with clumps cut at their narrow places by a watershed."""
    labels = otsu(sample)
    depth = gaussian(ndimage.distance_transform_edt(labels), SMOOTHING)
    peaks = peak_local_max(depth, min_distance=SPACING, labels=labels, exclude_border=False)
    seeds = np.zeros(labels.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-depth, seeds, mask=labels > 0).astype(np.int32)


#: Ways to make instances: name in a row's settings to function of a sample.
INSTANCES = {
    "true mask": true_components,
    "true mask cut by Voronoi edges": true_cut,
    "cluster label": cluster,
    "cluster label cut by Voronoi edges": cluster_cut,
    "Otsu": otsu,
    "Otsu and watershed": otsu_watershed,
}
_SUPERVISION = {"true mask": "masks", "true mask cut by Voronoi edges": "masks", "cluster label": "all dots",
                "cluster label cut by Voronoi edges": "all dots"}


def _row(instances, split):
    colors = "normalized" if instances.startswith("cluster") else "raw"
    return Row(
        "scores", f"{instances}, {SPLITS[split]}", "monuseg", split,
        _SUPERVISION.get(instances, "none"), measure, {"instances": instances, "colors": colors, "patch": PATCH},
        scheme="qu2019",
    )


ROWS = tuple(_row(instances, split) for split in SPLITS for instances in INSTANCES)
