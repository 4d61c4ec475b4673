"""DoNuSeg on CoNSeP, TNBC and MoNuSeg, the last in place of CryoNuSeg (Wang et al. 2024, tables 1 to 3), from scratch.

Every network starts from random weights (``weights=None``); the article does not say what its own start from.
Supervision: dots at the centroids of nuclei. Five folds of images, three parts for training, one for validation, one
for test; rows of one name and different folds are one row of the table. Rows called "short" have a ResNet-18, 64
channels, towers of two convolutions, the contrast at stride 4, fewer windows of an image and, but for TNBC, fewer
epochs; "WeakSeg" has fewer epochs and patches there, raw colors and stain jitter. Records hold what they cost. The
published settings have not been timed. Trainings are kept in ``runs/donuseg/training``. Command:
``nucseg experiment run donuseg --row TEXT``.
"""

from dataclasses import asdict, replace

from nucseg.engine import StainJitterConfig
from nucseg.methods import DoNuSegConfig, PartialPointsConfig
from nucseg.methods.donuseg import ContrastConfig, with_robust_maps
from nucseg.methods.stages import plain
from nucseg.models import FCOSConfig
from nucseg.study.experiment import Row
from nucseg.study.folds import FoldChoice
from nucseg.study.measures.donuseg import measure_folds

DATASETS = ("monuseg", "consep", "tnbc")
#: The published settings, from random weights.
PUBLISHED = DoNuSegConfig(network=FCOSConfig(weights=None))
#: Qu et al. (2020) with all dots, "WeakSeg" in table 1.
WEAKSEG = PartialPointsConfig(detector=None, weights=None)
#: Of short trainings: step between windows in px, and epochs.
SHORT = {"monuseg": (340, 20), "consep": (340, 16), "tnbc": (192, 40)}
#: Of short trainings of WeakSeg: epochs with cross-entropy and with the dense CRF, patches along a side of an image.
SHORT_WEAKSEG = {"monuseg": (20, 4, 4), "consep": (16, 4, 4), "tnbc": (24, 4, 3)}
#: Weights of the dynamic label and of the contrast in table 2.
LOSSES = {"neither": (0.0, 0.0), "L_dcs": (0.5, 0.0), "L_ccl": (0.0, 2.0), "L_dcs + L_ccl": (0.5, 2.0)}
#: Radii of the initial label in figure 5, px; the article does not print its grid.
RADII = (*((r, 20.0) for r in (2.0, 6.0, 8.0)), *((4.0, d) for d in (12.0, 16.0, 24.0, 30.0)))


def short(dataset):
    """Return the settings of short trainings on a dataset."""
    stride, epochs = SHORT[dataset]
    network = replace(PUBLISHED.network, backbone="resnet18", channels=64, mask_channels=32, tower=2)
    return replace(PUBLISHED, network=network, contrast=ContrastConfig(channels=64, interpolate=False), stride=stride,
                   epochs=epochs, validate_every=epochs // 4)


def short_weakseg(dataset):
    """Return the settings of short trainings of WeakSeg on a dataset."""
    epochs, crf_epochs, patches = SHORT_WEAKSEG[dataset]
    segmenter = replace(WEAKSEG.segmenter, epochs=epochs, crf_epochs=crf_epochs, validate_every=4,
                        stain=StainJitterConfig())
    return replace(WEAKSEG, normalization=None, patches_per_side=patches, segmenter=segmenter)


def declare(experiment, row, dataset, config, fold, *, method="DoNuSeg", **settings):
    """Return a Row on the test images of a fold; its settings hold the whole config."""
    values = {name: value for name, value in plain(asdict(config)).items() if name != "seed"}
    return Row(experiment, row, dataset, "all", "all dots", measure_folds,
               {"method": method, "config": values, **settings}, fold=fold)


def _weighted(config, row):
    dcs, ccl = LOSSES[row]
    return replace(config, dcs_weight=dcs, ccl_weight=ccl)


def _single(config, block):
    return replace(config, selection=replace(config.selection, blocks=(block,)))


def _tables():
    for number in range(5):
        fold = FoldChoice(number, parts=5)
        for dataset in DATASETS:
            yield declare("table 1", "WeakSeg", dataset, WEAKSEG, fold, method="WeakSeg")
            yield declare("table 1", "DoNuSeg", dataset, PUBLISHED, fold)
            for row in LOSSES:
                yield declare("table 2", row, dataset, _weighted(PUBLISHED, row), fold)
                yield declare("table 2, robust maps", row, dataset, _weighted(with_robust_maps(PUBLISHED), row), fold)
            for block in range(4):
                yield declare("table 3", f"block {block + 1}", dataset, _single(PUBLISHED, block), fold)
        yield declare("no patient in two parts", "DoNuSeg", "tnbc", PUBLISHED, FoldChoice(number, parts=5, by="group"))


def _choices(config):
    """One change each of what the article leaves open."""
    for name, changes in (
        ("balanced alpha", {"balanced": True}), ("alpha where both are defined", {"defined_in_both": True}),
        ("blocks that find a tenth of the disks", {"least_recall": 0.1}), ("LayerCAM", {"kind": "layer-cam"}),
        ("gradients through batch statistics", {"constant_statistics": False}),
        ("score of all cells", {"score": "all"}), ("one block for a batch", {"scope": "batch"}),
        ("theta 0.6", {"theta": 0.6}), ("theta 0.9", {"theta": 0.9}), ("after 5 epochs", {"first_epoch": 6}),
        ("brightest hundredth is 1", {"quantile": 0.99}),
    ):
        yield name, replace(config, selection=replace(config.selection, **changes))
    for name, changes in (
        ("contrast of the last block", {"features": "last"}), ("temperature 0.1", {"temperature": 0.1}),
        ("anchors with gradient", {"detach_anchors": False}), ("contrast at image size", {"interpolate": True}),
        ("contrast of a whole batch", {"scope": "batch"}), ("mean of dissimilar features", {"mean": True}),
    ):
        yield name, replace(config, contrast=replace(config.contrast, **changes))
    for name, changes in (
        ("map of dots", {"localization": "positions"}), ("count of dots", {"pooled": 1, "grid": 1}),
        ("mask of the finest level", {"mask_levels": 1}),
    ):
        network = replace(config.network, **changes)
        yield name, replace(config, network=network, most_dots=None if name == "count of dots" else config.most_dots)
    robust = with_robust_maps(config)
    yield "map of dots on P3", replace(config, network=robust.network, loc_weight=robust.loc_weight)
    for name, changes in (("brightest twentieth is 1", {"quantile": 0.95}), ("LayerCAM", {"kind": "layer-cam"})):
        yield f"robust maps, {name}", replace(robust, selection=replace(robust.selection, **changes))
    yield "boxes of 0.75 spacings", replace(config, box_ratio=0.75)
    yield "refined boxes", replace(config, refine_above=0.6)
    yield "loss of the mask on each level", replace(config, deep_supervision=True)
    for limits in ((16, 32, 64), (32, 64, 128)):
        name = f"limits {', '.join(map(str, limits))} px"
        yield name, replace(config, detection=replace(config.detection, limits=limits))


def _short():
    """Trainings that a CPU core finishes, on the first fold."""
    fold = FoldChoice(0, parts=5)
    for dataset in DATASETS:
        config = short(dataset)
        yield declare("table 1, short", "DoNuSeg", dataset, config, fold)
        yield declare("table 1, short", "WeakSeg", dataset, short_weakseg(dataset), fold, method="WeakSeg")
        for row in LOSSES:
            yield declare("table 2, short", row, dataset, _weighted(config, row), fold)
            yield declare("table 2, robust maps, short", row, dataset, _weighted(with_robust_maps(config), row), fold)
        for block in range(4):
            yield declare("table 3, short", f"block {block + 1}", dataset, _single(config, block), fold)
        for row, changed in _choices(config):
            yield declare("choices in training, short", row, dataset, changed, fold)
        for row, assembly in (
            ("claim", {"rule": "claim"}), ("watershed", {"rule": "watershed"}),
            ("mask outside boxes stays", {"outside": "components"}),
        ):
            yield declare("assembly, short", row, dataset, config, fold, assembly=assembly)
        for r, d in RADII:
            yield declare("radii, short", f"r {r:g}, d {d:g}", dataset, replace(config, r=r, d=d), fold)


ROWS = (*_tables(), *_short())
