"""DeepLabV3, fully supervised by masks: the reference for the foreground in Costa et al. (2022, sec. 3.3)."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.sparse import csr_array
from torch.nn import functional as F

from nucseg.errors import DataError, UnknownNameError
from nucseg.losses.shapes import smooth_dice
from nucseg.methods.crop_method import CropConfig, CropMethod
from nucseg.methods.tiling import over_tiles, tiles
from nucseg.models.deeplab import DeepLabNet
from nucseg.postprocess import InstanceMasks, components, dynamic_watershed

#: How the foreground is divided into instances.
SEPARATIONS = ("components", "watershed")


@dataclass(frozen=True)
class DeepLabV3Config(CropConfig):
    """Settings of :class:`DeepLabV3`; "ours" marks what Costa et al. do not say."""

    backbone: str = "resnet50"  # or resnet34, resnet18 (ours)
    weights: str | None = "imagenet"  # of the backbone (sec. 3.2); None starts from random weights
    # Dilations of the pyramid, px of the feature map. Chen et al. (2017) take 12, 24 and 36 at output stride 8 and half
    # of that at 16, ours; larger ones would only meet the padding, since a patch of 128 px has 8 x 8 features.
    rates: tuple[int, ...] = (6, 12, 18)
    separate: str = "components"  # connected components, or a watershed on distances (ours: no instances there)
    depth: float = 1.0  # a basin of the watershed no deeper than this does not make an instance, px (ours)

    def __post_init__(self):
        super().__post_init__()
        if self.separate not in SEPARATIONS:
            raise UnknownNameError(f"separate: expected one of {', '.join(SEPARATIONS)}, got {self.separate!r}")
        self._require(self.rates and min(self.rates) >= 1, "rates")
        self._require(self.depth >= 0, "depth")


class DeepLabV3(CropMethod):
    """Semantic segmentation of the foreground (Chen et al. 2017), trained as canonical shape is (Costa et al. 2022).

    It uses the same supervision as canonical shape without counts, binary masks. Instances are connected components
    or, with ``separate="watershed"``, the basins of the distance to the background.

    Parameters
    ----------
    config : DeepLabV3Config, optional
        Settings; the published ones by default.
    """

    Config = DeepLabV3Config
    network_name = "deeplab"
    prediction_settings = ("separate", "depth", "min_size", "margin")

    def targets(self, samples):
        """Return the foreground of each sample, (H, W) int32, 0 or 1, from its label map or class mask.

        Raises
        ------
        DataError
            A sample with neither; names it.
        """
        for sample in samples:
            if sample.labels is None and sample.mask is None:
                raise DataError(f"{sample.id}: DeepLabV3 needs a label map or a binary mask")
        maps = (sample.mask if sample.labels is None else sample.labels for sample in samples)
        return [(target > 0).astype(np.int32) for target in maps]

    def untrained(self, loading=False):
        """Return a network whose encoder has the weights of the config, or random ones to be loaded into."""
        return DeepLabNet(self.config.backbone, None if loading else self.config.weights, self.config.rates)

    def loss(self, network, batch):
        """Return cross-entropy plus smooth Dice of a batch, the losses of the main method (sec. 2.3)."""
        mask = (batch["labels"] > 0).float()
        logits = network(self.preprocessing.standardize(batch["image"])).float()
        return F.binary_cross_entropy_with_logits(logits, mask) + smooth_dice(logits.sigmoid(), mask)

    def nucleus_map(self, network, pixels):
        """Return the probability of foreground of a prepared image, (H, W) float32, each pixel from its own tile."""
        size, patch = pixels.shape[:2], self.config.patch
        parts, device = tiles(size, patch, self.config.margin), next(network.parameters()).device
        whole = np.zeros(size, np.float32)
        batches = over_tiles(network, pixels, parts, patch, self.preprocessing, device)
        for tile, logits in zip(parts, (one for several in batches for one in several)):
            inside, own = tile.own_window(size)
            whole[inside] = logits.sigmoid().cpu().numpy()[own]
        return whole

    def alone(self, network, pixels):
        """Return probability, instances and their number of a patch; see :meth:`CropMethod.alone`."""
        prob = self.nucleus_map(network, pixels)
        masks = self._masks(prob)
        return prob, masks, float(len(masks))

    def predict(self, image):
        """Return the instance map, (H, W) int32, of an RGB image (H, W, 3) uint8."""
        return self.instances(self.predict_maps(image)["nucleus"])

    def predict_masks(self, image):
        """Return the instances of an RGB image (H, W, 3) uint8 as masks, which do not overlap here.

        Returns
        -------
        nucseg.postprocess.InstanceMasks
            The value of a pixel is its probability of foreground.
        """
        return self._masks(self.predict_maps(image)["nucleus"])

    def _masks(self, prob):
        labels = self.instances(prob)
        (places,) = np.nonzero(labels.ravel())
        entries = (prob.ravel()[places], (labels.ravel()[places] - 1, places))
        return InstanceMasks(labels.shape, csr_array(entries, shape=(labels.max(), labels.size)))

    def instances(self, prob):
        """Return the instances of a probability map (H, W), where it is above one half, (H, W) int32."""
        mask = prob > 0.5
        if self.config.separate == "components":
            return components(mask, self.config.min_size)
        return distance_watershed(mask, self.config.depth, self.config.min_size)


def distance_watershed(mask, depth=1.0, min_size=0):
    """Return the instances of a mask: the basins of the Euclidean distance to the background.

    Parameters
    ----------
    mask : array_like, shape (H, W), bool
        Foreground.
    depth : float
        Basins no deeper than this do not make an instance of their own, px.
    min_size : int
        Instances of fewer pixels are removed.

    Returns
    -------
    numpy.ndarray, shape (H, W), int32
        Ids 1..n, 0 = background.
    """
    mask = np.asarray(mask, bool)
    labels = dynamic_watershed(ndimage.distance_transform_edt(mask), depth, threshold=0, whole=False)
    # Components that are nowhere deeper than `depth` have no basin; each of them is one instance.
    shallow = components(mask & (labels == 0))
    labels = np.where(shallow > 0, shallow + labels.max(), labels)
    kept = np.bincount(labels.ravel()) >= max(min_size, 1)
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[labels]
