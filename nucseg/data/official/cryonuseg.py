"""CryoNuSeg: TIFF images and instance maps, by several annotators (Mahbod et al. 2021, on Kaggle)."""

from nucseg.data.official.item import Item, Parts, files, index
from nucseg.data.reading import read_image, read_labels
from nucseg.errors import DataError

#: The annotation that is read: first annotator, first round. The other folders of the release ("... second
#: round of manual marks up", "Annotator 2 (bioinformatician)") measure agreement between people.
ANNOTATOR = "Annotator 1 (biologist)"
_LABELS = "label masks modify"


def find(folders):
    """Return the items of a release: each file in ``tissue images`` with its instance map.

    The maps are those of ``label masks modify``, in which overlaps belong to one nucleus (``label masks``
    sums the ids there). Older copies have that folder at the top instead of under the annotator.

    Parameters
    ----------
    folders : list of pathlib.Path
        Where to search, with everything below.

    Returns
    -------
    list of Item

    Raises
    ------
    DataError
        An image without instance map, or a name that occurs twice.
    """
    tiffs = files(folders, ".tif", ".tiff")
    images = index([p for p in tiffs if p.parent.name.lower() == "tissue images"], "image")
    maps = [p for p in tiffs if p.parent.name.lower() == _LABELS]
    first = [p for p in maps if p.parent.parent.name == ANNOTATOR]
    labels = index(first or maps, "instance map")
    missing = sorted(images.keys() - labels.keys())
    if missing:
        raise DataError(f"{images[missing[0]]}: has no instance map in '{ANNOTATOR}/{_LABELS}'")
    return [Item(name, {"split": "all", "organ": _organ(name), "magnification": "40x"},
                 lambda name=name: _load(images[name], labels[name]), images[name])
            for name in sorted(images)]


def _load(image_path, label_path):
    return Parts(read_image(image_path)[0], read_labels(label_path))


def _organ(name):
    """Human_AdrenalGland_01 -> AdrenalGland."""
    parts = name.split("_")
    return parts[1] if len(parts) == 3 and parts[0] == "Human" else ""
