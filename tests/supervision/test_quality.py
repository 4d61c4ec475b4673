"""Label errors counted by hand and pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg.errors import DataError
from nucseg.supervision import disk_labels, label_quality

SHAPE = (5, 6)


def test_by_hand():
    truth = [[3, 3, 3, 0, 0, 0, 0, 0]]
    label = [[1, 1, 0, 0, 0, 1, -1, -1]]
    found = label_quality(truth, label)
    assert (found.nucleus, found.background, found.ignored) == (3 / 8, 3 / 8, 2 / 8)
    assert found.wrong == pytest.approx(2 / 6) and found.background_of_labeled == pytest.approx(3 / 6)
    assert found.nucleus_wrong == pytest.approx(1 / 3) and found.background_wrong == pytest.approx(1 / 3)
    assert found.nucleus_found == pytest.approx(2 / 3)


@given(arrays(np.int16, SHAPE, elements=st.integers(0, 3)), arrays(int, SHAPE, elements=st.integers(-1, 1)))
def test_shares_are_consistent(truth, label):
    found = label_quality(truth, label)
    assert found.nucleus + found.background + found.ignored == pytest.approx(1)
    stated = [(t > 0, v == 1) for t, v in zip(truth.ravel(), label.ravel()) if v >= 0]
    if stated:
        assert found.wrong == pytest.approx(np.mean([t != v for t, v in stated]))
        assert found.background_of_labeled == pytest.approx(np.mean([not v for _, v in stated]))
    else:
        assert np.isnan(found.wrong)
    # Wrong pixels are wrong nucleus pixels plus wrong background pixels.
    parts = [(found.nucleus, found.nucleus_wrong), (found.background, found.background_wrong)]
    wrong = sum(share * rate for share, rate in parts if share)
    assert wrong == pytest.approx((found.nucleus + found.background) * found.wrong if stated else 0)


def test_a_perfect_label_has_no_errors():
    labels = (disk_labels([(10, 10)], (30, 30), 6, 6) == 1).astype(int)
    found = label_quality(labels, np.where(labels > 0, 1, 0))
    assert (found.wrong, found.nucleus_wrong, found.background_wrong, found.nucleus_found) == (0, 0, 0, 1)


def test_an_empty_label_says_nothing():
    found = label_quality(np.ones(SHAPE, int), np.full(SHAPE, -1))
    assert found.ignored == 1 and found.nucleus_found == 0
    assert np.isnan([found.wrong, found.nucleus_wrong, found.background_wrong]).all()


@pytest.mark.parametrize("label", [np.full(SHAPE, 2), np.zeros((4, 6), int), np.zeros(SHAPE)])
def test_bad_labels_are_refused(label):
    with pytest.raises(DataError, match="label: expected 1, 0 or -1"):
        label_quality(np.ones(SHAPE, int), label)
