"""The loss of SIA-WSSS (Fan et al. 2025, eq. 4) and what it is computed from."""

import torch
from torch.nn import functional as F

from nucseg.explain.tag_maps import FOREGROUND, UNCERTAIN, scaled_maps, uncertain_regions
from nucseg.losses.crop_contrast import token_contrast
from nucseg.losses.tokens import attraction_loss, inhibition_loss
from nucseg.methods.sia_wsss.evidence import class_scores, enlarged, fused, grids
from nucseg.methods.sia_wsss.patches import TISSUE, WHITE
from nucseg.supervision.self_modulation import pixel_labels


def certainty(found, present, config, progress):
    """Return what is foreground, background and uncertain at a time of the training; see :class:`MapConfig`."""
    own = config.maps
    source = found.auxiliary if progress < own.final_from else found.activation
    maps = scaled_maps(source.detach(), present, own.scaling)
    return uncertain_regions(maps, own.foreground, own.background)


def focus_losses(found, present, regions, config):
    """Return the inhibition and attraction of the regularized focus mechanism, (name, weight, loss) each."""
    own, parts = config.inhibition, []
    if own.weight:
        uncertain = regions.uncertain
        if not own.single_class:
            uncertain = torch.where((present.sum(dim=1) > 1)[:, None, None], uncertain, -1)
        loss = inhibition_loss(found.tokens, found.patches, uncertain, present, own.kind, all_present=own.all_present,
                               inhibit_tokens=own.inhibit_tokens)
        parts.append(("inhibition", own.weight, loss))
    if own.attraction:
        certain = torch.where(regions.kind == FOREGROUND, regions.index, -1)
        loss = attraction_loss(found.tokens, found.patches, certain, present, own.temperature)
        parts.append(("attraction", own.attraction, loss))
    return parts


def crop_corners(draws, size, config, regions):
    """Return where crops begin, (B, K, 2) int64, rows and columns.

    Parameters
    ----------
    draws : torch.Tensor, shape (B, K, 2), float
        Uniform in [0, 1).
    size : tuple of int
        (H, W) of the images, px.
    config : SIAWSSSConfig
        Size of the crops, and whether they lie around an uncertain patch, where an image has any.
    regions : nucseg.explain.tag_maps.Regions
        Where patches are uncertain.

    Returns
    -------
    torch.Tensor
    """
    room = torch.tensor(size, device=draws.device) - config.activation.crop
    corners = (draws * (room + 1)).long().minimum(room)
    if config.activation.position == "random":
        return corners
    uncertain = (regions.kind == UNCERTAIN).flatten(1)
    count, columns = uncertain.sum(dim=1, keepdim=True), regions.kind.shape[2]
    # The n-th uncertain patch is the first place up to which there are n.
    wanted = (draws[..., 0] * count).long() + 1
    place = torch.searchsorted(uncertain.cumsum(dim=1), wanted).clamp(max=uncertain.shape[1] - 1)
    side = size[1] // columns
    middles = torch.stack([place // columns, place % columns], dim=2) * side + side // 2
    around = (middles - config.activation.crop // 2).clamp(min=0).minimum(room)
    return torch.where((count > 0)[..., None], around, corners)


def cut_crops(maps, corners, side):
    """Return squares (B, K, C, side, side) of maps (B, C, H, W) that begin at corners (B, K, 2)."""
    return torch.stack([
        torch.stack([values[:, row : row + side, column : column + side] for row, column in each])
        for values, each in zip(maps, corners.tolist())
    ])


def contrast(network, images, found, activation, regions, batch, config):
    """Return the loss of the discriminative activation module, a :class:`nucseg.losses.TokenContrast`."""
    own, size = config.activation, tuple(images.shape[2:])
    corners = crop_corners(batch["crops"], size, config, regions)
    active = (enlarged(activation, size) > own.evidence).float()
    shares = cut_crops(active, corners, own.crop).mean(dim=(3, 4))
    crops = cut_crops(images, corners, own.crop).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    fine = network(crops, crops=True).unflatten(0, shares.shape[:2])
    return token_contrast(found.projection, fine, shares, batch["tags"], own.kind, own.temperature, own.epsilon,
                          own.positive, own.negative)


def online_labels(activation, inhibition, batch, config):
    """Return the label of each pixel, (B, H, W) int64, -1 for none, from A and I at the places of patches."""
    size, ground, present = tuple(batch["image"].shape[2:]), batch["ground"], batch["tags"]
    with torch.no_grad():
        maps = fused(enlarged(activation, size), enlarged(inhibition, size), batch.get("regions"), config)
        own = config.maps
        labels = pixel_labels(maps, present, ground != TISSUE, config.labeling, own.foreground, own.background)
        if config.background is not None:
            outside = ground == WHITE
            if config.background == "white-or-weak":
                several = (present.sum(dim=1) != 1)[:, None, None]
                outside |= (ground == TISSUE) & (maps.amax(dim=1) < own.background) & several
            labels = torch.where(outside, present.shape[1], labels)
        return labels


def segmentation_loss(logits, labels):
    """Return the cross-entropy over labeled pixels of logits (B, K, h, w) enlarged to labels (B, H, W); 0 for none."""
    logits = enlarged(logits.float(), tuple(labels.shape[1:]))
    total = F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
    return total / (labels >= 0).sum().clamp(min=1)


def sia_loss(preprocessing, config, log):
    """Return ``loss(network, batch)``, which also fills the log.

    Parameters
    ----------
    preprocessing : nucseg.methods.preprocessing.Preprocessing
        Standardizes images.
    config : SIAWSSSConfig
        Weights and choices.
    log : nucseg.methods.sia_wsss.log.TrainingLog
        Gets the parts of the loss and what they were made of.

    Returns
    -------
    callable
        Takes batches of :class:`nucseg.methods.sia_wsss.patches.TaggedBatches`.
    """

    def loss(network, batch):
        images, present, progress = preprocessing.standardize(batch["image"]), batch["tags"], batch["progress"]
        images = images.contiguous(memory_format=torch.channels_last)
        found, target, seen = network(images), present.float(), {}
        scores = {"classification": (1.0, class_scores(found.activation, config)),
                  "auxiliary": (config.auxiliary_weight, class_scores(found.auxiliary, config)),
                  "tokens": (config.token_weight, found.token_scores)}
        parts = [(name, weight, F.multilabel_soft_margin_loss(logits.float(), target))
                 for name, (weight, logits) in scores.items() if weight]
        activation, inhibition = grids(found, present, config)
        if progress >= config.start and (config.rfm or config.dam):
            regions = certainty(found, present, config, progress)
            seen |= _shares(regions, present)
            if config.rfm:
                parts += focus_losses(found, present, regions, config)
            if config.dam and config.activation_weight:
                paired = contrast(network, images, found, activation, regions, batch, config)
                parts.append(("contrast", config.activation_weight, paired.loss))
                seen["pairs"] = paired.pairs
        if progress >= config.segmentation_start and found.segmentation is not None:
            labels = online_labels(activation, inhibition, batch, config)
            parts.append(("segmentation", config.segmentation_weight, segmentation_loss(found.segmentation, labels)))
            seen["labeled"] = (labels >= 0).float().mean()
        log.add(batch["epoch"], **seen, **{name: value.detach() for name, _, value in parts})
        return sum(weight * value for _, weight, value in parts)

    return loss


def _shares(regions, present):
    """Return the shares of certain and uncertain patches of images with a class, if there is any."""
    kinds = regions.kind[present.any(dim=1)]
    if not len(kinds):
        return {}
    return {"foreground": (kinds == FOREGROUND).float().mean(), "uncertain": (kinds == UNCERTAIN).float().mean()}
