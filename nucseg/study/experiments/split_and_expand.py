"""Split and expand on MoNuSeg and TNBC (Foo et al. 2022, tables 1 and 2), from scratch.

Every network starts from random weights (``weights=None``); the article does not say what its own start from, its
first base does from ImageNet elsewhere. Supervision: dots at the centers of the nuclei's boxes. Ten folds, eight parts
for training, one for validation, one for test; rows of one name and different folds are one row of the table. All
rows that share settings and fold share one training, kept in ``runs/split_and_expand/training``.
Rows called "short" train for 20 (MoNuSeg) or 24 epochs (TNBC) with raw colors and stain jitter, about 40 minutes on one
CPU core, three times that with re-weighting; the published settings have not been timed. Short trainings
around MaskGA with half the channels and 6 epochs in each of its two stages.
Command: ``nucseg experiment run split-and-expand --row TEXT``.
"""

from dataclasses import asdict, replace

from nucseg.engine import StainJitterConfig
from nucseg.methods import SplitAndExpandConfig
from nucseg.methods.split_and_expand.config import STARTS, ReweightingConfig, base_config, maskga_base_config
from nucseg.methods.stages import plain
from nucseg.metrics.small_cells import SMALL_AREA
from nucseg.study.experiment import Row
from nucseg.study.folds import FoldChoice
from nucseg.study.measures.growth import GROWTH
from nucseg.study.measures.oracle import measure_oracle
from nucseg.study.measures.reweighting import measure_weights
from nucseg.study.measures.split_and_expand import measure_steps

DATASETS = ("monuseg", "tnbc")
#: Names of the steps in table 1, and in the code.
OUTPUTS = {"Baseline": "baseline", "Split": "split", "Split & Expand": "expand"}
#: The published settings around either base, from random weights.
WEAKLY = SplitAndExpandConfig(base=replace(base_config(), weights=None))
MASKGA = replace(WEAKLY, base=maskga_base_config())
BASES = {"Weakly": WEAKLY, "MaskGA": MASKGA}
#: Epochs and least number of patches along each side of an image in short trainings.
SHORT = {"monuseg": (20, 4), "tnbc": (24, 3)}
#: Folds of short trainings.
FEW = (0, 1)
#: Ways to divide clumps: clustering and least weight.
CLUSTERINGS = {
    "mixture": ("gmm", 0.05), "mixture, weights as they are": ("gmm", 0.0),
    "mixture, one covariance": ("gmm-tied", 0.05), "mixture, uniform weights": ("gmm-uniform", 0.05),
    "nearest center": ("nearest", 0.05), "k-means": ("kmeans", 0.05),
    "watershed on the distance": ("watershed-distance", 0.05),
    "watershed on the center map": ("watershed-center", 0.05),
}
#: Errors of centers, for finding out how good they have to be.
ERRORS = {
    **{f"moved by {moved:g} px": {"moved": moved} for moved in (1.0, 2.0, 4.0)},
    **{f"{100 * share:g} % missed": {"missed": share} for share in (0.1, 0.25, 0.5)},
    **{f"{100 * share:g} % added": {"spurious": share} for share in (0.1, 0.25, 0.5)},
}


def short(dataset, reweighting=None, share=1.0):
    """Return the settings of short trainings on a dataset, or of a share of their epochs."""
    epochs, patches = SHORT[dataset]
    segmenter = replace(
        WEAKLY.base.segmenter, epochs=round(share * epochs), validate_every=4, stain=StainJitterConfig()
    )
    base = replace(WEAKLY.base, normalization=None, patches_per_side=patches, segmenter=segmenter)
    return replace(WEAKLY, base=base, reweighting=reweighting)


def short_maskga(dataset):
    """Return the settings of short trainings around MaskGA: half its channels, windows of 250 px, once an epoch."""
    base = replace(MASKGA.base, width=16, channels=64, epochs=6, validate_every=2, patch=250,
                   patches_per_side=SHORT[dataset][1], copies=1, batch=4)
    return replace(MASKGA, base=base, reweighting=None)


def declare(experiment, row, dataset, config, fold, *, measure=measure_steps, seed=0, **settings):
    """Return a Row on the test images of a fold; its settings hold the whole config."""
    values = {name: value for name, value in plain(asdict(config)).items() if name != "seed"}
    return Row(experiment, row, dataset, "all", "all dots", measure, {"config": values, **settings}, seed, fold=fold)


def _outputs(experiment, name, dataset, config, fold):
    for title, output in OUTPUTS.items():
        yield declare(experiment, f"{name}, {title}", dataset, config, fold, output=output)


def _tables():
    """Tables 1 and 2, and the caveat: images of one patient of TNBC never in two parts."""
    for number in range(10):
        for base, config in BASES.items():
            for dataset in DATASETS:
                yield from _outputs("split and expand", base, dataset, config, FoldChoice(number))
            for name, reweighting in (("without", None), ("with", config.reweighting)):
                yield declare("re-weighting", f"{base}, {name}", "monuseg", replace(config, reweighting=reweighting),
                              FoldChoice(number), output="expand")
        yield from _outputs("no patient in two parts", "Weakly", "tnbc", WEAKLY, FoldChoice(number, by="group"))


def _oracle():
    """True foreground: all ways to divide clumps, then the mixture with centers that are wrong."""
    def row(experiment, name, **settings):
        return Row(experiment, name, "monuseg", "test", "masks", measure_oracle, settings)

    yield row("true centers", "not divided", clustering=None)
    for name, (clustering, floor) in CLUSTERINGS.items():
        yield row("true centers", name, clustering=clustering, floor=floor, sigma=2.0)
    yield row("true centers", "mixture, wide bumps", clustering="gmm", floor=0.0, sigma=5.0)
    for name, errors in ERRORS.items():
        yield row("wrong centers", name, clustering="gmm", floor=0.05, sigma=2.0, errors=errors)


def _short():
    """Trainings that a CPU core finishes."""
    for dataset in DATASETS:
        for number in FEW:
            yield from _outputs("split and expand, short", "Weakly", dataset, short(dataset), FoldChoice(number))
    for dataset in DATASETS:
        for number in FEW:
            yield from _outputs("split and expand, short", "MaskGA", dataset, short_maskga(dataset), FoldChoice(number))
    for name, reweighting in (("without", None), ("with", ReweightingConfig())):
        yield from _outputs("re-weighting, short", f"Weakly, {name}", "tnbc", short("tnbc", reweighting), FoldChoice(0))
    yield declare("too few epochs", "Weakly, half of the short ones", "tnbc", short("tnbc", share=0.5), FoldChoice(0),
                  output="split")
    yield from _outputs("no patient in two parts, short", "Weakly", "tnbc", short("tnbc"), FoldChoice(0, by="group"))


def _choices():
    """Yield (experiment, row, step, arguments of ``Steps.objects``) for choices that the article leaves open."""
    for name, (clustering, floor) in CLUSTERINGS.items():
        yield "ways to divide, short", name, "split", {"clustering": clustering, "floor": floor}
    for value in (0.01, 0.02, 0.1, 0.2, 0.3):
        yield "centers, short", f"blobs above {value:g}", "split", {
            "centers": {"rule": "blobs", "threshold": value, "min_size": 10}}
    for value in (0, 5):
        yield "centers, short", f"blobs of at least {value} px", "split", {
            "centers": {"rule": "blobs", "threshold": 0.05, "min_size": value}}
    for value in (3, 5):
        yield "centers, short", f"peaks {value} px apart", "split", {
            "centers": {"rule": "peaks", "height": 0.05, "distance": value}}
    # Short trainings leave Expand nearly nothing to do, so small nuclei are taken away for it to bring back.
    for grow in GROWTH:
        yield "ways to grow again, short", grow, "expand", {"taken_below": SMALL_AREA, "grow": grow}
    for name, rules in (("z+ in the first layer", {"first": "zplus"}), ("w^2 in the first layer", {"first": "wsquare"}),
                        ("epsilon", {"convolution": "epsilon", "stabilizer": 0.25})):
        yield "rules of relevance, short", name, "expand", {"taken_below": SMALL_AREA, "rules": rules}
    for name, expand in (
        *((f"heat above {value:g}", {"threshold": value}) for value in (0.05, 0.2, 0.4)),
        ("one maximum for the image", {"normalize": "image"}), ("overlap by IoU", {"overlap": "iou"}),
        ("all components", {"reach": None}), ("not smoothed", {"sigma": 0.0}), ("up to 600 px", {"max_size": 600}),
    ):
        yield "settings of Expand, short", name, "expand", {"taken_below": SMALL_AREA, "expand": expand}
    yield "settings of Expand, short", "blobs that overlap nothing", "expand", {
        "taken_below": SMALL_AREA, "unassigned": "overlap"}


def _ablations():
    """All of these on the trainings of the first fold of the short rows."""
    for dataset in DATASETS:
        for experiment, name, output, steps in _choices():
            yield declare(experiment, name, dataset, short(dataset), FoldChoice(0), output=output, steps=steps)


def _weights():
    """What relevance starts from in the re-weighting loss: the weights on validation images."""
    for dataset in DATASETS:
        for start in STARTS:
            for scope in ("image", "position"):
                yield declare("weights of features, short", f"{start}, by {scope}", dataset, short(dataset),
                              FoldChoice(0, part="val"), measure=measure_weights, start=start, scope=scope)


ROWS = (*_tables(), *_oracle(), *_short(), *_ablations(), *_weights())
