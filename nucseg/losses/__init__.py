"""Training losses for weak and full supervision."""

from nucseg.losses.dense_crf import dense_crf_loss

__all__ = ["dense_crf_loss"]
