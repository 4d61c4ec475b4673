"""One round of a cross-validation, as a row of a table names it."""

from dataclasses import dataclass

from nucseg.data.splits import group_folds, image_folds
from nucseg.errors import DataError, UnknownNameError

_MAKERS = {"image": lambda dataset, *choice: image_folds(dataset.ids, *choice),
           "group": lambda dataset, *choice: group_folds(dataset.ids, dataset.groups, *choice)}


@dataclass(frozen=True)
class FoldChoice:
    """Which round of which cross-validation; the defaults are those of Foo et al. (2022, sec. 4).

    Parameters
    ----------
    number : int
        The round, from 0 to `parts` - 1.
    parts : int
        How many rounds there are.
    by : {"image", "group"}
        Whether images are dealt, or whole groups (patients, organs) that no round divides.
    seed : int
        Seed of the shuffle.
    part : {"test", "val"}
        What is measured; validation images where something is to be chosen.

    Raises
    ------
    UnknownNameError
        Another `by` or `part`.
    DataError
        No such round.
    """

    number: int
    parts: int = 10
    by: str = "image"
    seed: int = 12
    part: str = "test"

    def __post_init__(self):
        if self.by not in _MAKERS:
            raise UnknownNameError(f"folds by {self.by!r}; known: {', '.join(_MAKERS)}")
        if self.part not in ("test", "val"):
            raise UnknownNameError(f"part {self.part!r} of a fold; known: test, val")
        if not 0 <= self.number < self.parts:
            raise DataError(f"fold {self.number} of {self.parts}: rounds count from 0 to {self.parts - 1}")

    @property
    def key(self):
        """The choice as part of a file name."""
        shuffle = "" if self.seed == type(self).seed else f"-seed-{self.seed}"
        return f"{self.by}-fold-{self.number}-of-{self.parts}{shuffle}" + ("-val" if self.part == "val" else "")

    def of(self, dataset):
        """Return (train, val, test) of this round as three datasets.

        Parts i and i + 1 of the images validate and test round i, so that every image is tested once.
        """
        return _MAKERS[self.by](dataset, self.parts, self.seed, "val-test")[self.number].of(dataset)
