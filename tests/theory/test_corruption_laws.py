"""Closed forms of silent data corruption: published values, enumeration, and refusals."""

import itertools
from math import exp

import pytest
from refusals import check_refusals

from detox_sim.theory import (
    REPORTED_CORRUPTION,
    corrected_by_vote,
    corruption_chance,
    majority_corrupt,
)


def test_chances_equal_computed_values():
    for s in (0.0, 1e-6, 1e-4, 0.01, 0.5, 1.0):
        assert corrected_by_vote(3, s) == pytest.approx(3 * s * (1 - s) ** 2, rel=1e-14), s
        assert majority_corrupt(3, s) == pytest.approx(3 * s**2 * (1 - s) + s**3, rel=1e-14), s
    for copies, chance, value in [
        (3, 1e-4, 3.0e-8),
        (3, 0.01, 2.98e-4),
        (3, 3.61e-4, 3.9e-7),
        (5, 3.61e-4, 4.7e-10),
        (1, 0.2, 0.2),
    ]:
        assert majority_corrupt(copies, chance) == pytest.approx(value, rel=0.01), copies
    assert corrected_by_vote(1, 0.2) == 0.0


def test_chances_equal_the_sum_over_all_patterns():
    for copies, chance in itertools.product((1, 3, 5, 7), (0.05, 0.4)):
        corrected = corrupt = 0.0
        for pattern in itertools.product((False, True), repeat=copies):
            bad = sum(pattern)
            weight = chance**bad * (1 - chance) ** (copies - bad)
            corrected += weight * (0 < bad < copies / 2)
            corrupt += weight * (bad > copies / 2)
        assert corrected_by_vote(copies, chance) == pytest.approx(corrected), (copies, chance)
        assert majority_corrupt(copies, chance) == pytest.approx(corrupt), (copies, chance)


def test_reported_rates_are_those_published():
    hourly = REPORTED_CORRUPTION["llama3"].value
    assert hourly == pytest.approx(2.8e-7, rel=0.02)
    assert hourly * 24 * 365 == pytest.approx(0.0025, rel=0.02)
    assert REPORTED_CORRUPTION["alibaba"].value == 3.61e-4
    for name, reported in REPORTED_CORRUPTION.items():
        assert reported.read in ("on secondary pages", "from memory", "in the abstract"), name


def test_corruption_chance_is_that_of_events_at_random_times():
    assert corruption_chance(1.0, seconds=3600) == pytest.approx(1 - exp(-1))
    assert corruption_chance(0.5, seconds=1800, acceleration=8) == pytest.approx(1 - exp(-2))
    tiny = corruption_chance("llama3", seconds=0.1)
    assert tiny == pytest.approx(6 / (54 * 24 * 16_384) * 0.1 / 3600, rel=1e-9)
    thousand = corruption_chance("llama3", seconds=0.1, acceleration=1e3)
    assert thousand == pytest.approx(1e3 * tiny, rel=1e-7)
    assert corruption_chance("llama3", seconds=1.0, acceleration=1e15) == 1.0


def test_impossible_numbers_are_refused():
    for function in (corrected_by_vote, majority_corrupt):
        check_refusals(
            function,
            [
                ((4, 0.1), "copies must be odd, got 4; use 3 or 5"),
                ((0, 0.1), "copies must be an integer of 1 or more, got 0"),
                ((3.0, 0.1), "copies must be an integer"),
                ((3, 1.1), "chance must be 0 to 1, got 1.1"),
                ((3, float("nan")), "chance must be 0 to 1, got nan"),
                ((3, "llama3"), "chance must be a number, got 'llama3'"),
            ],
        )

    def chance(rate, seconds, acceleration=1.0):
        return corruption_chance(rate, seconds=seconds, acceleration=acceleration)

    check_refusals(
        chance,
        [
            (("lama3", 1.0), "unknown rate of corruption 'lama3'; did you mean 'llama3'"),
            (("alibaba", 1.0), "share of processors.*0.000361, and no rate;.*use 'llama3'"),
            ((0, 1.0), "rate must be above 0 and finite, got 0"),
            ((None, 1.0), "rate must be a number, got None"),
            ((1e-6, 0), "seconds must be above 0 and finite, got 0"),
            ((1e-6, 1.0, float("inf")), "acceleration must be above 0 and finite, got inf"),
            ((1e-6, 1.0, -1), "acceleration must be above 0 and finite, got -1"),
        ],
    )
