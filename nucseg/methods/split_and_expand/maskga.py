"""Training of both heads around MaskGA-Net: its labels, losses and stages, and the center head's loss beside them."""

import dataclasses

from nucseg.methods.baselines.maskga import OUTSIDE
from nucseg.methods.baselines.maskga_stages import Recipe, maskga_loss, train_in_stages
from nucseg.methods.split_and_expand.heads import probability
from nucseg.methods.split_and_expand.reweighting import TwoPasses, center_loss
from nucseg.methods.split_and_expand.training import AFTER_TRAINING, center_targets, split_score, two_maps
from nucseg.methods.stages import require_labels
from nucseg.models import TwoHeadMaskGANet

#: Settings of the base that have no part here: how it chooses and cleans by itself, and its seed.
_UNUSED = (*OUTSIDE, "select", "min_size", "seed")


def two_head_maskga_loss(preprocessing, config):
    """Return the loss of both heads and of the attention net, ``loss(network, batch)``.

    Parameters
    ----------
    preprocessing : nucseg.methods.preprocessing.Preprocessing
        Standardizes the images.
    config : SplitAndExpandConfig
        Its base is a MaskGAConfig.

    Returns
    -------
    callable
        Takes batches as :class:`nucseg.methods.baselines.maskga_stages.Recipe` describes them. Base and center head
        weigh the same, which the article leaves open.
    """

    def loss(network, batch):
        targets, maps = center_targets(batch, config.center_side), batch["maps"]
        passes = TwoPasses(network, preprocessing.standardize(batch["image"]), labels=maps[:, 0])
        nucleus, _, attended = passes.first
        return maskga_loss(probability(nucleus), attended, maps, config.base) + center_loss(passes, targets, config)

    return loss


def train_two_heads_in_stages(train, val, preprocessing, config, *, run_dir, fabric, progress=True):
    """Train a network with two heads on noisy labels, then anew on labels that its nucleus head corrected.

    In every stage the epoch is chosen by the AJI of Split on the validation images. The learning rate follows the
    loss there, on labels made of their dots or masks, without re-weighting.

    Parameters
    ----------
    train, val : nucseg.methods.stages.Images
        Training images with dots; validation images with label maps.
    preprocessing : nucseg.methods.preprocessing.Preprocessing
        Of the training set.
    config : SplitAndExpandConfig
        All settings; its base is a MaskGAConfig.
    run_dir : path-like
        Receives a folder for each stage, named by everything that the stage depends on.
    fabric : lightning_fabric.Fabric
        Device and precision.
    progress : bool
        Whether to show bars.

    Returns
    -------
    network : nucseg.models.TwoHeadMaskGA
        Of the last stage, at its best epoch, in evaluation mode.
    histories : dict of str to nucseg.engine.History
        Of each stage.
    """
    require_labels(val.samples, "a validation image")
    base = config.base
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in AFTER_TRAINING}
    settings["base"] = {name: value for name, value in settings["base"].items() if name not in _UNUSED}
    without = dataclasses.replace(config, reweighting=None)
    score = split_score(val, preprocessing, config)
    recipe = Recipe(
        name="two heads", seed=config.seed, folder="two-heads-",
        settings={**settings, "seed": config.seed},
        build=lambda: TwoHeadMaskGANet(base.width, base.channels, base.mode == "attention"),
        loss=two_head_maskga_loss(preprocessing, config), check=two_head_maskga_loss(preprocessing, without),
        nucleus=lambda network, pixels: two_maps(network, pixels, preprocessing)[0],
        score=lambda network, _: score(network),
    )
    network, histories, _ = train_in_stages(
        train, val, preprocessing, base, recipe, run_dir=run_dir, fabric=fabric, progress=progress
    )
    return network, histories
