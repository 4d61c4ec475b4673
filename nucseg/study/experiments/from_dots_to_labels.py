"""How right the labels made from dots are, on the training images of Qu et al. 2020.

Supervision: dots at the centers of the nuclei's boxes, all of them or a random part.  Expected: about 7 % of the
Voronoi edges and 10 % of the cluster labels are wrong with all dots.  Cost: about 10 minutes on two CPU cores,
under 2 GiB of memory; no GPU.  Command: ``nucseg experiment run from-dots-to-labels``.
"""

from dataclasses import asdict

import numpy as np

from nucseg.data import load_dataset
from nucseg.data.normalization import MONUSEG_REFERENCE, color_statistics, reinhard_normalize
from nucseg.metrics import aji
from nucseg.postprocess import components
from nucseg.seeding import generator
from nucseg.study.experiment import Row
from nucseg.supervision import (
    box_centers,
    box_iou,
    centroids,
    cluster_roles,
    disk_labels,
    extended_gaussian_mask,
    gaussian_weights,
    label_boxes,
    label_quality,
    pseudo_boxes,
    refine_roles,
    sample_points,
    voronoi_edges,
    voronoi_labels,
)

#: Shares of the dots in the sweep; all but the last are those of Qu et al. 2020, tables II and III.
RATIOS = (0.05, 0.1, 0.25, 0.5, 1.0)
SEEDS = (0, 1, 2)
BOX_RATIOS = (1.0, 0.75, 0.5)  # side over spacing; 1 and 0.5 are those of Wang et al. 2021
GAUSSIAN = {"r1": 11.0, "r2": 22.0, "sigma": 2.75}  # px, Qu et al. 2020, sec. V-B.2, multi-organ images
VORONOI = {"radius": 2}  # px, sec. IV-A.1
DISKS = {"r": 4, "d": 20}  # px, Wang et al. 2024, eq. 1
CLUSTERS = {"seed": 0, "restarts": 10}  # of k-means; the authors' release


def draw(sample, row):
    """Return the dots that a row's supervision keeps of one image.

    Parameters
    ----------
    sample : nucseg.data.Sample
        An image with its label map.
    row : nucseg.study.experiment.Row
        ``settings["ratio"]`` (1 if not given), ``settings["replace"]`` and the seed count.

    Returns
    -------
    numpy.ndarray, shape (M, 2), float64
        Row and column, px.
    """
    rng = generator(row.seed, "dots", sample.id)
    return sample_points(
        box_centers(sample.labels), row.settings.get("ratio", 1.0), rng, row.settings.get("replace", False)
    )


def measure_dots(dataset, row):
    """Yield how many dots lie inside their own nucleus, for three ways to place them."""
    for sample in dataset:
        ids = np.unique(sample.labels)[1:]
        values = {"nuclei": len(ids)}
        ways = {
            "box_center": box_centers(sample.labels), "centroid": centroids(sample.labels),
            "moved_centroid": centroids(sample.labels, inside=True),
        }
        for name, points in ways.items():
            rows, columns = np.floor(points + 0.5).astype(int).T
            values[f"{name}_inside"] = np.mean(sample.labels[rows, columns] == ids)
        yield sample.id, values


def measure_size(dataset, row):
    """Yield areas, and the radius of a disk of the mean area over all images, which is r1 of eq. 1."""
    areas = {sample.id: np.bincount(sample.labels.ravel())[1:] for sample in dataset}
    areas = {name: area[area > 0] for name, area in areas.items()}
    pooled = float(np.sqrt(np.concatenate(list(areas.values())).mean() / np.pi))
    for name, area in areas.items():
        yield name, {
            "nuclei": len(area), "mean_area": area.mean(), "median_area": np.median(area),
            "foreground": area.sum() / dataset[name].labels.size, "pooled_radius": pooled,
        }


def measure_kept(dataset, row):
    """Yield the share of dots that a draw keeps."""
    for sample in dataset:
        yield sample.id, {"kept": len(draw(sample, row)) / len(box_centers(sample.labels))}


def measure_voronoi(dataset, row):
    """Yield the quality of the Voronoi label; its background are the edges."""
    for sample in dataset:
        label = voronoi_labels(draw(sample, row), sample.labels.shape, **VORONOI)
        yield sample.id, asdict(label_quality(sample.labels, label))


def measure_gaussian(dataset, row):
    """Yield the quality of the extended Gaussian mask; nucleus is where its weight is that of foreground."""
    for sample in dataset:
        mask = extended_gaussian_mask(draw(sample, row), sample.labels.shape, **GAUSSIAN)
        bump = gaussian_weights(mask, foreground=2, threshold=row.settings["threshold"]) == 2
        label = np.where(mask < 0, -1, bump).astype(np.int8)
        yield sample.id, asdict(label_quality(sample.labels, label))


def measure_disks(dataset, row):
    """Yield the quality of the disk label."""
    for sample in dataset:
        label = disk_labels(draw(sample, row), sample.labels.shape, **DISKS)
        yield sample.id, asdict(label_quality(sample.labels, label))


def measure_boxes(dataset, row):
    """Yield sides of pseudo boxes and of true boxes, and how far they agree."""
    for sample in dataset:
        true = label_boxes(sample.labels)
        boxes = pseudo_boxes(draw(sample, row), sample.labels.shape, ratio=row.settings["box_ratio"])
        overlap = box_iou(boxes, true)
        yield sample.id, {
            "side": np.mean(boxes[:, 2:] - boxes[:, :2]), "true_side": np.mean(true[:, 2:] - true[:, :2]),
            "iou": overlap.mean(), "iou_above_half": np.mean(overlap > 0.5),
        }


def normalizer(dataset, row):
    """Return the color treatment that a row asks for, a function of an image.

    Parameters
    ----------
    dataset : nucseg.data.Dataset
        Where the reference image is, if the row asks for normalized colors.
    row : nucseg.study.experiment.Row
        ``settings["colors"]`` is ``"raw"`` or ``"normalized"`` (Reinhard, to the reference image).

    Returns
    -------
    callable
    """
    if row.settings["colors"] == "raw":
        return lambda image: image
    source = dataset if MONUSEG_REFERENCE in dataset.ids else load_dataset(row.dataset, row.split)
    reference = color_statistics(source[MONUSEG_REFERENCE].image)
    return lambda image: reinhard_normalize(image, reference)


def measure_clusters(dataset, row):
    """Yield the quality of the cluster label, of its instances, and what exchanged roles would have given."""
    treat = normalizer(dataset, row)
    for sample in dataset:
        points, gt = draw(sample, row), sample.labels
        roles, report = cluster_roles(treat(sample.image), points, **CLUSTERS)
        label = refine_roles(roles, points)
        # The two clusters without most of the dots, with their roles exchanged: background and ignored.
        exchanged = refine_roles(np.where(roles == 1, 1, -1 - roles), points)
        cut = components((label == 1) & ~voronoi_edges(points, gt.shape))
        yield sample.id, {
            **asdict(label_quality(gt, label)),
            "wrong_if_exchanged": label_quality(gt, exchanged).wrong,
            "contrast": report.contrast,
            "aji_components": aji(gt, components(label == 1)),
            "aji_cut": aji(gt, cut),
        }


def _monuseg(experiment, row, measure, supervision="all dots", split="train", seed=0, **options):
    return Row(experiment, row, "monuseg", split, supervision, measure, options, seed, "qu2019")


def _sweep():
    """Return the rows of the dot-ratio sweep."""
    for ratio in RATIOS:
        percent = f"{100 * ratio:g} % of the dots"
        for seed in SEEDS if ratio < 1 else SEEDS[:1]:
            common = {"supervision": percent, "seed": seed, "ratio": ratio, "replace": False}
            yield _monuseg("Voronoi label by dots", percent, measure_voronoi, **common)
            yield _monuseg(
                "cluster label by dots", percent, measure_clusters, colors="normalized", **common
            )
            yield _monuseg("Gaussian mask by dots", percent, measure_gaussian, threshold=0.05, **common)
        for replace in (False, True):
            way = "drawn with replacement" if replace else "drawn without replacement"
            yield _monuseg(
                f"dots kept, {way}", percent, measure_kept, supervision=f"{percent}, {way}", ratio=ratio,
                replace=replace,
            )


ROWS = (
    _monuseg("nuclei", "training images", measure_size, "masks"),
    _monuseg("nuclei", "validation images", measure_size, "masks", split="val"),
    _monuseg("dots inside their own nucleus", "training images", measure_dots, "masks"),
    _monuseg("labels from all dots", "Voronoi label", measure_voronoi),
    _monuseg("labels from all dots", "cluster label, raw colors", measure_clusters, colors="raw"),
    _monuseg("labels from all dots", "cluster label, normalized colors", measure_clusters, colors="normalized"),
    _monuseg("labels from all dots", "disk label", measure_disks),
    _monuseg("labels from all dots", "disk label, all 30 images", measure_disks, split="all"),
    _monuseg("labels from all dots", "Gaussian mask, bump cut at 0.05", measure_gaussian, threshold=0.05),
    _monuseg("labels from all dots", "Gaussian mask, bump up to r1", measure_gaussian, threshold=0.0),
    *(_monuseg("boxes from all dots", f"side {ratio:g} x spacing", measure_boxes, box_ratio=ratio)
      for ratio in BOX_RATIOS),
    *(_monuseg("boxes from all dots", f"side {ratio:g} x spacing, all 30 images", measure_boxes, split="all",
               box_ratio=ratio)
      for ratio in BOX_RATIOS),
    *_sweep(),
)
