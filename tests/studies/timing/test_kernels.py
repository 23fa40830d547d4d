"""Times of kernels: every kernel is measured, peers compute the same, memory is counted."""

import re
import time

import numpy as np
import pytest
import xarray as xr

from detox_sim import aggregators
from studies.timing import kernel_times, kernels
from studies.timing.beside import peers


def measured(rows=15, columns=3000, **changes):
    fields = {"threads": 2, "repeats": 2, "seed": 0, "chunk": 0, "peers": 1}
    return kernels.run(kernels.prepare(fields | {"rows": rows, "columns": columns} | changes))


@pytest.fixture(scope="module")
def small():
    return measured()


@pytest.fixture(scope="module")
def chunked():
    return measured(columns=7000, chunk=3000)


def test_every_kernel_has_a_time_and_a_floor(small):
    assert (small.milliseconds > 0).all()
    assert (small.floor > 0).all()
    assert np.isfinite(small.extra_megabytes).all()
    assert (small.bandwidth > 0).all()
    assert (small.operation_rate > 0).all()


def test_peers_compute_the_same(small):
    compared = small.deviation.sel(peer="NumPy").dropna("kernel")
    assert {"mean", "median", "trimmed_mean", "sign_majority", "vote"} <= set(
        compared.kernel.values
    )
    assert (compared < 1e-5).all()
    timed = small.peer_milliseconds.sel(peer="NumPy", kernel=compared.kernel)
    assert (timed > 0).all()


def test_rule_that_refuses_the_size_is_nan():
    many = measured(rows=60, columns=40)
    assert many.milliseconds.sel(kernel="smea").isnull().all()
    assert (many.milliseconds.sel(kernel="median") > 0).all()


def test_without_peers_none_is_called(monkeypatch):
    monkeypatch.setattr(kernel_times, "installed", lambda: pytest.fail("a peer was looked for"))
    assert measured(peers=0).peer_milliseconds.isnull().all()


def test_slow_peer_has_one_turn(monkeypatch):
    monkeypatch.setattr(kernel_times, "SLOW", 0.0)
    times = measured().peer_milliseconds.sel(kernel="mean", peer="NumPy")
    assert np.isfinite(times.values).tolist() == [True, False]


def test_rows_in_chunks_are_measured(chunked):
    lazy = chunked
    done = [str(name) for name in lazy.kernel.values[np.isfinite(lazy.milliseconds[:, 0])]]
    assert done == ["median", "multi_krum"]
    assert 0 < float(lazy.peak_gigabytes) < 4


def test_reading_a_chunk_keeps_no_view_of_it():
    block = np.ones((6, 1000), np.float32)
    assert kernel_times._nothing(block).base is None


def test_drawn_chunks_are_the_same_each_time_and_differ():
    rows = kernel_times._drawn_in_chunks(6, 70, 30, seed=1)
    once, again = rows.compute(scheduler="sync"), rows.compute(scheduler="threads")
    assert once.tobytes() == again.tobytes()
    assert len(np.unique(once)) > 400
    median = aggregators.median(rows, byzantine=1).compute(scheduler="sync")
    np.testing.assert_array_equal(median, np.median(once, axis=0))


def test_extra_memory_counts_a_copy():
    rows = np.ones((50, 20_000), np.float32)
    result, extra = kernel_times._with_memory(lambda rows: (rows * 2).sum(axis=0), rows)
    assert result.shape == (20_000,)
    assert rows.nbytes <= extra < 1.1 * rows.nbytes


def refusal(change: dict) -> str:
    base, axes = kernels.PROFILES["smoke"]
    try:
        kernels.prepare(base | next(iter(axes["size"].values())) | change)
    except ValueError as error:
        return str(error)
    return "accepted"


def test_impossible_fields_are_refused():
    cases = [
        ({"rows": 5}, "rows >= 6"),
        ({"threads": 0}, "threads"),
        ({"chunks": 3}, "did you mean 'chunk'"),
    ]
    for change, message in cases:
        assert re.search(message, refusal(change)), change


def test_finding_says_what_was_not_measured(small, chunked):
    found = kernels.finding(small.expand_dims(size=["15 x 3k"]))
    assert "**Milliseconds** for 15 rows of 3,000 values" in found
    assert "not fitted" in found
    assert "comparisons" in found
    lone = chunked.expand_dims(size=["15 x 7k"])
    assert "none was measured" in kernels.finding(lone)
    assert kernels.finding(lone.where(False)) == "No cell of this dataset is finished."


def test_figure_is_drawn_without_peers(small):
    alone = small.expand_dims(size=["15 x 3k"])
    alone = alone.assign(peer_milliseconds=alone.peer_milliseconds * np.nan)
    assert len(kernels.figure(alone).axes) == 4


def test_figure_is_drawn_of_chunks_alone(chunked):
    lazy = chunked.expand_dims(size=["15 x 7k"])
    assert len(kernels.figure(lazy).axes) == 4


def test_figure_leaves_out_cells_without_values(small):
    one = small.expand_dims(size=["15 x 3k"])
    both = xr.concat([one.where(False).assign_coords(size=["failed"]), one], "size")
    drawn, alone = kernels.figure(both), kernels.figure(one)
    labels = [[tick.get_text() for tick in f.axes[-1].get_yticklabels()] for f in (drawn, alone)]
    assert labels[0] == labels[1] != []


def test_short_calls_are_timed_together(monkeypatch):
    calls = []
    assert 1 <= kernel_times._often(lambda rows: time.sleep(0.004), None, 0.004, 0.02) <= 5
    assert kernel_times._often(lambda rows: None, None, 0.0, 0.02) > 5
    assert kernel_times._often(calls.append, None, 10.0, 0.02) == 1
    assert calls == []
    kernel_times._timed(calls.append, 7, calls=3)
    assert calls == [7, 7, 7]


def test_peers_are_of_known_kernels():
    assert set(peers.installed()) <= set(kernels.KERNELS)
