"""Latin squares, Ramanujan bigraphs and random graphs: their structure and their worst cases."""

import itertools

import numpy as np
import pytest
from incidence import incidence, shared

from detox_sim import assignments


def most_distorted(holders, byzantine):
    """Return in how many files some set of workers has a majority at most, by trying every set."""
    computes = incidence(holders).astype(np.int8)
    chosen = itertools.chain.from_iterable(itertools.combinations(range(len(computes)), byzantine))
    members = np.fromiter(chosen, np.int64).reshape(-1, byzantine).T
    count = sum(computes[member] for member in members)
    return (count > holders.shape[1] // 2).sum(axis=1).max()


def test_mols_of_a_prime_load_are_arithmetic_modulo_the_load():
    for load, copies in [(5, 3), (7, 5), (11, 1), (13, 11)]:
        holders = assignments.mols(load=load, copies=copies)
        for i, j, k in itertools.product(range(load), range(load), range(1, copies + 1)):
            worker = (k - 1) * load + (k * i + j) % load
            assert holders[i * load + j, k - 1] == worker, (load, copies, i, j, k)


def test_latin_squares_are_orthogonal():
    sizes = [(4, 3), (5, 3), (7, 5), (8, 3), (8, 7), (9, 7), (16, 15), (25, 5), (27, 3)]
    for load, copies in sizes:
        square = np.arange(load * copies) // load
        expected = (square[:, None] != square) + load * np.eye(len(square), dtype=int)
        found = shared(assignments.mols(load=load, copies=copies))
        assert (found == expected).all(), (load, copies)


def test_ramanujan_bigraphs_are_blocks_of_powers_of_the_shift():
    power = np.linalg.matrix_power
    cases = [(1, copies, load) for copies, load in ((1, 5), (3, 5), (3, 7), (5, 7))]
    cases += [(2, copies, load) for copies, load in ((3, 3), (3, 6), (5, 5), (5, 15))]
    for case, copies, load in cases:
        prime, columns = (load, copies) if case == 1 else (copies, load)
        shift = np.array([[j == (i - 1) % prime for j in range(prime)] for i in range(prime)], int)
        graph = np.block([[power(shift, i * j) for j in range(columns)] for i in range(prime)])
        computes = incidence(assignments.ramanujan(load=load, copies=copies))
        assert (computes == (graph.T if case == 1 else graph)).all(), (case, copies, load)


def test_second_eigenvalue_is_one_over_copies():
    for name, sizes in {
        "mols": [(4, 3), (5, 3), (7, 5), (8, 5), (9, 5)],
        "ramanujan": [
            *[(5, 3), (7, 3), (7, 5), (11, 9)],  # workers = load * copies
            *[(3, 3), (5, 5), (7, 7), (6, 3), (12, 3), (10, 5)],  # workers = copies^2
        ],
    }.items():
        for load, copies in sizes:
            case = name, load, copies
            holders = getattr(assignments, name)(load=load, copies=copies)
            values = np.linalg.eigvalsh(shared(holders) / (load * copies))
            assert values[-1] == pytest.approx(1), case
            assert values[-2] == pytest.approx(1 / copies), case
            second = np.linalg.svd(incidence(holders).astype(float), compute_uv=False)[1]
            # the definition of a Ramanujan bigraph
            assert second < (load - 1) ** 0.5 + (copies - 1) ** 0.5, case


def test_worst_cases_equal_published_values():
    for byzantine, most in [(2, 1), (3, 3), (4, 5), (5, 8), (6, 12), (7, 14)]:
        assert most_distorted(assignments.mols(load=5, copies=3), byzantine) == most, byzantine
        assert most_distorted(assignments.ramanujan(load=5, copies=3), byzantine) == most, byzantine
    for byzantine, most in [(3, 1), (4, 1), (5, 2), (6, 4), (7, 5), (8, 7)]:
        assert most_distorted(assignments.ramanujan(load=5, copies=5), byzantine) == most, byzantine


def test_random_graph_is_regular_and_depends_on_its_seed_alone():
    sizes = [(20, 3, 6), (4, 3, 3), (6, 5, 5), (9, 5, 10), (7, 3, 300), (45, 23, 23), (100, 51, 51)]
    for workers, copies, load in sizes:
        case = workers, copies, load
        graph, again, other = (
            assignments.random_regular(workers, copies, load=load, graph_seed=seed)
            for seed in (0, 0, 1)
        )
        assert len(graph) * copies == workers * load, case
        assert (incidence(graph).sum(axis=0) == copies).all(), case
        assert (incidence(graph).sum(axis=1) == load).all(), case
        assert (again == graph).all(), case
        assert (incidence(other) != incidence(graph)).any(), case


def test_random_graph_pairs_all_workers_alike():
    draws = 600
    for workers, copies, load in [(6, 3, 3), (5, 3, 3), (8, 5, 5)]:
        pairs = sum(
            shared(assignments.random_regular(workers, copies, load=load, graph_seed=seed))
            for seed in range(draws)
        )
        found = pairs[np.triu_indices(workers, 1)] / draws
        expected = load * (copies - 1) / (workers - 1)
        assert np.abs(found - expected).max() < 0.1 * expected, workers
        assert found.mean() == pytest.approx(expected), workers
