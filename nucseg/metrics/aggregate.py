"""From one number per image to one number per table: means, undefined values, intervals."""

import logging
from typing import NamedTuple

import numpy as np

from nucseg.errors import DataError
from nucseg.seeding import generator

logger = logging.getLogger(__name__)


class UnitMean(NamedTuple):
    """Mean of a metric over units (images, patches or folds)."""

    mean: float  #: mean over the defined units, NaN if there is none
    sd: float  #: standard deviation over the defined units (divisor n - 1), NaN below two units
    units: int  #: how many units the mean is over
    undefined: int  #: how many units had no value


class Interval(NamedTuple):
    """A two-sided interval."""

    low: float  #: lower end
    high: float  #: upper end


def mean_over_units(values, *, lenient=False):
    """Return the mean of a metric over units, leaving out or forgiving the undefined ones.

    Parameters
    ----------
    values : array_like, shape (N,)
        One value per unit; NaN where the metric is undefined (nothing to find and nothing found).
    lenient : bool
        Count an undefined unit as 1, a perfect score, as some releases do. By default it is left out.

    Returns
    -------
    UnitMean

    Examples
    --------
    >>> mean_over_units([0.5, float("nan")]).mean, mean_over_units([0.5, float("nan")], lenient=True).mean
    (0.5, 0.75)
    """
    values = np.asarray(values, dtype=np.float64)
    missing = np.isnan(values)
    kept = np.where(missing, 1.0, values) if lenient else values[~missing]
    mean = float(kept.mean()) if kept.size else float("nan")
    sd = float(kept.std(ddof=1)) if kept.size > 1 else float("nan")
    return UnitMean(mean, sd, int(kept.size), int(missing.sum()))


def bootstrap_interval(values, *, level=0.95, resamples=10_000, seed=0):
    """Return the percentile bootstrap interval of the mean over units.

    Parameters
    ----------
    values : array_like, shape (N,)
        One value per unit (an image, usually); undefined units (NaN) are left out.
    level : float
        Coverage, between 0 and 1.
    resamples : int
        Number of draws of N units with replacement.
    seed : int
        Seed of the draws.

    Returns
    -------
    Interval
        NaN at both ends if fewer than two units are defined.

    Raises
    ------
    DataError
        A level outside (0, 1) or no resamples.
    """
    if not 0 < level < 1 or resamples < 1:
        raise DataError(f"level must lie in (0, 1) and resamples be positive, got {level} and {resamples}")
    values = np.asarray(values, dtype=np.float64)
    values = values[~np.isnan(values)]
    if values.size < 2:
        return Interval(float("nan"), float("nan"))
    draws = generator(seed, "bootstrap").integers(values.size, size=(resamples, values.size))
    low, high = np.quantile(values[draws].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def ratio(numerator, denominator, what):
    """Return a quotient, and 0 with a line in the log where the denominator is 0.

    Parameters
    ----------
    numerator, denominator : float
        Zero or more.
    what : str
        Name of the quotient, for the log.

    Returns
    -------
    float
    """
    if denominator == 0:
        logger.debug("%s is 0 divided by 0; counted as 0", what)
        return 0.0
    return float(numerator / denominator)
