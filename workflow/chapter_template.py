# %% [markdown]
# (my-chapter)=
# # Title of the chapter
#
# *Paper:* {cite:t}`qu2020` · *Supervision:* points · *Card:* any dataset of nuclei; 20 s on two CPU cores
# (quick), minutes on one GPU (full); functions used: `nucseg.metrics.aji`.
#
# One or two sentences: the question of the chapter and why anyone would ask it.
#
# ```{glue:figure} my-chapter-success
# :name: fig-my-chapter-success
# :alt: A bright disk on a dark square, with an orange outline that follows its edge.
#
# A picture of success within the first screen. The figure is glued further down, by this very page.
# ```
#
# ## What you will learn
#
# - to find ... (three to five verbs)
# - to measure ...
# - to explain why ...
#
# ## Before you start
#
# You need ... and about ten minutes. New words are in the glossary, for example {term}`label map`.
#
# ## Key takeaways
#
# - A threshold finds one bright disk ([shown here](fig-my-chapter-success)).
# - Each point links down the page to the place that proves it ([the results](my-chapter-results)).

# %% tags=["parameters"]
profile = "full"  # "full": published settings; "quick": small settings from workflow/profiles/quick.yaml
seed = 0  # seed of every random choice

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
from skimage.draw import disk

from nucseg.study.chapter import glue, settings

# The published values stand here; the profile may put smaller ones over them.
chosen = settings("my-chapter", profile, radius=12, sizes=(4, 8, 12, 16))  # radius in px; sizes in px

# %% [markdown]
# ## The idea in one picture
#
# One synthetic image, in seconds, on a CPU.

# %%
image = np.zeros((64, 64))
image[disk((32, 32), chosen.radius)] = 1.0
image += np.random.default_rng(seed).normal(0, 0.2, image.shape)

# %% tags=["hide-input"]
figure, axis = plt.subplots(figsize=(3, 3), layout="constrained")
axis.imshow(image, cmap="gray")
axis.contour(image > 0.5, [0.5], colors="tab:orange")
axis.set_axis_off()
glue("my-chapter-success", figure)

# %% [markdown]
# ## The method, one step per section
#
# Choose the names and the number of these sections freely. Each goes: equation, the library function that
# implements it, a picture or number of its output, with the symbols of [the notation](../book/notation.md).
#
# ```{math}
# :label: eq-my-chapter-area
# A = \sum_{x, y} \left[ I(x, y) > \tfrac{1}{2} \right]
# ```
#
# {eq}`eq-my-chapter-area` counts the bright pixels of the image $I$.
#
# ```{admonition} Predict, then run
# :class: tip
# What does {eq}`eq-my-chapter-area` give for a disk of radius $r$? Write your number down before you go on.
# ```

# %%
area = int((image > 0.5).sum())
print(f"area: {area} pixels")

# %% [markdown]
# ## Results
#
# No number is typed into the text: glue it, then refer to it.

# %% tags=["remove-output"]
glue("my-chapter-area", area)

# %% [markdown]
# (my-chapter-results)=
# The disk covers {glue:text}`my-chapter-area` pixels.
#
# ```{admonition} Predict, then run
# :class: tip
# A second question that the reader answers before seeing the output.
# ```
#
# ## Paper versus ours
#
# A numbered table made from `results/` (mean and spread over at least three seeds, the paper's number, the
# difference, and a verdict against a tolerance stated beforehand):
#
# ```{list-table} What the columns are.
# :name: tab-my-chapter-paper
# :header-rows: 1
#
# * - Row
#   - Paper
#   - Ours
# * - a disk
#   - not published
#   - {glue:text}`my-chapter-area`
# ```
#
# ## What goes wrong
#
# Three real failures as figures, each with its cause and its cure.
#
# ## Exercises
#
# Three: fill in one line; change one choice and explain; open-ended. Each tells the expected output.
# Text of a solution and its cells stand between its two directives; the cells carry the tag `solution`. They are
# run, folded on the page, and left out of the student notebook.
#
# ```{exercise-start}
# :label: ex-my-chapter-1
# ```
# Compute the radius of the disk from its area. Expected output: a number close to the radius chosen above.
# ```{exercise-end}
# ```

# %%
radius = ...  # your line here

# %% [markdown]
# ```{solution-start} ex-my-chapter-1
# :label: sol-my-chapter-1
# :class: dropdown
# ```
# A disk has the area $\pi r^2$.

# %% tags=["solution"]
radius = np.sqrt(area / np.pi)
print(f"radius: {radius:.1f} pixels")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## Quiz
#
# Five questions. Every option is a fold of its own that says why it is right or wrong.
#
# **Question 1.** What does a threshold need?
#
# ```{dropdown} A trained network
# No. It compares each pixel with one number.
# ```
#
# ```{dropdown} A number
# Yes. Here it is one half.
# ```
#
# ## Summary
#
# What was asked, what was found, and what to read next.
#
# ## Bibliography
#
# ```{bibliography}
# :filter: docname in docnames
# ```
