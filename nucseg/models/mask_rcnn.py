"""Mask R-CNN for one kind of small object, on a feature pyramid of a residual network (He et al. 2017)."""

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes
from torchvision.ops import FrozenBatchNorm2d

from nucseg.errors import DataError
from nucseg.models.backbones import dilated_resnet

#: Sides of the anchors on the five levels of the pyramid, px of the enlarged image, and their heights by widths.
ANCHORS, RATIOS = (8, 16, 32, 64, 128), (0.5, 1.0, 2.0)


def fpn_backbone(name="resnet50", weights="imagenet", frozen=True, trainable=3):
    """Return a residual network with a feature pyramid of 256 channels at strides 4 to 64.

    Parameters
    ----------
    name : {"resnet50", "resnet34", "resnet18"}
        Which network.
    weights : {"imagenet", None}
        As for :func:`nucseg.models.backbones.dilated_resnet`.
    frozen : bool
        Whether batch normalization keeps its statistics and weights, as is usual after ImageNet; without, it is
        learned and so are all stages.
    trainable : int
        Stages that are learned if frozen, from the last of five.

    Returns
    -------
    torchvision.models.detection.backbone_utils.BackboneWithFPN

    Raises
    ------
    UnknownNameError
        Another name or other weights.
    NucsegError
        The ImageNet weights cannot be loaded.
    """
    source = dilated_resnet(name, weights)
    norm = FrozenBatchNorm2d if frozen else nn.BatchNorm2d
    backbone = resnet_fpn_backbone(
        backbone_name=name, weights=None, norm_layer=norm, trainable_layers=trainable if frozen else 5
    )
    # The parts of both follow one another in the same order, and dilation changes no weights.
    for part, given in zip(backbone.body.values(), source, strict=True):
        part.load_state_dict(given.state_dict())
    return backbone


class NucleusRCNN(MaskRCNN):
    """torchvision's Mask R-CNN for nuclei in square images.

    Parameters
    ----------
    backbone : torch.nn.Module
        See :func:`fpn_backbone`.
    side : int
        Side of the images, px.
    enlarge : int
        Factor by which they are enlarged before the network.
    proposals : tuple of int
        Most proposals of each level of the pyramid before non-maximum suppression, and of an image after it.
    sampled : tuple of int
        Anchors and proposals of an image that enter the losses.
    """

    def __init__(self, backbone, side, enlarge=2, proposals=(1000, 500), sampled=(256, 512)):
        before, after = proposals
        super().__init__(
            backbone, 2, rpn_anchor_generator=AnchorGenerator([(s,) for s in ANCHORS], [RATIOS] * len(ANCHORS)),
            rpn_pre_nms_top_n_train=before, rpn_pre_nms_top_n_test=before,
            rpn_post_nms_top_n_train=after, rpn_post_nms_top_n_test=after,
            rpn_batch_size_per_image=sampled[0], box_batch_size_per_image=sampled[1],
        )
        # Images come standardized, so that the network's own mean is 0 and its deviation 1.
        self.transform = _Enlarge(side * enlarge, side * enlarge, [0.0] * 3, [1.0] * 3)
        # Under autocast to bfloat16 only convolutions and matrix products use it: anchors, offsets, scores and losses
        # would keep three digits otherwise, since they take the precision of the features they are computed from.
        heads = self.roi_heads
        for part in (self.backbone, self.rpn.head, heads.box_predictor, heads.mask_predictor):
            part.register_forward_hook(_to_float32)

    def forward(self, images, labels=None):
        """Return the five losses of training, or what is detected in evaluation mode.

        Parameters
        ----------
        images : torch.Tensor, shape (B, 3, s, s), float
            Standardized.
        labels : torch.Tensor, shape (B, s, s), integer, optional
            Instance maps, for training. Targets are made of them here, since Lightning Fabric would round boxes.

        Returns
        -------
        dict of torch.Tensor, or list of dict of torch.Tensor
            Losses by name; or for each image ``boxes`` (N, 4), left, top, right and bottom edge, px; ``scores`` (N,);
            ``labels`` (N,), ones; ``masks`` (N, 1, 28, 28), in the frames of the boxes (see :func:`paste_masks`).
        """
        return super().forward(images.float(), None if labels is None else [instance_targets(own) for own in labels])


class _Enlarge(GeneralizedRCNNTransform):
    """Enlarges images and targets; of the detections only the boxes are brought back.

    Boxes are given by the edges of pixels, the first of which lies between 0 and 1. The operation that cuts features
    and mask targets out of a box takes whole numbers for the middles of pixels, so boxes move by half a pixel on their
    way in and out. torchvision leaves that to chance, and pastes masks into boxes that are cut down to whole pixels:
    together up to a pixel, which is much for a nucleus of ten.
    """

    def resize(self, image, target=None):
        image, target = super().resize(image, target)
        if target is not None:
            target["boxes"] = target["boxes"] - 0.5
        return image, target

    def postprocess(self, result, image_shapes, original_image_sizes):
        if not self.training:
            for found, enlarged, original in zip(result, image_shapes, original_image_sizes):
                found["boxes"] = resize_boxes(found["boxes"] + 0.5, enlarged, original)
        return result


def _to_float32(module, inputs, output):
    if isinstance(output, torch.Tensor):
        return output.float()
    if isinstance(output, dict):
        return type(output)((name, part.float()) for name, part in output.items())
    return type(output)(_to_float32(module, inputs, part) for part in output)


def instance_targets(labels):
    """Return boxes and masks of the instances of a label map, as torchvision's detectors take them.

    An instance that the border of a crop has cut counts with what is left of it.

    Parameters
    ----------
    labels : torch.Tensor, shape (H, W), integer
        Instance map, 0 = background.

    Returns
    -------
    dict of torch.Tensor
        ``boxes`` (N, 4) float32: left, top, right and bottom edge, px, where the first pixel lies between 0 and 1, so
        that none is empty; ``masks`` (N, H, W) uint8; ``labels`` (N,) int64, ones. Instances by ascending id.

    Raises
    ------
    DataError
        Not a 2-D map.

    Examples
    --------
    >>> instance_targets(torch.tensor([[0, 7, 7], [0, 0, 7]]))["boxes"].tolist()
    [[1.0, 0.0, 3.0, 2.0]]
    """
    if labels.ndim != 2:
        raise DataError(f"targets: expected a label map of shape (H, W), got {tuple(labels.shape)}")
    ids = torch.unique(labels)
    masks = labels == ids[ids > 0, None, None]
    edges = []
    for axis in (1, 2):  # columns, then rows: whether any pixel along the other axis belongs to the instance
        occupied = masks.any(dim=axis).to(torch.int8)
        first, last = occupied.argmax(dim=1), occupied.shape[1] - occupied.flip(1).argmax(dim=1)
        edges.append((first, last))
    (left, right), (top, bottom) = edges
    return {
        "boxes": torch.stack([left, top, right, bottom], dim=1).float(), "masks": masks.to(torch.uint8),
        "labels": torch.ones(len(masks), dtype=torch.int64, device=labels.device),
    }


def paste_masks(masks, boxes, side):
    """Return masks in the frames of their boxes as masks of an image, by bilinear interpolation.

    Parameters
    ----------
    masks : torch.Tensor, shape (N, m, m), float
        Likelihoods.
    boxes : torch.Tensor, shape (N, 4), float
        Left, top, right and bottom edge, px.
    side : int
        Side of the image, px.

    Returns
    -------
    torch.Tensor, shape (N, side, side), float32
        Falls to 0 around the edges of the boxes, by half on them.
    """
    middles = torch.arange(side, device=boxes.device, dtype=torch.float32) + 0.5
    boxes = boxes.float()
    first, extent = boxes[:, :2], (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3)
    x, y = (2 * (middles - first[:, axis, None]) / extent[:, axis, None] - 1 for axis in (0, 1))
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)
    return F.grid_sample(masks[:, None].float(), grid, mode="bilinear", align_corners=False)[:, 0]
