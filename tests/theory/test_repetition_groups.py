"""Law 5 for disjoint groups: published values, fractions, and sizes beyond fractions."""

import itertools
from collections import Counter
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from exact_laws import count_distorted, exact_distorted_files
from refusals import check_refusals

from detox_sim import assignments, theory

# q: (chance that a group is distorted, E, worst case, chance of none, deviation); p = 45, r = 3.
PUBLISHED = {
    1: (0, 0, 0, 1, 0),
    2: (0.0030303030, 0.0454545455, 1, 0.9545454545, 0.208299),
    3: (0.0089499648, 0.1342494715, 1, 0.8657505285, 0.340920),
    4: (0.0176180409, 0.2642706131, 2, 0.7420718816, 0.455101),
    5: (0.0288935870, 0.4334038055, 2, 0.5972773681, 0.554010),
    6: (0.0426356589, 0.6395348837, 3, 0.4479580261, 0.639165),
    7: (0.0587033122, 0.8805496829, 3, 0.3101247873, 0.711733),
    8: (0.0769556025, 1.1543340381, 4, 0.1958682867, 0.772773),
}


def to_digits(digits):
    return {"rel": 0, "abs": 0.6 * 10.0**-digits}


def moments(law):
    """Return mean and standard deviation of a law of 0, 1, 2, ..."""
    k = np.arange(len(law))
    mean = (k * law).sum()
    return mean, ((k - mean) ** 2 * law).sum() ** 0.5


def test_law_equals_published_table():
    holders = assignments.detox(45, 3)
    for byzantine, (share, expected, worst, none, deviation) in PUBLISHED.items():
        law = theory.distorted_files(45, byzantine, 3)
        exact = theory.expected_distorted_files(45, byzantine, 3)
        found = theory.worst_case_distorted_files(holders, byzantine)
        assert exact == pytest.approx(expected, **to_digits(10)), byzantine
        assert exact / 15 == pytest.approx(share, **to_digits(10)), byzantine
        assert found.distorted == worst == len(law) - 1, byzantine
        assert law[0] == pytest.approx(none, **to_digits(10)), byzantine
        assert moments(law)[1] == pytest.approx(deviation, **to_digits(6)), byzantine


def test_law_equals_published_probabilities():
    fractions = {
        3: [Fraction(819, 946), Fraction(127, 946)],
        5: [Fraction(1053, 1763), Fraction(7215, 19393), Fraction(595, 19393)],
    }
    for byzantine, law in fractions.items():
        assert exact_distorted_files(45, byzantine, 3) == law, byzantine
        found = theory.distorted_files(45, byzantine, 3)
        assert found == pytest.approx([float(chance) for chance in law], rel=1e-12), byzantine
    ten = [0.0555842435, 0.3132128008, 0.4342280753, 0.1780424577, 0.0187036809, 0.0002287417]
    assert theory.distorted_files(45, 10, 3) == pytest.approx(ten, **to_digits(10))


def test_expectation_equals_published_values():
    for size, expected, digits in [
        ((45, 3, 5), 0.006342494715, 12),
        ((45, 5, 5), 0.05893879235, 11),
        ((45, 9, 5), 0.4241736709, 10),
        ((45, 10, 5), 0.5819625638, 10),
        ((45, 15, 5), 1.78177693, 8),
        ((45, 22, 5), 4.303460011, 9),
        ((1000, 10, 5), 0.0014291557, 10),
        ((1000, 20, 5), 0.013372449, 9),
        ((220_000, 19_958, 11), 3.43926651, 8),
        ((220_000, 19_958, 11), 20_000 * 1.719633255e-4, 8),
    ]:
        exact = theory.expected_distorted_files(*size)
        assert exact == pytest.approx(expected, **to_digits(digits)), size


def test_law_counts_all_placements():
    for size in [(6, 2, 3), (9, 4, 3), (12, 3, 3), (12, 5, 3), (10, 4, 5), (15, 5, 5), (7, 3, 1),
                 (9, 4, 9)]:  # fmt: skip
        workers, byzantine, copies = size
        holders = assignments.detox(workers, copies).tolist()
        counts = Counter(
            count_distorted(holders, [worker in some for worker in range(workers)])
            for some in map(set, itertools.combinations(range(workers), byzantine))
        )
        law = [Fraction(counts[k], comb(workers, byzantine)) for k in range(max(counts) + 1)]
        assert exact_distorted_files(*size) == law, size
        assert theory.distorted_files(*size) == pytest.approx(list(map(float, law)), rel=1e-12)


def test_law_equals_fractions_with_exact_mean():
    for copies, byzantine in itertools.product((1, 3, 5, 9, 15), range(23)):
        size = (45, byzantine, copies)
        exact = exact_distorted_files(*size)
        mean = sum(k * chance for k, chance in enumerate(exact))
        assert sum(exact) == 1, size
        assert theory.expected_distorted_files(*size) == float(mean), size
        law = theory.distorted_files(*size)
        assert law.tolist() == pytest.approx(list(map(float, exact)), rel=1e-11, abs=0), size
        assert law[-1] > 0, size


def test_tails_equal_fractions():
    for size in [(300, 3, 3), (300, 149, 3), (315, 50, 7), (315, 157, 105), (600, 299, 3),
                 (1001, 400, 143)]:  # fmt: skip
        exact, law = exact_distorted_files(*size), theory.distorted_files(*size)
        assert len(law) == len(exact), size
        for chance, fraction in zip(law.tolist(), exact, strict=True):
            if fraction > 1e-300:
                assert abs(Fraction(chance) / fraction - 1) < 1e-11, (size, float(fraction))


def test_law_of_many_workers_sums_to_one_with_exact_mean():
    for size in [(9999, 1000, 3), (10_000, 4900, 5), (9999, 4900, 9), (20_001, 10_000, 1),
                 (60_000, 27_000, 3), (220_000, 19_958, 11)]:  # fmt: skip
        workers, byzantine, copies = size
        law = theory.distorted_files(*size)
        assert len(law) == min(workers // copies, byzantine // (copies // 2 + 1)) + 1, size
        assert law.min() >= 0, size
        assert law.sum() == pytest.approx(1, abs=1e-12), size
        mean = theory.expected_distorted_files(*size)
        assert moments(law)[0] == pytest.approx(mean, rel=1e-12), size


def test_ends_of_the_law_of_many_workers_are_binomial_coefficients():
    """Of three copies: none distorted, one Byzantine worker a group; most, two in each group."""
    for workers, byzantine in [(9999, 6), (9999, 1000), (60_000, 5000)]:
        law = theory.distorted_files(workers, byzantine, 3)
        groups, pairs, ways = workers // 3, byzantine // 2, comb(workers, byzantine)
        none = Fraction(comb(groups, byzantine) * 3**byzantine, ways)
        assert law[0] == pytest.approx(float(none), rel=1e-11, abs=0), workers
        most = Fraction(comb(groups, pairs) * 3**pairs, ways)
        assert law[pairs] == pytest.approx(float(most), rel=1e-11, abs=0), workers


@pytest.mark.parametrize(
    "function",
    [
        theory.distorted_files,
        theory.expected_distorted_files,
        theory.expected_distorted_files_bound,
    ],
)
def test_impossible_workers_are_refused(function):
    check_refusals(
        function,
        [
            ((45, 23, 3), r"below workers / 2 = 22\.5, got 23; use at most 22"),
            ((44, 22, 11), "below workers / 2 = 22, got 22; use at most 21"),
            ((45, -1, 3), "byzantine must be an integer of 0 or more, got -1"),
            ((45, 5, 4), "copies must be odd.*got 4, use 3 or 5"),
            ((45, 5, 7), "45 / 7 leaves 3"),
        ],
    )


def test_expectation_of_impossible_files_is_refused():
    def expectation(workers, byzantine, copies, files):
        return theory.expected_distorted_files(workers, byzantine, copies, files=files)

    check_refusals(
        expectation,
        [
            ((15, 16, 3, 25), "at most the 15 workers, got 16"),
            ((15, 5, 4, 25), "copies must be odd.*got 4, use 3 or 5"),
            ((3, 1, 5, 25), "got 5 for 3 workers"),
            ((15, 5, 3, 0), "files must be an integer of 1 or more, got 0"),
            ((15, -1, 3, 25), "byzantine must be an integer of 0 or more, got -1"),
        ],
    )
