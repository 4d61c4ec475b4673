"""Training losses for weak and full supervision."""

from nucseg.losses.attention import partial_l1, product_cross_entropy
from nucseg.losses.contrastive import cam_guided_contrast, contrastive_loss
from nucseg.losses.crop_contrast import TokenContrast, token_contrast
from nucseg.losses.dense_crf import dense_crf_loss
from nucseg.losses.detection import FCOSLossConfig, FCOSLosses, FCOSTargets, fcos_loss, fcos_targets
from nucseg.losses.dynamic import label_loss
from nucseg.losses.shapes import count_loss, log_cross_entropy, smooth_dice
from nucseg.losses.supervised import masked_cross_entropy, weighted_mse
from nucseg.losses.tokens import attraction_loss, inhibition_loss, token_cosines

__all__ = [
    "FCOSLossConfig", "FCOSLosses", "FCOSTargets", "TokenContrast", "attraction_loss", "cam_guided_contrast",
    "contrastive_loss", "count_loss", "dense_crf_loss", "fcos_loss", "fcos_targets", "inhibition_loss", "label_loss",
    "log_cross_entropy", "masked_cross_entropy", "partial_l1", "product_cross_entropy", "smooth_dice",
    "token_contrast", "token_cosines", "weighted_mse",
]
