"""Small calls: beside the best peer, and the time that does not grow with the columns."""

import numpy as np
import pytest
import xarray as xr

from studies.timing.limits import small_calls


def times(ours, peer, columns=1000.0, least=np.nan):
    """One kernel at one size."""
    return xr.Dataset(
        {
            "rows": ("size", [15.0]),
            "columns": ("size", [columns]),
            "milliseconds": (("size", "kernel", "repeat"), [[ours]]),
            "least_milliseconds": (("size", "kernel", "repeat"), [[np.full(3, least)]]),
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


def test_overhead_is_the_time_of_a_call_on_one_column():
    dataset = times([0.017] * 3, [np.nan] * 3, least=0.012)
    assert small_calls.overhead(dataset).item() == pytest.approx(12)
    assert "below 20 microseconds in 1 of 1 kernels." in small_calls.finding(dataset)[0]
    slow = times([0.1] * 3, [np.nan] * 3, least=0.04)
    assert "in 0 of 1 kernels; vote 40." in small_calls.finding(slow)[0]
