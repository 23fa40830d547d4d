"""All subsets, block designs, the geometries they are made of, and finite fields."""

from math import comb, isqrt

import numpy as np
from incidence import incidence, shared
from refusals import assert_refused

from detox_sim import assignments
from detox_sim.assignments import finite_fields, geometries

TRIPLES = [(workers, 3) for workers in (3, 7, 9, 13, 15, 19, 21, 25, 27, 31, 33, 97, 99)]
AFFINE = [(5, 2), (3, 3), (9, 2), (7, 2), (5, 3), (3, 1), (2, 4), (4, 2)]  # order, dimension
PROJECTIVE = [(4, 2), (2, 3), (8, 2), (2, 1), (3, 3), (4, 3), (5, 2)]
FIELDS = [2, 3, 4, 5, 7, 8, 9, 16, 25, 27]


def test_every_subset_is_a_file():
    for workers, copies in [(3, 1), (5, 3), (15, 3), (9, 5), (8, 7)]:
        members = (mask for mask in range(2**workers) if mask.bit_count() == copies)
        expected = sorted([i for i in range(workers) if mask >> i & 1] for mask in members)
        assert len(expected) == comb(workers, copies)
        assert assignments.subsets(workers, copies).tolist() == expected, (workers, copies)


def assert_any_two_meet_once(holders, workers, case):
    copies = holders.shape[1]
    assert len(holders) * copies * (copies - 1) == workers * (workers - 1), case
    together = shared(holders)
    assert together.shape == (workers, workers), case
    assert (together[~np.eye(workers, dtype=bool)] == 1).all(), case


def test_any_two_workers_of_a_design_share_one_file():
    sizes = {*TRIPLES, (9, 3), (33, 3), (21, 5), (25, 5), (73, 9), (81, 9)}
    sizes |= {(order**n, order) for order, n in AFFINE if order % 2}
    sizes |= {((k ** (n + 1) - 1) // (k - 1), k + 1) for k, n in PROJECTIVE if k % 2 == 0}
    for workers, copies in sorted(sizes):
        assert_any_two_meet_once(assignments.bibd(workers, copies), workers, (workers, copies))


def test_affine_lines_join_any_two_points_and_are_parallel():
    for order, dimension in AFFINE:
        lines, points = geometries.affine_lines(order, dimension), order**dimension
        assert_any_two_meet_once(lines.reshape(-1, order), points, (order, dimension))
        for parallel in lines:
            assert sorted(parallel.ravel().tolist()) == list(range(points)), (order, dimension)


def test_projective_lines_join_any_two_points():
    for order, dimension in PROJECTIVE:
        points = sum(order**i for i in range(dimension + 1))
        lines = geometries.projective_lines(order, dimension)
        assert_any_two_meet_once(lines, points, (order, dimension))


def test_any_two_lines_of_a_projective_plane_meet():
    lines = geometries.projective_lines(4, 2)
    meets = incidence(lines).T @ incidence(lines)
    assert (meets[~np.eye(len(lines), dtype=bool)] == 1).all()


def tables(order):
    elements = np.arange(order)
    pairs = elements[:, None], elements
    return finite_fields.add(*pairs, order), finite_fields.multiply(*pairs, order)


def test_field_axioms_hold():
    for order in FIELDS:
        add, times = tables(order)
        a, b, c = np.ogrid[:order, :order, :order]
        for table, neutral, group in ((add, 0, range(order)), (times, 1, range(1, order))):
            assert (table == table.T).all(), order
            assert (table[table[a, b], c] == table[a, table[b, c]]).all(), order
            assert (table[neutral] == np.arange(order)).all(), order
            for element in group:
                assert sorted(table[element, list(group)]) == list(group), (order, element)
        assert (times[a, add[b, c]] == add[times[a, b], times[a, c]]).all(), order
        assert (times[0] == 0).all(), order


def test_field_of_a_prime_order_is_arithmetic_modulo_the_order():
    for order in [2, 3, 5, 7, 11, 101]:
        add, times = tables(order)
        elements = np.arange(order)
        assert (add == (elements[:, None] + elements) % order).all(), order
        assert (times == elements[:, None] * elements % order).all(), order


def test_order_that_is_no_prime_power_is_refused():
    for operation in (finite_fields.add, finite_fields.multiply):
        for order, message in [
            (6, "prime power, got 6; use 5 or 7$"),
            (15, "prime power, got 15; use 13 or 16$"),
            (1, "order must be an integer of 2 or more, got 1"),
            (4.0, "order must be an integer"),
        ]:
            assert_refused(message, operation, 0, 0, order)


def test_primes_and_prime_powers_are_recognised():
    primes = [n for n in range(2, 1000) if all(n % d for d in range(2, isqrt(n) + 1))]
    powers = {p**e for p in primes for e in range(1, 10)} & set(range(1000))
    numbers = range(-2, 1000)
    assert [n for n in numbers if finite_fields.is_prime(n)] == primes
    assert {n for n in numbers if finite_fields.is_prime_power(n)} == powers
