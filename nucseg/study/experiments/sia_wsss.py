"""SIA-WSSS on tissue tagged image by image, synthetic and real (Fan et al. 2025, tables 1 and 2).

Supervision: the tags of training images, never their masks; masks of validation images choose the epoch. Rows on
``synthetic-tissue`` are trained on 600 images in the hard setting of the generator, chosen on 150 and tested on 150;
those on ``wsss4luad`` on windows of 224 px, of which no image has any in two parts; those on ``luad-histoseg`` and
``bcss-wsss``, which the article uses, on the parts of the release. Rows called "short" have a small transformer with
convolutions in front, from random weights, and some 300 steps, five to ten minutes on one CPU core; the published
settings have not been timed. Trainings are kept in ``runs/sia_wsss/training``. Command: ``nucseg experiment run
sia-wsss --row TEXT``.
"""

from dataclasses import asdict, dataclass, replace

from nucseg.data.synthetic import TissueConfig
from nucseg.methods import SIAWSSSConfig
from nucseg.methods.sia_wsss import ActivationConfig
from nucseg.methods.stages import plain
from nucseg.models import SMALL_VIT
from nucseg.study.experiment import Row
from nucseg.study.measures.sia_wsss import measure_stages, tissue_part

SYNTHETIC, WINDOWS, LUAD, BCSS = "synthetic-tissue", "wsss4luad", "luad-histoseg", "bcss-wsss"
#: The published settings.
PUBLISHED = SIAWSSSConfig()
#: The article repeats each training five times.
REPEATS = range(5)
#: What a CPU core trains in minutes; crops lie around uncertain patches (ours).
SHORT = SIAWSSSConfig(
    vit=SMALL_VIT, activation=ActivationConfig(crops=2, position="uncertain"), decoder_channels=96, stain=None,
    epochs=8, optimizer="adamw", learning_rate=1e-3, schedule="polynomial", warm_up=30, validate_every=2,
)
SHORT_SEEDS = range(3)
#: There are 116 windows for training: as many steps as with 600 images.
SHORT_EPOCHS = {SYNTHETIC: (8, 2), WINDOWS: (40, 5)}
COUNTS = {"train": 600, "val": 150, "test": 150}
#: Share of a region with the full texture of its class; 0.45 is the default.
CORES = (0.3, 0.45, 0.6, 0.8)
#: Rows of table 2: regularized focus, discriminative activation, region self-modulation. There is no row e.
PARTS = {
    "a: baseline": (False, False, False), "b: RFM": (True, False, False), "c: DAM": (False, True, False),
    "d: RFM + DAM": (True, True, False), "f: RFM + DAM + RSM": (True, True, True),
}
BASELINE, FULL = "a: baseline", "f: RFM + DAM + RSM"


@dataclass(frozen=True)
class TissueRow(Row):
    """A row whose settings say which synthetic images it measures, if they are synthetic."""

    def images(self, root=None):
        """Return the images that the row measures, and nothing: splits are those of the dataset."""
        data = self.settings.get("data")
        return super().images(root) if data is None else (tissue_part(self.dataset, self.split, data), {})


def rendered(**knobs):
    """Return what is rendered of the synthetic tissue, for :func:`nucseg.study.measures.sia_wsss.tissue_part`."""
    return {"counts": COUNTS, "seed": 0, "knobs": asdict(TissueConfig(**knobs))}


def vary(config, **changes):
    """Return a config with other values; those of a group of settings are given as a dict."""
    return replace(config, **{
        name: vary(getattr(config, name), **value) if isinstance(value, dict) else value
        for name, value in changes.items()
    })


def with_parts(config, row):
    """Return the config of a row of table 2."""
    return replace(config, **dict(zip(("rfm", "dam", "rsm"), PARTS[row])))


def plain_cam(config, pooling):
    """Return a classifier alone, whose activation maps are the prediction."""
    return replace(with_parts(config, BASELINE), maps=replace(config.maps, pooling=pooling), auxiliary_weight=0.0,
                   token_weight=0.0, segmentation_weight=0.0, output="activation")


def declare(experiment, row, dataset, config, seed, **knobs):
    """Return a Row on the test images of a dataset; its settings hold the whole config."""
    if dataset == BCSS:
        config = replace(config, white=None)  # its white pixels count as tissue (Han et al. 2022)
    values = {name: value for name, value in plain(asdict(config)).items() if name != "seed"}
    data = {"data": rendered(**knobs)} if dataset == SYNTHETIC else {}
    return TissueRow(experiment, row, dataset, "test", "tags", measure_stages, {"config": values, **data}, seed)


def short(dataset):
    """Return the settings of short trainings on a dataset."""
    epochs, every = SHORT_EPOCHS[dataset]
    return replace(SHORT, epochs=epochs, validate_every=every)


def _main(config):
    yield from ((f"CAM, {pooling} pooling", plain_cam(config, pooling)) for pooling in ("max", "average"))
    yield "SIA-WSSS", config


def _tables():
    for seed in REPEATS:
        for dataset in (LUAD, BCSS, SYNTHETIC, WINDOWS):
            for row, config in _main(PUBLISHED):
                yield declare("table 1", row, dataset, config, seed)
        for dataset in (LUAD, SYNTHETIC, WINDOWS):
            for row in PARTS:
                yield declare("table 2", row, dataset, with_parts(PUBLISHED, row), seed)


def choices(config):
    """Yield a name and a config for one change each of what the article leaves open."""
    for name, changes in (
        ("certainty 0.25 and 0.70", {"maps": {"background": 0.25, "foreground": 0.70}}),
        ("certainty 0.35 and 0.55", {"maps": {"background": 0.35, "foreground": 0.55}}),
        ("average pooling", {"maps": {"pooling": "average"}}),
        ("pooling by rank", {"maps": {"pooling": "ranking"}}),
        ("eq. 2 as printed", {"activation": {"kind": "literal"}}),
        ("eq. 2 negated", {"activation": {"kind": "literal-negated"}}),
        ("eq. 2 as cosine", {"activation": {"kind": "cosine"}}),
        ("eq. 2 with one token", {"activation": {"kind": "single-token"}}),
        ("crops at random", {"activation": {"position": "random"}}),
        ("inhibition 0", {"inhibition": {"weight": 0.0}}),
        ("inhibition 0.5", {"inhibition": {"weight": 0.5}}),
        ("inhibition 1", {"inhibition": {"weight": 1.0}}),
        ("inhibition to opposite tokens", {"inhibition": {"kind": "opposite"}}),
        ("inhibition of the opposite sign", {"inhibition": {"kind": "opposite-sign"}}),
        ("inhibition of all present classes", {"inhibition": {"all_present": True}}),
        ("one class not inhibited", {"inhibition": {"single_class": False}}),
        ("no attraction", {"inhibition": {"attraction": 0.0}}),
        ("no attraction, own classifier", {"inhibition": {"attraction": 0.0, "shared_classifier": False}}),
        ("inhibition map from attention", {"inhibition": {"source": "attention"}}),
        *((f"{k} neighbors", {"inhibition": {"graph": {"neighbors": k}}}) for k in (2, 6, 49, 196)),
        ("eq. 1 as printed", {"inhibition": {"graph": {"residual": False}}}),
        ("fusion by product", {"modulation": {"fusion": "product"}}),
        ("means over boxes", {"modulation": {"mean": "box"}}),
        *((f"erosion {size} px", {"modulation": {"erosion": size}}) for size in (3, 11)),
        *((f"threshold {value}", {"modulation": {"threshold": value}}) for value in (0.2, 0.5)),
        ("no decoder, refined maps", {"segmentation_weight": 0.0, "output": "refined"}),
        ("refined maps beside the decoder", {"output": "refined"}),
        ("output for white", {"background": "white"}),
        ("output for white and weak", {"background": "white-or-weak"}),
        ("labels where maps are high", {"labeling": "seeds"}),
    ):
        yield name, vary(config, **changes)


def _short():
    """Trainings that a CPU core finishes."""
    for seed in SHORT_SEEDS:
        for dataset in SHORT_EPOCHS:
            config = short(dataset)
            for row, changed in _main(config):
                yield declare("table 1, short", row, dataset, changed, seed)
            for row in PARTS:
                yield declare("table 2, short", row, dataset, with_parts(config, row), seed)
            averaged = vary(config, maps={"pooling": "average"})  # what validation images prefer
            for row in PARTS:
                yield declare("table 2, average pooling, short", row, dataset, with_parts(averaged, row), seed)
        config = short(SYNTHETIC)
        for row, changed in choices(config):
            yield declare("ambiguities, short", row, SYNTHETIC, changed, seed)
        for unfused in ("activation", "mean"):
            changed = replace(with_parts(config, "b: RFM"), unfused=unfused)
            yield declare("ambiguities, short", f"row b labeled by {unfused}", SYNTHETIC, changed, seed)
        for core in CORES:
            for row in (BASELINE, FULL):
                yield declare("difficulty, short", f"{row}, core {core}", SYNTHETIC, with_parts(config, row), seed,
                              core=core)


ROWS = (*_tables(), *_short())
