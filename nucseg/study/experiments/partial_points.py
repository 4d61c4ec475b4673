"""Partial points on the multi-organ images (Qu et al. 2020, tables I to VI), trained from scratch.

Every network starts from random weights (``weights=None``), because no ImageNet weights were at hand; the published
numbers start from ImageNet. Supervision: dots at the centers of the nuclei's boxes, all or a random part.
Training stages are kept in ``runs/partial_points/training`` and shared by all rows that need them.
Command: ``nucseg experiment run partial-points PATTERN``. Cost of one row at the published settings: on one GPU
minutes; on two CPU cores about an hour for a segmentation row with all dots.
"""

from dataclasses import asdict, replace

from nucseg.engine import StainJitterConfig
from nucseg.methods import PartialPointsConfig
from nucseg.methods.baselines import FullySupervisedConfig
from nucseg.methods.stages import plain
from nucseg.study.experiment import Row
from nucseg.study.measures.partial_points import measure_segmentation


def declare(experiment, row, supervision, measure, method, config, *, seed=0, dataset="monuseg", scheme="qu2019",
            **settings):
    """Return a Row whose settings hold the whole config."""
    known = {"method": method, "config": {k: v for k, v in plain(asdict(config)).items() if k != "seed"}, **settings}
    return Row(experiment, row, dataset, "test", supervision, measure, known, seed, scheme)


#: The published settings of table III with all dots, but from random weights.
ALL_DOTS = PartialPointsConfig(detector=None, weights=None)
#: The same with a detector in front.
SOME_DOTS = PartialPointsConfig(weights=None)
#: The fully supervised reference.
MASKS = FullySupervisedConfig(weights=None)


def _without_crf(config):
    return replace(config, segmenter=replace(config.segmenter, crf_epochs=0))


def _with_stain_jitter(config):
    return replace(config, segmenter=replace(config.segmenter, stain=StainJitterConfig()))


ROWS = (
    declare("segmentation", "GT points", "all dots", measure_segmentation, "partial points", ALL_DOTS, ratio=1.0),
    declare("segmentation", "GT points, cross-entropy only", "all dots", measure_segmentation, "partial points",
            _without_crf(ALL_DOTS), ratio=1.0),
    declare("closing the gap", "GT points, stain jitter", "all dots", measure_segmentation, "partial points",
            _with_stain_jitter(ALL_DOTS), ratio=1.0),
    declare("closing the gap", "GT points, stain jitter, cross-entropy only", "all dots", measure_segmentation,
            "partial points", _without_crf(_with_stain_jitter(ALL_DOTS)), ratio=1.0),
)
