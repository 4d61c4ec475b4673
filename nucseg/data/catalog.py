"""What is known about each dataset: one record each; the book page and `nucseg data info` come from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nucseg.errors import UnknownNameError


@dataclass(frozen=True)
class Scheme:
    """One published (or ours, where it says so) division of a dataset into splits.

    Parameters
    ----------
    source : str
        Who defined it, or how.
    splits : mapping of str to tuple
        Split name -> (column of the table, values of that column that belong to the split).
    """

    source: str
    splits: Mapping[str, tuple[str, tuple[str, ...]]]


@dataclass(frozen=True)
class DatasetInfo:
    """The facts about one dataset.

    Parameters
    ----------
    name : str
        What ``load_dataset`` calls it.
    title : str
        Its published name.
    task : str
        "nuclei" (instance maps) or "tissue" (classes per pixel, tags per image).
    content : str
        One sentence: what the images show.
    cite : tuple of str
        Keys into the book's bibliography.
    license : str
        License of the images and annotation, and how sure that is.
    images : int
        Number of images in the whole release; 0 for a generator without end.
    objects : int, optional
        Number of nuclei counted in the packed copy described here; None if not counted or not applicable.
    size : str
        Image size in pixels.
    magnification : str
        Objective magnification as published.
    files : tuple of str
        Names of the packed archive under the data folder, the first one preferred and written by ``prepare``.
    known : mapping of str to tuple
        SHA-256 -> (file name, bytes) of packed archives that were inspected.
    schemes : mapping of str to Scheme
        The divisions, the first one is the default.
    classes : tuple of str
        Tissue classes in mask-index and tag-bit order.
    background : int, optional
        Mask index that means no tissue, or excluded from scoring.
    palette : tuple of tuple of int
        RGB color of each mask index, as released.
    group : str
        What ``Sample.group`` holds.
    obtain : str
        Where to ask for the official release.
    layout : str
        The official folder layout that ``prepare`` reads.
    differs : str
        How the inspected packed copy differs from the official release.
    """

    name: str
    title: str
    task: str
    content: str
    cite: tuple[str, ...]
    license: str
    images: int
    size: str
    magnification: str
    schemes: Mapping[str, Scheme]
    objects: int | None = None
    files: tuple[str, ...] = ()
    known: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    background: int | None = None
    palette: tuple[tuple[int, int, int], ...] = ()
    group: str = "none known: every image is its own group"
    obtain: str = ""
    layout: str = ""
    differs: str = ""

    @property
    def synthetic(self):
        """Whether the images are generated, not read."""
        return not self.files

    def scheme(self, name=None):
        """Return (name, Scheme) for a scheme name, the default one for None.

        Parameters
        ----------
        name : str, optional
            Name of a division; None for the default one.

        Returns
        -------
        tuple of (str, Scheme)

        Raises
        ------
        UnknownNameError
            No such scheme; lists those there are.
        """
        name = next(iter(self.schemes)) if name is None else name
        if name not in self.schemes:
            raise UnknownNameError(
                f"{self.name} has no split scheme {name!r}; its schemes: {', '.join(self.schemes)}"
            )
        return name, self.schemes[name]


def dataset_info(name):
    """Return the :class:`DatasetInfo` of a dataset.

    Parameters
    ----------
    name : str
        Name of a dataset.

    Returns
    -------
    DatasetInfo

    Raises
    ------
    UnknownNameError
        No such dataset; lists those there are.

    Examples
    --------
    >>> dataset_info("tnbc").images
    50
    """
    from nucseg.data.facts import DATASETS

    if name not in DATASETS:
        raise UnknownNameError(f"no dataset {name!r}; known datasets: {', '.join(DATASETS)}")
    return DATASETS[name]


def names():
    """Return the names of all datasets in the catalog, generators first."""
    from nucseg.data.facts import DATASETS

    return tuple(DATASETS)
