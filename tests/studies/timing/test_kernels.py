"""The study of times: everything is measured, equal work is compared, memory is counted."""

import numpy as np
import pytest
import xarray as xr

from detox_sim import aggregators
from studies.timing import kernels, peers


def measured(rows=15, columns=3000, **changes):
    fields = {"threads": 2, "repeats": 2, "seed": 0, "chunk": 0, "peers": 1}
    return kernels.run(kernels.prepare(fields | {"rows": rows, "columns": columns} | changes))


@pytest.fixture(scope="module")
def small():
    return measured()


def test_every_kernel_is_timed_against_a_floor(small):
    assert (small.milliseconds > 0).all()
    assert (small.floor > 0).all()
    assert np.isfinite(small.extra_megabytes).all()
    assert float(small.bandwidth) > 0


def test_peers_compute_the_same(small):
    compared = small.deviation.sel(peer="NumPy").dropna("kernel")
    assert {"mean", "median", "trimmed_mean", "sign_majority", "vote"} <= set(
        compared.kernel.values
    )
    assert (compared < 1e-5).all()
    timed = small.peer_milliseconds.sel(peer="NumPy", kernel=compared.kernel)
    assert (timed > 0).all()


def test_a_refusing_rule_is_no_number():
    many = measured(rows=60, columns=40)
    assert many.milliseconds.sel(kernel="smea").isnull().all()
    assert (many.milliseconds.sel(kernel="median") > 0).all()


def test_without_peers_none_is_called(monkeypatch):
    monkeypatch.setattr(kernels, "installed", lambda: pytest.fail("a peer was looked for"))
    assert measured(peers=0).peer_milliseconds.isnull().all()


def test_a_slow_peer_has_one_turn(monkeypatch):
    monkeypatch.setattr(kernels, "SLOW", 0.0)
    times = measured().peer_milliseconds.sel(kernel="mean", peer="NumPy")
    assert np.isfinite(times.values).tolist() == [True, False]


def test_chunks_are_measured_and_never_held():
    lazy = measured(columns=7000, chunk=3000)
    done = [str(name) for name in lazy.kernel.values[np.isfinite(lazy.milliseconds[:, 0])]]
    assert done == ["median", "multi_krum"]
    assert 0 < float(lazy.peak_gigabytes) < 4


def test_looking_at_a_chunk_does_not_keep_it():
    block = np.ones((6, 1000), np.float32)
    assert kernels._nothing(block).base is None


def test_drawn_chunks_are_the_same_each_time_and_differ():
    rows = kernels._drawn_in_chunks(6, 70, 30, seed=1)
    once, again = rows.compute(scheduler="sync"), rows.compute(scheduler="threads")
    assert once.tobytes() == again.tobytes()
    assert len(np.unique(once)) > 400
    median = aggregators.median(rows, byzantine=1).compute(scheduler="sync")
    np.testing.assert_array_equal(median, np.median(once, axis=0))


def test_extra_memory_sees_a_copy():
    rows = np.ones((50, 20_000), np.float32)
    result, extra = kernels._with_memory(lambda rows: (rows * 2).sum(axis=0), rows)
    assert result.shape == (20_000,)
    assert rows.nbytes <= extra < 1.1 * rows.nbytes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 5}, "rows >= 6"),
        ({"threads": 0}, "threads"),
        ({"chunks": 3}, "did you mean 'chunk'"),
    ],
)
def test_bad_fields_are_refused(change, message):
    base, axes = kernels.PROFILES["smoke"]
    with pytest.raises(ValueError, match=message):
        kernels.prepare(base | next(iter(axes["size"].values())) | change)


def test_the_figure_does_without_peers(small):
    alone = small.expand_dims(size=["15 x 3k"])
    alone = alone.assign(peer_milliseconds=alone.peer_milliseconds * np.nan)
    assert isinstance(alone, xr.Dataset)
    assert len(kernels.figure(alone).axes) == 3


def test_the_figure_draws_chunks_alone():
    lazy = measured(columns=7000, chunk=3000).expand_dims(size=["15 x 7k"])
    assert len(kernels.figure(lazy).axes) == 3


def test_definitions_are_shared_by_name():
    assert set(peers.installed()) <= set(kernels.KERNELS)
