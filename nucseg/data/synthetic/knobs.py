"""Settings with a unit and a range: every knob of the generators is declared and checked in one way."""

import dataclasses
import math
from dataclasses import dataclass

from nucseg.errors import DataError


def knob(default, unit, low, high):
    """Declare one number of a configuration.

    Parameters
    ----------
    default : int or float
        An int makes the knob accept whole numbers only.
    unit : str
        What the number counts or measures ("px", "share", "gray levels" ...).
    low, high : float
        The accepted range, both ends included.

    Returns
    -------
    dataclasses.Field
    """
    return dataclasses.field(default=default, metadata={"unit": unit, "low": low, "high": high})


@dataclass(frozen=True)
class Knobs:
    """Base of the configurations: checks every knob when an object is made.

    Raises
    ------
    DataError
        A value that is not a number, not whole where it must be, or outside its range; names field and value.
    """

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if "low" in field.metadata:
                _check(type(self).__name__, field, getattr(self, field.name))

    @classmethod
    def table(cls):
        """Return ``(name, default, unit, low, high)`` of every knob, in order."""
        return [
            (field.name, field.default, *(field.metadata[key] for key in ("unit", "low", "high")))
            for field in dataclasses.fields(cls)
            if "low" in field.metadata
        ]


def _check(owner, field, value):
    if value is None and field.default is None:
        return
    low, high, unit = (field.metadata[key] for key in ("low", "high", "unit"))
    whole = isinstance(field.default, int) or field.default is None
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or (whole and int(value) != value) or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise DataError(f"{owner}.{field.name}: expected {kind} from {low} to {high} ({unit}), got {value!r}")
