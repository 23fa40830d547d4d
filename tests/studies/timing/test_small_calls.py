"""Small calls: beside the best peer, and the time that does not grow with the columns."""

import numpy as np
import pytest
import xarray as xr

from studies.timing.limits import small_calls


def times(ours, peer, columns=1000.0, half=np.nan):
    """One kernel at one size."""
    return xr.Dataset(
        {
            "rows": ("size", [15.0]),
            "columns": ("size", [columns]),
            "milliseconds": (("size", "kernel", "repeat"), [[ours]]),
            "half_milliseconds": (("size", "kernel", "repeat"), [[np.full(3, half)]]),
            "peer_milliseconds": (("size", "kernel", "peer", "repeat"), [[[peer, [np.nan] * 3]]]),
        },
        coords={"kernel": ["vote"], "size": ["15 x 1k"]},
    )


def test_slower_calls_are_counted_in_the_median_and_in_every_turn():
    cases = [
        (times([3.0, 3.0, 3.0], [2.0, 2.0, 2.9]), "in 1 of 1 comparisons, in every turn in 1;"),
        (times([3.0, 3.0, 3.0], [2.0, 2.0, 3.1]), "in 1 of 1 comparisons, in every turn in 0;"),
        (times([1.0, 1.0, 9.0], [2.0, 2.0, 2.0]), "in 0 of 1 comparisons, in every turn in 0."),
    ]
    for dataset, expected in cases:
        (sentence,) = small_calls.finding(dataset)
        assert expected in sentence, sentence
    assert "; vote at 15 x 1k 1.50." in small_calls.finding(cases[0][0])[0]


def test_large_calls_and_calls_without_peers_are_left_out():
    assert small_calls.finding(times([3.0] * 3, [2.0] * 3, columns=1e6)) == []
    assert small_calls.finding(times([3.0] * 3, [np.nan] * 3)) == []


def test_overhead_is_what_does_not_grow_with_the_columns():
    fixed, each = 0.012, 5e-6  # milliseconds
    dataset = times([fixed + 1000 * each] * 3, [np.nan] * 3, half=fixed + 500 * each)
    assert small_calls.overhead(dataset).item() == pytest.approx(12)
    assert "below 20 microseconds in 1 of 1 kernels." in small_calls.finding(dataset)[0]
    slow = times([0.1] * 3, [np.nan] * 3, half=0.07)
    assert "in 0 of 1 kernels; vote 40." in small_calls.finding(slow)[0]
