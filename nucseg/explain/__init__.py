"""Where an answer comes from: layer-wise relevance propagation, and feature weights made from relevance."""

from nucseg.explain.lrp import relevance
from nucseg.explain.rules import LRPRules
from nucseg.explain.tiles import tiled_relevance
from nucseg.explain.weights import feature_weights

__all__ = ["LRPRules", "feature_weights", "relevance", "tiled_relevance"]
