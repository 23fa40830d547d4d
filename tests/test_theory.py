"""Law 5: exact laws against enumeration, simulation and every published check value."""

import itertools
from collections import Counter
from fractions import Fraction
from math import comb, log

import numpy as np
import pytest

from detox_sim import assignments, attacks, placements, theory, voting

# q: (chance that a group is captured, E, worst case, chance of no loss, sd) at p = 45, r = 3.
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
    k = np.arange(len(law))
    mean = (k * law).sum()
    return mean, ((k - mean) ** 2 * law).sum() ** 0.5


@pytest.mark.parametrize("byzantine", PUBLISHED)
def test_published_table(byzantine):
    captured, expected, worst, none, sd = PUBLISHED[byzantine]
    law = theory.lost_votes(45, byzantine, 3)
    exact = theory.expected_lost_votes(45, byzantine, 3)
    assert exact == pytest.approx(expected, **to_digits(10))
    assert exact / 15 == pytest.approx(captured, **to_digits(10))
    assert theory.worst_case_lost_votes(45, byzantine, 3) == worst == len(law) - 1
    assert law[0] == pytest.approx(none, **to_digits(10))
    assert moments(law)[1] == pytest.approx(sd, **to_digits(6))


@pytest.mark.parametrize(
    ("byzantine", "law"),
    [
        (3, [Fraction(819, 946), Fraction(127, 946)]),
        (5, [Fraction(1053, 1763), Fraction(7215, 19393), Fraction(595, 19393)]),
    ],
)
def test_published_fractions(byzantine, law):
    assert theory.lost_votes(45, byzantine, 3, exact=True) == law


def test_published_laws():
    five = [0.5972773681, 0.3720414583, 0.0306811736]
    ten = [0.0555842435, 0.3132128008, 0.4342280753, 0.1780424577, 0.0187036809, 0.0002287417]
    assert theory.lost_votes(45, 5, 3) == pytest.approx(five, **to_digits(10))
    assert theory.lost_votes(45, 10, 3) == pytest.approx(ten, **to_digits(10))


@pytest.mark.parametrize(
    ("workers", "byzantine", "copies", "expected", "digits"),
    [
        (45, 3, 5, 0.006342494715, 12),
        (45, 5, 5, 0.05893879235, 11),
        (45, 9, 5, 0.4241736709, 10),
        (45, 10, 5, 0.5819625638, 10),
        (45, 15, 5, 1.78177693, 8),
        (45, 22, 5, 4.303460011, 9),
        (1000, 10, 5, 0.0014291557, 10),
        (1000, 20, 5, 0.013372449, 9),
        (220_000, 19_958, 11, 3.43926651, 8),
        (220_000, 19_958, 11, 20_000 * 1.719633255e-4, 8),
    ],
)
def test_published_expectations(workers, byzantine, copies, expected, digits):
    exact = theory.expected_lost_votes(workers, byzantine, copies)
    assert exact == pytest.approx(expected, **to_digits(digits))


@pytest.mark.parametrize(
    ("byzantine", "shares"),
    [
        (5, {3: 0.133333, 5: 0.111111, 9: 0.200000, 15: 0}),
        (10, {3: 0.333333, 5: 0.333333, 9: 0.400000, 15: 0.333333}),
        (22, {3: 0.733333, 5: 0.777778, 9: 0.800000, 15: 0.666667}),
    ],
)
def test_published_worst_shares(byzantine, shares):
    for copies, share in shares.items():
        lost = theory.worst_case_lost_votes(45, byzantine, copies)
        assert lost * copies / 45 == pytest.approx(share, **to_digits(6))


@pytest.mark.parametrize(
    ("workers", "byzantine", "copies", "form", "bound", "digits"),
    [
        (45, 5, 3, "paper", 6.584362, 6),
        (45, 5, 3, "paper-r3", 0.69958848, 8),
        (45, 5, 3, "sharp", 0.65843621, 8),
        (45, 5, 5, "paper", 15.607377, 6),
        (1000, 10, 5, "paper", 0.313632, 6),
        (1000, 20, 5, "paper", 2.458624, 6),
        (220_000, 19_958, 11, "sharp", 7.09559, 5),
        (220_000, 19_958, 11, "paper", 709_559, 0),
    ],
)
def test_published_bounds(workers, byzantine, copies, form, bound, digits):
    got = theory.expected_lost_votes_bound(workers, byzantine, copies, form=form)
    assert got == pytest.approx(bound, **to_digits(digits))


@pytest.mark.parametrize(
    ("byzantine", "copies"), {0: 1, 1: 3, 2: 5, 3: 7, 4: 7, 5: 9, 8: 9, 10: 11, 22: 13}.items()
)
def test_published_copies(byzantine, copies):
    assert theory.recommended_copies(byzantine) == copies


@pytest.mark.parametrize(
    ("delta", "most"), [(0.1, 5.605170), (0.05, 6.991465), (0.01, 10.210340), (0.001, 14.815511)]
)
def test_corollary_2_holds_where_the_copies_are_those_it_asks_for(delta, most):
    assert 1 + 2 * log(1 / delta) == pytest.approx(most, **to_digits(6))
    for byzantine, workers in ((1, 45), (2, 45), (3, 70), (5, 90), (10, 220), (22, 650)):
        law = theory.lost_votes(workers, byzantine, theory.recommended_copies(byzantine))
        assert law[: int(most) + 1].sum() >= 1 - delta


SMALL = [(6, 2, 3), (9, 4, 3), (12, 3, 3), (12, 5, 3), (10, 4, 5), (15, 5, 5), (7, 3, 1), (9, 4, 9)]


@pytest.mark.parametrize(("workers", "byzantine", "copies"), SMALL)
def test_the_law_counts_all_placements(workers, byzantine, copies):
    holders = assignments.detox(workers, copies).tolist()
    counts = Counter(
        sum(2 * len(bad.intersection(file)) > copies for file in holders)
        for bad in map(set, itertools.combinations(range(workers), byzantine))
    )
    wanted = [Fraction(counts[k], comb(workers, byzantine)) for k in range(max(counts) + 1)]
    assert theory.lost_votes(workers, byzantine, copies, exact=True) == wanted


@pytest.mark.parametrize("copies", [1, 3, 5, 9, 15])
def test_the_law_is_a_law_with_the_exact_mean(copies):
    for byzantine in range(23):
        law = theory.lost_votes(45, byzantine, copies, exact=True)
        mean = sum(k * chance for k, chance in enumerate(law))
        assert sum(law) == 1
        assert min(law) >= 0
        assert law[-1] > 0
        assert theory.expected_lost_votes(45, byzantine, copies) == float(mean)
        floats = theory.lost_votes(45, byzantine, copies)
        assert floats.tolist() == [float(chance) for chance in law]


def test_the_law_at_a_thousand_workers():
    law = theory.lost_votes(1000, 200, 5)
    assert law.sum() == pytest.approx(1, abs=1e-12)
    assert moments(law)[0] == pytest.approx(theory.expected_lost_votes(1000, 200, 5), rel=1e-12)


@pytest.mark.parametrize(
    ("form", "copies"),
    [("paper", (3, 5, 7, 9, 11)), ("sharp", (3, 5, 7, 9, 11)), ("paper-r3", (3,))],
)
def test_a_bound_is_above_the_expectation(form, copies):
    for r in copies:
        for workers in range(r, 160, 2 * r):
            for byzantine in range((workers + 1) // 2):
                exact = theory.expected_lost_votes(workers, byzantine, r)
                bound = theory.expected_lost_votes_bound(workers, byzantine, r, form=form)
                assert bound >= exact * (1 - 1e-12), (workers, byzantine, r)


def simulated_losses(workers, byzantine, copies, attempts):
    holders = assignments.detox(workers, copies)
    rows = np.arange(1.0, len(holders) + 1)[:, None]
    counts = Counter()
    for step in range(attempts):
        bad = placements.random(holders, byzantine, np.random.default_rng(7), step=step)
        votes = voting.majority(attacks.constant(rows, bad[holders], rng=None))
        assert not votes.undecided.any()
        assert votes.lost.tolist() == (votes.rows != rows)[:, 0].tolist()
        counts[int(votes.lost.sum())] += 1
    return counts


@pytest.mark.parametrize(
    ("workers", "byzantine", "copies"),
    [(45, 5, 3), (45, 10, 3), (45, 15, 5), (15, 6, 3), (21, 10, 7), (9, 4, 1)],
)
def test_simulated_votes_follow_the_law(workers, byzantine, copies):
    attempts = 2000
    counts = simulated_losses(workers, byzantine, copies, attempts)
    law = theory.lost_votes(workers, byzantine, copies)
    assert max(counts) < len(law)
    for lost, chance in enumerate(law):
        error = (chance * (1 - chance) / attempts) ** 0.5
        seen = counts[lost] / attempts
        assert abs(seen - chance) <= 4.5 * error + 1 / attempts, (lost, seen, chance)


TRIPLE = ["lost_votes", "expected_lost_votes", "worst_case_lost_votes", "expected_lost_votes_bound"]


@pytest.mark.parametrize("name", TRIPLE)
@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ((45, 23, 3), "below workers / 2 = 22.5, got 23; use at most 22"),
        ((44, 22, 11), "below workers / 2 = 22, got 22; use at most 21"),
        ((45, -1, 3), "byzantine must be an integer of 0 or more, got -1"),
        ((45, 5, 4), "copies must be odd.*got 4, use 3 or 5"),
        ((45, 5, 7), "45 / 7 leaves 3"),
    ],
)
def test_impossible_nodes_are_refused(name, nodes, message):
    with pytest.raises(ValueError, match=message):
        getattr(theory, name)(*nodes)


@pytest.mark.parametrize(
    ("copies", "form", "message"),
    [(3, "sharper", "'sharper'.*paper-r3, sharp"), (5, "paper-r3", "for copies=3, got 5")],
)
def test_a_bound_refuses_what_it_does_not_cover(copies, form, message):
    with pytest.raises(ValueError, match=message):
        theory.expected_lost_votes_bound(45, 5, copies, form=form)


def test_a_negative_count_has_no_copies():
    with pytest.raises(ValueError, match="0 or more, got -1"):
        theory.recommended_copies(-1)
