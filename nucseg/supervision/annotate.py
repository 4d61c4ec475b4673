"""The weak annotation of a whole dataset: dots kept, masks taken away."""

from dataclasses import replace

from nucseg.data.sample import Dataset
from nucseg.errors import DataError
from nucseg.seeding import generator
from nucseg.supervision.points import box_centers, sample_points


def annotate_dots(dataset, ratio=1.0, seed=0, replacement=False):
    """Return a dataset whose samples carry dots and no masks, as an annotator would leave them.

    Dots lie at the centers of the nuclei's bounding boxes (Qu et al. 2020, sec. V-A). Which of them are kept
    depends on the seed and the image's name alone.

    Parameters
    ----------
    dataset : nucseg.data.Dataset
        Samples with label maps, or with dots of their own.
    ratio : float
        Share of each image's dots to keep, 0 to 1.
    seed : int
        Seed of the draw.
    replacement : bool
        Draw with replacement, as the authors' release does; see :func:`sample_points`.

    Returns
    -------
    nucseg.data.Dataset
        The same images; ``labels`` is None and ``points`` holds the dots kept.

    Raises
    ------
    DataError
        A ratio out of range, or (when read) a sample with neither labels nor dots.
    """
    if not 0 <= ratio <= 1:
        raise DataError(f"annotate_dots: ratio must be between 0 and 1, got {ratio}")

    def read(name):
        sample = dataset[name]
        if sample.labels is None and sample.points is None:
            raise DataError(f"{name}: has neither labels nor dots to annotate with")
        points = sample.points if sample.labels is None else box_centers(sample.labels)
        kept = sample_points(points, ratio, generator(seed, "dots", name), replacement)
        return replace(sample, labels=None, points=kept)

    return Dataset(dataset.name, dataset.ids, read, dataset.groups, dataset.checksum)
