# %% [markdown]
# (canonical-shape)=
# # Canonical shape
#
# *Paper:* {cite:t}`costa2022` · *Supervision:* one mask of all nuclei together, and their number · *Card:* synthetic fluorescence
# live (quick), BBBC038 in the study; about three minutes on two CPU cores (quick), the published settings need a GPU (full);
# functions used: `nucseg.methods.CanonicalShape`, `nucseg.models`, `nucseg.postprocess.merge_contained`, `nucseg.metrics`.
#
# A mask says which pixels are nucleus, not where one nucleus ends and the next begins. Can a network that sees nothing but such
# masks tell nuclei apart? It can if it may only paint with one brush: a single learned shape, placed again and again. Where,
# how large, how it is turned, and whether it is there at all are six numbers for each nucleus, and they can be read.
#
# ```{glue:figure} cs-success
# :name: fig-cs-success
# :alt: Five panels of the same bright nuclei on black: the picture, the true nuclei in colors, and the outlines of predicted shapes for three variants; with the count there is about one outline for each nucleus.
#
# From left to right: picture, true nuclei, what the masks alone teach, with the number of nuclei as well, and after contained shapes
# were merged (Fig. 2 of the article). Neighbors have different colors. {glue:text}`cs-where`.
# ```
#
# ## What you will learn
#
# - to write a shape as a function of coordinates, and to place it by an affine map
# - to combine many shapes into one mask, and to see who gets the gradient
# - to see what the number of nuclei adds to their mask
# - to merge instances by a rule that is neither symmetric nor transitive
# - to ask what a score is worth: what would the truth itself reach?
#
# ## Before you start
#
# From [Measuring segmentation](measuring-segmentation.ipynb) you need {term}`IoU`, {term}`Dice` and F1 at a threshold of the IoU.
# You should know what a linear map does to a circle. Allow 30 minutes. No other chapter of a paper is needed.
#
# ## Key takeaways
#
# - The shape has 88 parameters and never sees an image; all that the encoder says of a nucleus is six numbers
#   ([the shape](cs-shape)).
# - Only the likeliest instance at a pixel learns from it ([many shapes, one mask](cs-combine)).
# - On whole images of the live run, the count turns {glue:text}`cs-objects-without` objects into {glue:text}`cs-objects-with`, where
#   {glue:text}`cs-nuclei` nuclei are; [results](cs-results) counts by patches.
# - An ellipse in place of each true nucleus would reach an F1 of {glue:text}`cs-ceiling-ellipse:.3f` at IoU 0.5; there, the shape is
#   not what limits the method ([what could be reached](cs-ceilings)).
# - The connected parts of the *true* mask alone reach {glue:text}`cs-ceiling-parts:.2f`; the article's best row, on other test images,
#   is {glue:text}`cs-paper-best:.2f` ([what could be reached](cs-ceilings)).

# %% tags=["parameters"]
profile = "full"  # "full": published settings; "quick": small settings from workflow/profiles/quick.yaml
seed = 0  # seed of every random choice
dataset = "bbbc038"  # Costa et al. 2022, sec. 3.1
images = (597, 67, 65)  # for training, validation and test; the article has 670, 65 and 106 (sec. 3.1)
patch = 128  # px, side of patches, sec. 3.1
grids = (32, 128)  # places along a side of a patch, in training and in prediction, sec. 3.2
backbone = "resnet50"  # of the encoder; the article says that it is like that of DeepLabV3
start = "disk"  # what the shape is before training; our choice, see "What goes wrong"
scale = 3.3  # of the affine maps before training; our choice, the median nucleus at 128 px
expected = 5.8  # instances in a patch before training; our choice, the mean of the dataset
training = (50, 32, 1e-2)  # epochs and highest learning rate (sec. 2.3), batch (our choice)
crops = None  # in an epoch; as many as tiles cover the images
weights = None  # of the encoder: random; the article does not say

# %% tags=["hide-input"]
import logging
from contextlib import ExitStack
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import HTML

# %% tags=["hide-input"]
from nucseg import viz
from nucseg.data import available, load_dataset
from nucseg.engine import fabric
from nucseg.losses.shapes import log1mexp
from nucseg.methods import CanonicalShape, CanonicalShapeConfig
from nucseg.methods.canonical_shape import PlacedShapes, render_masks
from nucseg.models import EncoderConfig, ImplicitShape, ShapeFamily
from nucseg.models.canonical_shape import grid_places, log_likelihood, winners
from nucseg.postprocess import InstanceMasks, components, containment_groups
from nucseg.study import canonical_shape_figures as study
from nucseg.study import live
from nucseg.study.chapter import glue, settings
from nucseg.study.measures.canonical_shape import Scores, describe_shapes, score_image, training_sets
from nucseg.study.measures.shape_ceilings import drawn, parted
from nucseg.study.recorded import missing, side_by_side
from nucseg.study.tables import published

# %% tags=["hide-input"]
chosen = settings(
    "canonical-shape", profile, dataset=dataset, images=images, patch=patch,
    grids=grids, backbone=backbone, start=start,
    scale=scale, expected=expected, training=training, crops=crops, weights=weights,
)
viz.use_style()
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
name = chosen.dataset if chosen.dataset in available() else "synthetic-fluorescence"
real = name == "bbbc038"
train, val = training_sets(name)
test = load_dataset(name, "stage1_test",
    scheme="stages") if real else load_dataset(name, "test")
train, val, test = (part[:count] for part, count in zip((train, val, test),
    chosen.images))
where = f"{'Quick' if profile == 'quick' else 'Full'} run, {'real' if real else 'synthetic'} images"
glue("cs-where", where)

# %% [markdown]
# ## The idea in one picture
#
# Two trainings: with the masks alone (the article's "Ours"), and with the number of nuclei in each patch as well ($\mathcal{L}_{cnt}$).

# %%
epochs, batch, rate = chosen.training
encoder = EncoderConfig(
    backbone=chosen.backbone, weights=chosen.weights, scale=chosen.scale,
    expected=chosen.expected
)
config = CanonicalShapeConfig(
    encoder=encoder, shape=chosen.start, patch=chosen.patch, grid=chosen.grids[0],
    test_grid=chosen.grids[1],
    epochs=epochs, batch=batch, learning_rate=rate, crops=chosen.crops,
    validate_every=min(5, epochs), seed=seed,
)
place = ExitStack()
folder = place.enter_context(live.workplace("canonical-shape", profile))
methods = {}
for title, alpha in {"masks": 0.0, "masks and counts": 0.01}.items():
    one = CanonicalShape(replace(config, count_weight=alpha))
    methods[title] = one.fit(train, val, run_dir=folder, fabric=fabric(),
        progress=False)

# %% tags=["hide-input", "remove-output"]
defaults = CanonicalShapeConfig()
published_encoder = replace(defaults.encoder, weights=chosen.weights)
# the library's defaults
assert profile != "full" or config == replace(defaults, encoder=published_encoder,
    seed=seed)
steps = len(methods["masks"].histories["shapes"].epochs) * -(-(chosen.crops
    or 0) // batch)
glue("cs-size",
    f"{len(train)} training images, patches of {chosen.patch} px, a {chosen.backbone}, {epochs} epochs"
     + (f" of {chosen.crops} patches ({steps} steps)" if chosen.crops else ""))

# %% [markdown]
# On the page you read, the settings are those of the profile: {glue:text}`cs-size`.

# %% tags=["hide-input"]
both = methods["masks and counts"]
ways = {
    "masks": study.variant(methods["masks"], merge=False),
    "masks and counts": study.variant(both, merge=False),
    "and merged": study.variant(both, merge=True),
}
found = {title: {s.id: method.predict_masks(s.image) for s in test[:8]}
    for title, method in ways.items()}
seen = max(test[:8], key=lambda s: len(np.unique(s.labels)))
VIEW = min(160, *seen.labels.shape)
window = (*((length - VIEW) // 2 for length in seen.labels.shape), VIEW)
pictures = {"image": seen.image, "truth": viz.instance_colors(seen.labels)}
pictures |= {title: viz.instance_colors(masks[seen.id].labels())
    for title, masks in found.items()}
glue("cs-success", viz.show_panels(pictures.values(), pictures, crop=window,
    columns=5))
for key, title in (("without", "masks"), ("with", "masks and counts")):
    glue(f"cs-objects-{key}", sum(len(masks) for masks in found[title].values()))
glue("cs-nuclei", sum(len(np.unique(s.labels)) - 1 for s in test[:8]))

# %% [markdown]
# The way from picture to mask (Fig. 1 of the article), for one patch:

# %% tags=["hide-input"]
top, left = (max(0, (length - chosen.patch) // 2) for length in seen.labels.shape)
piece = np.ascontiguousarray(seen.image[top : top + chosen.patch, left : left
    + chosen.patch])
(view,) = [p for p in both.predict_patches(piece)]
placed = both.predict_shapes(piece)
network = both.networks["shapes"]
radius = describe_shapes(network.shape.shapes)[0]["area_radius"]
apart = render_masks(network.shape, placed, piece.shape[:2])
single = apart.chosen(np.argsort(-apart.areas)[:1])
glue("cs-flow", viz.show_flow([
    [("a patch", piece), ("where instances\nare present", piece, placed.centers),
     ("one of the masks", single.stack().any(axis=0).astype(float)),
     ("the likeliest\nat each pixel", view.prob),
     ("truth", (seen.labels[top : top + chosen.patch, left : left
         + chosen.patch] > 0).astype(float))],
]))

# %% [markdown]
# ```{glue:figure} cs-flow
# :name: fig-cs-flow
# :alt: Five panels joined by arrows: a patch with bright nuclei; the same with a dot in each; one white ellipse on black; a map of soft bright ellipses; the true mask.
#
# The method (Fig. 1 of the article). The encoder says which of its instances are present, and where; each is the canonical shape seen
# through its own map; the maximum of all is compared with the true mask. {glue:text}`cs-where`.
# ```
#
# (cs-shape)=
# ## A shape that knows no image
#
# The {term}`canonical shape` is a function. Give it a place $(x, y)$ and it says how likely the place is part of the shape:
#
# ```{math}
# :label: eq-cs-shape
# \log p(s \mid x, y, r) = -\operatorname{softplus}\big(a(x, y, r)\big), \qquad r = \sqrt{x^2 + y^2},
# ```
#
# where $a$ is a perceptron with layers of 8, 4 and 1 outputs that gets $(x, y, r)$ again after each of the first two. Since it is a
# function and not a picture, it can be sampled at any resolution and at any place.

# %%
shape = ImplicitShape()
print("parameters:", [sum(p.numel() for p in layer.parameters())
    for layer in shape.layers],
      "together", sum(p.numel() for p in shape.parameters()))

# %% [markdown]
# What will it become? The article finds a circle, although nuclei are ellipses. One can see why without any encoder. Take true nuclei,
# undo each one's own place, size and direction, and let the function learn the rest.
#
# ```{admonition} Predict, then run
# :class: tip
# The map of each nucleus is taken from its own moments, so its long axis and its short axis become equal. What is left of nuclei that
# all are ellipses? And of the corners of squares that lie in all directions?
# ```

# %%
def canonical_places(mask):
    """Return coordinates of all pixels in which the moments of a mask are those of a disk of radius 1/2."""
    inside = np.argwhere(mask)
    cholesky = np.linalg.cholesky(np.linalg.inv(np.cov(inside.T)))
    every = np.argwhere(np.ones_like(mask)) - inside.mean(0)
    return every[:, ::-1] @ cholesky[::-1, ::-1] / 4, mask.ravel()


# %%
def learn_shape(places, target, start, steps=800):
    """Fit a canonical shape, from random weights, to masks whose maps are known; return it and its loss."""
    torch.manual_seed(start)
    shape = ImplicitShape()
    optimizer = torch.optim.Adam(shape.parameters(), lr=0.05)
    for _ in range(steps):
        log_p = shape(places[:, 0], places[:, 1])
        loss = -(target * log_p + (1 - target) * log1mexp(log_p)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return shape, loss.item()


def learn_shapes(masks, starts=3):
    """Return the shapes learned from several random starts, the one of the lowest loss first, and their losses."""
    parts = [canonical_places(mask) for mask in masks]
    places, target = (torch.tensor(np.concatenate(part), dtype=torch.float32)
        for part in zip(*parts))
    near = places.abs().amax(dim=1) < 1
    found = [learn_shape(places[near], target[near], seed + start)
        for start in range(starts)]
    return sorted(found, key=lambda pair: pair[1])


# %% tags=["hide-input"]
def cut_out(labels, side=24, least=60, most=40):
    """Return windows around nuclei, each a mask of one of them that does not reach the border."""
    masks = []
    for number in np.unique(labels[labels > 0]):
        mask = np.pad(labels == number, side)
        row, column = np.argwhere(mask).mean(0).astype(int)
        mask = mask[row - side : row + side, column - side : column + side]
        border = mask[[0, -1]].any() or mask[:, [0, -1]].any()
        masks += [mask] if mask.sum() >= least and not border else []
    return masks[:most]


# %% tags=["hide-input"]
rng = np.random.default_rng(seed)
nuclei = [mask for sample in train[:2] for mask in cut_out(sample.labels)]
across = np.stack(np.meshgrid(np.arange(48) - 24, np.arange(48) - 24), -1)
squares = []
for angle in rng.uniform(0, np.pi / 2, 40):
    turn = np.array([[np.cos(angle), -np.sin(angle)],
        [np.sin(angle), np.cos(angle)]])
    squares.append(np.abs(across @ turn).max(-1) < 10)
upright = [np.abs(across).max(-1) < half for half in range(6, 16)]
learned = {"true nuclei": learn_shapes(nuclei),
    "squares,\nall directions": learn_shapes(squares),
           "squares,\none direction": learn_shapes(upright)}
glue("cs-learned", study.show_shapes({title: pairs[0][0]
    for title, pairs in learned.items()}, (16, 64, 256)))
(round_one,) = describe_shapes([learned["true nuclei"][0][0]])
glue("cs-learned-losses", ", ".join(f"{loss:.3f}"
    for _, loss in learned["squares,\none direction"]))
glue("cs-learned-eccentricity", round_one["eccentricity"])
glue("cs-learned-radius", round_one["area_radius"])

# %% [markdown]
# ```{glue:figure} cs-learned
# :name: fig-cs-learned
# :alt: Three rows of three pictures at growing resolution. The first two rows show a white disk on black, the last a white square with slightly rounded corners.
#
# Shapes learned from random weights when every object's own map is known, sampled at three resolutions; of three starts, the one
# with the lowest loss. First row: true nuclei; then squares turned in all directions; then squares that are not turned.
# ```
#
# The nuclei become a disk of radius {glue:text}`cs-learned-radius:.2f` and eccentricity {glue:text}`cs-learned-eccentricity:.2f` (0 is a
# circle). Nothing about it is learned from biology: whatever the maps can take away, the shape need not keep, and lower triangular
# maps take away every ellipse. Objects with corners in all directions average to nearly a disk, too. Only what all objects share *in
# their own coordinates* stays. The square is the hard one: its three starts ended with losses of
# {glue:text}`cs-learned-losses` nats per place. A disk is near at hand, because $r$ is an input.
#
# ## Placing it
#
# Instance $i$ is the shape seen through its own {term}`affine map` (eq. 1 of the article):
#
# ```{math}
# :label: eq-cs-affine
# X' = L_i X + t_i, \qquad L_i = \begin{pmatrix} l_{11} & 0 \\ l_{21} & l_{22} \end{pmatrix}, \quad l_{11}, l_{22} > 0 .
# ```
#
# It leads *from the image to the shape*, so a larger $L$ makes a smaller nucleus. A disk of radius $\rho$ becomes the ellipse
# $\{X : |L X + t| < \rho\}$ with its center at $-L^{-1} t$; its semi-axes are $\rho$ divided by the singular values of $L$. Every ellipse can be
# reached so, each in one way only.

# %%
sheared = PlacedShapes(
    centers=np.array([[30.0, 40.0], [30.0, 100.0], [30.0, 160.0]]),
    presence=np.ones(3), mixture=np.zeros((3, 1)),
    linear=np.array([[[0.025, 0], [0, 0.025]], [[0.05, 0], [0, 0.025]],
        [[0.025, 0], [0.025, 0.025]]]),
)
table = pd.DataFrame(np.column_stack([sheared.centers, sheared.semi_axes(0.5),
    sheared.angles()]),
                     ["a disk", "larger l11", "with l21"],
                     ["row", "column", "major (px)", "minor (px)", "angle (°)"])
table.round(1)

# %% [markdown]
# The other way round: what do the numbers of a real prediction look like? Here the disk of the network leaves the middle of the
# picture and becomes each nucleus of the test image above. (It moves twice; without animation you see the end.)

# %% tags=["hide-input"]
HTML(study.moving_picture(both.predict_shapes(seen.image), seen.image.shape[:2],
    radius))

# %% [markdown]
# Where is the encoder's own freedom? For each cell of 16 x 16 pixels it gives two instances, each with three numbers for $L$, two for the
# center, and one for whether it is there at all, $p(z)$. The article lets $t$ take "any real value" and says no more. A network of
# convolutions sees the same picture in every cell and cannot know *which* cell it looks at, so by default we let it say an offset $d$
# from the middle of the cell, and compute $t = -L c$ from the center $c$. Reading $t$ off directly, with or without coordinates as
# extra channels, can be chosen (`anchor`).
#
# (cs-combine)=
# ## Many shapes, one mask
#
# There is one true mask, so the instances have to be combined into one (eq. 2 of the article):
#
# ```{math}
# :label: eq-cs-combine
# p(y \mid I) = \max_{1 \le i \le N} p(s_i \mid x'_i, y'_i, r'_i) \, p(z_i) .
# ```
#
# The maximum has a price: at each pixel, only the winner gets a gradient. An instance that wins nowhere learns nothing from the
# mask. It has a use, too. Since the others do not matter, one can look for the winners without keeping anything for the backward pass,
# and then compute the winners once more with it:

# %%
pixels = torch.from_numpy(piece).permute(2, 0, 1)[None].float() / 255
with torch.inference_mode():
    transforms = network.encoder(both.preprocessing.standardize(pixels))
    places = grid_places(chosen.grids[0]).reshape(-1, 2)
    every = log_likelihood(network.shape, transforms, places)
    winner = winners(network.shape, transforms, places)
assert torch.equal(every.argmax(dim=1), winner)
instances, alive = every.shape[1], len(winner.unique())
print(f"{instances} instances at {every.shape[2]} places: {every.numel()} likelihoods, {winner.numel()} kept for "
      f"the backward pass; {alive} instances win somewhere")

# %% [markdown]
# The maximum is taken of logarithms, $\log p(s_i) + \log p(z_i)$, and $\log(1 - p(y))$, which the cross-entropy needs, is
# $\log(1 - e^{v})$, computed so that no digit is lost for $v$ near 0 (`log1mexp`).
#
# The loss is the cross-entropy, plus the smooth Dice loss, plus the squared error of the count (eq. 3):
#
# ```{math}
# :label: eq-cs-loss
# \mathcal{L} = \mathcal{L}_{BCE} + \mathcal{L}_{Dice} + \alpha \, \mathcal{L}_{cnt}, \qquad
# \mathcal{L}_{cnt} = \Big( \sum_i p(z_i) - K \Big)^2, \quad \alpha = 0.01 .
# ```
#
# ```{admonition} Predict, then run
# :class: tip
# Before training, an untrained network would say $p(z) = 1/2$ for all instances. How large is $\alpha \mathcal{L}_{cnt}$ then, in a patch with
# $K$ nuclei? What will the network do first?
# ```

# %%
K = len(np.unique(seen.labels[top : top + chosen.patch, left : left
    + chosen.patch])) - 1
naive, started = (0.01 * (total - K) ** 2
    for total in (instances / 2, chosen.expected))
print(f"K = {K}: {naive:.2f} from p(z) = 1/2, {started:.2f} from our start; cross-entropy of saying 1/2: {np.log(2):.2f}")

# %% [markdown]
# From one half, the count alone would push all instances out of the picture before any shape is there. So training starts with the
# bias at which the sum of $p(z)$ is what patches have on average.
#
# ## From shapes to nuclei
#
# An instance is kept if $p(z) > 1/2$, and its mask is where $p(s) p(z) > 1/2$. Masks may overlap. Then comes the step that the article
# calls +P: a bigger mask $b$ and a smaller one $m$ belong together if
#
# ```{math}
# :label: eq-cs-merge
# \frac{|b \cap m|}{|m|} \ge \frac{1}{2} .
# ```
#
# Three masks are enough to see that this is no equivalence. The middle one overlaps both others, which do not overlap each other:

# %%
rows, columns = np.indices((24, 60))
chain = np.stack([np.hypot(rows - 12, columns - c) < r
    for c, r in ((16, 11), (25, 8), (32, 6))])
masks = InstanceMasks.from_stack(chain)
for order in ("leader", "union", "closure"):
    print(f"{order:<8} groups {containment_groups(masks, order=order).tolist()}")

# %% tags=["hide-input"]
figure, axes = plt.subplots(1, 4, figsize=(viz.PAGE_WIDTH, 1.3),
    layout="constrained")
for axis, order in zip(axes, (None, "leader", "union", "closure")):
    group = np.arange(3) if order is None else containment_groups(masks,
        order=order)
    axis.imshow(viz.instance_colors(masks.grouped(group).labels(), gap=0))
    for mask in chain:
        axis.contour(mask, [0.5], colors="black", linewidths=0.8)
    axis.set_title(order or "three masks", fontsize=9)
    axis.set_axis_off()
glue("cs-merge", figure)

# %% [markdown]
# ```{glue:figure} cs-merge
# :name: fig-cs-merge
# :alt: Four pictures of three overlapping disks in a row, outlined in black. In the first each has its own color; in the others some of them share a color.
#
# A chain of masks under three readings of the rule. "Leader" (our default): from the largest down, each joins a mask that leads, whose
# own pixels decide. "Union": a leader's mask grows with those that join. "Closure": all chains.
# ```
#
# The union of all masks is the same before and after, so scores of the foreground do not change.
#
# (cs-ceilings)=
# ## What could be reached
#
# Before any training: how well would the *truth* score if it were drawn with one shape? And how well do simple rules find instances in
# the *true* mask? Both are measured on the test images of the study.

# %% tags=["hide-input"]
ceilings = study.pooled("ceilings")
glue("cs-ceiling-ellipse", float(ceilings.f1_50["moment ellipses"]))
glue("cs-ceiling-mean", float(ceilings.f1_mean["moment ellipses"]))
glue("cs-ceiling-parts", float(ceilings.f1_50["connected components"]))
glue("cs-ceiling-shed", float(ceilings.f1_50["watershed"]))
printed = published("costa2022").query("metric == 'f1_50'").set_index("row").value
glue("cs-paper-best", float(printed["Ours + L_cnt + P, 128"]))
ceilings.rename(columns=study.NAMES).rename_axis("made of the truth").style.format(
    precision=3)

# %% tags=["hide-input"]
figure, axes = plt.subplots(1, 4, figsize=(viz.PAGE_WIDTH, 1.9),
    layout="constrained")
part = viz.crop(seen.labels, *window)
stages = {"truth": part,
    "moment ellipses": InstanceMasks.from_stack(drawn(part)).labels(),
          "components\nof the mask": components(part > 0),
          "watershed\nof the mask": parted(part > 0)}
for axis, (title, labels) in zip(axes, stages.items()):
    axis.imshow(viz.instance_colors(labels))
    axis.set_title(title, fontsize=9)
    axis.set_axis_off()
glue("cs-ceilings-picture", figure)

# %% [markdown]
# ```{glue:figure} cs-ceilings-picture
# :name: fig-cs-ceilings-picture
# :alt: Four pictures of the same nuclei in colors: their true outlines, smooth ellipses in their place, connected parts in which touching nuclei share a color, and parts cut by straight lines.
#
# True nuclei; the ellipses with their moments; what the connected parts of the true mask are; and what a watershed on the distance
# to the background makes of it.
# ```
#
# Two things follow. At an IoU of 0.5 ellipses are enough: F1 is {glue:text}`cs-ceiling-ellipse:.3f`, so there, what the method loses it
# loses in finding, parting and fitting nuclei. Over all ten thresholds an ellipse has a mean F1 of {glue:text}`cs-ceiling-mean:.3f`, so at the
# strict ones it limits as well. And a number such as the article's {glue:text}`cs-paper-best:.3f` needs a companion: the components of
# the true mask, which know nothing of instances, have {glue:text}`cs-ceiling-parts:.3f`, a watershed {glue:text}`cs-ceiling-shed:.3f`. The article shows no such row. Any method that learns from
# the same masks should be compared with a good mask and a simple rule.
#
# ## Reading the numbers
#
# The encoder says size and direction of each nucleus outright. Are they right? The true ones come from moments.

# %% tags=["hide-input"]
own, true = [], []
for sample in test[:8]:
    shapes = both.predict_shapes(sample.image)
    own.append(np.column_stack([shapes.semi_axes(radius), shapes.angles()]))
    true.append(study.true_axes(sample.labels))
own, true = np.concatenate(own), np.concatenate(true)
figure, axes = plt.subplots(1, 3, figsize=(viz.PAGE_WIDTH, 2.2), layout="constrained")
titles = ("major semi-axis (px)", "minor semi-axis (px)", "angle of the major axis (°)")
for column, (axis, title) in enumerate(zip(axes, titles)):
    values = [part[part[:, 0] > 1.2 * part[:, 1], 2] if column == 2 else part[:, column] for part in (true, own)]
    high = 180 if column == 2 else np.percentile(np.concatenate(values), 99)
    for data, style in zip(values, ({"color": viz.CYCLE[0], "label": "truth"},
                                    {"color": viz.CYCLE[1], "label": "predicted", "linestyle": "--"})):
        axis.hist(data, np.linspace(0, high, 13), density=True, histtype="step", linewidth=1.6, **style)
    axis.set_xlabel(title)
    axis.set_yticks([])
axes[0].legend(frameon=False, fontsize=8)
glue("cs-axes", figure)
glue("cs-axes-medians", f"{np.median(own[:, 0]):.1f} and {np.median(own[:, 1]):.1f} px predicted, "
     f"{np.median(true[:, 0]):.1f} and {np.median(true[:, 1]):.1f} px true")

# %% [markdown]
# ```{glue:figure} cs-axes
# :name: fig-cs-axes
# :alt: Three histograms, each with a solid line for true nuclei and a dashed line for predicted ones: major semi-axis, minor semi-axis, and angle.
#
# Axes and angles of predicted instances and of true nuclei (their moments). Angles of nuclei that are at least 1.2 times as long as
# wide; 0 is along a row, 90 along a column. {glue:text}`cs-where`.
# ```
#
# Medians of the semi-axes: {glue:text}`cs-axes-medians`. Where the angles pile up at 0, 90 and 180 degrees, $l_{21}$ has hardly been
# learned: with $L$ diagonal, an ellipse lies along a row or a column, and for nuclei that are nearly round the mask asks for no more. And since the numbers *are* the prediction, a reader can change one and draw
# again. Here every instance is made larger by a fifth, which no network has to agree to:

# %%
larger = replace(placed, linear=placed.linear / 1.2)
before, after = (render_masks(network.shape, p, piece.shape[:2]).areas.sum()
    for p in (placed, larger))
print(f"pixels of all masks: {before}, and {after} after the change ({after / max(before, 1):.2f} times as many; 1.2 x 1.2 = 1.44)")

# %% [markdown]
# (cs-results)=
# ## Results
#
# Every patch is an image of its own, as in the article: a nucleus cut by the border of a patch is an instance in each. Pixels are counted
# over all patches, and so are matched, missed and surplus instances. Predicted masks are matched whole, also where they overlap.
# "Sum of p(z)" is the expected number of instances in all patches, "error of the count" the mean absolute difference between it and the
# nuclei of a patch.

# %% tags=["hide-input"]
COLUMNS = (*study.METRICS, "nuclei", "objects", "expected", "count_error")
lines, curves = {}, {}
for title, method in {"Ours": methods["masks"], "Ours + L_cnt": both}.items():
    for label, changes in {f"{title}, {chosen.grids[0]}": {"merge": False,
            "test_grid": chosen.grids[0]},
                           f"{title}, {chosen.grids[1]}": {"merge": False},
                           f"{title} + P, {chosen.grids[1]}": {
                               "merge": True}}.items():
        scores, way = Scores(), study.variant(method, **changes)
        for sample in test[:8]:
            scores.add(score_image(way, sample))
        values = scores.metrics()
        lines[label] = [values[column] for column in COLUMNS]
        curves[label] = [values[f"f1_{t}"] for t in range(10, 101, 10)]
results = pd.DataFrame.from_dict(lines, orient="index", columns=COLUMNS)
results.rename(columns=study.NAMES).rename_axis(f"{where}, grid").style.format(
    precision=3).format(precision=0, subset=["nuclei", "objects", "sum of p(z)"])

# %% tags=["hide-input"]
fine = chosen.grids[1]
gain = {title: results.f1_50[f"{title} + P, {fine}"]
    - results.f1_50[f"{title}, {fine}"] for title in ("Ours", "Ours + L_cnt")}
count = results.f1_50[f"Ours + L_cnt, {fine}"] - results.f1_50[f"Ours, {fine}"]
glue("cs-live-say",
    f"Here the count changes F1 at 0.5 by {count:+.3f}; merging by {gain['Ours']:+.3f} without it and by "
     f"{gain['Ours + L_cnt']:+.3f} with it. The foreground is the same before and after merging (IoU "
     f"{results.iou[f'Ours, {fine}']:.3f} and {results.iou[f'Ours + P, {fine}']:.3f})")
figure, axes = plt.subplots(1, 2, figsize=(viz.PAGE_WIDTH, 2.7),
    layout="constrained")
study.draw_curves(axes[0], {label: curves[label] for label in curves
    if label.endswith(str(fine))})
axes[0].legend(frameon=False, fontsize=7)
for index, (title, method) in enumerate(methods.items()):
    counts = np.array([pair for s in test[:8]
        for pair in score_image(study.variant(method, merge=False), s).counts])
    jitter = np.random.default_rng(index).uniform(-0.2, 0.2, len(counts))
    axes[1].plot(counts[:, 0] + jitter, counts[:, 2], "ox"[index],
        color=viz.CYCLE[index], markersize=3, label=title)
top_count = counts[:, 0].max()
axes[1].plot([0, top_count], [0, top_count], color="black", linewidth=0.8)
axes[1].set(xlabel="nuclei in the patch", ylabel="sum of p(z)")
axes[1].legend(frameon=False, fontsize=7)
glue("cs-curves", figure)

# %% [markdown]
# ```{glue:figure} cs-curves
# :name: fig-cs-curves
# :alt: Left, falling curves of F1 over the IoU that a match needs. Right, dots of two kinds over the number of nuclei in a patch, with a diagonal line; one kind follows the line.
#
# Left: F1 at each of the ten thresholds. Right: the expected number of instances in each patch against the true one, without and
# with the count loss; the line is where they agree. {glue:text}`cs-where`.
# ```
#
# {glue:text}`cs-live-say`.
#
# ```{admonition} Predict, then run
# :class: tip
# Without the count, nothing forbids several instances on one nucleus. On which nuclei will they be useful to the mask, and what will the
# IoU of the foreground therefore lose by the count loss? (The numbers stand in the table of the article, below.)
# ```

# %% tags=["hide-input"]
glue("cs-shapes",
    study.show_shapes({title: method.networks["shapes"].shape.shapes[0]
        for title, method in methods.items()},
                                    (16, 32, 64, 128, 512)))
glue("cs-shapes-say",
    study.in_words({title: method.networks["shapes"].shape.shapes[0]
        for title, method in methods.items()}))
glue("cs-start", {"random": "from random weights",
    "disk": "from a disk"}[chosen.start])

# %% [markdown]
# ```{glue:figure} cs-shapes
# :name: fig-cs-shapes
# :alt: Two rows of five pictures of a white disk on black, coarse on the left and smooth on the right.
#
# The canonical shapes of both trainings at five resolutions (Fig. 3 of the article). {glue:text}`cs-where`.
# ```
#
# {glue:text}`cs-shapes-say`. In this run the shapes started {glue:text}`cs-start`, which is no proof that a disk is what is learned. The
# study has trained on real images, too, once from random weights:

# %% tags=["hide-input"]
found_shapes = {
    "Ours, from\nrandom weights": study.recorded_shapes(
        "shapes from random weights, short", "Ours + P, 128"),
    "Ours,\nfrom a disk": study.recorded_shapes("table 1, short", "Ours, 128"),
    "Ours + L_cnt,\nfrom a disk": study.recorded_shapes("table 1, short",
        "Ours + L_cnt, 128"),
}
real_shapes = {title: shapes[0] for title, shapes in found_shapes.items() if shapes}
glue("cs-real-shapes", study.show_shapes(real_shapes
    or {"not recorded": learned["true nuclei"][0][0]},
                                         (16, 32, 64, 128, 512)))
glue("cs-real-say", study.in_words(real_shapes))

# %% [markdown]
# ```{glue:figure} cs-real-shapes
# :name: fig-cs-real-shapes
# :alt: Three rows of five pictures of a bright blob on black, coarse on the left and smooth on the right.
#
# The same on BBBC038 (Fig. 3 of the article): the short trainings of the study, drawn from the 88 numbers in their records, each
# over 1.5 times its own radius.
# ```
#
# {glue:text}`cs-real-say`. The article finds a circle in both.
#
# (cs-table)=
# ## Paper versus ours
#
# {cite:t}`costa2022` train on 670 images of BBBC038, look at 65, and test on 106 whose annotations are not in the archive that this
# book reads. Ours train on nine tenths of "stage 1 train" (a copy whose masks were corrected by volunteers), keep one tenth for validation,
# and test on the 65 images of "stage 1 test". All networks start from random weights. So levels cannot be compared with the article;
# differences between rows of one training can. "Short" rows have a ResNet-18 and 30 epochs of 1,024 patches. The article prints
# percentages; here are shares.

# %% tags=["hide-input"]
table = side_by_side(study.SLUG, study.PAPER, "table 1", study.METRICS, study.NAMES,
    counted="seeds")
print(missing(study.SLUG, "table 1, short", "bbbc038"))
table

# %% tags=["hide-input", "remove-output"]
short = study.pooled("table 1, short", (*study.METRICS, "nuclei", "objects"))
say = "The short rows are not recorded yet"
if {"Ours, 128", "Ours + P, 128", "Ours + L_cnt, 128",
        "Ours + L_cnt + P, 128"} <= set(short.index):
    f1 = short.f1_50
    claims = {"merging raises the masks alone": f1["Ours + P, 128"]
        - f1["Ours, 128"],
              "the count raises the masks alone": f1["Ours + L_cnt, 128"]
              - f1["Ours, 128"],
              "merging does not lower what the count has reached": f1[
                  "Ours + L_cnt + P, 128"] - f1["Ours + L_cnt, 128"]}
    held = [f"{claim} ({change:+.3f})" for claim, change in claims.items()
        if change >= 0]
    broken = [f"{claim} ({change:+.3f})" for claim, change in claims.items()
        if change < 0]
    iou = short.iou["Ours + L_cnt, 128"] - short.iou["Ours, 128"]
    say = (f"What the article orders, in our short rows and in F1 at 0.5. Holds: {'; '.join(held) or 'nothing'}. "
           f"Does not hold: {'; '.join(broken) or 'nothing'}. The count changes the IoU of the foreground by {iou:+.3f} "
           "(article: -0.012)")
glue("cs-order-say", say)

# %% [markdown]
# {glue:text}`cs-order-say`.

# %% tags=["hide-input"]
recorded = {row: study.notes("table 1, short", row)
    for row in ("Ours, 128", "Ours + P, 128", "Ours + L_cnt, 128",
                                                               "Ours + L_cnt + P, 128")}
figure, axis = plt.subplots(figsize=(4.6, 2.9), layout="constrained")
known = {row: found["pooled"] for row, found in recorded.items() if found}
known |= {made: study.notes("ceilings", made)["pooled"]
    for made in ("moment ellipses", "connected components")
          if study.notes("ceilings", made)}
study.draw_curves(axis, {row: [values[f"f1_{t}"] for t in range(10, 101, 10)]
    for row, values in known.items()})
if known:
    axis.legend(frameon=False, fontsize=7, loc="lower left")
glue("cs-recorded-curves", figure)

# %% [markdown]
# ```{glue:figure} cs-recorded-curves
# :name: fig-cs-recorded-curves
# :alt: Curves of F1 over the IoU that a match needs, on real images: ellipses made of the truth stay near one up to 0.7, the others fall earlier.
#
# F1 at each threshold on the 65 test images, from the records: short trainings, and what is made of the truth itself.
# ```
#
# Images of one kind are not like those of another:

# %% tags=["hide-input"]
best = recorded["Ours + L_cnt + P, 128"] or {"modalities": {}}
kinds = pd.DataFrame.from_dict({kind.replace("_", " "): [values[m]
    for m in (*study.METRICS, "nuclei", "objects")]
                                for kind, values in best["modalities"].items()},
                                orient="index",
                               columns=[*(study.NAMES[m] for m in study.METRICS),
                                   "nuclei", "objects"], dtype=float)
kinds.rename_axis("Ours + L_cnt + P, short").style.format(precision=3).format(
    precision=0, subset=["nuclei", "objects"])

# %% [markdown]
# And the comparison that the article does not make, with the same supervision as "Ours": a network for the foreground (DeepLabV3,
# trained alike), and a rule that finds instances in its mask.

# %% tags=["hide-input"]
rules = pd.concat([study.pooled(e, (*study.METRICS, "nuclei", "objects"))
    for e in ("a mask and a rule, short", "table 1, short")])
rules = rules[rules.f1_50.notna() & (rules.index != "DeepLabV3")]
print(missing(study.SLUG, "a mask and a rule, short", "bbbc038"))
rules.rename(columns=study.NAMES).rename_axis("short rows").style.format(
    precision=3).format(
    precision=0, subset=["nuclei", "objects"])

# %% tags=["hide-input", "remove-output"]
say = "These rows are not recorded yet"
if {"DeepLabV3, components", "DeepLabV3, watershed", "Ours, 128", "Ours + P, 128",
        "Ours + L_cnt + P, 128"} <= set(rules.index):
    parts, basins, masks_only, merged, counted = (rules.f1_50[row] for row in (
        "DeepLabV3, components", "DeepLabV3, watershed", "Ours, 128",
        "Ours + P, 128", "Ours + L_cnt + P, 128"))
    say = (f"From masks alone, F1 at 0.5 is {parts:.3f} for the components of a mask and {masks_only:.3f} for shapes; "
           f"{basins:.3f} for its watershed and {merged:.3f} for merged shapes. With the count, merged shapes reach {counted:.3f}, "
           f"which is {'above' if counted > basins else 'not above'} the watershed")
glue("cs-rules-say", say)

# %% [markdown]
# {glue:text}`cs-rules-say`.
#
# Other choices that the article leaves open are declared as rows. They are measured on the test images, so they tell how much the
# choices matter, not which one to take; that would have to be found on validation images.

# %% tags=["hide-input"]
choices = pd.concat({"smallest p(z)": study.pooled("presence, short"),
    "merging": study.pooled("merging, short")})
for experiment in ("presence, short", "merging, short",
        "choices in training, short", "weight of the count loss, short"):
    print(f"{experiment.removesuffix(', short')}:\n{missing(study.SLUG, experiment, 'bbbc038')}")
None if choices.empty else choices.rename(columns=study.NAMES).rename_axis(
    ["choice", "row"]).style.format(precision=3)

# %% tags=["hide-input", "remove-output"]
say = "These rows are not recorded yet"
if {("merging", "Ours, above 0.3"), ("merging",
        "Ours + L_cnt, above 0.3")} <= set(choices.index):
    eager, counted = (choices.f1_50["merging", f"{training}, above 0.3"]
        for training in ("Ours", "Ours + L_cnt"))
    usual = short.f1_50[["Ours + P, 128", "Ours + L_cnt + P, 128"]].tolist()
    say = (f"Merging whatever lies by more than 0.3 in another instance, instead of 0.5, changes F1 at 0.5 by "
           f"{eager - usual[0]:+.3f} for the masks alone, where the count changes it by {usual[1] - usual[0]:+.3f}; with the "
           f"count, the same threshold changes it by {counted - usual[1]:+.3f}")
glue("cs-choices-say", say)

# %% [markdown]
# {glue:text}`cs-choices-say`.
#
# Last, the further work that the article names: more than one canonical shape.

# %% tags=["hide-input"]
both_ways = pd.concat(
    [study.pooled("table 1, short").filter(["Ours + L_cnt + P, 128"],
        axis=0).rename(lambda _: "one shape"),
                       study.pooled("further work, short")])
print(missing(study.SLUG, "further work, short", "bbbc038"))
pair = study.recorded_shapes("further work, short", "two shapes")
glue("cs-two-say", study.in_words({f"shape {number}": shape
    for number, shape in enumerate(pair, 1)}))
both_ways.rename(columns=study.NAMES).rename_axis(
    "Ours + L_cnt + P, short").style.format(precision=3)

# %% [markdown]
# What the two shapes became, each instance with its own mixture of them: {glue:text}`cs-two-say`.
#
# What differs from the article, because it does not say: batch, weight decay, augmentation, the bound on gradients, how patches are cut,
# the threshold of $p(z)$, how instances are matched and how scores are pooled. Each is a field of the configuration with a comment.
# Printed pairs of IoU and Dice fit together to the last digit as Dice = 2 IoU / (1 + IoU), which a mean over patches would not;
# so pixels were pooled there, and are here.
#
# ## What goes wrong
#
# **Several instances on one nucleus.** Without the count, pieces are as good as a whole.

# %% tags=["hide-input"]
def covering(masks, labels):
    """Return how many masks have most of their pixels on each true nucleus, by its id."""
    owners = [np.bincount(labels[mask]).argmax() for mask in masks.stack()]
    return np.bincount(owners, minlength=labels.max() + 1)[1:]


def outlines(axis, image, masks, title):
    """Show an image and the outline of every mask."""
    axis.imshow(image)
    for index, mask in enumerate(masks.stack()):
        axis.contour(mask, [0.5], colors=[viz.CYCLE[index % len(viz.CYCLE)]],
            linewidths=1.2)
    axis.set_title(title, fontsize=9)
    axis.set_axis_off()


# %% tags=["hide-input"]
many = max(((s, int(covering(found["masks"][s.id], s.labels).argmax()) + 1)
    for s in test[:8]),
           key=lambda pair: covering(found["masks"][pair[0].id],
               pair[0].labels).max())
middle = np.argwhere(many[0].labels == many[1]).mean(0).astype(int)
near = tuple(slice(max(0, m - 32), max(0, m - 32) + 64) for m in middle)
figure, axes = plt.subplots(1, 3, figsize=(viz.PAGE_WIDTH, 2.2),
    layout="constrained")
for axis, (title, masks) in zip(axes, found.items()):
    own_masks = InstanceMasks.from_stack(masks[many[0].id].stack()[(slice(None),
        *near)])
    outlines(axis, many[0].image[near], own_masks.chosen(own_masks.areas > 0),
        title)
glue("cs-pieces", figure)
glue("cs-pieces-say",
    ", ".join(
        f"{covering(masks[many[0].id], many[0].labels)[many[1] - 1]} ({title})"
                                for title, masks in found.items()))

# %% [markdown]
# ```{glue:figure} cs-pieces
# :name: fig-cs-pieces
# :alt: Three close views of the same bright nuclei with colored outlines; in the first, several outlines lie on one nucleus.
#
# The nucleus with the most instances under masks alone. Instances on it: {glue:text}`cs-pieces-say`.
# ```
#
# **Two instances of one cell.** Both read the same features. If they also started alike, nothing could ever tell them apart: the winner
# would get all the gradient, and its twin would follow. So their offsets start a quarter of a cell to the left and to the right.

# %%
with torch.inference_mode():
    twins = transforms.presence.sigmoid()[0].reshape(-1, 2).sort(dim=1).values
    distance = (transforms.centers[0].reshape(-1, 2, 2).diff(dim=1).norm(dim=-1)
        * chosen.patch / 2).flatten()
print(f"cells with two present instances: {int((twins[:, 0] > 0.5).sum())} of {len(twins)}; "
      f"median distance of twins: {distance.median():.1f} px")

# %% [markdown]
# **A shape that does not form.** From random weights, the function says nearly the same everywhere, so the instance with the largest
# $p(z)$ wins at every pixel and is all that learns. It takes some hundred steps until the shape has an edge; with few steps, it
# never gets one. The count loss may make it harder: it is content with any instances whose number is right, wherever they are.
# Starting from a disk avoids it, so it is our default; the price is that it gives the answer away.

# %%
torch.manual_seed(seed)
flat, disk = (study.likelihood(ImplicitShape(kind), 64)
    for kind in ("random", "disk"))
print(f"likelihood over the patch: random weights {flat.min():.2f} to {flat.max():.2f}, a disk {disk.min():.2f} to {disk.max():.2f}")

# %% [markdown]
# What random weights reach in the short trainings, with the same steps:

# %% tags=["hide-input"]
starts = pd.concat(
    {"from a disk": study.pooled("table 1, short").filter(["Ours + P, 128",
        "Ours + L_cnt + P, 128"], axis=0),
                    "from random weights": study.pooled(
                        "shapes from random weights, short")})
print(missing(study.SLUG, "shapes from random weights, short", "bbbc038"))
starts.rename(columns=study.NAMES).style.format(precision=3)

# %% [markdown]
# **Nuclei that are no ellipses.** One shape cannot bend. The worst true nucleus of the test images against the ellipse with its moments:

# %% tags=["hide-input"]
worst = (2.0, None)
for sample in test[:8]:
    ids = np.unique(sample.labels[sample.labels > 0])
    for number, mask in zip(ids, drawn(sample.labels)):
        true_mask = sample.labels == number
        score = (mask & true_mask).sum() / (mask | true_mask).sum()
        if true_mask.sum() > 80 and score < worst[0]:
            worst = (score, sample, true_mask, mask)
score, sample, true_mask, mask = worst
middle = np.argwhere(true_mask).mean(0).astype(int)
near = tuple(slice(max(0, m - 24), max(0, m - 24) + 48) for m in middle)
figure, axis = plt.subplots(figsize=(2.4, 2.4), layout="constrained")
axis.imshow(sample.image[near])
axis.contour(true_mask[near], [0.5], colors=[viz.CYCLE[0]])
axis.contour(mask[near], [0.5], colors=[viz.CYCLE[1]], linestyles="--")
axis.set_axis_off()
glue("cs-bent", figure)
glue("cs-bent-iou", float(score))

# %% [markdown]
# ```{glue:figure} cs-bent
# :name: fig-cs-bent
# :alt: One bright nucleus with a solid outline along its edge and a dashed ellipse that leaves out a part of it.
#
# The true outline (solid) and the ellipse with its moments (dashed): IoU {glue:text}`cs-bent-iou:.2f`.
# ```

# %% tags=["remove-output"]
place.close()

# %% [markdown]
# ## Exercises
#
# ```{exercise-start}
# :label: ex-cs-1
# ```
# The center of an instance is $-L^{-1} t$. Compute it for `L` and `t` below, and the semi-axes for a disk of radius 1/2. Expected
# output: the center (0.5, -0.25), and semi-axes of 0.25 and 0.125.
# ```{exercise-end}
# ```

# %%
L, t = np.array([[2.0, 0.0], [0.0, 4.0]]), np.array([-1.0, 1.0])
center, semi_axes = ..., ...  # your lines here

# %% [markdown]
# ```{solution-start} ex-cs-1
# :label: sol-cs-1
# :class: dropdown
# ```
# Solve the linear system, and divide the radius by the singular values.

# %% tags=["solution"]
center, semi_axes = -np.linalg.solve(L, t), 0.5 / np.linalg.svd(L,
    compute_uv=False)[::-1]
print(center, semi_axes)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start}
# :label: ex-cs-2
# ```
# Change `presence` of the method with counts to 0.3 and to 0.7 with `study.variant`, score the first two test images, and explain what
# happens to the number of objects. Expected output: more objects at 0.3 than at 0.7.
# ```{exercise-end}
# ```

# %% [markdown]
# ```{solution-start} ex-cs-2
# :label: sol-cs-2
# :class: dropdown
# ```
# A lower threshold can only add instances. But a mask needs $p(s) p(z) > 1/2$, so instances between 0.3 and 0.5 have no pixel and are
# dropped again: below 0.5 the threshold changes nothing.

# %% tags=["solution"]
for presence in (0.3, 0.5, 0.7):
    way = study.variant(both, presence=presence, merge=False)
    print(presence, [len(way.predict_masks(s.image)) for s in test[:2]])

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start}
# :label: ex-cs-3
# ```
# Open-ended. The article's further work is more than one shape. Train the method with `EncoderConfig(shapes=2)` on your own
# images or on the synthetic ones, look at both shapes, and find out whether the mixture tells kinds of nuclei apart. What would the second
# shape have to be, for an affine map not to make the first one of it? Expected output: a picture of two shapes, and a sentence.
# ```{exercise-end}
# ```

# %% [markdown]
# ```{solution-start} ex-cs-3
# :label: sol-cs-3
# :class: dropdown
# ```
# Two ellipses are one shape. A second shape pays only where it is no ellipse: bent, hollow or ragged nuclei. A mixture is also a way to
# make the edge softer or harder, which is the first thing a second shape is used for.

# %% tags=["solution"]
pair = ShapeFamily(2, "disk")
print(sum(p.numel() for p in pair.parameters()),
    "parameters of shapes, one number more for each instance and shape")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## Quiz
#
# **Question 1.** What supervision does the whole method need?
#
# ```{dropdown} The outline of every nucleus
# No. That would be full supervision; here outlines of touching nuclei are not told apart.
# ```
#
# ```{dropdown} One mask of all nuclei and their number
# Yes. The number only for the count loss; the masks alone suffice for the article's first rows.
# ```
#
# ```{dropdown} A dot on every nucleus
# No. Dots are what [Partial points](partial-points.ipynb) learns from; here nothing says where a nucleus is but the mask.
# ```
#
# **Question 2.** An instance has $L = 2 I$, another $L = 4 I$. Which one is larger in the image?
#
# ```{dropdown} The first
# Yes. The map leads from the image to the shape, so a larger map shrinks what is seen through it.
# ```
#
# ```{dropdown} The second
# No. It would be so if the map led from the shape to the image.
# ```
#
# **Question 3.** Which instances learn from the mask at a pixel?
#
# ```{dropdown} All whose likelihood is above one half
# No. The combination is a maximum, and a maximum passes its gradient to one of its arguments.
# ```
#
# ```{dropdown} The likeliest one
# Yes. All others learn from the count alone, at this pixel.
# ```
#
# **Question 4.** Why is the learned shape a circle, although nuclei are ellipses?
#
# ```{dropdown} Because the network has too few parameters for an ellipse
# No. Its 88 parameters can draw a square, as the figure shows.
# ```
#
# ```{dropdown} Because every ellipse is an affine image of a circle
# Yes. The maps can take away all that distinguishes ellipses, so nothing is left for the shape.
# ```
#
# **Question 5.** The union of all masks before and after merging is the same. What can merging change?
#
# ```{dropdown} IoU and Dice of the foreground
# No. They depend on the union alone.
# ```
#
# ```{dropdown} The number of instances and the F1 of instances
# Yes. Fewer and larger masks are matched with the same true nuclei.
# ```
#
# ## Summary
#
# One shape, six numbers for each nucleus, and a maximum make instances of a mask. The shape becomes a circle because the maps leave
# it nothing else to be. What the mask cannot say, where one nucleus ends and the next begins, the count says in part. The comparison
# that decides what this is worth is the simplest one, with the connected parts of a good mask. Next: a method that is told where nuclei
# are, and nothing else, in [DoNuSeg](donuseg.ipynb).
#
# ## Bibliography
#
# ```{bibliography}
# :filter: docname in docnames
# ```
