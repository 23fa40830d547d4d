"""Law 5: exact laws against enumeration, simulation and every published check value."""

import functools
import itertools
from collections import Counter
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy.stats import hypergeom

from detox_sim import aggregators, assignments, theory
from detox_sim.aggregators.facts import require
from detox_sim.theory import captures, worst_case

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
    law = theory.distorted_files(45, byzantine, 3)
    exact = theory.expected_distorted_files(45, byzantine, 3)
    assert exact == pytest.approx(expected, **to_digits(10))
    assert exact / 15 == pytest.approx(captured, **to_digits(10))
    holders = assignments.detox(45, 3)
    assert theory.worst_case_distorted_files(holders, byzantine).distorted == worst == len(law) - 1
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
    assert theory.distorted_files(45, byzantine, 3, exact=True) == law


def test_published_laws():
    five = [0.5972773681, 0.3720414583, 0.0306811736]
    ten = [0.0555842435, 0.3132128008, 0.4342280753, 0.1780424577, 0.0187036809, 0.0002287417]
    assert theory.distorted_files(45, 5, 3) == pytest.approx(five, **to_digits(10))
    assert theory.distorted_files(45, 10, 3) == pytest.approx(ten, **to_digits(10))


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
    exact = theory.expected_distorted_files(workers, byzantine, copies)
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
        worst = theory.worst_case_distorted_files(assignments.detox(45, copies), byzantine)
        assert worst.distorted * copies / 45 == pytest.approx(share, **to_digits(6))


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
    got = theory.expected_distorted_files_bound(workers, byzantine, copies, form=form)
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
    assert theory.high_probability_distorted_files(delta) == pytest.approx(most, **to_digits(6))
    for byzantine, workers in ((1, 45), (2, 45), (3, 70), (5, 90), (10, 220), (22, 650)):
        law = theory.distorted_files(workers, byzantine, theory.recommended_copies(byzantine))
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
    assert theory.distorted_files(workers, byzantine, copies, exact=True) == wanted


@pytest.mark.parametrize("copies", [1, 3, 5, 9, 15])
def test_the_law_is_a_law_with_the_exact_mean(copies):
    for byzantine in range(23):
        law = theory.distorted_files(45, byzantine, copies, exact=True)
        mean = sum(k * chance for k, chance in enumerate(law))
        assert sum(law) == 1
        assert min(law) >= 0
        assert law[-1] > 0
        assert theory.expected_distorted_files(45, byzantine, copies) == float(mean)
        floats = theory.distorted_files(45, byzantine, copies)
        assert floats.tolist() == pytest.approx([float(chance) for chance in law], rel=1e-11, abs=0)


@pytest.mark.parametrize(
    ("workers", "byzantine", "copies"),
    [(300, 3, 3), (300, 149, 3), (315, 50, 7), (315, 157, 105), (600, 299, 3), (1001, 400, 143)],
)
def test_floats_equal_fractions_in_the_tails_too(workers, byzantine, copies):
    exact = theory.distorted_files(workers, byzantine, copies, exact=True)
    floats = theory.distorted_files(workers, byzantine, copies)
    assert len(floats) == len(exact)
    for chance, fraction in zip(floats.tolist(), exact, strict=True):
        if fraction > 1e-300:
            assert abs(Fraction(chance) / fraction - 1) < 1e-11, float(fraction)


@pytest.mark.parametrize(
    ("workers", "byzantine", "copies"),
    [
        (9999, 1000, 3),
        (10_000, 4900, 5),
        (9999, 4900, 9),
        (219_999, 100_000, 3),
        (220_000, 19_958, 11),
        (220_000, 109_999, 1),
    ],
)
def test_the_law_of_many_workers_sums_to_one_and_has_the_exact_mean(workers, byzantine, copies):
    law = theory.distorted_files(workers, byzantine, copies)
    assert len(law) == min(workers // copies, byzantine // (copies // 2 + 1)) + 1
    assert law.min() >= 0
    assert law.sum() == pytest.approx(1, abs=1e-12)
    mean = theory.expected_distorted_files(workers, byzantine, copies)
    assert moments(law)[0] == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize(("workers", "byzantine"), [(9999, 6), (9999, 1000), (219_999, 5000)])
def test_the_ends_of_the_law_of_many_workers_are_binomial_coefficients(workers, byzantine):
    """Three copies: none lost, each liar in a group of its own; most lost, liars two by two."""
    law, groups, pairs = theory.distorted_files(workers, byzantine, 3), workers // 3, byzantine // 2
    ways = comb(workers, byzantine)
    none = Fraction(comb(groups, byzantine) * 3**byzantine, ways)
    assert law[0] == pytest.approx(float(none), rel=1e-11, abs=0)
    most = Fraction(comb(groups, pairs) * 3**pairs, ways)
    assert law[pairs] == pytest.approx(float(most), rel=1e-11, abs=0)


@pytest.mark.parametrize(
    ("form", "copies"),
    [("paper", (3, 5, 7, 9, 11)), ("sharp", (3, 5, 7, 9, 11)), ("paper-r3", (3,))],
)
def test_a_bound_is_above_the_expectation(form, copies):
    for r in copies:
        for workers in range(r, 160, 2 * r):
            for byzantine in range((workers + 1) // 2):
                exact = theory.expected_distorted_files(workers, byzantine, r)
                bound = theory.expected_distorted_files_bound(workers, byzantine, r, form=form)
                assert bound >= exact * (1 - 1e-12), (workers, byzantine, r)


# --- Any assignment ------------------------------------------------------------------------------

# Small enough to list all sets of workers; (scheme, workers, copies, options).
SCHEMES = [
    ("none", 9, 1, {}),
    ("detox", 9, 3, {}),
    ("detox", 15, 5, {}),
    ("mols", 12, 3, {}),
    ("mols", 15, 3, {}),
    ("ramanujan", 9, 3, {"load": 6}),
    ("ramanujan", 25, 5, {}),
    ("subsets", 8, 3, {}),
    ("subsets", 7, 5, {}),
    ("bibd", 9, 3, {}),
    ("bibd", 13, 3, {}),
    ("random_regular", 12, 3, {"load": 4}),
    ("random_regular", 14, 5, {}),
    ("cyclic", 11, 3, {}),
    ("cyclic", 13, 7, {}),
]


def assign(scheme, workers, copies, options):
    return getattr(assignments, scheme)(workers=workers, copies=copies, **options)


def lost_files(holders, bad):
    """Files in which more than half of the holders are bad, by a loop."""
    return sum(2 * sum(bad[worker] for worker in file) > len(file) for file in holders.tolist())


@functools.cache
def all_losses(scheme, workers, copies, options, byzantine):
    """How many sets of workers lose 0, 1, 2, ... files, by counting them."""
    holders = assign(scheme, workers, copies, dict(options))
    held = np.zeros((workers, len(holders)), np.int8)
    held[holders, np.arange(len(holders))[:, None]] = 1
    sets = np.array(list(itertools.combinations(range(workers), byzantine)), dtype=int)
    lost = (2 * held[sets].sum(axis=1) > copies).sum(axis=1)
    return np.bincount(lost)


def test_every_scheme_is_tried():
    assert {name for name, *_ in SCHEMES} == set(assignments.__all__)


@pytest.mark.parametrize(("scheme", "workers", "copies", "options"), SCHEMES)
def test_law_and_worst_case_of_every_scheme_count_all_sets(scheme, workers, copies, options):
    holders = assign(scheme, workers, copies, options)
    for byzantine in (0, 1, 2, 3, 4, workers - 2, workers):
        counts = all_losses(scheme, workers, copies, tuple(options.items()), byzantine)
        law = theory.distorted_files_law(holders, byzantine)
        assert law.method == ("groups" if holders.size == workers else "enumeration")
        assert not law.errors.any()
        wanted = np.zeros(max(len(counts), law.chances.size))
        wanted[: len(counts)] = counts / comb(workers, byzantine)
        chances = np.pad(law.chances, (0, wanted.size - law.chances.size))
        assert chances == pytest.approx(wanted, rel=1e-12, abs=0)
        mean = theory.expected_distorted_files(workers, byzantine, copies, files=len(holders))
        assert law.mean == pytest.approx(mean, rel=1e-12)
        for seconds in (0, 10):
            worst = theory.worst_case_distorted_files(holders, byzantine, seconds=seconds)
            assert worst.distorted == worst.bound == len(counts) - 1
            assert worst.proven
            assert worst.workers.shape == (workers,)
            assert worst.workers.sum() == byzantine
            assert lost_files(holders, worst.workers) == worst.distorted
        bound = theory.second_moment_bound(holders, byzantine)
        assert worst.distorted <= bound <= theory.spectral_bound(holders, byzantine) + 1e-9


@pytest.mark.parametrize(
    ("scheme", "workers", "copies", "options", "byzantine"),
    [
        ("detox", 9, 3, {}, 3),
        ("detox", 45, 3, {}, 15),
        ("detox", 45, 5, {}, 22),
        ("detox", 9999, 3, {}, 1000),
        ("mols", 15, 3, {}, 5),
        ("ramanujan", 25, 5, {}, 8),
        ("subsets", 8, 3, {}, 3),
        ("bibd", 9, 3, {}, 3),
        ("random_regular", 45, 3, {"load": 5}, 20),
        ("cyclic", 60, 5, {}, 25),
    ],
)
def test_random_liars_follow_the_law(scheme, workers, copies, options, byzantine):
    """Law 5, with the other side drawn here; two simulations are compared with both errors."""
    attempts = 4000
    holders = assign(scheme, workers, copies, options)
    rng = np.random.default_rng(7)
    bad = np.zeros(workers, dtype=bool)
    bad[:byzantine] = True
    seen = np.array(
        [
            np.count_nonzero(2 * np.count_nonzero(rng.permutation(bad)[holders], axis=1) > copies)
            for _ in range(attempts)
        ]
    )
    law = theory.distorted_files_law(holders, byzantine)
    share = np.bincount(seen, minlength=law.chances.size) / attempts
    chances = np.pad(law.chances, (0, share.size - law.chances.size))
    errors = np.pad(law.errors, (0, share.size - law.errors.size))
    allowed = 4.5 * np.sqrt(chances * (1 - chances) / attempts + errors**2) + 1 / attempts
    assert (np.abs(share - chances) <= allowed).all()
    mean = theory.expected_distorted_files(workers, byzantine, copies, files=len(holders))
    assert abs(seen.mean() - mean) <= 4.5 * seen.std() / attempts**0.5


@pytest.mark.parametrize(("scheme", "byzantine"), [("mols", 5), ("mols", 9), ("bibd", 4)])
def test_the_simulated_law_is_within_its_errors_of_the_exact_one(scheme, byzantine, monkeypatch):
    holders = assign(scheme, 15, 3, {})
    exact = theory.distorted_files_law(holders, byzantine)
    monkeypatch.setattr(captures, "ENUMERATED", 0)
    monkeypatch.setattr(captures, "AT_ONCE", 10_000)
    law = theory.distorted_files_law(holders, byzantine, draws=20_000, seed=3)
    assert (exact.method, law.method) == ("enumeration", "simulation")
    size = law.chances.size
    assert law.chances.sum() == pytest.approx(1, abs=1e-12)
    assert (np.abs(law.chances - exact.chances[:size]) <= 4.5 * law.errors).all()
    assert law.errors == pytest.approx(
        np.sqrt(exact.chances[:size] * (1 - exact.chances[:size]) / 20_000), rel=0.5, abs=1e-4
    )
    assert law.errors.min() > 0
    assert exact.tail(size) < 20 / 20_000
    again = theory.distorted_files_law(holders, byzantine, draws=20_000, seed=3)
    other = theory.distorted_files_law(holders, byzantine, draws=20_000, seed=4)
    assert (again.chances == law.chances).all()
    assert other.chances.tolist() != law.chances.tolist()


def test_a_law_has_mean_quantiles_and_tails():
    law = captures.Law(np.array([0.5, 0.25, 0.125, 0.125]), np.zeros(4), "enumeration")
    assert law.mean == 0.875
    assert [law.quantile(level) for level in (0, 0.5, 0.51, 0.875, 0.9, 1)] == [0, 0, 1, 2, 3, 3]
    assert [law.tail(k) for k in (0, 1, 3, 4)] == [1, 0.5, 0.125, 0]
    tenths = captures.Law(np.full(10, 0.1), np.zeros(10), "enumeration")
    assert [tenths.quantile(k / 10) for k in range(1, 11)] == list(range(10))
    with pytest.raises(ValueError, match=r"level must be between 0 and 1, got 1\.5"):
        law.quantile(1.5)


# (workers, copies) of MOLS and of Ramanujan case 2: q -> (most lost, gamma).
BYZSHIELD = {
    ("mols", 15, 3): {
        2: (1, 2.105263),
        3: (3, 4.285714),
        4: (5, 6.956522),
        5: (8, 10.000000),
        6: (12, 13.333333),
        7: (14, 16.896552),
    },
    ("ramanujan", 25, 5): {
        3: (1, 2.432432),
        4: (1, 3.902439),
        5: (2, 5.555556),
        6: (4, 7.346939),
        7: (5, 9.245283),
        8: (7, 11.228070),
    },
}


@pytest.mark.parametrize(
    ("scheme", "byzantine"), [(name, q) for name, table in BYZSHIELD.items() for q in table]
)
@pytest.mark.parametrize("seconds", [0, 10])
def test_published_worst_cases_and_bounds_of_byzshield(scheme, byzantine, seconds):
    name, workers, copies = scheme
    lost, gamma = BYZSHIELD[scheme][byzantine]
    holders = assign(name, workers, copies, {})
    worst = theory.worst_case_distorted_files(holders, byzantine, seconds=seconds)
    assert (worst.distorted, worst.bound, worst.proven) == (lost, lost, True)
    assert theory.spectral_bound(holders, byzantine) == pytest.approx(gamma, **to_digits(6))
    assert lost <= theory.second_moment_bound(holders, byzantine) <= gamma


@pytest.mark.parametrize(("workers", "copies"), [(15, 3), (21, 3), (39, 3), (35, 5)])
def test_few_liars_against_latin_squares(workers, copies):
    """ByzShield: nothing below a majority, one file below a whole group; then 3 or 2."""
    holders, majority = assignments.mols(workers, copies), copies // 2 + 1
    for byzantine in range(copies + 1):
        wanted = 0 if byzantine < majority else 1 if byzantine < copies else 3 if copies == 3 else 2
        assert theory.worst_case_distorted_files(holders, byzantine).distorted == wanted


@pytest.mark.parametrize("byzantine", range(2, 8))
def test_liars_against_all_subsets_lose_what_counting_says(byzantine):
    """Aspis's files under a plain majority: all sets of liars are alike."""
    lost = comb(byzantine, 2) * (15 - byzantine) + comb(byzantine, 3)
    holders = assignments.subsets(15, 3)
    assert theory.worst_case_distorted_files(holders, byzantine).distorted == lost
    assert theory.distorted_files_law(holders, byzantine).chances.tolist() == [0] * lost + [1]


@pytest.mark.parametrize(("workers", "copies"), [(45, 3), (45, 45), (9999, 3), (220_000, 11)])
def test_groups_fall_one_by_one(workers, copies):
    holders, majority = assignments.detox(workers, copies), copies // 2 + 1
    for byzantine in (0, 1, majority - 1, majority, workers // 2, workers - 1, workers):
        worst = theory.worst_case_distorted_files(holders[::-1], byzantine)
        assert worst.method == "groups"
        assert worst.distorted == min(workers // copies, byzantine // majority)
        assert worst.workers.sum() == byzantine
        assert (2 * worst.workers[holders].sum(axis=1) > copies).sum() == worst.distorted


@pytest.mark.parametrize(
    ("scheme", "workers", "copies", "options", "byzantine"),
    [
        ("mols", 35, 5, {}, 5),
        ("random_regular", 45, 3, {"load": 5}, 6),
        ("random_regular", 45, 5, {"load": 5}, 6),
        ("cyclic", 45, 5, {}, 6),
        ("bibd", 31, 3, {}, 5),
    ],
)
def test_branch_and_bound_finds_the_end_of_the_enumerated_law(
    scheme, workers, copies, options, byzantine, monkeypatch
):
    """Two kernels; the search starts from nothing, so that it has to find the set itself."""
    holders = assign(scheme, workers, copies, options)
    law = theory.distorted_files_law(holders, byzantine)
    assert law.method == "enumeration"
    monkeypatch.setattr(worst_case, "_climb", lambda *_: (0, np.arange(byzantine)))
    worst = worst_case._worst_case.__wrapped__(holders.tobytes(), holders.shape, byzantine, 10.0)
    assert (worst.distorted, worst.method) == (law.chances.size - 1, "branch and bound")
    assert worst.proven
    assert lost_files(holders, worst.workers) == worst.distorted


def test_an_unfinished_search_says_so_and_gives_a_bound():
    holders = assignments.mols(35, 5)
    worst = theory.worst_case_distorted_files(holders, 15, seconds=0)
    assert not worst.proven
    assert worst.distorted < worst.bound <= theory.spectral_bound(holders, 15)
    assert lost_files(holders, worst.workers) == worst.distorted >= 26
    again = worst_case._worst_case.__wrapped__(holders.tobytes(), holders.shape, 15, 0.0)
    assert (again.distorted, again.workers.tolist()) == (worst.distorted, worst.workers.tolist())


def test_more_time_proves_more():
    holders = assignments.mols(35, 5)
    hasty = theory.worst_case_distorted_files(holders, 11, seconds=0)
    slow = theory.worst_case_distorted_files(holders, 11, seconds=60)
    assert slow.proven
    assert hasty.distorted <= slow.distorted == slow.bound <= hasty.bound


def test_a_search_is_done_once():
    holders = assignments.mols(15, 3)
    worst = theory.worst_case_distorted_files(holders, 7)
    assert theory.worst_case_distorted_files(holders.astype(np.int32), np.int64(7)) is worst
    assert not worst.workers.flags.writeable


def test_many_workers_that_share_files_have_a_bound_and_a_placement():
    holders = assignments.cyclic(2500, 3)
    worst = theory.worst_case_distorted_files(holders, 20)
    assert (worst.bound, worst.proven) == (30, False)
    assert lost_files(holders, worst.workers) == worst.distorted >= 20


BAD_HOLDERS = [
    (np.zeros((0, 3), int), "got int64 of shape"),
    (np.arange(6), "got int64 of shape"),
    (np.ones((2, 3)), r"integers \(files, copies\).*got float64"),
    (np.array([[0, 1, -1]]), "numbered from 0, got -1"),
    (np.array([[0, 1, 2], [3, 4, 3]]), r"distinct workers; file 1 is on \[3, 4, 3\]"),
    (np.array([[0, 1, 2], [0, 1, 3]]), "worker 0 holds 2, worker 2 holds 1"),
    (np.array([[0, 1, 3]]), "worker 0 holds 1, worker 2 holds 0"),
]
OF_HOLDERS = [
    theory.distorted_files_law,
    theory.worst_case_distorted_files,
    theory.spectral_bound,
    theory.second_moment_bound,
]


@pytest.mark.parametrize("function", OF_HOLDERS)
@pytest.mark.parametrize(("holders", "message"), BAD_HOLDERS)
def test_holders_that_are_no_fair_assignment_are_refused(function, holders, message):
    with pytest.raises(ValueError, match=message):
        function(holders, 1)


@pytest.mark.parametrize("function", OF_HOLDERS)
@pytest.mark.parametrize(
    ("byzantine", "message"),
    [(16, "at most the 15 workers, got 16"), (-1, "0 or more, got -1"), (2.0, r"got 2\.0")],
)
def test_impossible_numbers_of_liars_are_refused(function, byzantine, message):
    with pytest.raises(ValueError, match=message):
        function(assignments.mols(15, 3), byzantine)


@pytest.mark.parametrize("seconds", [-1, float("nan"), "long"])
def test_impossible_times_are_refused(seconds):
    with pytest.raises(ValueError, match="seconds must be"):
        theory.worst_case_distorted_files(assignments.mols(15, 3), 3, seconds=seconds)


# --- Pipelines -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", aggregators.__all__)
def test_a_rule_withstands_the_most_bad_rows_it_can_be_told(rule):
    for rows in (1, 2, 3, 4, 7, 15, 16):
        told = [f for f in range(-1, rows) if runs(rule, rows, f)]
        most = max(told, default=-1)
        limit = {"mean": 0, "dnc": 1}.get(rule, rows)
        withstood = theory.withstands(rule, rows)
        assert max(withstood, -1) == min(most, limit)


def runs(rule, rows, byzantine):
    try:
        require(rule, np.ones((rows, 1)), byzantine)
    except ValueError:
        return False
    return True


def condition(votes, lost, groups, inner, outer):
    law = np.zeros(lost + 1)
    law[lost] = 1
    return theory.condition_violated(votes, law, groups=groups, inner=inner, outer=outer)


@pytest.mark.parametrize(
    ("groups", "lost", "chance"),
    [
        (5, 3, 0.593407),
        (5, 4, 0.890110),
        (5, 5, 0.980020),
        (5, 6, 0.998002),
        (3, 2, 0.714286),
        (3, 3, 0.934066),
        (3, 4, 0.989011),
    ],
)
def test_published_chances_that_a_median_of_means_is_driven(groups, lost, chance):
    got = condition(15, lost, groups, "mean", "median")
    assert got == pytest.approx(chance, **to_digits(6))


PIPELINES = [
    (15, 5, "mean", "median"),
    (15, 2, "multi_krum", "mean"),
    (33, 7, "median", "median"),
    (25, 25, "median", "median"),
    (26, 4, "median", "mean"),
    (47, 11, "trimmed_mean", "bulyan"),
    (20, 3, "bulyan", "median"),
    (31, 3, "krum", "dnc"),
    (9, 4, "krum", "median"),
    (9, 9, "bulyan", "fltrust"),
]


def counted(votes, groups, inner, outer):
    """Chances of a violation and whether one is possible, for 0, 1, 2, ... lost votes.

    From the number of ways to lose so many votes with so many fallen groups, in integers.
    """
    ways = {(0, 0): 1}
    for part in np.array_split(np.arange(votes), groups):
        more = Counter()
        for (fallen, lost), count in ways.items():
            for i in range(len(part) + 1):
                falls = i > theory.withstands(inner, len(part))
                more[fallen + falls, lost + i] += count * comb(len(part), i)
        ways = more
    limit = theory.withstands(outer, groups)
    over = Counter()
    for (fallen, lost), count in ways.items():
        over[lost] += count * (fallen > limit)
    return [Fraction(over[lost], comb(votes, lost)) for lost in range(votes + 1)]


@pytest.mark.parametrize(("votes", "groups", "inner", "outer"), PIPELINES)
def test_the_condition_counts_all_splits(votes, groups, inner, outer):
    chances = counted(votes, groups, inner, outer)
    for lost, chance in enumerate(chances):
        got = condition(votes, lost, groups, inner, outer)
        assert got == pytest.approx(float(chance), rel=0, abs=1e-12)
        assert theory.worst_condition(votes, lost, groups, inner, outer) == (chance > 0)
    law = np.random.default_rng(0).dirichlet(np.ones(votes + 1))
    mixed = theory.condition_violated(votes, law, groups=groups, inner=inner, outer=outer)
    assert mixed == pytest.approx(float(law @ np.array(chances, float)), rel=0, abs=1e-12)


@pytest.mark.parametrize("lost", [0, 1, 500, 1600, 1666, 1667, 1700, 2499, 3332, 3333])
def test_the_condition_of_thousands_of_votes_in_two_groups(lost):
    """Either of 1,667 and 1,666 votes has too many lost ones: two hypergeometric tails."""
    first = hypergeom(3333, lost, 1667)
    holds = sum(first.pmf(i) for i in range(834) if lost - i <= 832)
    got = condition(3333, lost, 2, "median", "mean")
    assert got == pytest.approx(1 - holds, rel=0, abs=1e-11)
    one_group = condition(3333, lost, 1, "median", "median")
    assert one_group == pytest.approx(float(lost > 1666), rel=0, abs=1e-12)


@pytest.mark.parametrize("groups", [10, 50, 99, 100])
def test_the_condition_of_thousands_of_votes_where_one_loss_in_a_group_fells_it(groups):
    """With the mean inside and one group withstood: all lost votes are in one group."""
    sizes = [len(part) for part in np.array_split(np.arange(3333), groups)]
    law = theory.distorted_files(9999, 300, 3)
    holds = [
        Fraction(sum(comb(size, lost) for size in sizes), comb(3333, lost)) if lost else 1
        for lost in range(40)
    ]
    wanted = 1 - sum(float(p) * float(h) for p, h in zip(law, holds, strict=False))
    got = theory.condition_violated(3333, law, groups=groups, inner="mean", outer="dnc")
    assert got == pytest.approx(wanted, rel=0, abs=1e-12)


def test_without_groups_the_condition_is_a_tail_of_the_law():
    law = theory.distorted_files(45, 10, 3)
    got = theory.condition_violated(15, law, groups=None, inner=None, outer="bulyan")
    assert got == pytest.approx(law[4:].sum(), rel=1e-12)
    some = theory.condition_violated(15, law, groups=None, inner=None, outer="mean")
    assert some == pytest.approx(1 - law[0], rel=1e-12)
    assert theory.condition_violated(2, [1.0], groups=None, inner=None, outer="bulyan") == 1
    for lost in range(16):
        assert theory.worst_condition(15, lost, None, None, "bulyan") == (lost > 3)


@pytest.mark.parametrize(
    ("votes", "law", "groups", "inner", "outer", "message"),
    [
        (15, [1.0], 5, None, "median", "need an inner rule"),
        (15, [1.0], 5, "maen", "median", "did you mean 'mean'"),
        (15, [1.0], 5, "mean", "my_rules:mine", "unknown aggregator 'my_rules:mine'"),
        (15, [1.0], 16, "mean", "median", "at most the 15 votes, got 16"),
        (15, [1.0], 0, "mean", "median", "groups must be an integer of 1 or more, got 0"),
        (1, [0.5, 0.25, 0.25], None, None, "median", "lost votes of 1, got shape"),
        (15, [0.5, 0.4], None, None, "median", "a sum of 0.9"),
        (15, [1.5, -0.5], None, None, "median", "chances that sum to 1"),
        (0, [1.0], None, None, "median", "votes must be an integer of 1 or more, got 0"),
    ],
)
def test_impossible_pipelines_are_refused(votes, law, groups, inner, outer, message):
    with pytest.raises(ValueError, match=message):
        theory.condition_violated(votes, law, groups=groups, inner=inner, outer=outer)


def test_more_distorted_files_than_votes_are_refused():
    with pytest.raises(ValueError, match="lost must be at most the 15 votes, got 16"):
        theory.worst_condition(15, 16, 5, "mean", "median")


# --- Bounds and costs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outer", "parameters", "delta", "groups"),
    [
        ("geometric_median", 100, 0.05, 383.453731),
        ("geometric_median", 11_173_962, 0.01, 589.461784),
        ("median", 100, 0.05, 972.915515),
        ("trimmed_mean", 11_173_962, 0.05, 2460.778122),
    ],
)
def test_published_groups_of_theorem_3(outer, parameters, delta, groups):
    size = {"sigma": 2.0, "batch": 1440, "parameters": parameters, "delta": delta}
    found = theory.hierarchical_error(outer, **size)
    assert found.groups == pytest.approx(groups, **to_digits(6))
    assert found.error == pytest.approx(2 * (groups / 128 / 1440) ** 0.5, rel=1e-8)
    assert theory.hierarchical_error(outer, **size, constant=3.0).error == 3 * found.error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outer": "krum"}, "unknown outer rule of theorem 3 'krum'"),
        ({"delta": 0.5}, r"delta must be above 0 and below 1/2, got 0\.5"),
        ({"delta": 0}, "delta must be above 0"),
        ({"sigma": -1.0}, r"sigma must be 0 or more, got -1\.0"),
        ({"batch": 0}, "batch must be an integer of 1 or more, got 0"),
        ({"parameters": 1.5}, "parameters must be an integer"),
    ],
)
def test_theorem_3_refuses_what_it_does_not_cover(change, message):
    given = {"outer": "median", "sigma": 1.0, "batch": 10, "parameters": 10, "delta": 0.1}
    with pytest.raises(ValueError, match=message):
        theory.hierarchical_error(**(given | change))


@pytest.mark.parametrize("delta", [0, 0.5, -1, "small", None])
def test_corollary_2_refuses_other_chances(delta):
    with pytest.raises(ValueError, match="delta must be"):
        theory.high_probability_distorted_files(delta)


def test_only_published_bounds_are_called_proven():
    published = {form for form, status in theory.BOUNDS.items() if status.startswith("proven")}
    assert published == {form for form in theory.BOUNDS if form.startswith("paper")}
    assert theory.BOUNDS["sharp"] == "numerical"


def test_the_table_of_costs_has_a_row_for_each_method():
    rows = theory.complexity_markdown().splitlines()[2:]
    assert len(rows) == len(theory.complexity())
    for row, facts in zip(rows, theory.complexity(), strict=True):
        assert [cell.strip() for cell in row.strip("|").split("|")] == list(facts)


# --- What is refused -----------------------------------------------------------------------------

TRIPLE = ["distorted_files", "expected_distorted_files", "expected_distorted_files_bound"]


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
        theory.expected_distorted_files_bound(45, 5, copies, form=form)


def test_a_negative_count_has_no_copies():
    with pytest.raises(ValueError, match="0 or more, got -1"):
        theory.recommended_copies(-1)


@pytest.mark.parametrize(
    ("workers", "byzantine", "copies", "files", "message"),
    [
        (15, 16, 3, 25, "at most the 15 workers, got 16"),
        (15, 5, 4, 25, "copies must be odd.*got 4, use 3 or 5"),
        (3, 1, 5, 25, "got 5 for 3 workers"),
        (15, 5, 3, 0, "files must be an integer of 1 or more, got 0"),
        (15, -1, 3, 25, "byzantine must be an integer of 0 or more, got -1"),
    ],
)
def test_impossible_files_have_no_expectation(workers, byzantine, copies, files, message):
    with pytest.raises(ValueError, match=message):
        theory.expected_distorted_files(workers, byzantine, copies, files=files)
