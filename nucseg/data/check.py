"""Look at every image of a dataset and say what can be used, what cannot, and why."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from skimage.measure import label as connected
from tqdm import tqdm

from nucseg.data import roots
from nucseg.data.catalog import dataset_info, names
from nucseg.data.folder import from_folder, scan_folder
from nucseg.data.loading import load_archive, load_dataset
from nucseg.data.sample import Dataset
from nucseg.errors import DataError

#: Objects of at most this many pixels are counted as tiny: fragments of drawing, rather than nuclei.
TINY = 10


@dataclass(frozen=True)
class ImageCheck:
    """What was found in one image; the counts are None where there is no label map.

    Parameters
    ----------
    id : str
        Name of the image.
    problem : str
        Why it cannot be used; "" if it can.
    height, width : int, optional
        Pixels.
    nuclei : int, optional
        Number of labeled objects.
    fragments : int, optional
        Pieces (8-connected) beyond one per object.
    tiny : int, optional
        Objects of at most :data:`TINY` pixels.
    touching : float, optional
        Share of objects that have a pixel next to (also diagonally) a pixel of another object; None without
        any.
    points : int, optional
        Number of annotated points.
    notes : tuple of str
        Conversions and oddities that do not prevent use.
    """

    id: str
    problem: str = ""
    height: int | None = None
    width: int | None = None
    nuclei: int | None = None
    fragments: int | None = None
    tiny: int | None = None
    touching: float | None = None
    points: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckReport:
    """The result of :func:`check_dataset`.

    Parameters
    ----------
    name : str
        The dataset.
    images : tuple of ImageCheck
        In the dataset's order.
    notes : tuple of str
        Remarks about the whole (checksum, files left out).
    """

    name: str
    images: tuple[ImageCheck, ...]
    notes: tuple[str, ...] = ()

    @property
    def kept(self):
        """Ids of the images that can be used; ``dataset.subset(report.kept)`` is that dataset."""
        return tuple(image.id for image in self.images if not image.problem)

    @property
    def dropped(self):
        """Id -> reason of the images that cannot be used."""
        return {image.id: image.problem for image in self.images if image.problem}

    @property
    def nuclei(self):
        """Number of labeled nuclei in the images that can be used."""
        return sum(image.nuclei or 0 for image in self.images)

    def __str__(self):
        columns = ("image", "size", "nuclei", "fragments", "tiny", "touching", "points", "notes")
        rows = [columns, *(_cells(image) for image in self.images)]
        used = [k for k in range(len(columns)) if any(row[k] for row in rows[1:])]
        widths = {k: max(len(row[k]) for row in rows) for k in used}
        lines = ["  ".join(row[k].ljust(widths[k]) for k in used).rstrip() for row in rows]
        lines += [f"note: {note}" for note in self.notes]
        lines.append(f"{self.name}: {len(self.kept)} of {len(self.images)} images can be used"
                     + (f", {self.nuclei} nuclei" if any(i.nuclei is not None for i in self.images) else ""))
        return "\n".join(lines)


def _cells(image):
    def show(value):
        return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)

    size = "" if image.height is None else f"{image.height}x{image.width}"
    notes = "; ".join((f"DROPPED: {image.problem}",) * bool(image.problem) + image.notes)
    return (image.id, size, show(image.nuclei), show(image.fragments), show(image.tiny), show(image.touching),
            show(image.points), notes)


def check_dataset(dataset, root=None, progress=False):
    """Read every image of a dataset and report on it; a bad image is reported, never raised.

    Parameters
    ----------
    dataset : Dataset, str or path-like
        A dataset, a name of the catalog (every image of its archive, and the archive's checksum) or a folder
        of one's own images.
    root : path-like, optional
        Data folder, for a name; see :func:`nucseg.data.roots.data_roots`.
    progress : bool
        Whether to show a progress bar on standard error.

    Returns
    -------
    CheckReport

    Raises
    ------
    DataError
        The dataset or folder as a whole is absent or unreadable.
    """
    notes = ()
    if not isinstance(dataset, Dataset):
        dataset, notes = _open(dataset, root)
    ids = tqdm(dataset.ids, desc=f"checking {dataset.name}", unit="image", disable=not progress)
    return CheckReport(dataset.name, tuple(_check_image(dataset, name) for name in ids), notes)


def _open(name, root):
    if str(name) not in names():
        if not Path(name).expanduser().is_dir():
            raise DataError(f"{name}: neither a folder nor a dataset; known datasets: {', '.join(names())}")
        return from_folder(name), scan_folder(name).notes
    info = dataset_info(str(name))
    if info.synthetic:
        return load_dataset(info.name), ()
    dataset = load_archive(info.name, root)
    path = roots.require_archive(info, root)
    known = dataset.checksum in info.known
    text = ("its checksum is that of the archive described in the catalog" if known
            else f"its SHA-256 {dataset.checksum} is not among those in the catalog")
    return dataset, (f"{path}: {text}",)


def _check_image(dataset, name):
    try:
        sample = dataset[name]
    except Exception as error:  # whatever is wrong with one image, the others are still looked at
        return ImageCheck(name, problem=str(error) or type(error).__name__)
    notes = list(sample.meta.get("notes", ()))
    height, width = sample.image.shape[:2]
    if sample.image.min() == sample.image.max():
        notes.append("every pixel has one value")
    counts = {}
    if sample.labels is not None:
        counts = _count(sample.labels)
        if counts["nuclei"] == 0:
            notes.append("empty label map: no nuclei")
        elif counts["nuclei"] == 1 and counts["fragments"] > 0:
            notes.append("one id in several pieces: a foreground mask? number the nuclei, for example with "
                         "skimage.measure.label")
    if sample.points is not None:
        counts["points"] = len(sample.points)
        if len(sample.points) >= 10 and (sample.points.max(axis=0) < 0.5 * np.array([height, width])).all():
            notes.append("all points lie in the top-left quarter: are they in micrometers, not pixels?")
    return ImageCheck(name, height=height, width=width, notes=tuple(notes), **counts)


def _count(labels):
    areas = np.bincount(labels.ravel())[1:] if labels.max() < 4 * labels.size else np.unique(
        labels[labels > 0], return_counts=True)[1]
    areas = areas[areas > 0]
    pieces = int(connected(labels, background=0, connectivity=2).max())
    touching = set()
    height, width = labels.shape
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = labels[:height - down, max(0, -right):width - max(0, right)]
        there = labels[down:, max(0, right):width + min(0, right)]
        border = (here != there) & (here > 0) & (there > 0)
        touching.update(np.unique(here[border]), np.unique(there[border]))
    count = len(areas)
    return {"nuclei": count, "fragments": pieces - count, "tiny": int((areas <= TINY).sum()),
            "touching": len(touching) / count if count else None}
