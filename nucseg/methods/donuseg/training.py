"""The loss of DoNuSeg (Wang et al. 2024, eq. 2) and what it is computed from."""

import torch
from torch.nn import functional as F

from nucseg.losses import cam_guided_contrast, fcos_loss, label_loss
from nucseg.methods.donuseg.windows import BEYOND
from nucseg.models.fcos import LOCALIZED
from nucseg.supervision.dot_grids import dot_counts, dot_density
from nucseg.supervision.dynamic_cam import select


def dot_targets(points, size, config):
    """Return what the localization head should predict for dots (N, 2) of each image of a size (H, W)."""
    if config.network.localization == "occupancy":
        return dot_counts(points, size, config.network.grid, config.most_dots)
    stride = LOCALIZED[config.network.localized]
    return dot_density(points, size, tuple(-(-length // stride) for length in size), config.dot_sigma)


def scored(target, config):
    """Return the weights of predictions in the score that maps explain: 1 where there are dots, or everywhere."""
    return torch.ones_like(target) if config.selection.score == "all" else (target > 0).to(target)


def choose(cams, initial, config):
    """Return the :class:`nucseg.supervision.dynamic_cam.Selection` among maps (B, blocks, H, W)."""
    own = config.selection
    return select(cams, initial, own.theta, own.balanced, own.defined_in_both, own.least_recall, own.scope)


def contrast(features, initial, selection, config):
    """Return the contrastive loss (eq. 6), with features at image size or with labels at the places of features."""
    own = config.contrast
    label, alpha, size = selection.label, selection.alpha, initial.shape[1:]
    if own.interpolate:
        features = F.interpolate(features.float(), size=tuple(size), mode="bilinear", align_corners=False)
    else:
        step = size[0] // features.shape[2]
        initial, label = (part[:, step // 2 :: step, step // 2 :: step] for part in (initial, label))
    if own.scope == "batch":  # images below each other are one
        features = features.transpose(0, 1).flatten(1, 2)[None]
        initial, label, alpha = initial.flatten(0, 1)[None], label.flatten(0, 1)[None], alpha.mean(dim=0, keepdim=True)
    return cam_guided_contrast(features, initial, label, alpha, own.temperature, own.detach_anchors, own.mean)


def mask_loss(found, labels, weights, config):
    """Return the loss of the mask (eq. 1 and 5), or the mean of those of all levels of the pyramid."""
    if not config.deep_supervision:
        return label_loss(found.mask, labels, weights)
    return torch.stack([label_loss(mask, labels, weights) for mask in found.level_masks.unbind(1)]).mean()


def donuseg_loss(preprocessing, config, log, pseudo):
    """Return ``loss(network, batch)``, which also fills the log and, if the config says so, refines pseudo boxes.

    Parameters
    ----------
    preprocessing : nucseg.methods.preprocessing.Preprocessing
        Standardizes images.
    config : DoNuSegConfig
        Weights and choices.
    log : nucseg.methods.donuseg.log.SelectionLog
        Gets the parts of the loss and what was selected.
    pseudo : nucseg.methods.donuseg.pseudo_boxes.PseudoBoxes
        Boxes of the dots.

    Returns
    -------
    callable
        Takes batches of :class:`nucseg.methods.donuseg.windows.PatchBatches`.
    """

    def loss(network, batch):
        images, (initial, truth) = preprocessing.standardize(batch["image"]), batch["maps"].unbind(1)
        target = dot_targets(batch["points"], tuple(images.shape[2:]), config)
        dynamic = config.uses_maps and batch["epoch"] >= config.selection.first_epoch
        found = network(
            images.to(memory_format=torch.channels_last), learn=True,
            scored=scored(target, config) if dynamic else None,
            blocks=config.selection.blocks, kind=config.selection.kind, constant=config.selection.constant_statistics,
            quantile=config.selection.quantile,
        )
        parts = {
            "detection": fcos_loss(found.boxes, batch["boxes"], config.detection).total,
            "segmentation": mask_loss(found, initial, None, config), "localization": F.mse_loss(found.dots, target),
        }
        total = parts["detection"] + parts["segmentation"] + config.loc_weight * parts["localization"]
        if dynamic:
            selection = _within(choose(found.cams, initial, config), truth)
            log.add_selection(batch["epoch"], selection, config.selection.blocks, truth)
            if config.dcs_weight:
                parts["dynamic"] = mask_loss(found, selection.label, selection.alpha, config)
                total = total + config.dcs_weight * parts["dynamic"]
            if config.ccl_weight:
                parts["contrast"] = contrast(found.features, initial, selection, config)
                total = total + config.ccl_weight * parts["contrast"]
        if config.refine_above is not None:
            pseudo.refine(found.boxes, batch["points"], batch["numbers"])
        log.add(batch["epoch"], batches=1, **{name: value.detach() for name, value in parts.items()})
        return total

    return loss


def _within(selection, truth):
    """Return a selection whose label says nothing beyond the image."""
    selection.label.masked_fill_(truth == BEYOND, -1)
    return selection
