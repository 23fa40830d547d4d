"""Student t intervals over seeds."""

import numpy as np
import pytest
import scipy.stats

from detox_sim.sweeps.intervals import interval, student_t


def test_student_t_is_scipys():
    values = np.array([0.91, 0.93, 0.95, 0.94, 0.90])
    for level in (0.95, 0.99):
        found = scipy.stats.ttest_1samp(values, 0).confidence_interval(level)
        assert student_t(values, level) == pytest.approx((found.low, found.high))
    assert student_t([*values, np.nan]) == student_t(values)
    assert interval([0.5]) == "0.500"
