"""Where an answer comes from: class activation maps, layer-wise relevance propagation, and weights from relevance."""

from nucseg.explain.cam import block_cams, class_activation_map
from nucseg.explain.lrp import relevance
from nucseg.explain.rules import LRPRules
from nucseg.explain.tag_maps import Regions, pool_maps, scaled_maps, uncertain_regions
from nucseg.explain.tiles import tiled_relevance
from nucseg.explain.weights import feature_weights

__all__ = [
    "LRPRules", "Regions", "block_cams", "class_activation_map", "feature_weights", "pool_maps", "relevance",
    "scaled_maps", "tiled_relevance", "uncertain_regions",
]
