# %% [markdown]
# (partial-points)=
# # Partial points
#
# *Paper:* {cite:t}`qu2020` · *Supervision:* dots on 5 to 50 % of the nuclei · *Card:* synthetic H&E live (quick), the
# Multi-Organ images of MoNuSeg in the study; a few minutes on two CPU cores (quick), hours on one GPU (full); functions
# used: `nucseg.methods.PartialPoints`, `nucseg.supervision`, `nucseg.losses`, `nucseg.metrics`.
#
# A pathologist dots one nucleus in ten and stops. Can a network that outlines *every* nucleus be trained from that? The
# article says yes, in two stages: learn to find the nuclei without a dot, then make labels from all dots together.
#
# ```{glue:figure} pp-success
# :name: fig-pp-success
# :alt: Four panels. Tissue with dots on a few of many nuclei; another piece of tissue with a dot on most nuclei; the same with orange outlines around nuclei; the same with green outlines.
#
# First panel: all that the annotator gave for a training image. Then a test image: the centers that the detector finds,
# the outlines that the segmenter draws (orange), and the true ones (green). {glue:text}`pp-where`.
# ```
#
# ## What you will learn
#
# - to train a detector when most nuclei are not annotated, and to see why the obvious way fails
# - to let background spread by self-training, round after round
# - to combine two labels with different errors in one loss, and to refine the result with a dense CRF loss
# - to read the tables of the article beside ours, and to name what makes them differ
# - to weigh minutes of annotation against accuracy
#
# ## Before you start
#
# Read [From dots to labels](from-dots-to-labels.ipynb) first: it makes the labels that are used here. From
# [Measuring segmentation](measuring-segmentation.ipynb) you need {term}`AJI` and {term}`object Dice`. You should know what
# a {term}`U-Net` and a {term}`loss` are. Allow 45 minutes.
#
# ## Key takeaways
#
# - With partial dots, ignoring what is far from every dot beats calling it background in the article
#   ([five strategies](pp-strategies)). {glue:text}`pp-key-ignore` ([the table](pp-tables)).
# - In the article, self-training by new background beats self-training by new nuclei: a false nucleus teaches the detector
#   to find more of its kind ([how it works](pp-self-training), [the table](pp-tables)).
# - The Voronoi label separates, the cluster label outlines; in the article, both together score best
#   ([two labels](pp-two-labels)).
# - In the article, full masks without separation score *low* in AJI, because touching nuclei merge
#   ([what goes wrong](pp-merging)).
# - A tenth of the dots costs less than {glue:text}`pp-minutes-tenth:d` of the {glue:text}`pp-minutes-masks:d` minutes that
#   masks cost ([the price](pp-price)).
# - Our networks start from random weights, those of the article from ImageNet. The tables say what that costs
#   ([from random weights](pp-scratch)).

# %% tags=["parameters"]
profile = "full"  # "full": published settings; "quick": small settings from workflow/profiles/quick.yaml
seed = 0  # seed of every random choice
dataset = "monuseg"  # Qu et al. 2020, sec. V-A.2, as all below; the private lung images cannot be had
images = (12, 4, 14)  # for training, validation and test, sec. V-A.2
sides = (1000, 1000)  # px, largest side of training images, and of the others
ratio = 0.1  # share of the dots, Table I
ratios = (0.05, 0.1, 0.25, 0.5)  # shares of the dots, Tables II and III
patch = 250  # px, side of patches, sec. V-B.2
patches_per_side = 4  # of each training image, sec. V-B.2
crop = 224  # px, side of random crops, sec. V-B.2
warps = True  # scale and affine changes of patches, beside flips and rotations, sec. V-B.2
rounds = 3  # of self-training, sec. V-B.2
restart = True  # whether each round begins with a new network, authors' release
detector_training = (80, 16, 1e-3)  # epochs, batch, learning rate, sec. V-B.2
segmenter_training = (100, 8, 1e-4)  # epochs, batch, learning rate, sec. V-C.2
crf_training = (20, 1e-5)  # epochs, learning rate, sec. V-C.2
masks_epochs = 200  # with full masks, sec. V-C.2
validate_every = 1  # epochs between validations, sec. V-B.2
restarts = 10  # times that k-means starts anew, authors' release
shares = (0.0, 0.25, 0.5, 0.75, 1.0)  # weight of the Voronoi label, Figs. 5 and 6
sigmas_xy = (3.0, 6.0, 9.0, 12.0, 15.0)  # px, Fig. 7
sigmas_rgb = (0.05, 0.1, 0.2, 0.3)  # Fig. 7
betas = (0.05, 0.01, 0.005, 0.001, 0.0005, 0.0001)  # Fig. 7
weights = None  # of the encoder: random; the article has "imagenet", sec. V-B.2

# %% tags=["hide-input"]
import logging
from contextlib import ExitStack
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

# %% tags=["hide-input"]
from nucseg import metrics, viz
from nucseg import supervision as sup
from nucseg.data import available
from nucseg.engine import AugmentConfig, fabric
from nucseg.losses import dense_crf_loss, masked_cross_entropy, weighted_mse
from nucseg.methods import DetectorConfig, PartialPoints, PartialPointsConfig, SegmenterConfig
from nucseg.methods.baselines import FullySupervised, FullySupervisedConfig
from nucseg.methods.partial_points import STRATEGIES, weak_labels
from nucseg.methods.partial_points.detector import probability
from nucseg.postprocess import components, points_from_map
from nucseg.study import live
from nucseg.study import partial_points_figures as study
from nucseg.study.chapter import glue, settings
from nucseg.study.experiment import rows as declared
from nucseg.study.measures.dense_crf import compare_kernels
from nucseg.study.measures.partial_points import segmentation_metrics, training_notes
from nucseg.study.pages import TOLERANCE, comparison
from nucseg.study.recorded import NOT_RUN
from nucseg.study.tables import published

# %% tags=["hide-input"]
chosen = settings(
    "partial-points", profile, dataset=dataset, images=images, sides=sides,
    ratio=ratio, ratios=ratios, patch=patch,
    patches_per_side=patches_per_side, crop=crop, warps=warps, rounds=rounds,
    restart=restart,
    detector_training=detector_training,
    segmenter_training=segmenter_training, crf_training=crf_training,
    masks_epochs=masks_epochs,
    validate_every=validate_every, restarts=restarts, shares=shares,
    sigmas_xy=sigmas_xy, sigmas_rgb=sigmas_rgb,
    betas=betas, weights=weights,
)
viz.use_style()
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
name = chosen.dataset if chosen.dataset in available() else "synthetic-he"
splits = zip(("train", "val", "test"), chosen.images,
    (chosen.sides[0], *[chosen.sides[1]] * 2))
train, val, test = (live.windows(name, split, count, side)
    for split, count, side in splits)
runner = fabric()
# per px at 40x; side of the part that pictures show, px
MICROMETERS, VIEW = 0.25, 180
where = f"{'Quick' if profile == 'quick' else 'Full'} run, {'synthetic' if name == 'synthetic-he' else 'real'} tissue"
glue("pp-where", where)


# %% tags=["hide-input"]
def busiest(points, shape, size=VIEW):
    """Return the window (row, column, size) that shows most dots."""
    size = min(size, *shape[:2])
    steps = [range(0, length - size + 1, 16) for length in shape[:2]]
    corners = [(row, column) for row in steps[0] for column in steps[1]]
    return (*max(corners, key=lambda corner: len(viz.crop_points(points, *corner,
        size))), size)


def fitted(config, ratio):
    """Return the method with these settings, trained on a share of the dots."""
    dots = sup.annotate_dots(train, ratio, seed)
    return PartialPoints(config).fit(dots, val, run_dir=folder, fabric=runner,
        progress=False)


def mean_scores(predictions):
    """Return the mean over test images of all metrics of Table III."""
    return pd.DataFrame([segmentation_metrics(s.labels, p)
        for s, p in zip(test, predictions)]).mean()


# %% [markdown]
# ## The idea in one picture
#
# The settings come first: two stages, both with the network, the augmentation and the optimizer of the article. On the
# page you read, they are those of the profile: {glue:text}`pp-size`.

# %%
epochs, batch, rate = chosen.detector_training
augment = AugmentConfig(crop=chosen.crop)
if not chosen.warps:
    augment = replace(augment, resize=(1.0, 1.0), affine=0.0)
detector = DetectorConfig(
    rounds=chosen.rounds, restart=chosen.restart, epochs=epochs, batch=batch,
    learning_rate=rate,
    validate_every=chosen.validate_every, augment=augment,
)
epochs, batch, rate = chosen.segmenter_training
segmenter = SegmenterConfig(
    epochs=epochs, batch=batch, learning_rate=rate,
    crf_epochs=chosen.crf_training[0],
    crf_learning_rate=chosen.crf_training[1], validate_every=chosen.validate_every,
    cluster_restarts=chosen.restarts, augment=replace(augment,
        elastic=chosen.warps),
)
config = PartialPointsConfig(
    detector, segmenter, patch=chosen.patch,
    patches_per_side=chosen.patches_per_side, weights=chosen.weights, seed=seed
)

# %% tags=["hide-input", "remove-output"]
# the library's defaults
assert profile != "full" or config == PartialPointsConfig(weights=chosen.weights,
    seed=seed)
steps = [int(np.ceil(len(train) * chosen.patches_per_side**2 / n)) * e
    for e, n, _ in
         (chosen.detector_training, chosen.segmenter_training)]
glue("pp-size",
    f"{len(train)} training images of at most {chosen.sides[0]} px, crops of {chosen.crop} px, "
     f"{steps[0]} steps for each round of the detector and {steps[1]} for the segmenter")

# %% [markdown]
# One call trains everything. A training that is stopped goes on where it was, and stages that two trainings share are
# trained once.

# %%
place = ExitStack()
folder = place.enter_context(live.workplace("partial-points", profile))
method = fitted(config, chosen.ratio)
few = sup.annotate_dots(train, chosen.ratio, seed)
# the training image with most dots
first = max(range(len(train)), key=lambda k: len(few[k].points))
kept, truth = few[first].points, train[first]
print(f"{len(kept)} of {len(np.unique(truth.labels)) - 1} nuclei dotted; {len(method.points[first])} dots after detection")

# %% tags=["hide-input"]
window, seen = busiest(kept, truth.image.shape), test[0]
small, predicted = busiest(sup.box_centers(seen.labels),
    seen.image.shape), method.predict(seen.image)
pictures = {
    "training image, its dots": viz.crop(truth.image, *window),
    "test image, detections": viz.crop(seen.image, *small),
    "prediction": viz.crop(viz.outline(seen.image, predicted, "prediction", 2),
        *small),
    "truth": viz.crop(viz.outline(seen.image, seen.labels, "ground_truth", 2),
        *small),
}
shown = [viz.crop_points(kept, *window),
    viz.crop_points(method.detect(seen.image), *small), None, None]
glue("pp-success", viz.show_panels(pictures.values(), pictures, points=shown,
    scale_bar=MICROMETERS))

# %% [markdown]
# The whole method on one piece of a training image, in the order of Fig. 1 of the article:

# %% tags=["hide-input"]
pixels = method.preprocessing.colors(truth.image)
maps, masks = method.predict_maps(truth.image), method.detector.masks
voronoi, cluster = weak_labels(pixels, method.points[first], segmenter)


def step(title, picture, dots=None):
    """Return one panel of the flow, cut to the window."""
    return (title, viz.crop(picture, *window), None if dots is None
        else viz.crop_points(dots, *window))


gray = [np.where(mask[first] < 0, np.nan, mask[first]) for mask in masks]
instances = np.where(method.predict(truth.image)[..., None] > 0,
    viz.instance_colors(method.predict(truth.image)), 235)
glue("pp-flow", viz.show_flow([
    [step("a few dots", pixels, kept), step("mask M", gray[0]),
        step("probability\nof a center", maps["center"]),
     step("mask, more\nbackground", gray[-1]),
     step("all dots", pixels, method.points[first])],
    [step("Voronoi label", viz.weak_label_image(voronoi, pixels)),
     step("cluster label", viz.weak_label_image(cluster, pixels)),
     step("probability\nof nucleus", maps["nucleus"]),
     step("nuclei", instances.astype(np.uint8))],
]))

# %% [markdown]
# ```{glue:figure} pp-flow
# :name: fig-pp-flow
# :alt: Two rows of panels joined by arrows. First row: tissue with a few dots, a map with bumps and dark rings on gray, a map of bright centers, a map with much more dark ground, tissue with many dots. Second row: straight lines with small disks, orange patches on blue, a map of nuclei, colored nuclei.
#
# The method (Fig. 1 of the article). First row: stage 1, the detector; the third and the fourth picture alternate, once
# for each round of self-training. Second row: stage 2, the segmenter. {glue:text}`pp-where`.
# ```
#
# At test time only the segmenter runs, on the image alone. Everything before it serves to make its labels.
#
# ## Stage 1: a mask that keeps silent
#
# The detector learns to paint a bump on each nucleus. Let $D_i$ be the distance of pixel $i$ to the nearest *annotated*
# dot. The {term}`extended Gaussian mask` (eq. 1 of the article, taken apart in
# [From dots to labels](from-dots-to-labels.ipynb)) is
#
# ```{math}
# :label: eq-pp-mask
# M_i = \begin{cases}
# \exp\left(-\dfrac{D_i^2}{2\sigma^2}\right) & D_i < r_1 \\
# 0 & r_1 \le D_i < r_2 \\
# -1 \text{ (ignored)} & \text{otherwise,}
# \end{cases}
# ```
#
# with $r_1 = 11$ px, the mean radius of the validation nuclei, $r_2 = 2 r_1$ and $\sigma = r_1 / 4$. It is the second
# panel of {numref}`fig-pp-flow`. The network, a {term}`U-Net` whose {term}`encoder` is a ResNet-34
# {cite:p}`ronneberger2015,he2016`, is trained by a weighted squared error over the set $\Omega$ of pixels that are not
# ignored:
#
# ```{math}
# :label: eq-pp-mse
# \mathcal{L}_{mse} = \frac{1}{|\Omega|} \sum_{i \in \Omega} w_i (p_i - M_i)^2,
# \qquad w_i = \begin{cases} 10 & M_i \ge 0.05 \\ 1 & \text{otherwise.} \end{cases}
# ```
#
# The function is `weighted_mse`. Note the divisor: it counts pixels, not weights.

# %%
prob = torch.tensor([[0.9, 0.2, 0.4, 0.7]])
mask = torch.tensor([[1.0, 0.0, 0.0, -1.0]])  # bump, ring, ring, ignored
weight = torch.where(mask >= detector.foreground_level, detector.foreground_weight,
    1.0)
by_hand = (10 * 0.1**2 + 0.2**2 + 0.4**2) / 3
loss = weighted_mse(prob[None], mask[None], weight[None])
assert np.isclose(float(loss), by_hand)
print(f"{float(loss):.4f}; the ignored pixel counts neither above nor below the line")

# %% [markdown]
# (pp-self-training)=
# ## Background spreads
#
# A detector trained on {eq}`eq-pp-mask` has never been told what glass or stroma is. Nobody stops it from answering "center"
# there. The article cures this by {term}`self-training`. The obvious form would add *detected nuclei* as new dots. The
# article adds *background* instead ({term}`background propagation`, eq. 3), because background is easier to recognize:
#
# ```{math}
# :label: eq-pp-background
# \tilde{M}_i = \begin{cases}
# M_i & D_i < r_2 \\
# 0 & D_i \ge r_2 \text{ and } (p_i < 0.1 \text{ or } i \text{ lies in a large region of } p > 0.7) \\
# -1 & \text{otherwise.}
# \end{cases}
# ```
#
# The second condition looks odd. Regions where nothing ever held the network back saturate at 1. A nucleus gives a small
# bump; so a region of high probability that is larger than a nucleus cannot be one. `confident_background` implements
# both. A toy row of pixels shows them:

# %%
row = np.array([[0.02, 0.5, 0.9, 0.5, 0.05, 0.9, 0.9, 0.9, 0.9, 0.5]])
background = sup.confident_background(row, low=0.1, high=0.7, area=3)
print(row[0])
print(background[0].astype(int), "1: declared background")
assert background[0].tolist() == [True] + [False] * 3 + [True] * 5 + [False]

# %% [markdown]
# Each round then trains on $\tilde{M}$, and the last network is used. In the release, each round begins with a *new* network
# (`restart`); the article does not say, and a quick run goes on with the old one, to save steps. The dots are never touched.
#
# ```{admonition} Predict, then run
# :class: tip
# From round to round more pixels become background. Which pixels will stay ignored to the end? And what share of the new
# background will lie on nuclei: about as many as nuclei cover, or far fewer?
# ```

# %%
lines = {}
for number, round_masks in enumerate(masks):
    labels = np.concatenate([sample.labels.ravel() for sample in train])
    values = np.concatenate([mask.ravel() for mask in round_masks])
    bumps, rest = np.sum(values >= detector.foreground_level), np.sum((values >= 0)
        & (values < detector.foreground_level))
    weight = detector.foreground_weight * bumps
    lines[number] = {
        "background": np.mean(values == 0),
        "of it on nuclei": np.mean(labels[values == 0] > 0),
        "ignored": np.mean(values < 0),
        "of it on nuclei ": np.mean(labels[values < 0] > 0),
        "weight of the bumps": weight / (weight + rest),
    }
spreading = pd.DataFrame.from_dict(lines, orient="index").rename_axis("round")
glue("pp-covered", 100 * float(np.mean(labels > 0)))
glue("pp-background-last", 100 * float(spreading["of it on nuclei"].iloc[-1]))
glue("pp-ignored-last", 100 * float(spreading["of it on nuclei "].iloc[-1]))
glue("pp-weight-first", 100 * float(spreading["weight of the bumps"].iloc[0]))
glue("pp-weight-last", 100 * float(spreading["weight of the bumps"].iloc[-1]))
spreading.style.format("{:.3f}")

# %% tags=["hide-input"]
panels = [viz.crop(truth.image, *window),
    *(viz.crop(picture, *window) for picture in gray)]
titles = ["image and dots", *(f"round {number}" for number in range(len(gray)))]
glue("pp-masks", viz.show_panels(
    panels, titles, points=[viz.crop_points(kept, *window)] + [None] * len(gray),
    limits=(0, 1),
    columns=min(5, len(panels)),
))

# %% [markdown]
# ```{glue:figure} pp-masks
# :name: fig-pp-masks
# :alt: Tissue with a few dots, then maps of the same place: a few bright bumps in dark rings on gray, and later maps in which most of the gray has become dark except around places where nuclei are.
#
# Training masks (Fig. 2 of the article): bright is bump, dark is background, gray is ignored. Round 0 is the mask of
# {eq}`eq-pp-mask`. {glue:text}`pp-where`.
# ```
#
# Nuclei cover {glue:text}`pp-covered:.0f` % of these images. Of the background of the last round,
# {glue:text}`pp-background-last:.0f` % lies on nuclei, and of the pixels that stay ignored,
# {glue:text}`pp-ignored-last:.0f` % do. The closer the second number is to 100, the more the gray that is left *is* the
# missing nuclei.
#
# The last column shows the price. The loss {eq}`eq-pp-mse` divides by the number of pixels, and there are many more of them now: the
# bumps carry {glue:text}`pp-weight-first:.0f` % of the weight in round 0 and {glue:text}`pp-weight-last:.0f` % in the last
# round. A network that begins anew in each round therefore needs more steps for the same peaks; with too few it answers "no"
# everywhere, as [short runs from random weights](pp-scratch) show.
#
# (pp-strategies)=
# ### Five ways to train a detector
#
# Table I of the article compares:
#
# - **Full**: all dots are given, the rest is background;
# - **GM**: a share of the dots is given, the rest is background all the same;
# - **ext-GM**: the mask of {eq}`eq-pp-mask`, one round;
# - **ST-nu**: self-training that adds detections as dots, if they are farther than $r_1$ from every annotated dot;
# - **ST-bg**: self-training that adds background, the method.
#
# ```{admonition} Predict, then run
# :class: tip
# GM tells the network that nine of ten nuclei are background. Will it find too many or too few? And of the four with few dots,
# which finds most of the nuclei, and which gives the most false alarms?
# ```

# %%
found = {}
for strategy in STRATEGIES:
    one = PartialPoints(replace(config, detector=replace(detector,
        strategy=strategy)))
    dots = sup.annotate_dots(train, 1.0 if strategy == "Full"
        else chosen.ratio, seed)
    one.fit_detector(dots, val, run_dir=folder, fabric=runner, progress=False)
    found[strategy] = [one.detect(sample.image) for sample in test]
    if strategy == "ext-GM":
        round_0 = [probability(one.networks["detector"],
            method.preprocessing.colors(s.image), method.preprocessing)
                   for s in train]

# %% [markdown]
# A detection counts if it lies within $r_1$ of a true center that no other detection has taken; counts are {term}`pooled`
# over all test images. $\mu_d$ and $\sigma_d$ are the mean and the standard deviation of the distance $d$ of the $N_{TP}$
# matched pairs (eq. 11 of the article):
#
# ```{math}
# :label: eq-pp-offset
# \mu_d = \frac{1}{N_{TP}} \sum_{i=1}^{N_{TP}} d_i, \qquad
# \sigma_d = \sqrt{\frac{1}{N_{TP}} \sum_{i=1}^{N_{TP}} (d_i - \mu_d)^2} .
# ```
#
# The function is `detection_scores`.

# %%
centers = [sup.box_centers(sample.labels) for sample in test]
lines = {}
for strategy, points in found.items():
    each = [metrics.detection_scores(t, p, detector.r1)
        for t, p in zip(centers, points)]
    pooled = metrics.DetectionScores.pooled(each)
    lines[strategy] = {study.NAMES[metric]: getattr(pooled, metric)
        for metric in study.DETECTION}
live_detection = pd.DataFrame.from_dict(lines, orient="index").rename_axis(where)
live_detection.style.format("{:.3f}")

# %% tags=["hide-input"]
corner = busiest(centers[0], seen.image.shape, 150)
glue("pp-strategies-figure", viz.show_detections(
    viz.crop(seen.image, *corner), viz.crop_points(centers[0], *corner),
    {strategy: viz.crop_points(points[0], *corner)
        for strategy, points in found.items()},
    radius=detector.r1, columns=3, scale_bar=MICROMETERS,
))

# %% [markdown]
# ```{glue:figure} pp-strategies-figure
# :name: fig-pp-strategies
# :alt: Five panels of the same tissue with blue-green circles on nuclei that were found, purple crosses on false detections and sky-blue squares on missed nuclei.
#
# Detections of the five strategies on a test image (Fig. 4 of the article). Circles: found, with a line to the true center; crosses:
# extra; squares: missed. {glue:text}`pp-where`.
# ```
#
# {glue:text}`pp-strategies-say` One draw of dots on a few images decides little; what counts is Table I [below](pp-tables).

# %% tags=["hide-input", "remove-output"]
order = live_detection["F1"].sort_values(ascending=False)
said = "" if chosen.restart else " ST-nu and ST-bg went on from ext-GM, so they had more steps than the others."
if live_detection["F1"]["GM"] >= live_detection["F1"]["ext-GM"]:
    said += " GM is not below ext-GM here, unlike in Table I, most likely for lack of steps."
said += "" if order.index[
    0] == "Full" else " Full has all dots and yet is not first: most likely it had too few steps."
glue("pp-strategies-say",
    f"In this run, {order.index[0]} has the highest F1 ({order.iloc[0]:.2f}) and "
     f"{order.index[-1]} the lowest ({order.iloc[-1]:.2f}).{said}")

# %% [markdown]
# ## Stage 2: two labels from all dots
#
# Stage 2 takes the annotator's dots and all detections farther than $r_1$ from them (`merge_points`), and forgets where
# they came from. Two labels follow, both explained in [From dots to labels](from-dots-to-labels.ipynb). The
# {term}`Voronoi label` calls the edges between cells background and small disks around dots nucleus. The
# {term}`cluster label` comes from k-means with $k = 3$ on a feature vector $f_x$ of color and of the distance to the
# nearest dot (eq. 4):
#
# ```{math}
# :label: eq-pp-kmeans
# \arg\min_S \sum_{k=1}^{3} \sum_{x \in S_k} \lVert f_x - c_k \rVert^2 .
# ```
#
# The function for both is `weak_labels`. Here with a dot on every true nucleus ("GT points"):

# %%
dots = sup.box_centers(truth.labels)
voronoi, cluster = weak_labels(pixels, dots, segmenter)
assert np.array_equal(voronoi, sup.voronoi_labels(dots, truth.labels.shape))
edges = sup.voronoi_edges(dots, truth.labels.shape)
distance = np.minimum(sup.nearest_points(dots, truth.labels.shape)[0], 20)
quality = {title: sup.label_quality(truth.labels, label)
    for title, label in (("Voronoi", voronoi), ("cluster", cluster))}
for title, one in quality.items():
    print(f"{title:<8} nucleus wrong {one.nucleus_wrong:.3f}, background wrong {one.background_wrong:.3f}")

# %% tags=["hide-input"]
drawn = viz.fill(viz.fill(truth.image, truth.labels, "ground_truth", alpha=0.55),
    edges, "vermilion", alpha=1)
window = busiest(dots, truth.image.shape)
glue("pp-labels", viz.show_panels(
    [truth.image, drawn, distance], ["image", "true nuclei, Voronoi edges",
        "distance to the nearest dot"], crop=window,
    scale_bar=MICROMETERS,
))

# %% [markdown]
# ```{glue:figure} pp-labels
# :name: fig-pp-labels
# :alt: Tissue; the same with green nuclei between straight red edges, which cross a nucleus here and there; a map that is dark at the dots and bright far from them.
#
# What the labels are made of (Fig. 3 of the article): image, true nuclei (green) with Voronoi edges (red), and the
# distance map, cut at 20 px. {glue:text}`pp-where`.
# ```
#
# (pp-two-labels)=
# ## Two labels, one loss
#
# Each label $t$ gives a cross-entropy over its own set $\Omega$ of pixels that are not ignored (eq. 5):
#
# ```{math}
# :label: eq-pp-ce
# \mathcal{L}(y, t) = -\frac{1}{|\Omega|} \sum_{i \in \Omega} \left[ t_i \log y_i + (1 - t_i) \log(1 - y_i) \right]
# ```
#
# The function is `masked_cross_entropy`. A weight $\alpha$, in the code `SegmenterConfig.voronoi_share`, joins the two
# (eq. 6):
#
# ```{math}
# :label: eq-pp-alpha
# \mathcal{L}_{ce} = \alpha \mathcal{L}_{vor} + (1 - \alpha) \mathcal{L}_{cluster} .
# ```

# %%
# two classes, three pixels
logits = torch.tensor([[0.2, -1.0], [1.5, 0.3], [0.0, 2.0]]).T[None, :, None]
target = torch.tensor([[[1, 0, -1]]])
y = torch.softmax(logits, dim=1)[0, 1, 0]
by_hand = -(torch.log(y[0]) + torch.log(1 - y[1])) / 2
assert torch.isclose(masked_cross_entropy(logits, target), by_hand)
print(f"{float(by_hand):.4f} from the two pixels that have a label")

# %% [markdown]
# What does each label contribute? Train with different $\alpha$, from a dot on every nucleus, without fine-tuning.
#
# ```{admonition} Predict, then run
# :class: tip
# Which of $\alpha = 0$ (cluster label alone) and $\alpha = 1$ (Voronoi label alone) gives nuclei that are too small? Which
# merges neighbors? Which of them wins in pixel F1, and which in AJI?
# ```

# %%
place.close()
folder = place.enter_context(live.workplace("partial-points", profile))
all_dots, by_share = replace(config, detector=None), {}
for share in chosen.shares:
    one = replace(all_dots, segmenter=replace(segmenter, voronoi_share=share,
        crf_epochs=0))
    trained = fitted(one, 1.0)
    by_share[share] = [trained.predict(sample.image) for sample in test]
live_shares = pd.DataFrame({share: mean_scores(labels)
    for share, labels in by_share.items()}).T
live_shares = live_shares[list(study.SEGMENTATION)].rename(
    columns=study.NAMES).rename_axis(f"share of the Voronoi label; {where}")
live_shares.style.format("{:.3f}")

# %% tags=["hide-input"]
colored = {"image": seen.image, "truth": viz.instance_colors(seen.labels)}
colored |= {f"$\\alpha$ = {share:g}": viz.instance_colors(labels[0])
    for share, labels in by_share.items()}
glue("pp-shares", viz.show_panels(colored.values(), colored, crop=small,
    columns=min(5, len(colored)), scale_bar=MICROMETERS))

# %% [markdown]
# ```{glue:figure} pp-shares
# :name: fig-pp-shares
# :alt: Tissue, the true nuclei in colors on black, and predictions from the cluster label alone, from both labels and from the Voronoi label alone.
#
# Segmentations for several $\alpha$ (Fig. 5 of the article). Neighbors have different colors; two nuclei of one color
# that touch were merged. {glue:text}`pp-where`.
# ```

# %% tags=["hide-input"]
recorded = study.sweep("share of the Voronoi label",
    "a =").rename(columns=study.NAMES)
curves = {where: live_shares} | ({"Study, MoNuSeg": recorded} if len(recorded) > 1
    else {})
figure, axes = plt.subplots(1, len(curves), figsize=(viz.PAGE_WIDTH, 3.1),
    sharey=True, squeeze=False)
for axis, (title, table) in zip(axes[0], curves.items()):
    for metric, marker in zip(study.SEGMENTATION, "osD^"):
        axis.plot(table.index, table[study.NAMES[metric]], marker=marker,
            label=study.NAMES[metric])
    axis.set(xlabel=r"$\alpha$", title=title)
axes[0, 0].set_ylabel("score")
figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center",
    ncols=4)
glue("pp-alpha", figure)
glue("pp-alpha-state", "The right panel is the study on MoNuSeg"
    if len(recorded) > 1 else "The study on MoNuSeg has not run these rows yet")

# %% [markdown]
# ```{glue:figure} pp-alpha
# :name: fig-pp-alpha
# :alt: Line plot of accuracy, pixel F1, object Dice and AJI against the weight of the Voronoi label.
#
# The four metrics against $\alpha$ (Fig. 6 of the article). {glue:text}`pp-alpha-state`.
# ```
#
# The article prints no numbers for this figure. Its curves rise from $\alpha = 0$, fall towards $\alpha = 1$, and are best
# near 0.5; at $\alpha = 1$ the object metrics are better than at $\alpha = 0$, and the pixel metrics worse. Compare the
# shapes.
#
# ## Neighbors of one color agree
#
# The labels are silent about boundaries. The image is not: where the color changes, there is often an outline. The
# {term}`dense CRF loss` {cite:p}`tang2018` lowers the energy of a {term}`loss` term in which pixels that are close and
# alike prefer one label (eq. 7 to 9). With $y$ the probability of nucleus, $p_i$ the position and $c_i$ the color,
#
# ```{math}
# :label: eq-pp-affinity
# \mathcal{L}_{pair} = \frac{1}{N} \sum_{i,j} y_i (1 - y_j) W_{ij}, \qquad
# W_{ij} = \exp\left( -\frac{\lVert p_i - p_j \rVert^2}{2 \sigma_{pq}^2} - \frac{\lVert c_i - c_j \rVert^2}{2 \sigma_{rgb}^2} \right).
# ```
#
# The article leaves out the divisor $N$, the number of pixels. The release has it, and without it the published $\beta$
# mean nothing. `dense_crf_loss` computes the sum exactly on a window of $3 \sigma_{pq}$; the article and the release
# approximate it on a lattice {cite:p}`adams2010`. All pairs of a tiny image, by brute force:

# %%
rng = np.random.default_rng(seed)
y, colors = rng.random((9, 9)), rng.uniform(0.1, 1, (3, 9, 9))
position = np.stack(np.mgrid[:9, :9]).reshape(2, -1)
color = colors.reshape(3, -1)
apart = ((position[:, :, None] - position[:, None]) ** 2).sum(0) / (2 * 3.0**2)
alike = ((color[:, :, None] - color[:, None]) ** 2).sum(0) / (2 * 0.2**2)
by_hand = (y.ravel()[:, None] * (1 - y.ravel())
    * np.exp(-apart - alike)).sum() / y.size
loss = dense_crf_loss(torch.tensor(y)[None], torch.tensor(colors)[None],
    sigma_xy=3.0, sigma_rgb=0.2)
assert np.isclose(float(loss), by_hand)
print(f"{float(loss):.6f} from {y.size**2} pairs")

# %% [markdown]
# Fine-tuning adds it to the cross-entropy with a weight $\beta$ (`SegmenterConfig.crf_weight`, eq. 10),
#
# ```{math}
# :label: eq-pp-crf
# \mathcal{L}_{crf} = \mathcal{L}_{ce} + \beta \mathcal{L}_{pair},
# ```
#
# for a few epochs at a tenth of the learning rate. The release computes the gradient by hand, and sends it to both output
# channels, which through the softmax is *twice* the gradient of {eq}`eq-pp-crf`. We follow the release
# (`crf_gradient`). The loss costs time in training only.
#
# One more factor hides in the approximation. The lattice of the release answers with *less* than the Gaussian sum, by
# almost the same factor everywhere. `lattice_filter` is such a lattice; compare both on a training image:

# %%
middle = tuple(slice(length // 2 - 48, length // 2 + 48)
    for length in truth.labels.shape)
prob = torch.tensor(truth.labels[middle] > 0, dtype=torch.float32)
# true nuclei with soft borders
prob = torch.nn.functional.avg_pool2d(prob[None], 7, 1, 3)[0].numpy()
kernels = compare_kernels(prob, pixels[middle] / 255, segmenter.sigma_xy,
    segmenter.sigma_rgb)
print(f"lattice / exact: energy {kernels['energy_ratio']:.2f}, gradient {kernels['gradient_ratio']:.2f} "
      f"(correlation {kernels['gradient_correlation']:.3f})")

# %% tags=["hide-input", "remove-output"]
recorded = study.our_means("strength of the lattice")
glue("pp-lattice", f"{recorded.gradient_ratio.iloc[0]:.2f}" if len(recorded)
    else "not measured")
glue("pp-lattice-factor", f"{2 * recorded.gradient_ratio.iloc[0]:.1f}"
    if len(recorded) else "not measured")
glue("pp-lattice-range",
    f"{recorded.gradient_ratio.min():.2f} to {recorded.gradient_ratio.max():.2f}"
     if len(recorded) else "not measured")

# %% [markdown]
# On the training images of MoNuSeg, the gradient on the lattice is {glue:text}`pp-lattice` of the exact one at the published
# widths, and {glue:text}`pp-lattice-range` of it at three pairs of widths. So a published $\beta$ means less on the lattice
# than here, and with `crf_gradient=2` our dense CRF pulls harder than the release's. A factor of
# {glue:text}`pp-lattice-factor` makes both equally strong; rows with that factor are declared [below](pp-fine-tuning). Now
# vary one number at a time around the published best:

# %%
plain = pd.DataFrame({0: mean_scores(by_share[0.5])}).T
varied = {"sigma_xy": chosen.sigmas_xy, "sigma_rgb": chosen.sigmas_rgb,
    "crf_weight": chosen.betas}
tried, live_crf = {}, {}
for field, values in varied.items():
    for value in values:
        tuned = replace(segmenter, **{field: value})
        if tuned not in tried:
            trained = fitted(replace(all_dots, segmenter=tuned), 1.0)
            tried[tuned] = [trained.predict(sample.image) for sample in test]
        live_crf[field, value] = mean_scores(tried[tuned]) - plain.iloc[0]
live_crf = pd.DataFrame(live_crf).T[list(study.SEGMENTATION)]
symbols = {"sigma_xy": "spatial width (px)", "sigma_rgb": "color width",
    "crf_weight": "weight"}
live_crf.rename(columns=study.NAMES, index=symbols).rename_axis(
    ["gain over cross-entropy", ""]).style.format("{:+.4f}").format_index(
    "{:g}", level=1)

# %% tags=["hide-input"]
stage_2 = study.our_means("choices in stage 2").reindex(["cross-entropy only"])
figure, axes = plt.subplots(1, 3, figsize=(viz.PAGE_WIDTH, 2.9), sharey=True)
words = {"sigma_xy": "spatial width", "sigma_rgb": "color width", "crf_weight": "weight"}
complete = True
for axis, (field, prefix) in zip(axes, words.items()):
    table = study.sweep("dense CRF settings", prefix)
    done = not table.empty and stage_2.notna().any(axis=None)
    complete &= done
    table = table - stage_2.iloc[0] if done else live_crf.loc[field]
    for metric, marker in zip(study.SEGMENTATION, "osD^"):
        axis.plot(table.index, table[metric], marker=marker, label=study.NAMES[metric])
    axis.axhline(0, color="black", ls="--", lw=1)
    axis.axvline(getattr(segmenter, field), color=viz.PALETTE["vermilion"], ls=":", lw=1)
    axis.set(xlabel={"sigma_xy": "spatial width (px)", "sigma_rgb": "color width", "crf_weight": r"$\beta$"}[field])
axes[2].set_xscale("log")
axes[2].set_xticks(sorted(chosen.betas), [f"{value:g}" for value in sorted(chosen.betas)], rotation=45)
axes[2].minorticks_off()
axes[0].set_ylabel("gain over cross-entropy")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
glue("pp-crf", figure)
glue("pp-crf-state", "Study, MoNuSeg" if complete else where)

# %% tags=["hide-input", "remove-output"]
gains = {where: float(live_crf.loc[("crf_weight", segmenter.crf_weight), "aji"])}
both = pd.concat([study.our_means("segmentation"),
    study.our_means("choices in stage 2")])
if {"GT points", "cross-entropy only"} <= set(both.index):
    gains["Study, MoNuSeg"] = float(both.aji["GT points"]
        - both.aji["cross-entropy only"])
said = " and ".join(f"{gain:+.3f} ({place})" for place, gain in gains.items())
merged = " AJI that falls while pixel F1 holds points to merged neighbors." if min(
    gains.values()) < 0 else ""
glue("pp-crf-say",
    f"At the published values, fine-tuning changes AJI by {said}.{merged}")

# %% [markdown]
# ```{glue:figure} pp-crf
# :name: fig-pp-crf
# :alt: Three line plots of the gain in four metrics against the spatial width, the color width and the weight of the dense CRF loss, with a dashed line at zero and a dotted line at the published best value.
#
# Gain of fine-tuning over cross-entropy alone (Fig. 7 of the article). Dashed: no gain; dotted: the published best value.
# {glue:text}`pp-crf-state`.
# ```
#
# {glue:text}`pp-crf-say` The article, which starts from ImageNet weights, gains at these values.
#
# The article prints no numbers here either. It finds little change around the best values, and a loss with a large $\beta$:
# then the image overrules the labels. Before you tune $\beta$ to the third digit, look at the spread over seeds in Table
# III below.
#
# ## Predicting
#
# A new image passes the segmenter in tiles of 224 px that overlap by 80 px; each tile gives its middle, nothing is averaged.
# Pixels with $y > 1/2$ form 8-connected components, those below 20 px are dropped, holes are filled. No step separates
# touching nuclei. The article leaves such steps out for every method, the fully supervised one included, so that the
# comparison is fair. Keep that in mind for Table III.
#
# ## Results
#
# Full masks with the same network complete the run, and other shares of the dots, if the profile has any.

# %%
by_ratio = {"GT points": tried[segmenter]}  # trained above: the published best
for share in reversed(chosen.ratios):
    trained = method if share == chosen.ratio else fitted(config, share)
    by_ratio[f"{100 * share:g} %"] = [trained.predict(sample.image)
        for sample in test]
learned = training_notes(trained, runner)["training"]
masks_config = FullySupervisedConfig(
    replace(segmenter, epochs=chosen.masks_epochs, crf_epochs=0),
    patch=chosen.patch,
    patches_per_side=chosen.patches_per_side, weights=chosen.weights, seed=seed,
)
supervised = FullySupervised(masks_config).fit(train, val, run_dir=folder,
    fabric=runner, progress=False)
by_ratio["fully supervised"] = [supervised.predict(sample.image) for sample in test]
place.close()
live_segmentation = pd.DataFrame({row: mean_scores(labels)
    for row, labels in by_ratio.items()}).T.iloc[::-1]
live_segmentation = live_segmentation[list(study.SEGMENTATION)].rename(
    columns=study.NAMES).rename_axis(where)
live_segmentation.style.format("{:.3f}")

# %% [markdown]
# Numbers of a quick run are there to make the code tangible. They come from few steps on small synthetic images and say
# nothing about the method; the recorded study does ([below](pp-tables)).

# %% tags=["hide-input"]
ajis = np.array([metrics.aji(sample.labels, labels)
    for sample, labels in zip(test, by_ratio["GT points"])])
ends = {"best": int(ajis.argmax()), "worst": int(ajis.argmin())}
rows = [row for row in by_ratio if row != "fully supervised"][::-1]
pictures, names = [], []
for end, k in ends.items():
    cut = busiest(centers[k], test[k].image.shape, 160)
    for title, labels in (("truth", test[k].labels),
            *((row, by_ratio[row][k]) for row in rows)):
        if title == "truth":
            pictures.append(viz.crop(test[k].image, *cut))
            names.append(f"{end} image")
        pictures.append(viz.crop(viz.instance_colors(labels), *cut))
        names.append(title)
glue("pp-ratios", viz.show_panels(pictures, names, columns=len(rows) + 2))

# %% [markdown]
# ```{glue:figure} pp-ratios
# :name: fig-pp-ratios
# :alt: Two rows of panels. In each row tissue, the true nuclei in colors, predictions from shares of the dots and the prediction from a dot on every nucleus.
#
# Segmentations by share of the dots (Figs. 8 and 10 of the article): the test image with the highest AJI from all dots above,
# the one with the lowest below. {glue:text}`pp-where`.
# ```
#
# ### How training went

# %% tags=["hide-input"]
full = {row: study.recorded_training("segmentation", row) for row in ("10 %", "GT points", "fully supervised")}
full["GT points, stain jitter, raw colors"] = study.recorded_training("closing the gap, all dots", "stain jitter, raw colors")
short = [row.row for row in declared("partial-points") if row.experiment == "segmentation, short"]
full |= {f"{row}, short": study.recorded_training("segmentation, short", row) for row in short}
full = {row: next(iter(seeds.values())) for row, seeds in full.items() if seeds}
figure, axes = plt.subplots(1, 2, figsize=(viz.PAGE_WIDTH, 3.2))
for stage, curve in learned.items():
    axes[0].plot(range(1, len(curve["loss"]) + 1), curve["loss"], marker="o", ms=3, label=stage)
axes[0].set(xlabel="epoch", ylabel="loss", title=where, yscale="log")
axes[0].legend()
for row, stages in full.items():
    scores = stages.get("cross-entropy", {}).get("score", [])
    points = [(epoch, score) for epoch, score in enumerate(scores, start=1) if score is not None]
    if points:
        axes[1].plot(*zip(*points), label=row)
axes[1].set(xlabel="epoch", ylabel="validation AJI", title="Study, MoNuSeg")
if full:
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center",
        ncols=2)
else:
    axes[1].text(0.5, 0.5, "not run", ha="center", transform=axes[1].transAxes)
glue("pp-curves", figure)

# %% [markdown]
# ```{glue:figure} pp-curves
# :name: fig-pp-curves
# :alt: Two line plots against epochs. Left, falling losses of each training stage. Right, the validation AJI of the recorded trainings, or the words not run.
#
# Left: losses of the live run, one line for each stage (the losses of stages are of different kinds). Right: validation AJI of
# the recorded trainings with cross-entropy.
# ```
#
# ### Which images are hard
#
# The article asks why some images suffer more than others, and measures two things (eq. 14 and 15): how much nuclei $n$ of
# area $A_n$ differ from a ring around them, and how uneven they are inside,
#
# ```{math}
# :label: eq-pp-difficulty
# \text{nuclei-bg-diff} = \sum_n \frac{A_n}{A_{total}} \left| \mu_n - \mu_n^{bg} \right|, \qquad
# \text{nuclei-std} = \sum_n \frac{A_n}{A_{total}}\, \sigma_n .
# ```
#
# The functions are `nucleus_background_contrast`, with a ring of 3 px as in the article (the release takes 5), and
# `nucleus_deviation`. We take the absolute difference, averaged over colors, as the release does.

# %% tags=["hide-input"]
per_image = study.image_scores([*(f"{100 * share:g} %"
    for share in (0.05, 0.1, 0.25, 0.5)), "GT points"], "aji")
title, pictured = "Study, MoNuSeg", "monuseg" in available() and not per_image.empty
if pictured:
    hard = study.difficulty(live.windows("monuseg", "test", 14, 1000),
        method.preprocessing.colors)
elif per_image.empty:
    title = where
    each = {row: [metrics.aji(s.labels, p) for s, p in zip(test, by_ratio[row])]
        for row in rows}
    per_image, hard = pd.DataFrame(each, index=test.ids), study.difficulty(test,
        method.preprocessing.colors)
else:
    hard = pd.DataFrame(np.nan, per_image.index, ["nuclei-bg-diff", "nuclei-std"])

# %% tags=["hide-input"]
order = per_image[per_image.columns[-1]].sort_values(ascending=False).index
known = [column for column in hard if hard[column].notna().any()]
figure, axes = plt.subplots(1, 1 + len(known), figsize=(viz.PAGE_WIDTH, 0.9 + 0.26
    * max(6, len(order))), sharey=True, squeeze=False,
                            width_ratios=(2, *[1] * len(known)))
axes = axes[0]
for row, marker, color in zip(per_image, "osD^v", viz.CYCLE):
    axes[0].plot(per_image.loc[order, row], range(len(order)), marker, color=color,
        label=row, ls="none", alpha=0.85)
for axis, column in zip(axes[1:], known):
    axis.barh(range(len(order)), hard.loc[order, column], color=viz.PALETTE["blue"])
    axis.set_xlabel(column)
axes[0].set_yticks(range(len(order)), [image.removesuffix("-01Z-00-DX1")
    for image in order])
axes[0].set(xlabel="AJI", title=title)
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center",
    ncols=5)
glue("pp-images", figure)

# %% tags=["hide-input", "remove-output"]
ranks = per_image.iloc[:, -1].rank()
links = {column: float(ranks.corr(hard[column].reindex(per_image.index).rank()))
    for column in hard}
told = [f"{column}: {value:+.2f}" for column, value in links.items()
    if value == value]
if len(ranks) < 5:
    hint = f"{len(ranks)} images ({title}) are too few for a correlation"
elif told:
    hint = f"On {len(ranks)} images ({title}), the rank correlations of AJI from all dots are " + " and ".join(told)
else:
    hint = "The statistics need the images of MoNuSeg, which were not at hand"
glue("pp-hard", hint)

# %% [markdown]
# ```{glue:figure} pp-images
# :name: fig-pp-images
# :alt: A dot plot with one line for each test image and one marker for each share of the dots, sorted by AJI; where the images are at hand, two bar charts beside it with the contrast and the unevenness of the nuclei of each image.
#
# AJI of each test image by share of the dots (Fig. 9 of the article), beside the two statistics in gray levels where the images are at
# hand.
# ```
#
# The article finds high scores, and a small gap to all dots, where the contrast is high and nuclei are even.
# {glue:text}`pp-hard`. A few images cannot carry a law; at best they hint where to look first.
#
# (pp-price)=
# ### The price
#
# {cite:t}`qu2020` (sec. V-F) timed a pathologist on eight of the lung images, of about 600 nuclei each. Beside the minutes stands
# what the article reaches with such annotation on the same dataset.

# %% tags=["hide-input"]
minutes = published("qu2020", "annotation time").set_index("row")["value"]
scores = published("qu2020",
    "segmentation").query("dataset == 'lc' and metric == 'aji'").set_index(
    "row")["value"]
price = pd.DataFrame([
    {"annotation": kind, "minutes per image": minutes[kind],
        "times as fast as masks": minutes["full masks"] / minutes[kind],
     "AJI, lung images": scores.get(row, np.nan)}
    for kind, row in (("full masks", "fully supervised"), ("boxes", ""),
        ("all dots", "GT points"),
                      ("10 % of the dots, less than", "10 %"))
]).set_index("annotation")
tenth = price.loc["10 % of the dots, less than"]
glue("pp-minutes-masks", int(minutes["full masks"]))
glue("pp-minutes-tenth", int(minutes["10 % of the dots, less than"]))
glue("pp-times", float(tenth["times as fast as masks"]))
glue("pp-aji-kept", 100 * float(scores["10 %"] / scores["fully supervised"]))

# %% tags=["hide-input"]
price.style.format("{:.4g}", na_rep="not published")

# %% tags=["hide-input", "remove-output"]
printed = published("qu2020",
    "segmentation").query("dataset == 'monuseg'").set_index(["row",
        "metric"])["value"]
glue("pp-mo-dots", float(printed["GT points", "aji"]))
glue("pp-mo-masks", float(printed["fully supervised", "aji"]))
gap = float(printed["fully supervised", "accuracy"]
    - printed["GT points", "accuracy"])
glue("pp-gap", gap)
glue("pp-gap-relative", 100 * gap / float(printed["fully supervised", "accuracy"]))

# %% [markdown]
# A tenth of the dots is about {glue:text}`pp-times:.0f` times as fast as masks, and keeps {glue:text}`pp-aji-kept:.0f` % of
# their AJI there. The times are of one person. Nobody timed 5, 25 or 50 % of the dots, and finding nuclei takes time as well, so the
# minutes need not be proportional to the dots.
#
# (pp-tables)=
# ## Paper versus ours
#
# All tables of the article, with our recorded runs on MoNuSeg below each line. Counts of detection are pooled over the test images, scores of segmentation are
# means over them; then both are averaged over seeds; after ± stands the standard deviation over seeds (of the article: over draws of dots). "Not run" marks
# rows that are declared, but not recorded yet, not even short ones; "ours, short" is the same recipe with fewer epochs, and a
# reference for nothing but its own kind. The lung images are private: their lines stand alone.
#
# **Table I.** Detection with 10 % of the dots.

# %% tags=["hide-input"]
study.side_by_side("detection strategies, 10 % of the dots", study.DETECTION)

# %% tags=["hide-input", "remove-output"]
short_f1 = study.our_means("detection strategies, short").get("f1", pd.Series(dtype=float))
glue("pp-key-ignore", "In our short rows, F1 is {:.2f} with it ignored (ext-GM) and "
    "{:.2f} with it called background (GM)".format(*short_f1[["ext-GM", "GM"]])
    if {"GM", "ext-GM"} <= set(short_f1.index) else "Our rows are not run")

# %% [markdown]
# **Table II.** Detection by share of the dots, strategy ST-bg.

# %% tags=["hide-input"]
study.side_by_side("detection by share of dots", study.DETECTION)

# %% [markdown]
# **Table III.** Segmentation. CNN3 {cite:p}`kumar2017` and DIST {cite:p}`naylor2019` are numbers of the Multi-Organ images.

# %% tags=["hide-input"]
study.side_by_side("segmentation", study.SEGMENTATION)

# %% [markdown]
# **Tables IV and V.** Ten draws of 10 % of the dots: does it matter which nuclei were dotted?

# %% tags=["hide-input"]
draws = published("qu2020", "ten draws of 10 % of the dots")
draws = draws[(draws.dataset == "monuseg") & (draws.metric == "aji")]
glue("pp-draws", float(draws.spread.iloc[0]))
study.side_by_side("ten draws of 10 % of the dots",
    (*study.DETECTION, *study.SEGMENTATION)).T

# %% [markdown]
# **Table VI.** Trained on one dataset, tested on another. The breast images of TNBC take the part of the private lung images;
# their numbers cannot be compared with those of the article, only the drop can.

# %% tags=["hide-input"]
study.side_by_side("across datasets", study.SEGMENTATION)

# %% tags=["hide-input", "remove-output"]
compared = comparison("partial-points")
compared = compared[compared.verdict != "not run"]
agree, differ = (int((compared.verdict == verdict).sum())
    for verdict in ("agrees", "differs"))
said = f"{len(compared)} published values have a recorded counterpart so far: {agree} agree within {TOLERANCE}, {differ} differ"
for metric, what in (("aji", "AJI"), ("f1", "detection F1")):
    off = compared[compared.metric == metric].difference
    said += f"; ours less the article's {what} is {off.mean():+.3f}" if len(off) else ""
    said += f" (mean of {len(off)})" if len(off) > 1 else ""
glue("pp-verdict", said if len(compared)
    else "No row of these tables is recorded yet")

# %% [markdown]
# {glue:text}`pp-verdict`. The tolerance was set beforehand; the rule, and the same numbers, stand on
# [the results page](../book/results.md).
#
# ### What makes ours differ
#
# - **Start.** The article starts from ImageNet, we from random weights; see [below](pp-scratch).
# - **Which epoch.** The article says that the validation images choose it. In the authors' release, the routine called
#   validation loads the *test* images and keeps the epoch of the best test AJI. We choose on validation images, separately for
#   cross-entropy and for fine-tuning. A row declared below is to measure what the other choice is worth.
# - **Images.** Some Multi-Organ images were replaced after the article. We normalize colors by {cite:t}`reinhard2001` as
#   the article says; a copy that the authors published looks normalized in another way.
# - **Dots.** The release draws with replacement, so that fewer dots remain; we draw without, as the article says.
# - **Numbers that disagree.** Article and release differ in the learning rate of the detector, in what a large region is
#   (380 or 200 px), in where the weight 10 ends, and in whether stage 2 keeps the annotator's dots. The comments in
#   `nucseg.methods.partial_points.config` say which we took.
# - **Dense CRF.** Exact on a window instead of approximate on a lattice.
# - **GM and ST-nu** are not in the release; we wrote them from one line each.
# - **DIST.** The F1 printed for it may be out of place: other sources give that number for CNN3. We could not check this.
#
# Choices like these were declared as rows of their own. Detection, from 10 % of the dots:

# %% tags=["hide-input"]
print(study.not_recorded("choices in detection"))
study.choices("choices in detection", list(study.DETECTION),
    ("detection strategies, 10 % of the dots", "ST-bg"))

# %% [markdown]
# Stage 2, from all dots where the name does not say otherwise:

# %% tags=["hide-input"]
print(study.not_recorded("choices in stage 2"))
study.choices("choices in stage 2", list(study.SEGMENTATION),
    ("segmentation", "GT points"))

# %% [markdown]
# (pp-scratch)=
# ### From random weights
#
# {term}`Pretrained weights` matter most where labels are few, so expect the largest loss in detection with 5 and 10 %: the
# published 80 epochs are 960 steps, with a handful of dots in each crop. Three ways to do without ImageNet were declared beforehand:
# vary the stains of training images, begin with weights that the same network learned by painting hidden squares of the
# training images (no label is used), and train longer. "Raw colors" leaves out the color normalization of Reinhard.

# %% tags=["hide-input"]
print(study.not_recorded("closing the gap, all dots"))
study.choices("closing the gap, all dots", list(study.SEGMENTATION),
    ("segmentation", "GT points"))

# %% tags=["hide-input"]
print(study.not_recorded("closing the gap, masks"))
study.choices("closing the gap, masks", list(study.SEGMENTATION),
    ("segmentation", "fully supervised"))

# %% [markdown]
# Read these tables as differences within a column. An idea counts as a step towards the article only if it gains more than
# the spread: over ten draws of dots the article has {glue:text}`pp-draws:.3f` of AJI (Table V); ours have one seed so far.
#
# The same recipes with fewer epochs were run as well; rows with equal epochs can be compared with each other, none with the tables
# above.

# %% tags=["hide-input"]
print(study.not_recorded("segmentation, short"))
study.choices("segmentation, short", list(study.SEGMENTATION))

# %% [markdown]
# **Detection.** Table I has rows of 20 epochs for each round. There, rounds that begin with a new network lose what the round
# before had learned. Two remedies were tried together, with one more round: it goes on with the network of round 0, and
# stains are varied on raw colors. The learning rate, on which article and release disagree, was chosen by F1 on the validation images:

# %% tags=["hide-input"]
rates = {row: study.recorded_training("learning rate of the detector, short",
    f"ext-GM, {row}") for row in ("0.001", "0.0001")}
validation = {rate: seeds[0]["round-0"]["best_score"]
    for rate, seeds in rates.items() if seeds}
print("best F1 on validation images by learning rate:",
    {rate: round(score, 3) for rate, score in validation.items()})
print(study.not_recorded("detection strategies going on, short"))
study.choices("detection strategies going on, short", list(study.DETECTION))

# %% tags=["hide-input", "remove-output"]
anew, onward = (study.our_means(name)
    for name in ("detection strategies, short",
        "detection strategies going on, short"))
said = [f"{title}: F1 {table.f1['ext-GM']:.2f} after round 0 (ext-GM) and {table.f1['ST-bg']:.2f} after the last (ST-bg)"
        for title, table in (("New networks", anew),
            ("Going on, varied stains", onward))
        if {"ext-GM", "ST-bg"} <= set(table.index)]
glue("pp-rounds-say", ". ".join(said) if said else "Nothing is recorded yet")

# %% [markdown]
# {glue:text}`pp-rounds-say`.
#
# **Segmentation.** Where does the score go? Trainings from all dots, organ by organ:

# %% tags=["hide-input"]
compared_rows = {
    "GT points": ("segmentation", "GT points"),
    "Half the epochs, stain jitter, raw colors": ("segmentation, short",
        "GT points, stain jitter, raw colors"),
    "All epochs, stain jitter, raw colors": ("closing the gap, all dots",
        "stain jitter, raw colors"),
}
organs = study.by_organ(compared_rows, ("aji", "precision_pixel", "recall_pixel"))
organs.style.format("{:.2f}", na_rep=NOT_RUN)

# %% tags=["hide-input", "remove-output"]
said = []
titles = dict.fromkeys(organs.columns.get_level_values(0)) if len(organs) else ()
for title in titles:
    count = organs.index.get_level_values("test images").to_numpy()
    seen_organs = organs.index.get_level_values("in training") == "yes"
    part = organs[title].mul(count, axis=0)
    mean = {flag: part[mask].sum() / count[mask].sum()
        for flag, mask in ((True, seen_organs), (False, ~seen_organs))}
    said.append(
        f"{title}: AJI {mean[True]['AJI']:.2f} on organs of the training images and {mean[False]['AJI']:.2f} on "
                f"the others, there with pixel precision {mean[False]['pixel P']:.2f} and recall {mean[False]['pixel R']:.2f}")
glue("pp-organs-say", ". ".join(said) if said else "Nothing is recorded yet")
recalls = [organs[title]["pixel R"][~seen_organs].mean() for title in compared_rows
    if title in organs]
back = len(recalls) > 1 and max(recalls[1:]) > recalls[0] + 0.1
glue("pp-recall-say",
    f"Raw colors and varied stains {'bring' if back else 'do not bring'} the recall back.")

# %% [markdown]
# {glue:text}`pp-organs-say`. The first of these, high precision with low recall, means that the network finds only nuclei that look
# like those of its training images: a failure to transfer to new stains. {glue:text}`pp-recall-say` What is left to gain in AJI is the separation of neighbors.
#
# (pp-fine-tuning)=
# ### Does fine-tuning help?
#
# Rows like these share one training with cross-entropy, and vary how hard the dense CRF pulls. More of them stand among the
# [full trainings from random weights](pp-scratch).

# %% tags=["hide-input"]
print(study.not_recorded("dense CRF settings, short"))
study.choices("dense CRF settings, short", list(study.SEGMENTATION),
              ("segmentation, short", "GT points, stain jitter, raw colors"))

# %% tags=["hide-input", "remove-output"]
pairs = {
    "100 + 20 epochs, normalized colors": (("segmentation", "GT points"),
        ("choices in stage 2", "cross-entropy only")),
    "50 + 10 epochs, varied stains": (("segmentation, short",
        "GT points, stain jitter, raw colors"),
                                      ("dense CRF settings, short",
                                          "cross-entropy only")),
    **{f"100 + 20 epochs, varied stains{name}": (
        ("closing the gap, all dots", f"stain jitter, raw colors{name}"),
        ("closing the gap, all dots",
            "stain jitter, raw colors, cross-entropy only"))
       for name in ("", ", dense CRF as strong as on the lattice")},
}
# %% tags=["hide-input", "remove-output"]
said, gained, merged = [], [], []
for title, pair in pairs.items():
    both = [study.our_means(experiment) for experiment, _ in pair]
    if all(row in table.index for table, (_, row) in zip(both, pair)):
        after, before = (table.loc[row] for table, (_, row) in zip(both, pair))
        gained.append(after.aji - before.aji)
        merged.append(after.objects / after.nuclei - before.objects / before.nuclei)
        said.append(
            f"{title}: AJI {after.aji - before.aji:+.3f}, pixel F1 {after.f1_pixel - before.f1_pixel:+.3f}, "
                    f"{before.objects / before.nuclei:.2f} objects per nucleus before and {after.objects / after.nuclei:.2f} after")
glue("pp-tuning-say", "; ".join(said) if said else "nothing is recorded yet")
fewer = sum(bool(fall < 0) for fall in merged)
glue("pp-objects-say", f"In {fewer} of {len(merged)} pairs there are fewer objects afterwards")
glue("pp-tuning-verdict",
    f"AJI rises in {sum(gain > 0.002 for gain in gained)} of the pairs and falls in {sum(gain < -0.002 for gain in gained)} "
    "by more than 0.002; with one seed each, we draw no further conclusion")

# %% [markdown]
# With the published strength, and in the last item with that of the lattice: {glue:text}`pp-tuning-say`. {glue:text}`pp-objects-say`.
# The energy of {eq}`eq-pp-affinity` has no term that keeps two nuclei apart: between neighbors of one color a gap costs energy, a bridge
# does not. {glue:text}`pp-tuning-verdict`.
#
# (pp-what-goes-wrong)=
# ## What goes wrong
#
# ### Blank tissue lights up
#
# After round 0 the network has seen bumps and rings, and nothing else. Here is what it says about a part of a training image (shares are
# those of the whole).

# %% tags=["hide-input"]
areas = [np.sum(sup.confident_background(prob, low=0, high=0.7, area=200))
    for prob in round_0]
k = int(np.argmax(areas))
saturated = sup.confident_background(round_0[k], low=0, high=0.7, area=200)
low = sup.confident_background(round_0[k], low=0.1, high=2, area=200)
corner = busiest(np.argwhere(saturated)[::50] if saturated.any()
    else kept, saturated.shape)
drawn = viz.fill(viz.fill(train[k].image, low, "background", alpha=0.6), saturated,
    "vermilion", alpha=0.8)
glue("pp-saturated", viz.show_panels(
    [viz.outline(train[k].image, train[k].labels), round_0[k], drawn],
    ["true outlines", "probability after round 0", "new background"], crop=corner,
    limits=(0, 1),
))
glue("pp-saturated-share", 100 * float(np.mean(saturated)))
on_nuclei = train[k].labels[saturated] > 0
glue("pp-saturated-wrong", f"{100 * np.mean(on_nuclei):.0f} % of them lie on nuclei"
    if len(on_nuclei) else "there are none here")

# %% [markdown]
# ```{glue:figure} pp-saturated
# :name: fig-pp-saturated
# :alt: Tissue with green outlines, a map of probabilities with bright spots and larger bright areas, and tissue tinted dark blue where the probability is low and orange in large regions where it is high.
#
# Background after round 0: low probability (dark blue) and large regions of high probability (orange). {glue:text}`pp-where`.
# ```
#
# *Cause:* the loss never sees ignored pixels, so any answer is free there. *Cure:* the second condition of
# {eq}`eq-pp-background`. It is a bet. In this image it takes {glue:text}`pp-saturated-share:.1f` % of the pixels;
# {glue:text}`pp-saturated-wrong`. If "large" begins too high (the 380 px of the article), merged nuclei survive as one
# detection; if it begins too low, large nuclei are declared background, and the next network, trained on
# that, tends to confirm it.
#
# ### Patches without a dot
#
# With few dots, many crops hold none. Then $\Omega$ is empty, and {eq}`eq-pp-mse` is 0 / 0. The probability that none of $n$
# nuclei is dotted is about $(1 - \text{ratio})^n$.

# %%
empty = torch.full((1, 1, 4, 4), -1.0)
print("loss of a crop without a dot:",
    float(weighted_mse(torch.rand(1, 1, 4, 4), empty, torch.ones_like(empty))))
for share in (0.05, 0.1, 0.25, 0.5):
    without = [(1 - share) ** n for n in (5, 10, 30)]
    print(f"{100 * share:3g} %: no dot among 5, 10, 30 nuclei:",
        "  ".join(f"{p:.2f}" for p in without))

# %% tags=["hide-input"]
size, share = chosen.crop, 0.05
dots = sup.annotate_dots(train, share, seed)[first].points
rows_of, columns_of = (range(0, length - size + 1, size)
    for length in truth.image.shape[:2])
tinted = truth.image.copy()
for row in rows_of:
    for column in columns_of:
        if not len(viz.crop_points(dots, row, column, size)):
            tinted[row : row + size, column : column + size] //= 2
blank = np.mean([not len(viz.crop_points(dots, row, column, size))
    for row in rows_of for column in columns_of])
glue("pp-blank", viz.show_panels([tinted], points=[dots], width=3.4,
    scale_bar=MICROMETERS))
glue("pp-blank-share", 100 * float(blank))

# %% [markdown]
# ```{glue:figure} pp-blank
# :name: fig-pp-blank
# :alt: A large piece of tissue divided into squares; squares that hold a yellow dot are bright, the others are darkened.
#
# Dots on 5 % of the nuclei of a training image. {glue:text}`pp-blank-share:.0f` % of the squares of the size of a crop hold no
# dot (darkened).
# ```
#
# *Cause:* few dots. *Cure:* divide by at least 1, as `weighted_mse` does, and average over the batch, not over crops. In
# self-training the problem fades, because such crops receive background.
#
# (pp-merging)=
# ### Perfect masks that merge
#
# Table III of the article holds a surprise. The fully supervised network has the best pixel scores on the Multi-Organ
# images, and an AJI of {glue:text}`pp-mo-masks:.2f`, against {glue:text}`pp-mo-dots:.2f` from mere dots.

# %% tags=["hide-input"]
corner = busiest(centers[0], seen.image.shape, 150)
glue("pp-merged", viz.show_matches(
    viz.crop(seen.image, *corner), viz.crop(seen.labels, *corner),
    {row: viz.crop(by_ratio[row][0], *corner)
        for row in ("fully supervised", "GT points")}, width=5.6,
))
merged = metrics.ContingencyTable.from_labels(seen.labels,
    by_ratio["fully supervised"][0])
counts = np.bincount(merged.cols[merged.overlaps > 0.5
    * merged.gt_areas[merged.rows]], minlength=merged.m)
glue("pp-clump", int(counts.max(initial=0)))
ours = pd.concat([study.our_means(name) for name in ("segmentation",
    "segmentation, short", "closing the gap, all dots")])
ours = ours.reindex(columns=["aji"])["aji"].dropna()
masks = ours[ours.index.str.startswith("fully supervised")]
others = ours.drop(masks.index)
glue("pp-masks-say", f"In our records, the best AJI is {masks.max():.3f} from masks and "
    f"{others.max():.3f} from dots" if len(masks) and len(others)
    else "Our rows are not run")

# %% [markdown]
# ```{glue:figure} pp-merged
# :name: fig-pp-merged
# :alt: Two panels of the same tissue with solid outlines of found nuclei, dashed outlines of predictions that match no single nucleus and dotted outlines of missed nuclei.
#
# The same network trained on masks and on dots. In this prediction from masks, one object holds
# {glue:text}`pp-clump` nuclei. {glue:text}`pp-where`.
# ```
#
# *Cause:* a binary mask has no border between nuclei that touch, so the network has none to learn. Voronoi edges put one
# there, right or wrong by a few pixels. *Cure:* separate afterwards, or cut the masks along Voronoi edges before training
# (declared in [From random weights](pp-scratch)). The lesson is about metrics as well: in the article this "upper bound" is none.
# {glue:text}`pp-masks-say`.
#
# Three more failures have no figure here. The roles of two clusters can be exchanged, without any warning
# ([the liver image](from-dots-to-labels.ipynb)). The "gaps" in the text of the article are *relative*: its
# {glue:text}`pp-gap-relative:.1f` % of accuracy on Multi-Organ is a difference of {glue:text}`pp-gap:.4f`. And an epoch that was chosen on test images flatters every row alike.
#
# ### On real tissue, in a minute

# %% tags=["hide-input"]
if "monuseg" in available() and name == "synthetic-he":
    real = [live.windows("monuseg", split, count, side) for split, count, side in
            (("train", 4, chosen.sides[0]), ("val", 1, chosen.sides[1]),
                ("test", 2, chosen.sides[1]))]
    with live.workplace("partial-points", profile) as folder:
        on_real = PartialPoints(all_dots).fit(
            sup.annotate_dots(real[0], 1.0, seed), real[1], run_dir=folder,
            fabric=runner, progress=False)
    panels = [picture for sample in real[2] for picture in (
        viz.outline(sample.image, sample.labels, width=2),
        viz.outline(sample.image, on_real.predict(sample.image), "prediction", 2))]
    scores = [metrics.aji(sample.labels, on_real.predict(sample.image))
        for sample in real[2]]
    figure = viz.show_panels(panels, ["truth", "prediction"] * 2,
        scale_bar=MICROMETERS)
    said = f"AJI {scores[0]:.2f} and {scores[1]:.2f}; quick run, real tissue"
else:
    figure, axis = plt.subplots(figsize=(viz.PAGE_WIDTH, 1))
    axis.text(0.5, 0.5, "no real images here, or all of this page is about them",
        ha="center", va="center")
    axis.set_axis_off()
    said = "Not drawn in this run"
glue("pp-real", figure)
glue("pp-real-says", said)

# %% [markdown]
# ```{glue:figure} pp-real
# :name: fig-pp-real
# :alt: Two pieces of real tissue, each once with green true outlines and once with orange predicted ones; or a note that there are no real images here.
#
# Stage 2 from all dots of four small pieces of MoNuSeg, on pieces of two test images. {glue:text}`pp-real-says`.
# ```
#
# ## Exercises
#
# ```{exercise-start}
# :label: ex-partial-points-1
# ```
# **Fill in one line.** The release draws the dots *with replacement*. What share of the dots does a draw of 10 % keep, on
# average, of 600 nuclei? Expected output: a number a little below 0.1.
# ```{exercise-end}
# ```

# %%
kept_share = ...  # your line here

# %% [markdown]
# ```{solution-start} ex-partial-points-1
# :label: sol-partial-points-1
# :class: dropdown
# ```
# A nucleus is missed by one draw with probability $1 - 1/600$, and there are 60 draws.

# %% tags=["solution"]
kept_share = 1 - (1 - 1 / 600) ** 60
drawn = [len(sup.sample_points(np.arange(1200).reshape(-1, 2), 0.1, k,
    replace=True)) / 600 for k in range(20)]
print(f"computed {kept_share:.4f}, mean of 20 draws {np.mean(drawn):.4f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start}
# :label: ex-partial-points-2
# ```
# **Change one choice and explain.** The article gives no number for the threshold that turns probabilities into dots; the
# release has 0.35. Compute precision and recall on `truth`, the training image from above, for thresholds from 0.1 to 0.8. Which end favors
# precision, and why does the area filter spoil the other end? Expected output: one line for each threshold.
# ```{exercise-end}
# ```

# %%
# use maps["center"] and points_from_map
thresholds = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8)

# %% [markdown]
# ```{solution-start} ex-partial-points-2
# :label: sol-partial-points-2
# :class: dropdown
# ```
# A high threshold keeps sure peaks only, after a short training next to none; the precision of no dots is printed as 0. A low one lets
# neighboring bumps grow together; the joint region is one dot for two nuclei, or larger than 200 px and dropped altogether. What is left
# then may lie outside of nuclei.

# %% tags=["solution"]
all_centers = sup.box_centers(truth.labels)
for threshold in thresholds:
    points = points_from_map(maps["center"], threshold, detector.min_area,
        detector.max_area)
    s = metrics.detection_scores(all_centers, points, detector.r1)
    print(f"{threshold:4}: {len(points):4} dots, precision {s.precision:.2f}, recall {s.recall:.2f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start}
# :label: ex-partial-points-3
# ```
# **Open-ended.** The detector is thrown away after training, although it knows where nuclei are. Use it at test time to
# separate what the segmenter merged. Judge by the AJI of all test images. Expected output: AJI before and after.
# ```{exercise-end}
# ```

# %%
# your code here: method.predict, method.detect, sup.voronoi_edges

# %% [markdown]
# ```{solution-start} ex-partial-points-3
# :label: sol-partial-points-3
# :class: dropdown
# ```
# One way: cut the prediction along the Voronoi edges of the detections. Edges cost two pixels of each nucleus they touch, and
# a false detection splits a nucleus, so the gain depends on the detector. The next chapter, split and expand, does this with
# more care.

# %% tags=["solution"]
before, after = [], []
for sample in test:
    labels, points = method.predict(sample.image), method.detect(sample.image)
    cut = np.where(sup.voronoi_edges(points, labels.shape), 0,
        labels) if len(points) else labels
    before.append(metrics.aji(sample.labels, labels))
    after.append(metrics.aji(sample.labels, components(cut > 0, min_size=20)))
print(f"AJI {np.mean(before):.3f} before, {np.mean(after):.3f} after")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## Quiz
#
# **Question 1.** Why does ST-bg not simply add its detections as new dots?
#
# ```{dropdown} A false nucleus would be trained with the weight of a true one
# Yes. Among the new dots of an early detector many are false, and the next round learns to find more like them. Background is
# easier to tell.
# ```
#
# ```{dropdown} There would be too many dots for the mask
# No. The mask takes any number of dots; Full uses all of them.
# ```
#
# ```{dropdown} The detector cannot run on training images
# No. Both kinds of self-training run it on them after each round.
# ```
#
# **Question 2.** The loss of {eq}`eq-pp-mse` is divided by $|\Omega|$. What would change if it were divided by the sum of the
# weights?
#
# ```{dropdown} Nothing, a factor does not matter
# No. The sum of weights differs from batch to batch, so batches with many dots would count less than they do now.
# ```
#
# ```{dropdown} Batches with many dots would weigh less
# Yes. They have a larger sum of weights. The number of pixels hardly knows about the weights.
# ```
#
# ```{dropdown} The ignored pixels would come in
# No. They are left out of both sums.
# ```
#
# **Question 3.** A network trained on Voronoi labels alone ($\alpha = 1$) gives small nuclei. Why?
#
# ```{dropdown} Its nuclei pixels are disks of radius 2, and nothing tells it where nuclei end
# Yes. The rest of each cell is ignored, and between disk and edge the network is free.
# ```
#
# ```{dropdown} The edges are too wide
# No. They are two pixels wide, and far from most outlines.
# ```
#
# ```{dropdown} Small components are dropped
# No. Only those below 20 px are, and dropping does not shrink the others.
# ```
#
# **Question 4.** In Table III of the article, masks give the better pixel F1 and the worse AJI on Multi-Organ images. What is
# the reason?
#
# ```{dropdown} The masks are less exact than the dots
# No. The pixel scores of masks are better.
# ```
#
# ```{dropdown} Nuclei that touch come out as one object
# Yes. Pixels stay right, objects merge, and no step separates them. The weak labels contain edges that do.
# ```
#
# ```{dropdown} AJI is not defined for masks
# No. It is computed from instance maps, and components of a mask are one.
# ```
#
# **Question 5.** Why must colors be taken back to [0, 1] before the dense CRF loss?
#
# ```{dropdown} Negative numbers have no color difference
# No. Differences of standardized colors exist; they are only on another scale.
# ```
#
# ```{dropdown} The widths of the article are on that scale
# Yes. A width of 0.1 means a tenth of the range. On standardized colors, which spread over several units, hardly any two
# pixels would count as alike.
# ```
#
# ```{dropdown} It makes the sum faster
# No. The number of pairs is the same.
# ```
#
# ## Summary
#
# A few dots are enough to start a detector, if the rest of the image is ignored. Self-training then fills in what is easier to
# know, the background. All dots together make two labels whose errors differ, and a network that learns from both outlines
# nuclei and keeps them apart. {glue:text}`pp-verdict`. The rows on choices are there to say where a difference comes from.
# What is still missing is a way to separate nuclei that merge: that is the subject of split and expand.
#
# ## Bibliography
#
# ```{bibliography}
# :filter: docname in docnames
# ```
