"""Means with undefined units, intervals, tests."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nucseg.errors import DataError
from nucseg.metrics import bootstrap_interval, holm, mean_over_units, paired_t_test

nan = float("nan")
VALUES = st.lists(st.floats(0, 1), min_size=3, max_size=20)


def test_mean_leaves_out_and_counts_the_undefined():
    assert mean_over_units([0.2, nan, 0.6])[::2] == (pytest.approx(0.4), 2)
    assert mean_over_units([0.2, nan, 0.6]).undefined == 1
    assert mean_over_units([0.2, nan, 0.6]).sd == pytest.approx(np.sqrt(0.08))
    assert mean_over_units([0.2, nan, 0.6], lenient=True).mean == pytest.approx(0.6)
    assert mean_over_units([0.2, nan, 0.6], lenient=True).units == 3
    nothing = mean_over_units([nan])
    assert np.isnan(nothing.mean) and np.isnan(nothing.sd) and nothing.units == 0
    assert np.isnan(mean_over_units([]).mean)


def test_bootstrap_of_two_values_is_known():
    """Means of two draws from {0, 1} are 0, 0.5, 1 with chances 1/4, 1/2, 1/4."""
    assert bootstrap_interval([0, 1, nan], level=0.95) == (0, 1)
    assert bootstrap_interval([0, 1], level=0.4) == (0.5, 0.5)
    assert bootstrap_interval([0, 1], seed=3) == bootstrap_interval([0, 1], seed=3)
    assert np.isnan(bootstrap_interval([0.3])).all()


def test_bootstrap_matches_the_normal_interval(rng):
    values = rng.normal(0.5, 0.1, 400)
    low, high = bootstrap_interval(values)
    assert low == pytest.approx(values.mean() - 1.96 * 0.1 / 20, abs=0.002)
    assert high == pytest.approx(values.mean() + 1.96 * 0.1 / 20, abs=0.002)


@pytest.mark.parametrize("arguments", [{"level": 0}, {"level": 1}, {"resamples": 0}])
def test_bootstrap_arguments_are_checked(arguments):
    with pytest.raises(DataError):
        bootstrap_interval([0, 1], **arguments)


@given(VALUES, st.integers(0, 100))
def test_paired_t_test_equals_scipy(first, seed):
    first = np.array(first)
    second = first + np.random.default_rng(seed).normal(0.05, 0.1, len(first))
    ours, theirs = paired_t_test(first, second), stats.ttest_rel(second, first)
    assert ours.t == pytest.approx(theirs.statistic)
    assert ours.p == pytest.approx(theirs.pvalue)
    interval = theirs.confidence_interval(0.95)
    assert ours.interval == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert ours.p_wilcoxon == pytest.approx(stats.wilcoxon(second - first, zero_method="zsplit").pvalue)


def test_paired_t_test_by_hand():
    """Differences 1, 2, 3: mean 2, sd 1, t = 2 sqrt(3), 2 degrees of freedom."""
    test = paired_t_test([0, 0, nan, 0], [1, 2, 5, 3])
    assert (test.n, test.undefined, test.mean_difference) == (3, 1, 2)
    assert test.t == pytest.approx(2 * np.sqrt(3))
    assert test.interval.low == pytest.approx(2 - 4.302653 / np.sqrt(3), abs=1e-6)
    assert test.p_wilcoxon == pytest.approx(0.25)


@pytest.mark.parametrize("second", [[0.3, 0.1, 0.7], [0.4, 0.2, 0.8], [nan, nan, 0.7], [nan, nan, nan]])
def test_undefined_t_tests(second):
    test = paired_t_test([0.3, 0.1, 0.7], second)
    assert np.isnan([test.t, test.p, *test.interval]).all()


def test_some_zero_differences_are_data():
    assert paired_t_test([0, 0, 0, 0], [0, 0, 1, 2]).n == 4


def test_holm_by_hand():
    """Three tests: 3 x 0.01, then 2 x 0.02, then 0.5 itself; a NaN is no test."""
    assert holm([0.5, 0.01, nan, 0.02])[[0, 1, 3]].tolist() == [0.5, 0.03, 0.04]
    assert np.isnan(holm([0.5, nan])[1])
    assert holm([0.04, 0.03, 0.9]).tolist() == [0.09, 0.09, 0.9]
    assert holm([0.9, 0.8]).tolist() == [1, 1]
    with pytest.raises(DataError, match=r"1\.5"):
        holm([1.5])


def test_tests_need_pairs():
    with pytest.raises(DataError, match="one length"):
        paired_t_test([1, 2], [1, 2, 3])
    with pytest.raises(DataError, match="level"):
        paired_t_test([1, 2], [1, 3], level=2)
