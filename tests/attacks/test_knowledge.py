"""What Byzantine workers know: only the gradients of known files count."""

import itertools
import statistics

import numpy as np
import pytest
from attack_cases import (
    ASKS_KNOWN,
    FIRST,
    FIVE,
    FORGED,
    SOME_FORGED,
    options_of,
    rows_of,
    send,
    sent,
)
from refusals import assert_refused


@pytest.mark.parametrize("name", ASKS_KNOWN)
def test_unknown_gradients_change_nothing(name):
    rows = rows_of(np.float64)
    for options, which, more in itertools.product(options_of(name), SOME_FORGED, (False, True)):
        case, forged = (options, which, more), FORGED[which]
        known = forged.any(axis=1) | (more & (np.arange(6) == 1))
        if "target" in options:
            options = {"target": int(np.flatnonzero(known)[0])}
        bits = sent(send(name, options, rows, forged, known=known), forged)
        for other in (1e6, np.nan):
            changed = np.where(known[:, None], rows, other)
            assert sent(send(name, options, changed, forged, known=known), forged) == bits, case
        moved = np.where(known[:, None], rows + rows_of(np.float64, seed=5), rows)
        assert sent(send(name, options, moved, forged, known=known), forged) != bits, case


@pytest.mark.parametrize("name", ASKS_KNOWN)
def test_known_none_means_all_files(name):
    rows = rows_of()
    for options, which in itertools.product(options_of(name), FORGED):
        if which == "everything" and options.get("z") == "baruch":
            continue  # the formula has no z without honest workers
        every = send(name, options, rows, FORGED[which], known=np.ones(6, dtype=bool))
        messages = send(name, options, rows, FORGED[which])
        assert every.rows.tobytes() == messages.rows.tobytes(), (options, which)


@pytest.mark.parametrize("name", ASKS_KNOWN)
def test_impossible_knowledge_is_refused(name):
    rows, nothing = rows_of(), np.zeros(6, dtype=bool)
    for options in options_of(name):
        messages = send(name, options, rows, FORGED["nothing"], known=nothing)
        assert messages.row_of.tolist() == [[file] * 3 for file in range(6)], options
        for known, message in [
            (nothing, "these know none; use known=None"),
            (np.ones(5, dtype=bool), r"shape \(files,\) = \(6,\), got"),
            ([True] * 6, r"must be bool of shape \(files,\)"),
            (np.arange(6), r"must be bool of shape \(files,\)"),
        ]:
            assert_refused(message, send, name, options, rows, FORGED["some copies"], known=known)


def test_statistics_are_of_known_files_with_an_honest_copy():
    for known, counted in [
        ([1, 1, 1, 1, 1], [1, 2, 3, 4]),
        ([1, 1, 0, 1, 0], [1, 3]),
        ([0, 1, 0, 0, 0], [1]),
        ([1, 0, 0, 0, 0], [0]),
    ]:
        values = [FIVE[i, 0] for i in counted]
        mean, deviation = statistics.fmean(values), statistics.pstdev(values)
        spread = 2 * max(values) - min(values) - max(values)  # of the farthest two
        wanted = {
            "alie": mean + deviation,
            "sign_flip": -mean,
            "inner_product": -10 * mean,
            "mimic": max(values, key=lambda value: abs(value - mean)),
            "min_max": max(values) - spread,
        }
        for name, value in wanted.items():
            mask = np.array(known, dtype=bool)
            got = send(name, options_of(name)[0], FIVE, FIRST, known=mask).rows[-1]
            assert got == pytest.approx(value, abs=1e-9), (name, known)


def test_alie_over_all_counts_every_known_file():
    known = np.array([True, True, False, False, True])
    forged = np.repeat(FIRST, 3, axis=1)
    copies = [value for value in (1.0, 2.0, 10.0) for _ in range(3)]
    for spread, deviation in (("population", statistics.pstdev), ("sample", statistics.stdev)):
        options = {"over": "all", "spread": spread}
        got = send("alie", options, FIVE, forged, known=known).rows[-1]
        assert got == pytest.approx(statistics.fmean(copies) + deviation(copies)), spread
