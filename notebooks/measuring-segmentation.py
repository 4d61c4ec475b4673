# %% [markdown]
# (measuring-segmentation)=
# # Measuring segmentation
#
# *Papers:* {cite:t}`kumar2017`, {cite:t}`qu2020`, {cite:t}`graham2019`, {cite:t}`kirillov2019` · *Supervision:* none,
# nothing is trained · *Card:* synthetic H&E and MoNuSeg; under a minute on two CPU cores (quick), about 10 minutes for
# the full results, no GPU; functions used: `nucseg.metrics`, `nucseg.postprocess.components`.
#
# One prediction can have an AJI of {glue:text}`ms-mask-pooled:.2f` and an AJI of {glue:text}`ms-mask-patch:.2f`, depending
# on what is averaged, and AJI itself has three forms. This chapter computes all of them from one table, shows where they
# part, and says what each is good for.
#
# ```{glue:figure} ms-success
# :name: fig-ms-success
# :alt: Left, a synthetic tissue image with true outlines in green and predicted ones in orange. Right, one dot for each metric on a scale from 0 to 1; the dots of the same prediction lie far apart.
#
# One image, one prediction, many scores. Each dot on the right is a published way to score the very same outlines.
# ```
#
# ## What you will learn
#
# - to compute every score of an image from one table of overlaps;
# - to tell the three forms of AJI apart, and the two forms of object Dice;
# - to predict what a merged, a split and a missed nucleus cost in each of them;
# - to find out which convention a paper used, and how far that moves its numbers;
# - to decide whether one method is better than another, whatever the convention.
#
# ## Before you start
#
# You need to know what an {term}`instance map` and {term}`IoU` are, and about 25 minutes. The page
# [Metrics](../book/metrics.md) is the reference to look things up later.
#
# ## Key takeaways
#
# - All scores follow from areas and overlaps; an image needs to be read once ([the table](ms-table)).
# - A merged nucleus scores higher in AJI than in AJI+, a clump of several inside an image scores lower
#   ([merge, split, miss](ms-toys), [clumps](fig-ms-clumps)).
# - In some released code a missed nucleus also costs the area of prediction number 1 ([here](ms-number-one)).
# - A perfect mask, taken apart by connected components, is far from an AJI of 1 ([ceilings](ms-results)).
# - Pooling over images, or cutting them into patches, changes the AJI of an unchanged prediction by a lot
#   ([bookkeeping](ms-bookkeeping)).
# - The convention can decide which of two ways to make instances looks better ([rank stability](ms-ranks)).

# %% tags=["parameters"]
profile = "full"  # "full": published settings; "quick": small settings from workflow/profiles/quick.yaml
seed = 0  # seed of every random choice

# %% tags=["hide-input"]
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from nucseg import metrics
from nucseg.data import available, load_dataset
from nucseg.metrics import ContingencyTable
from nucseg.postprocess import components
from nucseg.seeding import generator
from nucseg.study.chapter import glue, settings
from nucseg.study.experiments import measuring_segmentation as study
from nucseg.study.pages import TOLERANCE
from nucseg.study.tables import beside_published, published, runs, summary
from nucseg.supervision import box_centers, centroids
from nucseg.viz import PAGE_WIDTH, crop, fill, outline, outline_mask
from nucseg.viz import show_detections, show_matches, show_panels, use_style

use_style()
NAMES = {"aji": "AJI", "aji_release": "AJI, as released", "aji_plus": "AJI+", "object_dice": "object Dice",
         "object_dice_half": "object Dice, 50 % rule", "pq": "PQ", "dice_pixel": "pixel Dice"}
# radius: of a detection, px (Qu et al. 2020, sec. V-A); patch: px; images: how many are scored live
chosen = settings("measuring-segmentation", profile, radius=11, patch=256, images=4)

# %% [markdown]
# ## The idea in one picture
#
# A synthetic image comes with exact outlines. For a prediction we need no training: Otsu's threshold on the
# hematoxylin, and a watershed that cuts clumps at their narrow places.

# %%
sample = load_dataset("synthetic-he", "test")[0]
gt, pred = sample.labels, study.otsu_watershed(sample)
print(f"{gt.max()} true nuclei, {pred.max()} predicted")

# %% [markdown]
# Numbers that have been published under the names AJI, Dice, PQ and F1:

# %%
table = ContingencyTable.from_labels(gt, pred)
scores = {
    "F1 of pixels": metrics.pixel_scores(table).f1,
    "object Dice": metrics.object_dice(table),
    "object Dice, 50 % rule": metrics.object_dice_half(table),
    "AJI": metrics.aji(table),
    "AJI, as released": metrics.aji_release(table),
    "AJI+": metrics.aji_plus(table),
    "PQ": metrics.panoptic_quality(table).pq,
    "F1, mean of ten IoU": metrics.f1_at_iou(table).mean(),
    "AJI, small nuclei": metrics.aji(metrics.small_cells(table)),
}
pd.Series(scores).round(3)

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.1),
    width_ratios=(1, 1.05))
window = (0, 0, 256)
left.imshow(outline(outline(crop(sample.image, *window), crop(gt, *window),
    "ground_truth", 3),
                    crop(pred, *window), "prediction", 1))
left.set_axis_off()
left.set_title("truth green, prediction orange")
right.plot(list(scores.values()), range(len(scores)), "o", color="black")
right.set_yticks(range(len(scores)), list(scores))
right.invert_yaxis()
right.set(xlim=(0, 1), xlabel="score")
right.grid(axis="x", alpha=0.3)
glue("ms-success", figure)

# %% [markdown]
# (ms-table)=
# ## One table for all
#
# Let $G_1, \dots, G_n$ be the true nuclei and $S_1, \dots, S_m$ the predicted ones, as sets of pixels. Everything below
# is a function of the areas $|G_i|$, $|S_j|$ and of the overlaps
#
# ```{math}
# :label: eq-ms-table
# I_{ij} = |G_i \cap S_j|, \qquad J_{ij} = \frac{I_{ij}}{|G_i| + |S_j| - I_{ij}} .
# ```
#
# `ContingencyTable.from_labels` reads both maps once and keeps the pairs with $I_{ij} > 0$ only. Of all possible pairs
# in this image, very few overlap:

# %%
print(f"{table.n} x {table.m} = {table.n * table.m} pairs, {len(table.rows)} overlap")
pd.DataFrame({
    "truth": table.gt_ids[table.rows],
    "prediction": table.pred_ids[table.cols],
    "overlap": table.overlaps,
    "union": table.unions,
    "IoU": table.jaccard.round(3),
}).head()

# %% [markdown]
# The obvious way, a mask for each nucleus and a loop over all of them, gives the same numbers. Here it is for AJI, as
# a check of the library:

# %%
def aji_by_loops(gt, pred):
    """Kumar et al. 2017: each true nucleus takes the prediction of highest IoU."""
    found = {j: pred == j for j in np.unique(pred) if j}
    intersection, union, used = 0, 0, set()
    for i in np.unique(gt)[1:]:
        truth = gt == i
        under = [j for j in np.unique(pred[truth]) if j]
        ious = {j: (truth & found[j]).sum() / (truth | found[j]).sum()
            for j in under}
        best = max(ious, key=ious.get, default=None)
        used.add(best)
        intersection += (truth & found[best]).sum() if ious else 0
        union += (truth | found[best]).sum() if ious else truth.sum()
    free = sum(mask.sum() for j, mask in found.items() if j not in used)
    return intersection / (union + free)


assert np.isclose(aji_by_loops(gt, pred), metrics.aji(table))
print(f"by loops {aji_by_loops(gt, pred):.4f}, from the table {metrics.aji(table):.4f}")

# %% [markdown]
# ## Pixels
#
# With TP, FP and FN counted in foreground pixels,
#
# ```{math}
# :label: eq-ms-pixels
# \mathrm{F1} = \mathrm{Dice} = \frac{2\,\mathrm{TP}}{2\,\mathrm{TP} + \mathrm{FP} + \mathrm{FN}}, \qquad
# \mathrm{IoU} = \frac{\mathrm{TP}}{\mathrm{TP} + \mathrm{FP} + \mathrm{FN}}, \qquad
# \mathrm{Dice} = \frac{2\,\mathrm{IoU}}{1 + \mathrm{IoU}} .
# ```
#
# The function is `pixel_scores`. The last identity holds for each image, and for all pixels {term}`pooled`, but not for
# means over images or patches. That is how one can tell from a printed pair of numbers which of the two a paper did. Here with
# patches of one image:

# %%
tables = ContingencyTable.per_patch(gt, study.otsu(sample), 128)
each = [metrics.pixel_scores(one) for one in tables]
pooled = metrics.pixel_scores(ContingencyTable.pooled(tables))
mean = pd.DataFrame(each).mean()
for unit, (dice, iou) in {"mean over patches": mean[["f1", "iou"]],
        "pooled": pooled[3:]}.items():
    print(f"{unit:<17}  Dice - 2 IoU / (1 + IoU) = {dice - 2 * iou / (1 + iou):+.6f}")

# %% [markdown]
# ## Object Dice
#
# {cite:t}`sirinukunwattana2015` let each object look for the partner with the largest overlap, from both sides:
#
# ```{math}
# :label: eq-ms-dice
# \mathrm{Dice}_{obj} = \frac12 \sum_i \frac{|G_i|}{\sum_k |G_k|} \mathrm{Dice}(G_i, S^*(G_i))
# + \frac12 \sum_j \frac{|S_j|}{\sum_k |S_k|} \mathrm{Dice}(G^*(S_j), S_j) .
# ```
#
# `object_dice` is {eq}`eq-ms-dice`. {cite:t}`qu2020` add a rule in the article: partners need an overlap above 50 % of
# the object that looks. Their released code has no such rule. The variant with the rule is `object_dice_half`.
#
# ## Three forms of AJI
#
# The aggregated Jaccard index sums before it divides:
#
# ```{math}
# :label: eq-ms-aji
# \mathrm{AJI} = \frac{\sum_i |G_i \cap S_{j(i)}|}{\sum_i |G_i \cup S_{j(i)}| + \sum_{k \in K} |S_k|},
# \qquad j(i) = \arg\max_j J_{ij},
# ```
#
# where $K$ holds the predictions that nobody took. The forms differ in two places that {eq}`eq-ms-aji` leaves open:
# may one prediction be taken twice, and what is $S_{j(i)}$ where nothing overlaps?
#
# ```{list-table} Three functions for one name.
# :name: tab-ms-aji
# :header-rows: 1
#
# * - Function
#   - Taken twice?
#   - A missed nucleus costs
#   - Used by
# * - `aji`
#   - yes
#   - its own area
#   - {cite:t}`kumar2017`, and the formula of {cite:t}`qu2020`, eq. 13, with an empty $S_{j(i)}$
# * - `aji_release`
#   - yes
#   - its own area, and that of prediction number 1
#   - the code released with {cite:t}`qu2020`, and other code descended from the same lines
# * - `aji_plus`
#   - no, one-to-one
#   - its own area
#   - the code released with {cite:t}`graham2019`
# ```
#
# (ms-toys)=
# ## Merge, split, miss
#
# Three small errors, drawn with squares of 10 by 10 pixels.
#
# ```{admonition} Predict, then run
# :class: tip
# In the first picture one prediction covers two nuclei exactly. What is AJI, what is AJI+? In the last picture one of two
# nuclei is found exactly and the other one missed. What is AJI, and what does the released code say?
# ```

# %%
def squares(*boxes):
    """A map of 12 x 28 pixels with rectangles (row, column, height, width)."""
    labels = np.zeros((12, 28), int)
    for number, (row, column, height, width) in enumerate(boxes, start=1):
        labels[row : row + height, column : column + width] = number
    return labels


two = squares((1, 4, 10, 10), (1, 14, 10, 10))
toys = {
    "merge": (two, squares((1, 4, 10, 20))),
    "split": (squares((1, 9, 10, 10)), squares((1, 9, 5, 10), (6, 9, 5, 10))),
    "miss": (squares((1, 2, 10, 10), (1, 16, 10, 10)), squares((1, 16, 10, 10))),
}

# %% [markdown]
# The same functions score them all:

# %%
names = ("aji", "aji_release", "aji_plus", "object_dice", "object_dice_half")
METRICS = {name: getattr(metrics, name) for name in names}
METRICS["pq"] = lambda *maps: metrics.panoptic_quality(*maps).pq
METRICS["f1_50"] = lambda *maps: metrics.f1_at_iou(*maps, [0.5])[0]
toy_scores = {}
for toy, maps in toys.items():
    toy_scores[toy] = {name: metric(*maps) for name, metric in METRICS.items()}
    for name, value in toy_scores[toy].items():
        glue(f"ms-{toy}-{name}", float(value))

# %% tags=["hide-input"]
def drawn(gt, pred, zoom=12):
    """Truth filled with green, outlines of the prediction in orange."""
    gt, pred = (np.kron(labels, np.ones((zoom, zoom), int))
        for labels in (gt, pred))
    canvas = np.full((*gt.shape, 3), 255, np.uint8)
    return outline(outline(fill(canvas, gt, "ground_truth", 0.35), gt,
        "ground_truth", 1), pred, "prediction", 4)


titles = [
    f"{toy}\nAJI {s['aji']:.2f}\nas released {s['aji_release']:.2f}\nAJI+ {s['aji_plus']:.2f}"
          for toy, s in toy_scores.items()]
glue("ms-toys", show_panels([drawn(*maps) for maps in toys.values()], titles,
    columns=3))

# %% [markdown]
# ```{glue:figure} ms-toys
# :name: fig-ms-toys
# :alt: Three panels with green squares for the truth and thick orange frames for the prediction. Merge, one frame around two squares. Split, two frames that halve one square. Miss, a frame around the right of two squares.
#
# Truth in green, prediction as orange frames, and the three forms of AJI.
# ```
#
# ```{list-table} The same three errors in every metric.
# :name: tab-ms-toys
# :header-rows: 1
#
# * - Metric
#   - Merge
#   - Split
#   - Miss
# * - AJI
#   - {glue:text}`ms-merge-aji:.3f`
#   - {glue:text}`ms-split-aji:.3f`
#   - {glue:text}`ms-miss-aji:.3f`
# * - AJI, as released
#   - {glue:text}`ms-merge-aji_release:.3f`
#   - {glue:text}`ms-split-aji_release:.3f`
#   - {glue:text}`ms-miss-aji_release:.3f`
# * - AJI+
#   - {glue:text}`ms-merge-aji_plus:.3f`
#   - {glue:text}`ms-split-aji_plus:.3f`
#   - {glue:text}`ms-miss-aji_plus:.3f`
# * - object Dice
#   - {glue:text}`ms-merge-object_dice:.3f`
#   - {glue:text}`ms-split-object_dice:.3f`
#   - {glue:text}`ms-miss-object_dice:.3f`
# * - object Dice, 50 % rule
#   - {glue:text}`ms-merge-object_dice_half:.3f`
#   - {glue:text}`ms-split-object_dice_half:.3f`
#   - {glue:text}`ms-miss-object_dice_half:.3f`
# * - PQ
#   - {glue:text}`ms-merge-pq:.3f`
#   - {glue:text}`ms-split-pq:.3f`
#   - {glue:text}`ms-miss-pq:.3f`
# * - F1 at IoU 0.5
#   - {glue:text}`ms-merge-f1_50:.3f`
#   - {glue:text}`ms-split-f1_50:.3f`
#   - {glue:text}`ms-miss-f1_50:.3f`
# ```
#
# Read the columns by hand:
#
# - **Merge.** Both nuclei take the same prediction. AJI divides twice the area of a nucleus by twice the area of the
#   prediction. AJI+ lets only one of them have it, and the other one is left over. The IoU of either pair is exactly one
#   half, which PQ (above 0.5) refuses and F1 (at least 0.5) accepts.
# - **Split.** The nucleus takes one half; the other half is left over. AJI and AJI+ agree.
# - **Miss.** Only the released code differs: it charges the missed nucleus with the area of the found one, because that
#   is prediction number 1.
#
# ### The same error inside an image
#
# A merge of $k$ equal nuclei alone has AJI $1/k$ and AJI+ $1/(2k-1)$, so AJI is the milder one.
#
# ```{admonition} Predict, then run
# :class: tip
# Put 20 nuclei that are found exactly next to the clump. Is AJI still the milder one?
# ```

# %%
def clump(k, others):
    """A row of k nuclei of 10 x 10 px that the prediction merges, and others found."""
    labels = np.arange(1, k + others + 1).repeat(10)[None, :].repeat(10, axis=0)
    return labels, np.maximum(labels - k, 0) + 1


sizes = np.arange(1, 13)
curves = {(name, others): [METRICS[name](*clump(k, others)) for k in sizes]
          for name in ("aji", "aji_plus") for others in (0, 20)}
assert np.allclose(curves["aji", 0], 1 / sizes)
assert np.allclose(curves["aji_plus", 0], 1 / (2 * sizes - 1))

# %% tags=["hide-input"]
figure, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 2.6), sharey=True)
for axis, others, title in zip(axes, (0, 20),
        ("the clump alone", "with 20 nuclei found exactly")):
    axis.plot(sizes, curves["aji", others], "o-", label="AJI")
    axis.plot(sizes, curves["aji_plus", others], "s--", label="AJI+")
    axis.set(title=title, xlabel="nuclei in the clump", ylim=(0, 1.02))
axes[0].set_ylabel("score")
axes[0].legend()
glue("ms-clumps", figure)

# %% [markdown]
# ```{glue:figure} ms-clumps
# :name: fig-ms-clumps
# :alt: Two line charts of score against the number of merged nuclei. On the left AJI lies above AJI+ and both fall. On the right AJI starts together with AJI+ but falls much faster and ends far below it.
#
# Alone, a clump scores higher in AJI. Among 20 others, a clump of three nuclei or more scores lower, because AJI counts the area
# of the clump once for each of its nuclei, AJI+ only about twice.
# ```
#
# No, from three nuclei on: the clump enters the denominator $k$ times with its whole area, so it outweighs nuclei that are right. Large clumps
# are the reason for low AJI.
#
# ## Panoptic quality and F1 over IoU
#
# {cite:t}`kirillov2019` count pairs with $J_{ij} > 0.5$. Such pairs are unique in label maps, so no matching is needed:
#
# ```{math}
# :label: eq-ms-pq
# \mathrm{DQ} = \frac{\mathrm{TP}}{\mathrm{TP} + \frac12 \mathrm{FP} + \frac12 \mathrm{FN}}, \qquad
# \mathrm{SQ} = \frac{1}{\mathrm{TP}} \sum_{\mathrm{TP}} J, \qquad \mathrm{PQ} = \mathrm{DQ} \cdot \mathrm{SQ} .
# ```
#
# `panoptic_quality` returns the three. {cite:t}`costa2022` instead report F1 at ten thresholds of IoU, from 0.1 to 1.0:
# `f1_at_iou`. Below 0.5 one object can overlap several others enough, and as many pairs as possible are matched.

# %%
dq, sq, pq = metrics.panoptic_quality(gt, pred)
f1 = metrics.f1_at_iou(gt, pred)
print(f"DQ {dq:.3f} x SQ {sq:.3f} = PQ {pq:.3f}")
print("F1 at IoU 0.1 ... 1.0:", *f1.round(2))
glue("ms-f1-at-one", float(f1[-1]))
image, true, guess = (array[:256, :256] for array in (sample.image, gt, pred))
glue("ms-matches", show_matches(image, true, {"IoU above 0.5": guess}, columns=1,
    width=3.6))

# %% [markdown]
# ```{glue:figure} ms-matches
# :name: fig-ms-matches
# :alt: A synthetic tissue image. Solid green outlines mark found nuclei, dashed orange ones extra objects, dotted blue ones missed nuclei.
#
# What DQ counts: found, extra and missed at an IoU above 0.5. A found nucleus may still be outlined badly; SQ tells.
# ```
#
# At an IoU of 1 only objects with identical pixels match. Here F1 is {glue:text}`ms-f1-at-one:.3f` there, so a mean over
# ten thresholds can hardly exceed 0.9.
#
# ## Detection
#
# For dots there are no outlines. {cite:t}`qu2020` accept a detection within a radius $r$ of a true center, and describe
# the found ones by mean and standard deviation of their distance, $\mu_d$ and $\sigma_d$. `detection_scores` matches
# one-to-one, as many as possible, at the smallest sum of distances; `detection_scores_greedy` walks through the nuclei in
# raster order as the released code does.

# %%
centers, found = box_centers(gt), centroids(pred)
for match in (metrics.detection_scores, metrics.detection_scores_greedy):
    s = match(centers, found, chosen.radius)
    print(f"{match.__name__:<24} P {s.precision:.3f}  R {s.recall:.3f}  F1 {s.f1:.3f}  "
          f"distance {s.mu_d:.2f} +- {s.sigma_d:.2f} px")
centers, found = (points[(points < 255.5).all(axis=1)]
    for points in (centers, found))
shown = {f"within {chosen.radius} px": found}
glue("ms-detections", show_detections(image, centers, shown, chosen.radius,
    columns=1, width=3.6))

# %% [markdown]
# ```{glue:figure} ms-detections
# :name: fig-ms-detections
# :alt: A synthetic tissue image with green circles on found nuclei, orange crosses on extra detections and hollow blue squares on missed nuclei.
#
# Detections within the radius of a true center. A clump that is found as one object counts as one found and several missed.
# ```
#
# ## Small nuclei
#
# {cite:t}`foo2022` also score nuclei below 300 pixels alone. Read literally, large objects are erased from both maps. A
# small nucleus that is predicted a little too large is then missed. `small_cells` returns the restricted table, which any
# object metric takes. Two other readings have their own names: in `small_cells_gt_driven`, small true nuclei meet all
# predictions, and large predictions without a partner cost nothing; in `small_cells_pair_driven`, everything is matched first, and
# then pairs whose true nucleus is small stay, with the small objects that have no partner.

# %%
readings = {}
for name in ("small_cells", "small_cells_gt_driven", "small_cells_pair_driven"):
    small = getattr(metrics, name)(table)
    readings[name] = {"AJI": metrics.aji(small),
        "object Dice": metrics.object_dice(small)}
pd.DataFrame(readings).T.round(3)

# %% [markdown]
# ## Tissue classes
#
# Semantic maps have no instances. `semantic_scores` counts pixels in a confusion matrix of true and predicted classes; IoU,
# Dice, precision and recall of each class follow, and their means over the classes that occur. Pixels whose true value is no
# class are left out, and matrices of several images add up.

# %%
truth = np.array([[0, 0, 0, 0, 1, 1, 2, 2, 4, 4]])  # 4: unlabeled
guess = np.array([[0, 0, 0, 1, 1, 1, 2, 3, 0, 3]])
tissue = metrics.semantic_scores(truth, guess, classes=4)
print("IoU per class", tissue.iou.round(3), f"  mean {tissue.mean_iou:.3f}")
print(f"frequency-weighted IoU {tissue.frequency_weighted_iou:.3f}")
print(f"pixel accuracy {tissue.pixel_accuracy:.3f}")

# %% [markdown]
# (ms-results)=
# ## Results
#
# ### Live: a few images
#
# Four ways to make instances, on synthetic images and, where the data is present, on real ones. Two of them know the true
# mask and show the ceiling of what connected components can reach.

# %%
live_data = {"synthetic H&E": load_dataset("synthetic-he", "test")[: chosen.images]}
if "monuseg" in available():
    real = load_dataset("monuseg", "test", scheme="qu2019")
    live_data["MoNuSeg"] = real[: chosen.images]
# Without the cluster labels: k-means on large images takes a while; see the full results.
ways = {name: make for name, make in study.INSTANCES.items()
    if "cluster" not in name}
live = []
for (name, images), (way, make) in itertools.product(live_data.items(),
        ways.items()):
    each = [study.scores(ContingencyTable.from_labels(s.labels, make(s)))
        for s in images]
    live.append({"data": name, "instances": way, **pd.DataFrame(each).mean()})
columns = ["aji", "aji_plus", "object_dice", "pq", "dice_pixel"]
pd.DataFrame(live).set_index(["data",
    "instances"])[columns].round(3).rename(columns=NAMES)

# %% [markdown]
# ### In full: MoNuSeg
#
# The following tables come from the records in `results/measuring_segmentation/`, made by
# `nucseg experiment run measuring-segmentation` on the 12 training and 14 test images of {cite:t}`qu2020`. Mean over images,
# with a bootstrap interval of 95 % for AJI.

# %%
results = runs("measuring-segmentation")
parts = results.row.str.rsplit(", ", n=1, expand=True)
results = results.assign(instances=parts[0], images=parts[1])


def by_image(images, way, metric="aji"):
    """One value per image."""
    these = (results.images == images) & (results.instances == way)
    return results[these & (results.metric == metric)].set_index("image").value


def mean_scores(images, columns):
    """Mean over images, one line for each way to make instances."""
    return pd.DataFrame({way: {column: by_image(images, way, column).mean()
        for column in columns}
                         for way in study.INSTANCES}).T


# %%
ceilings = mean_scores("test images", [name for name in NAMES
    if name != "aji_release"])
shown = ceilings.round(3).rename(columns=NAMES)
intervals = [metrics.bootstrap_interval(by_image("test images", way), seed=seed)
             for way in ceilings.index]
shown.insert(1, "95 % interval", [f"{low:.2f} to {high:.2f}"
    for low, high in intervals])
shown

# %% tags=["remove-output"]
for key, way in (("mask", "true mask"), ("cut", "true mask cut by Voronoi edges")):
    for metric in ("aji", "aji_plus", "object_dice", "object_dice_half",
            "dice_pixel"):
        glue(f"ms-{key}-{metric}", float(ceilings.loc[way, metric]))

# %% [markdown]
# Take the first line. The mask is perfect: pixel Dice {glue:text}`ms-mask-dice_pixel:.3f`. Yet AJI is only
# {glue:text}`ms-mask-aji:.3f`, because touching nuclei become one component. That is the ceiling of every method that ends
# with connected components. AJI+ is milder on the clumps, {glue:text}`ms-mask-aji_plus:.3f`, and object Dice hardly notices
# them: {glue:text}`ms-mask-object_dice:.3f`, or {glue:text}`ms-mask-object_dice_half:.3f` with the 50 % rule. Cutting the same
# mask along the Voronoi edges of the true dots lifts AJI to {glue:text}`ms-cut-aji:.3f`.
#
# (ms-bookkeeping)=
# ### Bookkeeping
#
# Now fix the prediction and change only the convention. Rows: mean over images, all images {term}`pooled`, mean over
# patches of 256 pixels. Columns: three forms of AJI, two of object Dice.

# %%
conventions = ["aji", "aji_release", "aji_plus", "object_dice", "object_dice_half"]
units = {"mean over images": "", "pooled": "pooled_", "mean over patches": "patch_"}


def bookkeeping(images, way):
    """All conventions of one prediction: units in rows, metrics in columns."""
    return pd.DataFrame({
        unit: {name: by_image(images, way, prefix + name).mean()
            for name in conventions}
        for unit, prefix in units.items()
    }).T


bookkeeping("training images", "true mask").round(3).rename(columns=NAMES)

# %%
bookkeeping("test images", "Otsu and watershed").round(3).rename(columns=NAMES)

# %% tags=["remove-output"]
same_mask = bookkeeping("training images", "true mask")
glue("ms-mask-mean", float(same_mask.loc["mean over images", "aji"]))
glue("ms-mask-pooled", float(same_mask.loc["pooled", "aji"]))
glue("ms-mask-patch", float(same_mask.loc["mean over patches", "aji"]))
gap = mean_scores("test images", ["aji", "aji_release", "patch_aji",
    "patch_aji_release"])
glue("ms-release-gap", float((gap["aji"] - gap["aji_release"]).max()))
glue("ms-release-gap-patch",
    float((gap["patch_aji"] - gap["patch_aji_release"]).max()))

# %% [markdown]
# The AJI of the very same training masks is {glue:text}`ms-mask-mean:.3f` as a mean over images,
# {glue:text}`ms-mask-pooled:.3f` pooled, and {glue:text}`ms-mask-patch:.3f` over patches. The figure shows why. Pooled, an
# image weighs by its denominator, and that is largest where many nuclei lie in large clumps. In patches, clumps are cut
# into smaller ones.

# %% tags=["hide-input"]
one = results[(results.instances == "true mask")
    & (results.images == "training images")]
per_image = one.pivot_table(index="image", columns="metric",
    values="value").sort_values("aji")
figure, axis = plt.subplots(figsize=(PAGE_WIDTH, 2.9))
axis.scatter(range(len(per_image)), per_image.aji, s=per_image.nuclei / 5,
    color="black", zorder=3, label="one image")
for unit, style in zip(units, ("-", "--", ":")):
    axis.axhline(same_mask.loc[unit, "aji"], ls=style, lw=1.5, color="tab:blue",
        label=unit)
axis.set_xticks(range(len(per_image)), [image[5:12] for image in per_image.index],
    rotation=45, ha="right")
axis.set(ylabel="AJI of the true mask", ylim=(0, 1))
axis.legend(ncols=2, loc="lower right")
glue("ms-per-image", figure)

# %% [markdown]
# ```{glue:figure} ms-per-image
# :name: fig-ms-per-image
# :alt: AJI of twelve training images as black dots, from low on the left to high on the right; the second lowest is a large dot, an image with many nuclei. A solid line for the mean over images, a dashed one below it for pooled, a dotted one above it for patches.
#
# AJI of the true mask of each training image; the area of a dot grows with the number of nuclei. Lines: the three units.
# ```
#
# (ms-ranks)=
# ### Do methods swap places?
#
# The level of a score depends on the convention. Does the order of methods depend on it, too? Each line below is one way to
# make instances, each position one of the fifteen conventions, on the training images. The cluster label is drawn inside
# Voronoi cells, so cutting it along their edges changes nothing; that row is left out.

# %%
everything = [prefix + name for prefix in units.values() for name in conventions]


def swapping(levels):
    """Pairs of rows whose order depends on the column, with the range of their difference."""
    found = {}
    for a, b in itertools.combinations(levels.index, 2):
        difference = levels.loc[a] - levels.loc[b]
        if difference.min() < 0 < difference.max():
            found[f"{a} / {b}"] = {
                "first is better under": int((difference > 0).sum()), "of": len(difference),
                "from": round(difference.min(), 3), "to": round(difference.max(), 3),
            }
    return found


levels, unseen = (mean_scores(images, everything).drop(index="cluster label cut by Voronoi edges")
                  for images in ("training images", "test images"))
swaps = swapping(levels)
glue("ms-swaps", len(swaps))
glue("ms-swaps-test", len(swapping(unseen)))
glue("ms-pairs", len(levels) * (len(levels) - 1) // 2)
pd.DataFrame.from_dict(swaps, orient="index")

# %% tags=["hide-input"]
figure, axis = plt.subplots(figsize=(PAGE_WIDTH, 4.2))
for (way, line), marker in zip(levels.iterrows(), "os^Dvp"):
    axis.plot(line.to_numpy(), marker=marker, ms=5, lw=1.2, label=way)
axis.set_xticks(range(len(everything)), [NAMES[name] for name in conventions]
    * len(units), rotation=60, ha="right")
for position, unit in zip((2, 7, 12), units):
    axis.text(position, 1.03, unit, ha="center")
for border in (4.5, 9.5):
    axis.axvline(border, color="gray", lw=0.8)
axis.set(ylim=(0, 1), ylabel="score")
glue("ms-mask-against-cluster", float((levels.loc["true mask"]
    - levels.loc["cluster label"])["aji"]))
glue("ms-mask-against-cluster-pooled",
    float((levels.loc["true mask"] - levels.loc["cluster label"])["pooled_aji"]))
figure.legend(loc="outside lower center", ncols=2)
glue("ms-ranks", figure)

# %% [markdown]
# ```{glue:figure} ms-ranks
# :name: fig-ms-ranks
# :alt: Five lines with different markers over fifteen conventions in three groups. The true mask cut by Voronoi edges is always on top, Otsu always at the bottom. The lines of the true mask and of the cluster label cross between the groups.
#
# Five ways to make instances under fifteen conventions, training images. Where lines cross, the better method depends on
# the convention.
# ```
#
# Pairs that swap places: {glue:text}`ms-swaps` of {glue:text}`ms-pairs` on the training images, and {glue:text}`ms-swaps-test`
# on the test images. The perfect mask with fused clumps and the rough
# cluster label with separate nuclei are an instructive pair. The mask is ahead by
# {glue:text}`ms-mask-against-cluster:+.3f` in the mean AJI over images and by {glue:text}`ms-mask-against-cluster-pooled:+.3f`
# pooled. Neither convention is wrong; they weigh large clumps differently. So compare methods under one convention, computed
# by one program, and say which.
#
# ### More than chance?
#
# Both methods saw the same images, so compare them image by image. `paired_t_test` gives the mean difference, its
# interval and two p-values. The second one needs no normal distribution, and need not fall on the same side of 0.05. With
# several comparisons, `holm` corrects the p-values.

# %%
tests = {}
for a, b in (("Otsu", "Otsu and watershed"), ("cluster label", "true mask")):
    t = metrics.paired_t_test(by_image("test images", a),
        by_image("test images", b))
    tests[f"{b} minus {a}"] = {
        "images": t.n, "mean difference": t.mean_difference,
        "low": t.interval.low, "high": t.interval.high, "p": t.p,
        "p (Wilcoxon)": t.p_wilcoxon,
    }
tests = pd.DataFrame(tests).T
tests.assign(**{"p (Holm)": metrics.holm(tests["p"])}).map("{:.3g}".format)

# %% [markdown]
# ## Paper versus ours
#
# No paper prints these ceilings. What we can compare with is an independent earlier measurement with other code, on another
# copy of the same images. The tolerance was set before the run.

# %%
mine = summary(runs("measuring-segmentation"))
reference = published("earlier measurement", "scores")
comparison = beside_published(mine, reference, TOLERANCE)
glue("ms-tolerance", TOLERANCE)
glue("ms-agree", int((comparison.verdict == "agrees").sum()))
glue("ms-compared", len(comparison))
columns = ["metric", "published", "ours", "difference", "verdict"]
comparison.set_index("row")[columns].round(3).rename(
    columns={"published": "earlier"})

# %% [markdown]
# {glue:text}`ms-agree` of {glue:text}`ms-compared` values agree within {glue:text}`ms-tolerance`. Where only masks are
# involved, the two measurements are the same up to the copy of the labels. By the
# recipe, nuclei of neighboring Voronoi cells end up at least four pixels apart, so cutting our cluster label changes nothing.
# The earlier measurement gives different values before and after the cut, so its label was tidied in some other way; we do
# not know which. Cluster labels also depend on colors: the earlier images had been color-normalized in an unstated way.
#
# ## What goes wrong
#
# (ms-number-one)=
# ### A miss is charged to whoever is number 1
#
# Take a prediction, drop a third of its objects so that nuclei are missed, and number the rest in another order. Nothing that
# a person could see has changed.

# %%
rng = generator(seed, "renumber")
kept = np.flatnonzero(rng.random(pred.max()) > 1 / 3) + 1
areas, orders = np.bincount(pred.ravel()), []
for first in kept:
    renamed = np.zeros(pred.max() + 1, int)
    renamed[kept] = 2 + np.arange(len(kept))
    renamed[first] = 1  # this object is number 1 now
    orders.append((areas[first], metrics.aji_release(gt, renamed[pred])))
plain = metrics.aji(gt, np.where(np.isin(pred, kept), pred, 0))
orders = np.array(orders)
low, high = orders[:, 1].min(), orders[:, 1].max()
print(f"AJI {plain:.3f} in any order; as released {low:.3f} to {high:.3f}")

# %% tags=["hide-input"]
figure, axis = plt.subplots(figsize=(PAGE_WIDTH, 2.4))
axis.plot(*orders.T, "o", ms=4, label="AJI as released")
axis.axhline(plain, color="black", ls="--", label="AJI")
axis.set(xlabel="area of the object that is number 1 (px)", ylabel="score")
axis.legend()
glue("ms-number-one-figure", figure)

# %% [markdown]
# ```{glue:figure} ms-number-one-figure
# :name: fig-ms-number-one
# :alt: A scatter plot. The score as released falls from the upper left to the lower right as the area of object number 1 grows; a dashed line above all points marks AJI.
#
# *Cause:* an arg-max over a row of zeros returns the first entry. *Cure:* use `aji`, and name `aji_release` when a comparison
# with numbers from that code needs it. As means over whole test images, the two differ by no more than
# {glue:text}`ms-release-gap:.4f` in the rows above; over patches, by up to {glue:text}`ms-release-gap-patch:.4f`.
# ```
#
# ### The truth itself fused
#
# An instance map that was stored as a mask and labeled again has lost the borders between touching nuclei. A perfect
# prediction then scores below 1, and one that merges the same nuclei scores 1.

# %%
# real where there is one
crowded = live_data.get("MoNuSeg", live_data["synthetic H&E"])[0]
truth = crowded.labels
fused = components(truth > 0)
overlap = ContingencyTable.from_labels(truth, fused)
print(f"{overlap.n} nuclei, {overlap.m} after storing a mask and labeling it again")
print(f"AJI of the exact outlines against the fused truth: {metrics.aji(fused, truth):.3f}")
# holds the most nuclei
largest = overlap.pred_ids[np.bincount(overlap.cols).argmax()]
middle = np.argwhere(fused == largest).mean(axis=0).astype(int)
row, column = np.clip(middle - 64, 0, np.array(truth.shape) - 128).tolist()
shown = {"as drawn": outline(crowded.image, truth, "ground_truth", 2),
         "labeled again": outline(crowded.image, fused, "prediction", 2)}
glue("ms-fused", show_panels(shown.values(), shown, crop=(row, column, 128),
    width=5.4))

# %% [markdown]
# ```{glue:figure} ms-fused
# :name: fig-ms-fused
# :alt: The same crop twice. Left, each nucleus has its own green outline. Right, touching nuclei share one orange outline.
#
# *Cause:* connected components of a binary mask. *Cure:* keep the ids of the truth as they were given; one id is one nucleus,
# even if it lies in two pieces.
# ```
#
# ### A mean that mixes quality with absence
#
# SQ is a mean over matched pairs. Without a match released code returns 0, and a mean over patches then mixes zeros with
# values above 0.5. A shifted prediction on small patches shows it.

# %%
shifted = np.roll(pred, (4, 4), axis=(0, 1))
patches = ContingencyTable.per_patch(gt, shifted, 48)
sq = metrics.mean_over_units([metrics.panoptic_quality(one).sq for one in patches])
matched = metrics.mean_over_units([metrics.sq_matched(one) for one in patches])
print(f"mean SQ {sq.mean:.3f} over {sq.units} patches")
print(f"mean SQ {matched.mean:.3f} over the {matched.units} patches with a match")
print(f"no value in {sq.undefined} patches without any nucleus, true or predicted")

# %% tags=["hide-input"]
per_patch = [metrics.panoptic_quality(one).sq for one in patches]
figure, axis = plt.subplots(figsize=(PAGE_WIDTH, 2.3))
axis.hist([value for value in per_patch if value == value],
    bins=np.arange(0, 1.01, 0.05), color="tab:blue", ec="white")
axis.axvline(sq.mean, color="black", ls="-", label="mean")
axis.axvline(matched.mean, color="black", ls="--", label="mean with a match")
axis.set(xlabel="SQ of a patch", ylabel="patches")
axis.legend()
glue("ms-sq", figure)

# %% [markdown]
# ```{glue:figure} ms-sq
# :name: fig-ms-sq
# :alt: A histogram with a bar at 0 and a heap of bars above 0.5, and nothing between. The mean lies in the empty gap or near its upper end, the mean with a match inside the heap.
#
# *Cause:* 0 stands for "no match". *Cure:* `sq_matched` leaves such units out; report DQ beside it.
# ```
#
# ## Exercises
#
# ```{exercise-start}
# :label: ex-measuring-segmentation-1
# ```
# *Fill in one line.* `tables` holds one table per patch. Compute the pooled AJI of all of them. Expected output: a number
# between the lowest and the highest AJI of a patch.
# ```{exercise-end}
# ```

# %%
pooled_aji = ...  # your line here

# %% [markdown]
# ```{solution-start} ex-measuring-segmentation-1
# :label: sol-measuring-segmentation-1
# :class: dropdown
# ```
# A pooled table behaves as if the images lay side by side.

# %% tags=["solution"]
pooled_aji = metrics.aji(ContingencyTable.pooled(tables))
each = [metrics.aji(one) for one in tables]
print(f"pooled {pooled_aji:.3f}, patches from {min(each):.3f} to {max(each):.3f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start}
# :label: ex-measuring-segmentation-2
# ```
# *Change one choice and explain.* Compute the AJI of small nuclei for thresholds from 100 to 10,000 pixels in the literal
# reading and in the one that starts from the truth. Where do they meet, and why? Expected output: two columns of numbers,
# equal in the last line.
# ```{exercise-end}
# ```

# %%
thresholds = (100, 200, 300, 500, 10_000)  # px

# %% [markdown]
# ```{solution-start} ex-measuring-segmentation-2
# :label: sol-measuring-segmentation-2
# :class: dropdown
# ```
# Once the threshold is above every area, nothing is erased, and both are the plain AJI. In between, many nuclei have a partner
# on the other side of it. The literal reading erases the large one: if that was the prediction, the small nucleus becomes a
# miss; if it was the truth, the small prediction becomes an extra object. Where hardly any nucleus is small enough, there are few
# such pairs, and both readings come close again.

# %% tags=["solution"]
columns = {}
for reading in (metrics.small_cells, metrics.small_cells_gt_driven):
    columns[reading.__name__] = {t: metrics.aji(reading(table, max_area=t))
        for t in thresholds}
pd.DataFrame(columns).round(3)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start}
# :label: ex-measuring-segmentation-3
# ```
# *Open.* Make two predictions from the true map such that one has the higher AJI and the other one the higher PQ. Expected
# output: two lines whose two numbers are ordered the other way round.
# ```{exercise-end}
# ```

# %%
first, second = gt, gt  # your predictions here

# %% [markdown]
# ```{solution-start} ex-measuring-segmentation-3
# :label: sol-measuring-segmentation-3
# :class: dropdown
# ```
# One of many answers. Merging one large clump hurts AJI much, but costs PQ a few nuclei only. A slight loss at every
# border hurts PQ in every pair, and AJI no more than in proportion to the lost area.

# %% tags=["solution"]
first = np.where(gt <= 12, np.minimum(gt, 1), gt)  # twelve nuclei become one object
second = np.where(outline_mask(gt, 2), 0, gt)  # thinner nuclei
for name, labels in (("a clump", first), ("thin", second)):
    pq = metrics.panoptic_quality(gt, labels).pq
    print(f"{name:<8} AJI {metrics.aji(gt, labels):.3f}   PQ {pq:.3f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## Quiz
#
# **Question 1.** A method never separates touching nuclei. Which score suffers most on a crowded image?
#
# ```{dropdown} F1 of pixels
# No. Pixels do not know to which nucleus they belong; a merged clump can have a perfect pixel score.
# ```
#
# ```{dropdown} AJI
# Yes. Each nucleus of the clump brings the whole clump into the denominator.
# ```
#
# ```{dropdown} Object Dice without the 50 % rule
# No. Every nucleus of the clump still finds a partner, and from the side of the clump its largest nucleus counts.
# ```
#
# **Question 2.** A paper prints Dice and IoU, and Dice = 2 IoU / (1 + IoU) holds to the last digit in every row. What
# does that suggest?
#
# ```{dropdown} The scores were pooled over all test pixels
# Yes. For means over images the identity is broken, unless all images score the same.
# ```
#
# ```{dropdown} The scores are means over images
# No. The identity is a curve, and a mean of points on a curve does not lie on it.
# ```
#
# ```{dropdown} Nothing, the identity always holds
# No. It holds for one confusion matrix. Averaging comes after it.
# ```
#
# **Question 3.** A prediction finds no object in an image that has nuclei. What do the metrics say?
#
# ```{dropdown} 0
# Yes. There was something to find.
# ```
#
# ```{dropdown} Undefined, the image is left out
# No. That is the rule for an image with nothing to find and nothing found.
# ```
#
# ```{dropdown} 1, because nothing found is wrong
# No. Precision would be undefined, but all nuclei are missed.
# ```
#
# **Question 4.** Mean PQ of a table row is larger than its mean DQ. What follows?
#
# ```{dropdown} The outlines are very good
# No. SQ is at most 1, so PQ of an image is at most its DQ, and so are the means.
# ```
#
# ```{dropdown} There is an error in the row
# Yes. No averaging of images can bring the mean of PQ above the mean of DQ.
# ```
#
# ```{dropdown} The scores were pooled
# No. Pooled, too, PQ is DQ times a number of at most 1.
# ```
#
# **Question 5.** Method A has an AJI of 0.51 in its paper, method B one of 0.53 in another paper, same images. Which is better?
#
# ```{dropdown} B
# Not known. Units and forms of AJI can differ by more than that.
# ```
#
# ```{dropdown} A, if its paper is older
# No. Age says nothing about the score.
# ```
#
# ```{dropdown} That cannot be said yet
# Yes. Score both predictions with one program, under one convention, image by image, and test the differences.
# ```
#
# ## Summary
#
# Areas and overlaps of one table give every score. The scores differ in who may be matched with whom and in what is averaged.
# These choices alone moved the AJI of one fixed set of masks from {glue:text}`ms-mask-pooled:.2f` to
# {glue:text}`ms-mask-patch:.2f`. The book reports the mean over whole images, names each variant, and
# adds the unit of a paper where it differs. The next chapters use the same functions to score labels and models.
#
# ## Bibliography
#
# ```{bibliography}
# :filter: docname in docnames
# ```
