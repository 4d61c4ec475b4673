"""The two networks of MaskGA-Net: one segments, the other says which pixels' labels to trust (Guo et al. 2021).

Layers follow the authors' release (RuoyuGuo/MaskGA_Net); its initial weights are PyTorch's, from the global generator.
"""

import torch
from torch import nn

from nucseg.errors import DataError
from nucseg.models.joints import Add, Scale

#: Smallest height and width of an input, px: below it a stage of stride 16 has one pixel, which cannot be normalized.
MIN_SIZE = 17
#: Channels of the gates are fewer than those they weigh by this factor.
REDUCTION = 8


class _MaskGANetwork(nn.Module):
    """Residual encoder, decoder and aggregation, which the two networks share; they differ in blocks and inputs.

    Bilinear doubling may exceed the next size by a row or column, which is cut off at the bottom or right, as the
    release does for images of 1000 px.
    """

    def __init__(self, inputs, blocks, block, width, channels):
        super().__init__()
        if width < 1 or channels < REDUCTION or channels % REDUCTION:
            raise DataError(
                f"{type(self).__name__}: expected a width of 1 or more and channels in multiples of {REDUCTION}, got "
                f"{width} and {channels}"
            )
        self.inputs = inputs
        self.stem = _unit(inputs, width, 7, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        outputs = [width * 2**level * block.expansion for level in range(4)]
        self.stages = nn.ModuleList()
        for level, (number, before) in enumerate(zip(blocks, [width, *outputs])):
            inner, stride = width * 2**level, 2 if level in (1, 2) else 1
            # The last stage stays at stride 16; all of its blocks but the first are dilated.
            dilation = 2 if level == 3 else 1
            others = [block(outputs[level], inner, width, dilation=dilation) for _ in range(number - 1)]
            self.stages.append(nn.Sequential(block(before, inner, width, stride, project=True), *others))
        self.decoders = nn.ModuleList(_Decoder(outputs[level + 1], outputs[level]) for level in (2, 1, 0))
        self.gates = nn.ModuleList(_Gate(outputs[level], channels) for level in (2, 1, 0))
        self.merges = nn.ModuleList(_unit(channels, channels, 1) for _ in range(2))
        # As relevance goes through layers that are used once, each has its place, though it holds no weights.
        self.adds = nn.ModuleList(Add() for _ in range(2))
        self.doublings = nn.ModuleList(_doubling() for _ in range(4))
        self.refine = _unit(channels, channels, 3)
        self.head = Head(channels)

    def stem_features(self, images):
        """Return the output of ``stem``, (B, width, ceil(H / 2), ceil(W / 2)); arguments and errors as `features`."""
        if images.ndim != 4 or images.shape[1] != self.inputs or min(images.shape[2:]) < MIN_SIZE:
            raise DataError(
                f"images: expected shape (B, {self.inputs}, H, W) with H and W at least {MIN_SIZE}, got "
                f"{tuple(images.shape)}"
            )
        return self.stem(images)

    def pixel_features(self, stem, shape):
        """Return what ``head`` reads, from the output of ``stem`` and the shape of the images."""
        skips, features = [], self.pool(stem)
        for stage in self.stages:
            skips.append(features := stage(features))
        decoded = []
        for decoder, skip in zip(self.decoders, skips[-2::-1]):
            decoded.append(features := decoder(features, skip))
        merged, *finer = (gate(features) for gate, features in zip(self.gates, decoded))
        for enlarge, add, merge, gated in zip(self.doublings, self.adds, self.merges, finer):
            merged = merge(add(_cut(enlarge(merged), gated.shape), gated))
        halved, whole = self.doublings[2:]
        return _cut(whole(self.refine(_cut(halved(merged), stem.shape))), shape)

    def features(self, images):
        """Return what ``head`` reads: features of every pixel.

        Parameters
        ----------
        images : torch.Tensor, shape (B, inputs, H, W), float
            H and W at least :data:`MIN_SIZE` px.

        Returns
        -------
        torch.Tensor, shape (B, channels, H, W), float

        Raises
        ------
        DataError
            Another number of axes or channels, or too small.
        """
        return self.pixel_features(self.stem_features(images), images.shape)

    def forward(self, images):
        """Return the probability of every pixel, (B, 1, H, W) float32; arguments as :meth:`features`."""
        return torch.sigmoid(self.head(self.features(images)))


class MaskGASegmentation(_MaskGANetwork):
    """Segmentation net: probability of nucleus at every pixel (Guo et al. 2021).

    The encoder has the bottlenecks of ResNet-50, half as wide, and stays at stride 16 in its last stage. Three decoder
    blocks add the encoder's features of stride 16, 8 and 4; what they return is weighed channel by channel and added
    from coarse to fine.

    The last two convolutions are ``head.reduce`` (with batch normalization and ReLU, ``channels`` to half as many) and
    ``head.out`` (to one channel). ``copy.deepcopy(network.head)`` on ``network.features(images)`` is a second head.

    Parameters
    ----------
    width : int
        Channels of the stem; the stages return 4, 8, 16 and 32 times as many.
    channels : int
        Channels of the aggregation, a multiple of 8.

    Raises
    ------
    DataError
        A width or number of channels out of range.

    Examples
    --------
    >>> network = MaskGASegmentation(width=2, channels=8).eval()
    >>> tuple(network(torch.zeros(1, 3, 65, 48)).shape)
    (1, 1, 65, 48)
    """

    def __init__(self, width=32, channels=128):
        super().__init__(3, (3, 4, 6, 3), _Bottleneck, width, channels)


class MaskGAAttention(_MaskGANetwork):
    """Attention net: how certain the label of every pixel is, in [0, 1] (Guo et al. 2021).

    Like the segmentation net, on the basic blocks of ResNet-18, which are normalized in groups of channels (release).
    Its input are the three colors and, as fourth channel, the label.

    Parameters
    ----------
    width : int
        Channels of the stem; the stages return 1, 2, 4 and 8 times as many. Also the number of groups.
    channels : int
        Channels of the aggregation, a multiple of 8.

    Raises
    ------
    DataError
        A width or number of channels out of range.

    Examples
    --------
    >>> network = MaskGAAttention(width=2, channels=8).eval()
    >>> tuple(network(torch.zeros(1, 4, 65, 48)).shape)
    (1, 1, 65, 48)
    """

    def __init__(self, width=32, channels=128):
        super().__init__(4, (2, 2, 2, 2), _Basic, width, channels)


class MaskGANet(nn.Module):
    """The two networks as they are trained (Guo et al. 2021); ``segmentation`` alone is used afterwards.

    Parameters
    ----------
    width, channels : int
        Of both networks; see :class:`MaskGASegmentation`.
    attention : bool
        Whether there is an attention net.

    Examples
    --------
    >>> network = MaskGANet(width=2, channels=8).eval()
    >>> segmented, attended = network(torch.zeros(1, 3, 32, 32), torch.zeros(1, 32, 32))
    >>> tuple(segmented.shape), tuple(attended.shape)
    ((1, 32, 32), (1, 32, 32))
    """

    _Segmentation = MaskGASegmentation

    def __init__(self, width=32, channels=128, attention=True):
        super().__init__()
        self.segmentation = self._Segmentation(width, channels)
        self.attention = MaskGAAttention(width, channels) if attention else None

    def attend(self, images, labels):
        """Return how certain the label of every pixel is, or None without an attention net; see :meth:`forward`."""
        if self.attention is None:
            return None
        return self.attention(torch.cat([images, labels[:, None].to(images.dtype)], dim=1))[:, 0]

    def forward(self, images, labels):
        """Return what both networks say of every pixel.

        Parameters
        ----------
        images : torch.Tensor, shape (B, 3, H, W), float
            Standardized images; H and W at least :data:`MIN_SIZE` px.
        labels : torch.Tensor, shape (B, H, W), any real dtype
            The label that training compares with, 1 nucleus and 0 background.

        Returns
        -------
        segmented : torch.Tensor, shape (B, H, W), float32
            Probability of nucleus.
        attended : torch.Tensor, shape (B, H, W), float32, or None
            How certain the label is, in [0, 1]; None without an attention net.
        """
        return self.segmentation(images)[:, 0], self.attend(images, labels)


class Head(nn.Module):
    """The last two convolutions of the aggregation: features to logits.

    ``reduce`` is a 3x3 convolution, batch normalization and ReLU, ``out`` a 3x3 convolution to one channel.

    Parameters
    ----------
    channels : int
        Of the features, 128 in the release; the layer between has half as many.
    """

    def __init__(self, channels=128):
        super().__init__()
        self.reduce = _unit(channels, channels // 2, 3)
        self.out = nn.Conv2d(channels // 2, 1, 3, padding=1)

    def forward(self, features):
        """Return the logits, (B, 1, H, W) float32, of features (B, channels, H, W)."""
        reduced = self.reduce(features)
        # Near 1, bfloat16 knows but one probability in 256, and the loss takes logarithms.
        with torch.autocast(reduced.device.type, enabled=False):
            return self.out(reduced.float())


class _Block(nn.Module):
    """Convolutions around a shortcut (ResNet); `layers` returns them, and `expansion` tells how they widen."""

    def __init__(self, before, inner, groups, stride=1, dilation=1, project=False):
        super().__init__()
        after = inner * self.expansion
        self.body = nn.Sequential(*self.layers(before, inner, after, groups, stride, dilation))
        self.shortcut = nn.Identity()
        if project:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        self.add, self.relu = Add(), nn.ReLU()

    def forward(self, features):
        return self.relu(self.add(self.body(features), self.shortcut(features)))


class _Bottleneck(_Block):
    """Three convolutions with batch normalization (ResNet-50)."""

    expansion = 4

    @staticmethod
    def layers(before, inner, after, groups, stride, dilation):
        return (
            _unit(before, inner, 1), _unit(inner, inner, 3, stride, dilation),
            nn.Conv2d(inner, after, 1, bias=False), nn.BatchNorm2d(after),
        )


class _Basic(_Block):
    """Two convolutions with group normalization (ResNet-18; groups in the release)."""

    expansion = 1

    @staticmethod
    def layers(before, inner, after, groups, stride, dilation):
        return (
            nn.Conv2d(before, inner, 3, stride, padding=dilation, dilation=dilation, bias=False),
            nn.GroupNorm(groups, inner), nn.ReLU(),
            nn.Conv2d(inner, after, 3, padding=1, bias=False), nn.GroupNorm(groups, after),
        )


class _Decoder(nn.Module):
    """Bring features to the channels and size of a skip, add it, and apply three convolutions."""

    def __init__(self, before, after):
        super().__init__()
        self.adapt = _unit(before, after, 1)
        self.units = nn.Sequential(_unit(after, after, 1), _unit(after, after, 3), _unit(after, after, 1))
        self.enlarge, self.add = _doubling(), Add()

    def forward(self, features, skip):
        features = self.adapt(features)
        if features.shape[2:] != skip.shape[2:]:
            features = _cut(self.enlarge(features), skip.shape)
        return self.units(self.add(features, skip))


class _Gate(nn.Module):
    """A convolution, and a weight for each of its channels from their means and maxima over the image."""

    def __init__(self, before, channels):
        super().__init__()
        self.unit = _unit(before, channels, 3)
        fewer = channels // REDUCTION
        self.weigh = nn.Sequential(nn.Conv2d(channels, fewer, 1), nn.ReLU(), nn.Conv2d(fewer, channels, 1))
        self.scale = Scale()

    def forward(self, features):
        features = self.unit(features)
        pooled = features.mean((2, 3), keepdim=True), features.amax((2, 3), keepdim=True)
        return self.scale(features, torch.sigmoid(self.weigh(pooled[0]) + self.weigh(pooled[1])))


def _unit(before, after, kernel, stride=1, dilation=1):
    """Return convolution, batch normalization (whose shift is the bias) and ReLU."""
    padding = kernel // 2 * dilation
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, padding, dilation, bias=False), nn.BatchNorm2d(after), nn.ReLU()
    )


def _doubling():
    """Return a layer that doubles height and width, interpolating from corner to corner (release)."""
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)


def _cut(features, shape):
    """Return features without the row and column by which they exceed a shape."""
    return features[..., : shape[2], : shape[3]]
