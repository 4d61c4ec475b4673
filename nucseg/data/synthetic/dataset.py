"""Synthetic datasets: as many images as asked for, in splits that share no patient."""

import dataclasses
import hashlib
import json

from nucseg.data.sample import Dataset
from nucseg.data.synthetic.fluorescence import FluorescenceConfig, render_fluorescence
from nucseg.data.synthetic.he import HEConfig, render_he
from nucseg.data.synthetic.tissue import TissueConfig, render_tissue
from nucseg.errors import DataError, UnknownNameError
from nucseg.seeding import generator

#: Default number of images per split.
SPLITS = {"train": 24, "val": 8, "test": 8}
#: Images that come from one patient.
IMAGES_PER_PATIENT = 2

_KINDS = {
    "synthetic-he": (HEConfig, render_he),
    "synthetic-fluorescence": (FluorescenceConfig, render_fluorescence),
    "synthetic-tissue": (TissueConfig, render_tissue),
}


def synthetic_names():
    """Return the names of the synthetic datasets."""
    return tuple(_KINDS)


def synthetic_dataset(name, split=None, *, count=None, seed=0, config=None):
    """Return a synthetic dataset; an image is rendered each time it is asked for.

    Image k of a split depends on `name`, `seed`, `config`, the split and k alone: a larger `count` appends images.

    Parameters
    ----------
    name : {"synthetic-he", "synthetic-fluorescence", "synthetic-tissue"}
        What to render.
    split : {"train", "val", "test"}, optional
        None for all three, one after the other.
    count : int, optional
        Number of images per split, 1 or more; 24, 8 and 8 by default.
    seed : int
        0 or more; another seed gives other images of other patients.
    config : HEConfig, FluorescenceConfig or TissueConfig, optional
        The knobs; ``patient`` must be None, for the dataset assigns patients itself.

    Returns
    -------
    Dataset
        Two images per patient; ``Sample.group`` names the patient.

    Raises
    ------
    UnknownNameError
        No such dataset or split.
    DataError
        A configuration of another dataset or with a patient, or a bad count or seed.
    """
    if name not in _KINDS:
        raise UnknownNameError(f"no synthetic dataset {name!r}; there are {', '.join(_KINDS)}")
    if split is not None and split not in SPLITS:
        raise UnknownNameError(f"{name}: no split {split!r}; there are {', '.join(SPLITS)}")
    kind, render = _KINDS[name]
    config = kind() if config is None else config
    if not isinstance(config, kind) or config.patient is not None:
        raise DataError(f"{name}: config must be a {kind.__name__} with patient=None, got {config!r}")
    for what, value, least in (("count", 1 if count is None else count, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or int(value) != value or value < least:
            raise DataError(f"{name}: {what} must be a whole number of at least {least}, got {value!r}")
    images = {}
    for part in SPLITS if split is None else (split,):
        for index in range(SPLITS[part] if count is None else int(count)):
            images[f"{part}-{index:04d}"] = (part, index)
    groups = {i: _patient_name(*images[i]) for i in images}

    def read(image_id):
        part, index = images[image_id]
        patient = _draw_seed(name, seed, "patient", part, index // IMAGES_PER_PATIENT)
        sample = render(dataclasses.replace(config, patient=patient), _draw_seed(name, seed, "image", part, index))
        return dataclasses.replace(sample, id=image_id, group=groups[image_id])

    return Dataset(name, list(images), read, groups, _checksum(name, seed, config))


def _patient_name(part, index):
    return f"{part}-patient-{index // IMAGES_PER_PATIENT:03d}"


def _draw_seed(name, seed, *purpose):
    """A seed of 62 bits: no two images or patients of a study meet by chance."""
    return int(generator(seed, name, *purpose).integers(2**62))


def _checksum(name, seed, config):
    settings = {"name": name, "seed": int(seed), "config": dataclasses.asdict(config)}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
