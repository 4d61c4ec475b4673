"""Where an answer comes from: class activation maps, layer-wise relevance propagation, and weights from relevance."""

from nucseg.explain.cam import block_cams, class_activation_map
from nucseg.explain.lrp import relevance
from nucseg.explain.rules import LRPRules
from nucseg.explain.tiles import tiled_relevance
from nucseg.explain.weights import feature_weights

__all__ = [
    "LRPRules", "block_cams", "class_activation_map", "feature_weights", "relevance", "tiled_relevance",
]
