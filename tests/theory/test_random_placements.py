"""Law 5 for any assignment: the law of distorted files against all sets and simulation."""

from math import comb

import numpy as np
import pytest
from exact_laws import SIZES, count_all_sets, numbers_of_byzantine, small_assignments
from refusals import check_refusals

from detox_sim import assignments, theory
from detox_sim.theory import random_placements
from detox_sim.theory.random_placements import Law

# Workers, copies, options and Byzantine workers, with a law that is exact or simulated.
SIMULATED = {
    "none": [(9, 1, {}, 4)],
    "detox": [(9, 3, {}, 3), (45, 3, {}, 15), (45, 5, {}, 22), (999, 3, {}, 100)],
    "mols": [(15, 3, {}, 5)],
    "ramanujan": [(25, 5, {}, 8)],
    "subsets": [(8, 3, {}, 3)],
    "bibd": [(9, 3, {}, 3)],
    "random_regular": [(45, 3, {"load": 5}, 20)],
    "cyclic": [(60, 5, {}, 25)],
}


@pytest.mark.parametrize("name", SIZES)
def test_law_counts_all_sets_of_workers(name):
    for holders in small_assignments(name):
        workers, copies = int(holders.max()) + 1, holders.shape[1]
        for byzantine in numbers_of_byzantine(workers):
            case = (workers, copies, byzantine)
            counts = count_all_sets(holders, byzantine)
            law = theory.distorted_files_law(holders, byzantine)
            groups = holders.size == workers
            assert law.method == ("groups" if groups else "enumeration"), case
            assert not law.errors.any(), case
            wanted = np.zeros(max(len(counts), law.chances.size))
            wanted[: len(counts)] = counts / comb(workers, byzantine)
            chances = np.pad(law.chances, (0, wanted.size - law.chances.size))
            assert chances == pytest.approx(wanted, rel=1e-12, abs=0), case
            mean = theory.expected_distorted_files(workers, byzantine, copies, files=len(holders))
            assert law.mean == pytest.approx(mean, rel=1e-12), case


@pytest.mark.parametrize("name", SIZES)
def test_simulated_placements_follow_the_law(name):
    """Placements are drawn here; where the law is simulated too, both errors count."""
    attempts, rng = 4000, np.random.default_rng(7)
    for workers, copies, options, byzantine in SIMULATED[name]:
        case = (workers, copies, byzantine)
        holders = getattr(assignments, name)(workers, copies, **options)
        placement = np.arange(workers) < byzantine
        draws = np.array([rng.permutation(placement) for _ in range(attempts)])
        seen = np.array([(2 * each[holders].sum(axis=1) > copies).sum() for each in draws])
        law = theory.distorted_files_law(holders, byzantine)
        share = np.bincount(seen, minlength=law.chances.size) / attempts
        chances = np.pad(law.chances, (0, share.size - law.chances.size))
        errors = np.pad(law.errors, (0, share.size - law.errors.size))
        allowed = 4.5 * np.sqrt(chances * (1 - chances) / attempts + errors**2) + 1 / attempts
        assert (np.abs(share - chances) <= allowed).all(), case
        mean = theory.expected_distorted_files(workers, byzantine, copies, files=len(holders))
        assert abs(seen.mean() - mean) <= 4.5 * seen.std() / attempts**0.5, case


def test_simulated_law_is_within_its_errors_of_the_exact_law(monkeypatch):
    cases = [
        (assignments.mols(15, 3), 5),
        (assignments.mols(15, 3), 9),
        (assignments.bibd(15, 3), 4),
    ]
    exact_laws = [theory.distorted_files_law(*case) for case in cases]
    monkeypatch.setattr(random_placements, "ENUMERATED", 0)
    monkeypatch.setattr(random_placements, "AT_ONCE", 10_000)
    for case, exact in zip(cases, exact_laws, strict=True):
        law = theory.distorted_files_law(*case, draws=20_000, seed=3)
        assert (exact.method, law.method) == ("enumeration", "simulation")
        size = law.chances.size
        chances = exact.chances[:size]
        assert law.chances.sum() == pytest.approx(1, abs=1e-12)
        assert (np.abs(law.chances - chances) <= 4.5 * law.errors).all(), case
        errors = np.sqrt(chances * (1 - chances) / 20_000)
        assert law.errors == pytest.approx(errors, rel=0.5, abs=1e-4), case
        assert law.errors.min() > 0
        assert exact.tail(size) < 20 / 20_000
        again = theory.distorted_files_law(*case, draws=20_000, seed=3)
        other = theory.distorted_files_law(*case, draws=20_000, seed=4)
        assert (again.chances == law.chances).all()
        assert other.chances.tolist() != law.chances.tolist()


def test_law_has_mean_quantiles_and_tails():
    law = Law(np.array([0.5, 0.25, 0.125, 0.125]), np.zeros(4), "enumeration")
    assert law.mean == 0.875
    assert [law.quantile(level) for level in (0, 0.5, 0.51, 0.875, 0.9, 1)] == [0, 0, 1, 2, 3, 3]
    assert [law.tail(k) for k in (0, 1, 3, 4)] == [1, 0.5, 0.125, 0]
    tenths = Law(np.full(10, 0.1), np.zeros(10), "enumeration")
    assert [tenths.quantile(k / 10) for k in range(1, 11)] == list(range(10))
    with pytest.raises(ValueError, match=r"level must be between 0 and 1, got 1\.5"):
        law.quantile(1.5)


def test_small_sizes_cover_the_catalogue():
    assert set(SIZES) == set(SIMULATED) == set(assignments.__all__) - set(assignments.UNEQUAL)


@pytest.mark.parametrize(
    "function",
    [
        theory.distorted_files_law,
        theory.worst_case_distorted_files,
        theory.spectral_bound,
        theory.second_moment_bound,
    ],
)
def test_impossible_holders_and_numbers_are_refused(function):
    squares = assignments.mols(15, 3)
    check_refusals(
        function,
        [
            ((np.zeros((0, 3), int), 1), "got int64 of shape"),
            ((np.arange(6), 1), "got int64 of shape"),
            ((np.ones((2, 3)), 1), r"integers \(files, copies\).*got float64"),
            ((np.array([[0, 1, -1]]), 1), "numbered from 0, got -1"),
            ((np.array([[0, 1, 2], [3, 4, 3]]), 1), r"distinct workers; file 1 is on \[3, 4, 3\]"),
            ((np.array([[0, 1, 2], [0, 1, 3]]), 1), "worker 0 holds 2, worker 2 holds 1"),
            ((np.array([[0, 1, 3]]), 1), "worker 0 holds 1, worker 2 holds 0"),
            ((squares, 16), "at most the 15 workers, got 16"),
            ((squares, -1), "0 or more, got -1"),
            ((squares, 2.0), r"got 2\.0"),
        ],
    )
