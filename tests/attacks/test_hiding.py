"""Mimic against a singular value decomposition; Min-Max and Min-Sum against bisection."""

import itertools
import math
import statistics

import numpy as np
import pytest
import reference
import scipy.linalg
from attack_cases import FIRST, FIVE, send
from refusals import assert_refused

DIRECTIONS = ["deviation", "unit", "sign"]
MIN_MAX_AND_SUM = pytest.mark.parametrize("name", ["min_max", "min_sum"])


def forged_file(files, file):
    return (np.arange(files) == file)[:, None]


def test_mimic_chooses_as_a_singular_value_decomposition_does():
    for seed, offset in itertools.product(range(8), (0.0, 1e3)):
        rng = np.random.default_rng(seed)
        rows = offset + rng.normal(size=(12, 30)) * np.exp(rng.normal(size=30))
        forged, known = rng.random((12, 1)) < 0.3, rng.random(12) < 0.7
        chosen = np.flatnonzero(known & ~forged[:, 0])
        centred = rows[chosen] - rows[chosen].mean(axis=0)
        along = np.abs(centred @ np.linalg.svd(centred)[2][0])
        got = send("mimic", {}, rows, forged, known=known).rows[-1]
        assert got.tobytes() == rows[chosen[along.argmax()]].tobytes(), (seed, offset)


def test_mimic_takes_the_first_of_equally_far_files():
    for sign in (1.0, -1.0):
        rows = sign * np.array([[0.1, 3.0], [5.0, 0.0], [-5.0, 0.0], [-0.1, -3.0], [0.0, 0.0]])
        got = send("mimic", {}, rows, forged_file(5, 4)).rows[-1]
        assert got.tolist() == rows[1].tolist(), sign
    equal = send("mimic", {}, np.ones((5, 2)), forged_file(5, 4)).rows[-1]
    assert equal.tolist() == [1.0, 1.0]


def test_mimic_takes_the_first_of_files_that_are_equally_far_up_to_rounding():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        half = rng.normal(size=(4, 6))
        farthest = np.abs(half @ np.linalg.svd(half)[2][0]).argmax()
        rows = 0.1 + np.concatenate([half, -half, np.zeros((1, 6))])
        got = send("mimic", {}, rows, forged_file(9, 8)).rows[-1]
        assert got.tolist() == rows[farthest].tolist(), seed


def test_mimic_refuses_an_unknown_target():
    known = np.array([True, False, True, False, False])
    for target, message in [
        (4, r"know: one of \[0, 2\], got 4"),
        (1, r"know: one of \[0, 2\], got 1"),
        (-1, "target must be an integer of 0 or more"),
        ("first", "target must be an integer of 0 or more"),
    ]:
        assert_refused(message, send, "mimic", {"target": target}, FIVE, FIRST, known=known)


def by_bisection(name, rows, direction):
    """Return what Min-Max and Min-Sum send, by plain loops and bisection on gamma."""
    rows = [[float(value) for value in row] for row in rows]
    mean = reference.mean(rows, 0)
    step = {
        "deviation": [-statistics.pstdev(column) for column in zip(*rows, strict=True)],
        "unit": [-value / math.hypot(*mean) for value in mean],
        "sign": [-math.copysign(1.0, value) for value in mean],
    }[direction]
    total = {"min_max": max, "min_sum": math.fsum}[name]

    def measure(point):
        return total(reference.distance(row, point) for row in rows)

    def row_at(gamma):
        return [value + gamma * move for value, move in zip(mean, step, strict=True)]

    limit = max(measure(row) for row in rows)
    low, high = 0.0, 1.0
    while measure(row_at(high)) <= limit:
        low, high = high, 2 * high
    while low < (low + high) / 2 < high:
        middle = (low + high) / 2
        low, high = (middle, high) if measure(row_at(middle)) <= limit else (low, middle)
    return np.array(row_at(low)), measure(row_at(low)), limit


@MIN_MAX_AND_SUM
def test_gamma_is_the_largest_that_bisection_finds(name):
    for case in itertools.product(DIRECTIONS, (1e-6, 1.0, 1e4), (0.0, 100.0), range(3)):
        direction, scale, offset, seed = case
        rng = np.random.default_rng(seed)
        rows = scale * (offset + rng.normal(size=(7, 9)) * np.exp(rng.normal(size=9)))
        got = send(name, {"direction": direction}, rows, forged_file(7, 3)).rows[-1]
        wanted, reached, limit = by_bisection(name, np.delete(rows, 3, axis=0), direction)
        assert reached == pytest.approx(limit, rel=1e-9), case
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-9 * limit**0.5, err_msg=str(case))


@MIN_MAX_AND_SUM
def test_forged_row_is_the_mean_where_all_honest_rows_are_equal(name):
    for direction, row in itertools.product(DIRECTIONS, ([1.0, -2.0, 3.0], [0.0, 0.0, 0.0])):
        messages = send(name, {"direction": direction}, np.tile(row, (5, 1)), FIRST)
        assert messages.rows[-1].tolist() == pytest.approx(row, abs=1e-15), direction


@MIN_MAX_AND_SUM
def test_forged_row_is_near_honest_rows_that_differ_in_their_last_bit(name):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        far_apart = (scipy.linalg.hadamard(16)[:, 1:] > 0) ^ rng.integers(0, 2, 15, dtype=bool)
        rows = 2.0**53 + 2.0 * rng.integers(0, 4, 15) + 2.0 * far_apart
        rows *= rng.choice([-1.0, 1.0], 15)
        rows = np.concatenate([rows, np.zeros((1, 15))])
        got = send(name, {}, rows, forged_file(17, 16)).rows[-1]
        assert np.abs(got - rows[0]).max() <= 20.0, seed


@MIN_MAX_AND_SUM
def test_mean_of_zero_gives_no_direction(name):
    rows = np.array([[1.0], [-1.0], [9.0]])
    for direction, wanted in (("unit", 0.0), ("sign", 0.0), ("deviation", -1.0)):
        got = send(name, {"direction": direction}, rows, forged_file(3, 2)).rows[-1]
        assert got == pytest.approx(wanted), direction
