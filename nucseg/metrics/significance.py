"""Is one method better than another on the same images?"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from nucseg.errors import DataError
from nucseg.metrics.aggregate import Interval


class PairedTest(NamedTuple):
    """Comparison of two methods on the same units; differences are second minus first."""

    n: int  #: units with a value for both methods
    undefined: int  #: units left out because a value is NaN
    mean_difference: float  #: mean of the differences
    interval: Interval  #: confidence interval of that mean
    t: float  #: mean over standard error, n - 1 degrees of freedom
    p: float  #: two-sided p-value of the t-test
    p_wilcoxon: float  #: two-sided p-value of the Wilcoxon signed-rank test


def paired_t_test(first, second, level=0.95):
    """Return the paired t-test of two methods, with an interval and the Wilcoxon signed-rank test beside it.

    Zero differences are data and stay in. If all differences are equal the t-test is undefined; if all are
    zero so is the Wilcoxon test.

    Parameters
    ----------
    first, second : array_like, shape (N,)
        The metric of either method on the same units (images, usually) in the same order; NaN where
        undefined.
    level : float
        Coverage of the interval, between 0 and 1.

    Returns
    -------
    PairedTest
        Values that are undefined (fewer than two units, say) are NaN.

    Raises
    ------
    DataError
        Different lengths, or a level outside (0, 1).

    Examples
    --------
    >>> test = paired_t_test([0.1, 0.2, 0.3], [0.2, 0.4, 0.6])
    >>> test.n, round(test.mean_difference, 3), round(test.t, 3)
    (3, 0.2, 3.464)
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise DataError(f"a paired test needs two lists of one length, got {first.shape} and {second.shape}")
    if not 0 < level < 1:
        raise DataError(f"level must lie in (0, 1), got {level}")
    differences = second - first
    undefined = int(np.isnan(differences).sum())
    differences = differences[~np.isnan(differences)]
    n, nan = len(differences), float("nan")
    mean = float(differences.mean()) if n else nan
    error = float(differences.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0
    wilcoxon = float(stats.wilcoxon(differences, zero_method="zsplit").pvalue) if np.any(differences) else nan
    # Equal differences leave a spread of rounding errors only, which must not pass for evidence.
    if error <= 1e-12 * max(abs(mean), 1e-300) or n < 2:
        return PairedTest(n, undefined, mean, Interval(nan, nan), nan, nan, wilcoxon)
    t, margin = mean / error, error * stats.t.ppf((1 + level) / 2, n - 1)
    return PairedTest(n, undefined, mean, Interval(float(mean - margin), float(mean + margin)), t,
                      float(2 * stats.t.sf(abs(t), n - 1)), wilcoxon)


def holm(p_values):
    """Return p-values corrected for their number by Holm's step-down rule.

    Parameters
    ----------
    p_values : array_like, shape (N,)
        Raw p-values; NaN entries stay NaN and do not count as tests.

    Returns
    -------
    numpy.ndarray, shape (N,), float64
        Adjusted p-values in the order given; compare them with the level itself.

    Raises
    ------
    DataError
        A p-value outside [0, 1].

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    defined = np.flatnonzero(~np.isnan(p_values))
    if ((p_values[defined] < 0) | (p_values[defined] > 1)).any():
        raise DataError(f"p-values lie in [0, 1], got {p_values.tolist()}")
    order = defined[np.argsort(p_values[defined], kind="stable")]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    adjusted = np.full(p_values.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
