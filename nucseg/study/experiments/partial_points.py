"""Partial points on the multi-organ images (Qu et al. 2020, tables I to VI and figures 6 and 7), from scratch.

Every network starts from random weights (``weights=None``), because no ImageNet weights were at hand; the published
numbers start from ImageNet. Supervision: dots at the centers of the nuclei's boxes, all or a random part.
Training stages are kept in ``runs/partial_points/training`` and shared by all rows that need them.
Cost of one row at the published settings: minutes on one GPU; on two CPU cores about an hour for a segmentation
from all dots, three hours for a detector in four rounds. Rows called "short" have fewer epochs.
Command: ``nucseg experiment run partial-points --row TEXT``.
"""

from dataclasses import asdict, replace

from nucseg.engine import StainJitterConfig
from nucseg.methods import PartialPointsConfig
from nucseg.methods.baselines import CNN3Config, DISTConfig, FullySupervisedConfig
from nucseg.methods.partial_points import STRATEGIES
from nucseg.methods.self_supervised import SelfSupervisedConfig
from nucseg.methods.stages import plain
from nucseg.study.experiment import Row
from nucseg.study.measures.baselines import measure_baseline
from nucseg.study.measures.dense_crf import measure_lattice
from nucseg.study.measures.partial_points import measure_detection, measure_segmentation

#: Shares of the dots in tables II, III and VI.
RATIOS = (0.05, 0.1, 0.25, 0.5)
SEEDS = (0, 1, 2)
DRAWS = tuple(range(10))  # tables IV and V
VORONOI_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # figures 5 and 6
SIGMAS_XY = (3.0, 6.0, 9.0, 12.0, 15.0)  # px, figure 7
SIGMAS_RGB = (0.05, 0.1, 0.2, 0.3)  # figure 7
CRF_WEIGHTS = (0.05, 0.01, 0.005, 0.001, 0.0005, 0.0001)  # figure 7

#: The published settings with a detector in front, but from random weights.
SOME_DOTS = PartialPointsConfig(weights=None)
#: The published settings with all dots ("GT points").
ALL_DOTS = replace(SOME_DOTS, detector=None)
#: The fully supervised reference.
MASKS = FullySupervisedConfig(weights=None)
#: Factor on the dense CRF's gradient that equals the release's: twice that of eq. 10, times the response of its
#: lattice, which is 0.6 of the exact sum (the rows "strength of the lattice").
ON_THE_LATTICE = 1.2
#: Learning rate of short detectors that go on from round to round.
SHORT_RATE = 1e-3
#: Changes of color and self-supervised weights, to do without ImageNet.
JITTER = StainJitterConfig()
PRETRAIN = plain(asdict(SelfSupervisedConfig()))


def vary(config, *, detector=None, segmenter=None, **top):
    """Return a config with some fields of its parts and of its own replaced."""
    if detector:
        top["detector"] = replace(config.detector, **detector)
    if segmenter:
        top["segmenter"] = replace(config.segmenter, **segmenter)
    return replace(config, **top)


def declare(experiment, row, measure, config, *, method=None, ratio=None, seed=0, dataset="monuseg", **settings):
    """Return a Row on the test images; its settings hold the whole config, its supervision follows from the ratio."""
    values = {name: value for name, value in plain(asdict(config)).items() if name != "seed"}
    if ratio is None:
        method, supervision = method or "fully supervised", "masks"
    else:
        method, settings = "partial points", {"ratio": ratio, **settings}
        supervision = "all dots" if ratio == 1 else f"{100 * ratio:g} % of the dots"
    return Row(experiment, row, dataset, "test", supervision, measure, {"method": method, "config": values, **settings},
               seed)


def _segment(experiment, row, config=ALL_DOTS, ratio=1.0, **options):
    return declare(experiment, row, measure_segmentation, config, ratio=ratio, **options)


def _detect(experiment, row, config=SOME_DOTS, ratio=0.1, **options):
    return declare(experiment, row, measure_detection, config, ratio=ratio, **options)


def _strategies(experiment, seeds=SEEDS, base=SOME_DOTS, **detector):
    """Table I: five ways to train the detector."""
    for strategy in STRATEGIES:
        config = vary(base, detector={"strategy": strategy, **detector})
        for seed in seeds:
            yield _detect(experiment, strategy, config, ratio=1.0 if strategy == "Full" else 0.1, seed=seed)


def _tables():
    """Tables II to VI."""
    for seed in SEEDS:
        for ratio in RATIOS:
            yield _detect("detection by share of dots", f"{100 * ratio:g} %", ratio=ratio, seed=seed)
            yield _segment("segmentation", f"{100 * ratio:g} %", SOME_DOTS, ratio, seed=seed)
        yield _segment("segmentation", "GT points", seed=seed)
        yield _segment("segmentation", "fully supervised", MASKS, None, seed=seed)
    for name, method, config in (("CNN3 (Kumar 2017)", "CNN3", CNN3Config()), ("DIST (Naylor)", "DIST", DISTConfig())):
        yield declare("segmentation", name, measure_baseline, config, method=method)
    for seed in DRAWS:
        yield _segment("ten draws of 10 % of the dots", "10 %", SOME_DOTS, 0.1, seed=seed)
    for ratio in RATIOS:
        # The lung cancer images of table VI are private; the breast images of TNBC take their part.
        for source, target in (("monuseg", "tnbc"), ("tnbc", "monuseg")):
            yield _segment("across datasets", f"trained on {source}, {100 * ratio:g} %", SOME_DOTS, ratio,
                           dataset=target, train_on=source)


def _figures():
    """Figures 6 and 7; the rows of figure 7 share one training with cross-entropy."""
    for share in VORONOI_SHARES:
        yield _segment("share of the Voronoi label", f"a = {share:g}",
                       vary(ALL_DOTS, segmenter={"voronoi_share": share, "crf_epochs": 0}))
    for name, symbol, values in (("sigma_xy", "spatial width", SIGMAS_XY), ("sigma_rgb", "color width", SIGMAS_RGB),
                                 ("crf_weight", "weight", CRF_WEIGHTS)):
        for value in values:
            yield _segment("dense CRF settings", f"{symbol} {value:g}", vary(ALL_DOTS, segmenter={name: value}))


def _lattice():
    """The approximation of the release against the exact sum, at three pairs of widths from figure 7."""
    for sigma_xy, sigma_rgb in ((9.0, 0.1), (9.0, 0.2), (3.0, 0.1)):
        yield Row("strength of the lattice", f"{sigma_xy:g} px, {sigma_rgb:g}", "monuseg", "train", "masks",
                  measure_lattice, {"sigma_xy": sigma_xy, "sigma_rgb": sigma_rgb})


def _ablations():
    """Choices that article and release make differently, and choices of our own."""
    for row, detector in (
        ("weight 10 up to r1", {"foreground_level": 1e-6}),
        ("large regions from 380 px", {"saturated_area": 380.0}), ("learning rate 1e-4", {"learning_rate": 1e-4}),
        ("each round goes on with the network of the last", {"restart": False}),
        ("stain jitter", {"stain": JITTER}),
    ):
        yield _detect("choices in detection", row, vary(SOME_DOTS, detector=detector))
    yield _detect("choices in detection", "dots drawn with replacement", replacement=True)
    yield _detect("choices in detection", "self-supervised weights", pretrain=PRETRAIN)
    yield _segment("choices in stage 2", "detections only", replace(SOME_DOTS, keep_annotated=False), 0.1)
    for row, segmenter, top in (
        ("cross-entropy only", {"crf_epochs": 0}, {}),
        ("last epoch", {"checkpoint": "last"}, {}), ("gradient of the dense CRF as stated", {"crf_gradient": 1.0}, {}),
        ("dense CRF as strong as on the lattice", {"crf_gradient": ON_THE_LATTICE}, {}),
        ("raw colors", {}, {"normalization": None}), ("exchanged cluster roles", {"exchange_roles": True}, {}),
        ("no elastic warp", {"augment": replace(ALL_DOTS.segmenter.augment, elastic=False)}, {}),
    ):
        yield _segment("choices in stage 2", row, vary(ALL_DOTS, segmenter=segmenter, **top))
    yield _segment("choices in stage 2", "epoch chosen on the test images", select_on="test")


def _closing_the_gap():
    """Ways to do without ImageNet weights, beside the plain row."""
    jitter = {"stain": JITTER}
    for row, config, options in (
        ("stain jitter", vary(ALL_DOTS, segmenter=jitter), {}),
        ("stain jitter, cross-entropy only", vary(ALL_DOTS, segmenter={**jitter, "crf_epochs": 0}), {}),
        *((f"stain jitter, raw colors{name}",
           vary(ALL_DOTS, segmenter={**jitter, "validate_every": 5, **crf}, normalization=None), {})
          for name, crf in (("", {}), (", cross-entropy only", {"crf_epochs": 0}),
                            (", dense CRF as strong as on the lattice", {"crf_gradient": ON_THE_LATTICE}))),
        ("self-supervised weights", ALL_DOTS, {"pretrain": PRETRAIN}),
        ("stain jitter, self-supervised weights", vary(ALL_DOTS, segmenter=jitter), {"pretrain": PRETRAIN}),
        ("300 epochs", vary(ALL_DOTS, segmenter={"epochs": 300}), {}),
        ("stain jitter, 300 epochs", vary(ALL_DOTS, segmenter={**jitter, "epochs": 300}), {}),
    ):
        yield _segment("closing the gap, all dots", row, config, **options)
    yield _segment("closing the gap, masks", "stain jitter", vary(MASKS, segmenter=jitter), None)
    yield _segment("closing the gap, masks", "masks cut by Voronoi edges", replace(MASKS, separate=True), None)
    yield _segment("closing the gap, masks", "stain jitter, masks cut by Voronoi edges",
                   vary(MASKS, segmenter=jitter, separate=True), None)


def _short():
    """Trainings that two CPU cores finish: the same recipe, fewer epochs, validated less often."""
    brief = {"epochs": 20, "validate_every": 2}
    yield from _strategies("detection strategies, short", seeds=(0,), **brief)
    # In so few steps a new network in each round does not catch up, and other stains are missed: here one more round
    # goes on with the first network, and stains vary. The learning rate is the better of both on validation images.
    going_on = {**brief, "restart": False, "stain": JITTER}
    for rate in (1e-3, 1e-4):
        yield _detect("learning rate of the detector, short", f"ext-GM, {rate:g}", vary(
            SOME_DOTS, detector={**going_on, "strategy": "ext-GM", "learning_rate": rate}, normalization=None))
    going_on |= {"rounds": 1, "learning_rate": SHORT_RATE}
    yield from _strategies("detection strategies going on, short", (0,), replace(SOME_DOTS, normalization=None),
                           **going_on)
    half = {"epochs": 50, "validate_every": 5, "crf_epochs": 10}
    jitter, raw = {**half, "stain": JITTER}, {"normalization": None}
    for name, config, ratio in (
        ("10 %", vary(SOME_DOTS, detector=brief, segmenter=half), 0.1),
        ("10 %, stain jitter", vary(SOME_DOTS, detector=brief, segmenter=jitter), 0.1),
        ("10 %, stain jitter, raw colors, 25 + 5 epochs",
         vary(SOME_DOTS, detector=going_on, segmenter={**jitter, "epochs": 25, "crf_epochs": 5}, **raw), 0.1),
        ("GT points", vary(ALL_DOTS, segmenter=half), 1.0),
        ("GT points, exchanged cluster roles", vary(ALL_DOTS, segmenter={**half, "exchange_roles": True}), 1.0),
        ("GT points, raw colors", vary(ALL_DOTS, segmenter=half, **raw), 1.0),
        ("GT points, stain jitter", vary(ALL_DOTS, segmenter=jitter), 1.0),
        ("GT points, stain jitter, raw colors", vary(ALL_DOTS, segmenter=jitter, **raw), 1.0),
        ("fully supervised", vary(MASKS, segmenter={"epochs": 60, "validate_every": 5}), None),
    ):
        yield _segment("segmentation, short", name, config, ratio)
    # The best recipe of the short ones above, so that all of these share its training with cross-entropy.
    for name, changes in (
        ("cross-entropy only", {"crf_epochs": 0}), ("as strong as on the lattice", {"crf_gradient": ON_THE_LATTICE}),
        *((f"weight {value:g}", {"crf_weight": value}) for value in (0.05, 0.001, 0.0001)),
    ):
        yield _segment("dense CRF settings, short", name, vary(ALL_DOTS, segmenter={**jitter, **changes}, **raw))


ROWS = (
    *_strategies("detection strategies, 10 % of the dots"), *_tables(), *_figures(), *_lattice(),
    *_ablations(), *_closing_the_gap(), *_short(),
)
