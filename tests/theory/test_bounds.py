"""Theorem 1 against exact laws: each lemma of its proof, and how sharp its constants are."""

from fractions import Fraction
from math import comb, log

import pytest
from refusals import check_refusals

from detox_sim import assignments, theory


def majority_of_distinct(workers, byzantine, copies):
    """Return the chance that a majority of r distinct random workers is Byzantine."""
    honest = workers - byzantine
    some = range(copies // 2 + 1, copies + 1)
    ways = sum(comb(byzantine, i) * comb(honest, copies - i) for i in some)
    return Fraction(ways, comb(workers, copies))


def majority_of_draws(share, copies):
    """Return the chance that a majority of r random workers, drawn with replacement, is."""
    some = range(copies // 2 + 1, copies + 1)
    return sum(comb(copies, i) * share**i * (1 - share) ** (copies - i) for i in some)


def to_digits(digits):
    return {"rel": 0, "abs": 0.6 * 10.0**-digits}


def test_worst_shares_equal_published_values():
    for byzantine, shares in {
        5: {3: 0.133333, 5: 0.111111, 9: 0.200000, 15: 0},
        10: {3: 0.333333, 5: 0.333333, 9: 0.400000, 15: 0.333333},
        22: {3: 0.733333, 5: 0.777778, 9: 0.800000, 15: 0.666667},
    }.items():
        for copies, share in shares.items():
            worst = theory.worst_case_distorted_files(assignments.detox(45, copies), byzantine)
            found = worst.distorted * copies / 45
            assert found == pytest.approx(share, **to_digits(6)), (byzantine, copies)


def test_bounds_equal_published_values():
    for size, form, bound, digits in [
        ((45, 5, 3), "paper", 6.584362, 6),
        ((45, 5, 3), "paper-r3", 0.69958848, 8),
        ((45, 5, 3), "sharp", 0.65843621, 8),
        ((45, 5, 3), "sharp-r3", 0.51440329, 8),
        ((45, 5, 5), "paper", 15.607377, 6),
        ((1000, 10, 5), "paper", 0.313632, 6),
        ((1000, 20, 5), "paper", 2.458624, 6),
        ((220_000, 19_958, 11), "sharp", 7.09559, 5),
        ((220_000, 19_958, 11), "paper", 709_559, 0),
    ]:
        found = theory.expected_distorted_files_bound(*size, form=form)
        assert found == pytest.approx(bound, **to_digits(digits)), (size, form)


def test_majority_of_distinct_workers_is_below_that_of_draws():
    """Lemma 1, up to half of the workers; above, both chances are those of the honest majority."""
    for workers in range(1, 40):
        for copies in range(1, workers + 1, 2):
            for byzantine in range(workers + 1):
                distinct = majority_of_distinct(workers, byzantine, copies)
                draws = majority_of_draws(Fraction(byzantine, workers), copies)
                case = (workers, byzantine, copies)
                assert distinct <= draws if 2 * byzantine <= workers else distinct >= draws, case


def test_majority_of_draws_lies_between_its_bounds():
    """Lemma 2; equal at half of the workers and, for the lower bound, without more copies."""
    for m in range(8):
        for share in (Fraction(i, 60) for i in range(31)):
            w = share * (1 - share)
            chance = majority_of_draws(share, 2 * m + 1)
            assert comb(2 * m + 1, m + 1) * w**m * share <= chance, (m, share)
            assert chance <= share * (4 * w) ** m, (m, share)
        assert majority_of_draws(Fraction(1, 2), 2 * m + 1) == Fraction(1, 2), m


SHAPES = [
    (workers, byzantine, copies)
    for copies in (3, 5, 7, 9, 11)
    for workers in range(copies, 160, 2 * copies)
    for byzantine in range((workers + 1) // 2)
]


def forms_of(copies):
    return [form for form in theory.BOUNDS if copies == 3 or not form.endswith("-r3")]


def test_bounds_are_above_the_expectation():
    for workers, byzantine, copies in SHAPES:
        exact = Fraction(workers, copies) * majority_of_distinct(workers, byzantine, copies)
        for form in forms_of(copies):
            bound = theory.expected_distorted_files_bound(workers, byzantine, copies, form=form)
            assert Fraction(bound) >= exact * (1 - Fraction(1, 10**12)), (
                form, workers, byzantine, copies,
            )  # fmt: skip


def test_expectation_is_below_the_one_for_which_the_copies_are_enough():
    enough = {}
    for workers, byzantine, copies in SHAPES:
        if not byzantine:
            continue
        share = byzantine / workers
        for most in (0.5, 0.01):
            needed = 1 + 2 * log(byzantine / (copies * most)) / -log(4 * share * (1 - share))
            exact = theory.expected_distorted_files(workers, byzantine, copies)
            enough[workers, byzantine, copies, most] = copies >= needed
            assert copies < needed or exact <= most, (workers, byzantine, copies, most)
    assert 20 < sum(enough.values()) < len(enough) - 20


def test_constants_of_the_sharp_forms_are_within_one_percent_of_the_least():
    """Near half of the workers; the bound is a constant to the power (r - 1) / 2."""
    for copies in (3, 5, 7, 9, 11):
        workers = 21 * copies
        size = (workers, workers // 2, copies)
        exact = theory.expected_distorted_files(*size)
        for form in set(forms_of(copies)) & {"sharp", "sharp-r3"}:
            ratio = theory.expected_distorted_files_bound(*size, form=form) / exact
            assert 1 <= ratio ** (2 / (copies - 1)) < 1.01, (form, size)


def test_bounds_are_called_proven_and_constants_of_the_paper_memory():
    assert all(status.startswith("proven") for status in theory.BOUNDS.values())
    memory = {form for form, status in theory.BOUNDS.items() if "from memory" in status}
    assert memory == {"paper", "paper-r3"}


def test_arguments_that_a_bound_does_not_cover_are_refused():
    def bound(copies, form):
        return theory.expected_distorted_files_bound(45, 5, copies, form=form)

    check_refusals(
        bound,
        [
            ((3, "sharper"), "'sharper'.*paper-r3, sharp"),
            ((5, "paper-r3"), "'paper-r3' is for copies=3, got 5"),
            ((5, "sharp-r3"), "'sharp-r3' is for copies=3, got 5"),
        ],
    )
