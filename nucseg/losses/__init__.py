"""Training losses for weak and full supervision."""

from nucseg.losses.attention import partial_l1, product_cross_entropy
from nucseg.losses.dense_crf import dense_crf_loss
from nucseg.losses.supervised import masked_cross_entropy, weighted_mse

__all__ = ["dense_crf_loss", "masked_cross_entropy", "partial_l1", "product_cross_entropy", "weighted_mse"]
