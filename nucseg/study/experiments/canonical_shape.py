"""Canonical shape on BBBC038 (Costa et al. 2022, table 1), from scratch.

Every network starts from random weights (``weights=None``). The article trains on 670 images, validates on 65 and tests
on 106; the annotations of the last are not in the packed archive, so the rows train on nine tenths of stage 1 train,
look at one tenth for validation, and test on the 65 images of stage 1 test, which come in part from other experiments.
Rows called "short" have a ResNet-18 and 30 epochs of 1,024 crops, half an hour on one CPU core; the published settings
have not been timed. Rows that differ in prediction alone share one training, kept in ``runs/canonical_shape/training``.
Command: ``nucseg experiment run canonical-shape --row TEXT``.
"""

from dataclasses import asdict, replace

from nucseg.methods import CanonicalShapeConfig
from nucseg.methods.baselines import DeepLabV3Config, MaskRCNNConfig
from nucseg.methods.stages import plain
from nucseg.study.experiment import Row
from nucseg.study.measures.canonical_shape import measure_patches
from nucseg.study.measures.shape_ceilings import CEILINGS, measure_ceilings

SEEDS = (0, 1, 2)
#: The published settings, from random weights; "Ours" in the article has no count loss and no merging.
PUBLISHED = CanonicalShapeConfig()
PUBLISHED = replace(PUBLISHED, encoder=replace(PUBLISHED.encoder, weights=None))
#: What a CPU core trains in half an hour.
SHORT = replace(PUBLISHED, encoder=replace(PUBLISHED.encoder, backbone="resnet18"), epochs=30, batch=16, crops=1024)
#: The references of table 1, from random weights; the settings of the second are ours.
REFERENCES = {"DeepLabV3": DeepLabV3Config(weights=None), "Mask R-CNN": MaskRCNNConfig(weights=None)}
SUPERVISION = {"DeepLabV3": "binary masks", "Mask R-CNN": "masks"}
#: The rows of table 1 that share two trainings: weight of the count loss, grid, and whether contained masks are merged.
TABLE = {
    "Ours, 32": (0.0, 32, False), "Ours, 128": (0.0, 128, False), "Ours + P, 128": (0.0, 128, True),
    "Ours + L_cnt, 32": (1e-2, 32, False), "Ours + L_cnt, 128": (1e-2, 128, False),
    "Ours + L_cnt + P, 128": (1e-2, 128, True),
}


def declare(experiment, row, config, *, method="canonical shape", seed=0):
    """Return a Row on the test images; its settings hold the whole config."""
    values = {name: value for name, value in plain(asdict(config)).items() if name != "seed"}
    counted = " and counts" if getattr(config, "count_weight", 0) else ""
    supervision = SUPERVISION.get(method, f"binary masks{counted}")
    return Row(experiment, row, "bbbc038", "stage1_test", supervision, measure_patches,
               {"method": method, "config": values}, seed, scheme="stages")


def ours(config, row):
    """Return a config with the settings of a row of :data:`TABLE`."""
    count_weight, grid, merge = TABLE[row]
    return replace(config, count_weight=count_weight, test_grid=grid, merge=merge)


def _tables():
    for row, config in REFERENCES.items():
        for seed in SEEDS:
            yield declare("table 1", row, config, method=row, seed=seed)
    for row in TABLE:
        for seed in SEEDS:
            yield declare("table 1", row, ours(PUBLISHED, row), seed=seed)
    short = replace(REFERENCES["DeepLabV3"], backbone="resnet18", epochs=SHORT.epochs, batch=SHORT.batch,
                    crops=SHORT.crops)
    yield declare("table 1, short", "DeepLabV3", short, method="DeepLabV3")
    for row in TABLE:
        yield declare("table 1, short", row, ours(SHORT, row))
    # The same supervision as "Ours" without counts, and a rule that finds instances in the mask; not in the article.
    for name, config in (("", REFERENCES["DeepLabV3"]), (", short", short)):
        yield declare(f"a mask and a rule{name}", "DeepLabV3, components", config, method="DeepLabV3")
        yield declare(f"a mask and a rule{name}", "DeepLabV3, watershed", replace(config, separate="watershed"),
                      method="DeepLabV3")


def _ceilings():
    """No training: what the truth scores when it is drawn as shapes, or found again in its own mask."""
    for made in CEILINGS:
        yield Row("ceilings", made, "bbbc038", "stage1_test", "masks", measure_ceilings, {"made": made, "patch": 128},
                  scheme="stages")


def _encoders(base):
    """Choices of the encoder that the article leaves open."""
    for anchor in ("bounded", "coordinates", "none"):
        yield f"anchor {anchor}", replace(base, anchor=anchor)
    for count in (1, 4):
        yield f"{count} per cell", replace(base, per_cell=count)
    yield "softplus", replace(base, diagonal="softplus")
    yield "free L", replace(base, triangular=False)
    yield "no hidden layer", replace(base, hidden=None)


def _ablations(name, config):
    """Choices in training, each a training of its own, with the count loss and merging."""
    config = ours(config, "Ours + L_cnt + P, 128")
    for row, encoder in _encoders(config.encoder):
        yield declare(f"choices in training{name}", row, replace(config, encoder=encoder))
    yield declare(f"choices in training{name}", "always a disk", replace(config, shape="fixed"))
    for row in ("Ours + P, 128", "Ours + L_cnt + P, 128"):
        yield declare(f"shapes from random weights{name}", row, replace(ours(config, row), shape="random"))
    yield declare(f"choices in training{name}", "interpolated logarithms", replace(config, interpolated="log"))
    yield declare(f"choices in training{name}", "count loss rises over 10 epochs", replace(config, count_warmup=10))
    for weight in (1e-3, 3e-3, 3e-2, 1e-1):
        yield declare(f"weight of the count loss{name}", f"{weight:g}", replace(config, count_weight=weight))
    two = replace(config, encoder=replace(config.encoder, shapes=2))
    yield declare(f"further work{name}", "two shapes", two)
    yield declare(f"further work{name}", "prior on the size", replace(config, size_weight=0.1))


def _choices():
    """Choices in prediction, on the short trainings."""
    for training in ("Ours", "Ours + L_cnt"):
        config = ours(SHORT, f"{training}, 128")
        for presence in (0.3, 0.4, 0.6, 0.7):
            yield declare("presence, short", f"{training}, above {presence:g}", replace(config, presence=presence))
        merging = replace(config, merge=True)
        for order in ("union", "closure"):
            yield declare("merging, short", f"{training}, {order}", replace(merging, order=order))
        for overlap in (0.3, 0.7, 0.9):
            yield declare("merging, short", f"{training}, above {overlap:g}", replace(merging, overlap=overlap))


ROWS = (*_tables(), *_ceilings(), *_ablations("", PUBLISHED), *_ablations(", short", SHORT), *_choices())
