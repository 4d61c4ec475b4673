"""Mask R-CNN, supervised by instances: the upper reference of Costa et al. (2022, sec. 3.3)."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array, vstack
from skimage.segmentation import relabel_sequential

from nucseg.methods.crop_method import CropConfig, CropMethod
from nucseg.methods.stages import require_labels
from nucseg.methods.tiling import over_tiles, tiles
from nucseg.models.mask_rcnn import NucleusRCNN, fpn_backbone, paste_masks
from nucseg.postprocess import InstanceMasks


@dataclass(frozen=True)
class MaskRCNNConfig(CropConfig):
    """Settings of :class:`MaskRCNN`; Costa et al. give none, so all of them are ours."""

    backbone: str = "resnet50"  # or resnet34, resnet18
    weights: str | None = "imagenet"  # of the backbone; None starts from random weights
    batch: int = 16  # patches
    learning_rate: float = 5e-3  # peak of the one-cycle policy
    gradient_norm: float = 10.0  # upper bound; the sum of five losses has larger gradients than one
    trainable: int = 3  # stages of an ImageNet backbone that are learned, from the last of five (torchvision)
    enlarge: int = 2  # factor on patches before the network
    proposals: tuple[int, int] = (1000, 500)  # before (on each level) and after non-maximum suppression
    sampled: tuple[int, int] = (256, 512)  # anchors and proposals of a patch that enter the losses (torchvision)
    detections: int = 200  # in a patch, at most; the library's 100 cuts off dense ones
    score: float = 0.5  # of a detection, above
    nms: float = 0.3  # a box that overlaps one of a higher score by a larger IoU is dropped
    level: float = 0.5  # likelihood above which a pixel belongs to a mask

    def __post_init__(self):
        super().__post_init__()
        self._require(0 <= self.trainable <= 5, "trainable")
        self._require(self.enlarge >= 1 and self.detections >= 1, "enlarge", "detections")
        for name in ("proposals", "sampled"):
            self._require(len(getattr(self, name)) == 2 and min(getattr(self, name)) >= 1, name)
        self._require(0 <= self.score < 1 and 0 < self.nms <= 1, "score", "nms")
        self._require(0 < self.level < 1, "level")


class MaskRCNN(CropMethod):
    """Detection of nuclei, and a mask in each box (He et al. 2017), trained on label maps (Costa et al. 2022).

    Whole images are cut into tiles; a nucleus belongs to the tile that owns the middle of its box.

    Parameters
    ----------
    config : MaskRCNNConfig, optional
        Settings; ours where the article is silent by default.
    """

    Config = MaskRCNNConfig
    network_name = "mask-rcnn"
    prediction_settings = ("detections", "score", "nms", "level", "min_size", "margin")

    def targets(self, samples):
        """Return the label map of each sample, (H, W) int.

        Raises
        ------
        DataError
            A sample without one; names it.
        """
        require_labels(samples, "Mask R-CNN")
        return [sample.labels for sample in samples]

    def untrained(self, loading=False):
        """Return a network whose backbone has the weights of the config, or random ones to be loaded into."""
        config = self.config
        weights = None if loading else config.weights
        # Loading builds a network without its ImageNet weights, but with the normalization that came with them.
        backbone = fpn_backbone(config.backbone, weights, config.weights is not None, config.trainable)
        return NucleusRCNN(backbone, config.patch, config.enlarge, config.proposals, config.sampled)

    def loss(self, network, batch):
        """Return the sum of the five losses of a batch: of proposals and of boxes, two each, and of masks."""
        return sum(network(self.preprocessing.standardize(batch["image"]), batch["labels"]).values())

    def nucleus_map(self, network, pixels):
        """Return the highest likelihood of any mask that is kept at each pixel of a prepared image, (H, W) float32."""
        return self._detected(network, pixels)[1]

    def alone(self, network, pixels):
        """Return likelihood, instances and their number of a patch; see :meth:`CropMethod.alone`."""
        masks, prob = self._detected(network, pixels)
        return prob, masks, float(len(masks))

    def predict_masks(self, image):
        """Return the instances of an RGB image (H, W, 3) uint8 as masks that may overlap.

        Returns
        -------
        nucseg.postprocess.InstanceMasks
            The value of all pixels of a mask is the score of its detection.
        """
        pixels = self.prepared(image)
        return self._detected(self.networks[self.network_name], pixels)[0]

    def predict(self, image):
        """Return the instance map, (H, W) int32, of an RGB image (H, W, 3) uint8; pixels go to the highest score."""
        # An instance may be hidden behind others, so ids may have gaps.
        return relabel_sequential(self.predict_masks(image).labels())[0].astype(np.int32)

    def _detected(self, network, pixels):
        """Return the instance masks of a prepared image, and the highest likelihood of any mask at each pixel."""
        config, size = self.config, pixels.shape[:2]
        heads = network.roi_heads  # its bounds are no weights; those of the config hold, also if it was replaced
        heads.score_thresh, heads.nms_thresh, heads.detections_per_img = config.score, config.nms, config.detections
        parts, device = tiles(size, config.patch, config.margin), next(network.parameters()).device
        batches = over_tiles(network, pixels, parts, config.patch, self.preprocessing, device)
        rows, whole = [csr_array((0, size[0] * size[1]), dtype=np.float32)], np.zeros(size, np.float32)
        for tile, found in zip(parts, (one for several in batches for one in several)):
            prob, scores = self._own(tile, found)
            top, left = tile.corner
            window = whole[top : top + config.patch, left : left + config.patch]
            prob = prob[:, : window.shape[0], : window.shape[1]]
            kept = (prob > config.level).sum(axis=(1, 2)) >= max(config.min_size, 1)
            prob, scores = prob[kept], scores[kept]
            np.maximum(window, prob.max(axis=0, initial=0), out=window)
            owner, row, column = np.nonzero(prob > config.level)
            places = (row + top) * size[1] + column + left
            rows.append(csr_array((scores[owner], (owner, places)), shape=(len(prob), size[0] * size[1])))
        return InstanceMasks(size, csr_array(vstack(rows, format="csr"))), whole

    def _own(self, tile, found):
        """Return likelihoods (N, s, s) and scores (N,) of the detections whose box has its middle in the tile's area.

        Both are float32; the pixels are those of the tile.
        """
        boxes = found["boxes"]
        middles = ((boxes[:, :2] + boxes[:, 2:]) / 2).flip(1).cpu().numpy() + tile.corner
        own = torch.from_numpy(tile.owns(middles)).to(boxes.device)
        prob = paste_masks(found["masks"][own, 0], boxes[own], self.config.patch)
        return prob.cpu().numpy(), found["scores"][own].cpu().numpy()
