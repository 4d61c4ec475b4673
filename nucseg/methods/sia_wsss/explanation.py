"""The maps of an image at each stage of SIA-WSSS (Fan et al. 2025, fig. 1), and the label that they give its pixels."""

from dataclasses import dataclass

import numpy as np
import torch

from nucseg.explain.tag_maps import uncertain_regions
from nucseg.methods.sia_wsss.evidence import fused, refine
from nucseg.methods.sia_wsss.prediction import class_maps, superpixels_of
from nucseg.supervision import white_background
from nucseg.supervision.self_modulation import pixel_labels


@dataclass(frozen=True, eq=False)
class Explanation:
    """Maps of C classes of one image, 0 to 1, and what follows from them.

    Parameters
    ----------
    present : numpy.ndarray, shape (C,), bool
        Classes that the maps are of: the tags, or those predicted.
    presence : numpy.ndarray, shape (C,), float32
        Probability of each class.
    activation, inhibition : numpy.ndarray, shape (C, H, W), float32
        A and I.
    regional, confident, refined : numpy.ndarray, shape (C, H, W), float32
        A', I'_h and the result of eq. 3.
    certainty : numpy.ndarray, shape (H, W), int8
        Of the activation: 1 foreground, 0 background, -1 uncertain.
    label : numpy.ndarray, shape (H, W), int64
        Class that the pixel would be labeled with in training, -1 for none.
    """

    present: np.ndarray
    presence: np.ndarray
    activation: np.ndarray
    inhibition: np.ndarray
    regional: np.ndarray
    confident: np.ndarray
    refined: np.ndarray
    certainty: np.ndarray
    label: np.ndarray


def explain(seen, present, config):
    """Return the stages of an image.

    Parameters
    ----------
    seen : nucseg.methods.sia_wsss.prediction.Seen
        What the network says of it.
    present : numpy.ndarray, shape (C,), bool
        Its classes.
    config : SIAWSSSConfig
        Choices.

    Returns
    -------
    Explanation
    """
    activation, inhibition = class_maps(seen, present, config)
    regions = superpixels_of(seen, config)
    refined = refine(activation, inhibition, regions, config)
    labeling = fused(activation, inhibition, regions, config)
    ignored = np.zeros(seen.pixels.shape[:2], bool)
    if config.white is not None:
        ignored = white_background(seen.pixels, config.white, config.white_size)
    own = config.maps
    label = pixel_labels(labeling, torch.from_numpy(present)[None], torch.from_numpy(ignored)[None], config.labeling,
                         own.foreground, own.background)
    maps = (activation, inhibition, refined.regional, refined.confident, refined.result)
    kinds = uncertain_regions(activation, own.foreground, own.background).kind
    return Explanation(present, seen.presence, *(part[0].numpy() for part in maps), kinds[0].numpy(), label[0].numpy())
