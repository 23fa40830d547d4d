"""Who computes which file: one contract over the catalogue, and what each scheme promises."""

import inspect
import itertools
from math import comb, isqrt

import numpy as np
import pytest

from detox_sim import assignments, catalogue
from detox_sim.assignments import finite_fields, geometries

SIZES = {
    "none": [(1, 1), (7, 1), (10_000, 1)],
    "detox": [(1, 1), (7, 1), (9, 3), (15, 3), (45, 3), (45, 5), (45, 9), (21, 21), (9999, 3)],
    "mols": [(2, 1), (7, 1), (12, 3), (15, 3), (24, 3), (35, 5), (45, 5), (63, 7), (9977, 11)],
    "ramanujan": [(2, 1), (7, 1), (9, 3), (15, 3), (25, 5), (35, 5), (49, 7), (9409, 97)],
    "subsets": [(1, 1), (7, 1), (3, 3), (7, 3), (15, 3), (9, 5), (14, 13), (180, 3)],
    "bibd": [(3, 3), (7, 3), (9, 3), (33, 3), (21, 5), (25, 5), (73, 9), (81, 9), (9409, 97)],
    "random_regular": [(1, 1), (7, 1), (3, 3), (4, 3), (15, 3), (45, 9), (21, 21), (10_000, 5)],
    "cyclic": [(1, 1), (7, 1), (3, 3), (4, 3), (15, 5), (45, 9), (10_000, 5)],
}
POSSIBLE = [(name, *size) for name in assignments.__all__ for size in SIZES[name]]
DESIGNS = [size for size in SIZES["bibd"] if size[0] < 100]
FIELDS = [2, 3, 4, 5, 7, 8, 9, 16, 25, 27]


def streams(seed=0):
    return np.random.default_rng(seed)


def incidence(holders):
    """Zeros and ones (workers, files): who holds what."""
    held = np.zeros((holders.max() + 1, len(holders)), dtype=np.int64)
    held[holders, np.arange(len(holders))[:, None]] = 1
    return held


def shared(holders):
    """Files that each two workers share (workers, workers); on the diagonal the loads."""
    held = incidence(holders)
    return held @ held.T


def most_lost(holders, byzantine):
    """The most files whose majority some set of workers owns, by trying every set."""
    held = incidence(holders).astype(np.int8)
    chosen = itertools.chain.from_iterable(itertools.combinations(range(len(held)), byzantine))
    members = np.fromiter(chosen, np.int64).reshape(-1, byzantine).T
    owned = sum(held[member] for member in members)
    return (owned > holders.shape[1] // 2).sum(axis=1).max()


# --- The contract --------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "workers", "copies"), POSSIBLE)
@pytest.mark.parametrize("rng", [None, streams()], ids=["known", "drawn"])
def test_an_assignment_is_fair(name, workers, copies, rng):
    holders = getattr(assignments, name)(workers, copies, rng=rng)
    assert holders.ndim == 2
    assert holders.shape[1] == copies
    assert holders.dtype == np.int64
    assert (np.diff(np.sort(holders, axis=1), axis=1) > 0).all()
    loads = np.bincount(holders.ravel(), minlength=workers)
    assert len(loads) == workers
    assert loads.min() == loads.max() == holders.size / workers


@pytest.mark.parametrize(("name", "workers", "copies"), POSSIBLE)
def test_an_assignment_is_known_unless_it_is_reshuffled(name, workers, copies):
    function = getattr(assignments, name)
    holders = function(workers=workers, copies=copies)
    rng = streams()
    assert (function(workers, copies, rng=rng) == holders).all()
    assert rng.bit_generator.state == streams().bit_generator.state
    secret = inspect.signature(function).parameters["rng"]
    assert (secret.kind, secret.default) == (secret.KEYWORD_ONLY, None)


@pytest.mark.parametrize("name", assignments.__all__)
@pytest.mark.parametrize(
    ("workers", "copies", "message"),
    [
        (45, 2, "use 'detox'|copies must be odd.*got 2, use 1 or 3"),
        (0, 1, "workers must be an integer of 1 or more, got 0"),
        (3, 0, "use 'detox'|copies must be an integer of 1 or more, got 0"),
        (9.0, 1, r"workers must be an integer of 1 or more, got 9\.0"),
        (9, "3", "use 'detox'|copies must be an integer of 1 or more, got '3'"),
        (True, 1, "workers must be an integer of 1 or more, got True"),
        (4, 5, "use 'detox'|on distinct workers; got 5 for 4 workers, use at most 3"),
    ],
)
def test_impossible_copies_are_refused_with_what_works(name, workers, copies, message):
    with pytest.raises(ValueError, match=message):
        getattr(assignments, name)(workers, copies)


TWO = "needs two of workers, copies and load; got "
MOLS = r"load a prime power above copies; got workers={}, copies={}, load={}; use workers = {}$"
RAMANUJAN = r"a prime that divides load; got workers={}, copies={}, load={}; use workers = {}$"


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("none", (45, 3), "makes 1 copy, got copies=3; use 'detox'"),
        ("detox", (45, 7), "45 / 7 leaves 3; with 45 workers use .* 1, 3, 5, 9.* workers = 42$"),
        ("mols", (45, 3), MOLS.format(45, 3, 15, r"39 \(load 13\) or 48 \(load 16\)")),
        ("mols", (45, 9), MOLS.format(45, 9, 5, r"99 \(load 11\)")),
        ("mols", (45, 7), MOLS.format(45, 7, 6.42857, r"56 \(load 8\)")),
        ("mols", (16, None, 5), MOLS.format(16, 3, 5, r"15 \(load 5\) or 21 \(load 7\)")),
        ("mols", (20, 3, 5), MOLS.format(20, 3, 5, r"15 \(load 5\) or 21 \(load 7\)")),
        ("mols", (None, 3, 6), MOLS.format(18, 3, 6, r"15 \(load 5\) or 21 \(load 7\)")),
        ("mols", (None, 5, 5), MOLS.format(25, 5, 5, r"35 \(load 7\)")),
        ("mols", (20, None, 5), "copies must be odd.*got 4, use 3 or 5"),
        ("mols", (3, None, 5), MOLS.format(3, 1, 5, r"5 \(load 5\) or 7 \(load 7\)")),
        ("mols", (15,), TWO + "workers=15, copies=None, load=None"),
        ("mols", (None, None, 5), TWO + "workers=None, copies=None, load=5"),
        ("mols", (None, 3, 0), "load must be an integer of 1 or more, got 0"),
        ("mols", (None, 3, 5.0), r"load must be an integer of 1 or more, got 5\.0"),
        (
            "ramanujan",
            (45, 5),
            RAMANUJAN.format(
                45, 5, 9, r"35 \(load 7\) or 55 \(load 11\) or 25 \(load 5, 10, ...\)"
            ),
        ),
        ("ramanujan", (45, 9), RAMANUJAN.format(45, 9, 5, r"99 \(load 11\)")),
        ("ramanujan", (81, 9), RAMANUJAN.format(81, 9, 9, r"99 \(load 11\)")),
        ("ramanujan", (1, 1), RAMANUJAN.format(1, 1, 1, r"2 \(load 2\)")),
        ("ramanujan", (25, 5, 7), "got workers=25, copies=5, load=7; use workers = 35 .load 7. or"),
        ("ramanujan", (None, 3, 4), r"load=4; use workers = 15 \(load 5\) or 9 \(load 3, 6, ...\)"),
        ("ramanujan", (25, None, 7), "got workers=25, copies=5, load=7; use workers = 35"),
        ("ramanujan", (16, None, 5), "copies must be odd.*got 4, use 3 or 5"),
        ("ramanujan", (25.0, None, 5), "workers must be an integer of 1 or more"),
        ("ramanujan", (25,), TWO + "workers=25, copies=None, load=None"),
        ("subsets", (200, 3), r"C\(200, 3\) = 1313400 files.* at most 1000000; .*workers <= 182,"),
        ("subsets", (10_000, 5001), r"about 10\^3008 files.* with 5001 copies use workers <= 5002"),
        ("bibd", (8, 3), "no design of 8 workers with 3 copies; use workers = 7 or 9$"),
        ("bibd", (11, 3), "use workers = 9 or 13$"),
        ("bibd", (45, 5), "no design of 45 workers with 5 copies; use workers = 25 or 85$"),
        ("bibd", (22, 5), "use workers = 21 or 25$"),
        ("bibd", (100, 9), "use workers = 81 or 585$"),
        ("bibd", (225, 15), r"copies = 13 \(workers = 169 or 2197\) or 17 \(workers = 17 or 273\)"),
        ("bibd", (7, 1), r"no design with 1 copies; use copies = 3 \(workers = 7 or 9\)$"),
        ("bibd", (1, 1), "no design with 1 copies"),
        ("random_regular", (20, 3, 4), r"20 \* 4 / 3 leaves 2; use load = 3 or 6$"),
        ("random_regular", (20, 3, 1), "20 . 1 / 3 leaves 2; use load = 3$"),
        ("random_regular", (20, 3, 0), "load must be an integer of 1 or more, got 0"),
        ("random_regular", (20, 3, 3, -1), "graph_seed must be an integer of 0 or more, got -1"),
    ],
)
def test_impossible_sizes_are_refused_with_what_works(name, sizes, message):
    options = dict(zip(("load", "graph_seed"), sizes[2:], strict=False))
    with pytest.raises(ValueError, match=message):
        getattr(assignments, name)(*sizes[:2], **options)


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("mols", [(15, 3), (None, 3, 5), (15, None, 5), (15, 3, 5)]),
        ("mols", [(45, 5), (None, 5, 9), (45, None, 9), (45, 5, 9)]),
        ("ramanujan", [(15, 3), (None, 3, 5), (15, None, 5), (15, 3, 5)]),
        ("ramanujan", [(25, 5), (None, 5, 5), (25, None, 5), (25, 5, 5)]),
        ("ramanujan", [(9, 3, 6), (None, 3, 6), (9, None, 6)]),
        ("random_regular", [(20, 3), (20, 3, 3)]),
    ],
)
def test_two_sizes_tell_the_third(name, calls):
    function = getattr(assignments, name)
    first, *others = [function(*call[:2], load=(*call, None)[2]) for call in calls]
    for other in others:
        assert (other == first).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("detox", {"reshuffle": True}),
        ("mols", {"load": 5}),
        ("ramanujan", {"load": 5}),
        ("random_regular", {"load": 6, "graph_seed": 1}),
    ],
)
def test_options_reach_the_scheme(name, options):
    holders = catalogue.bind(assignments, name, options)(15, 3, rng=streams())
    assert (holders == getattr(assignments, name)(15, 3, rng=streams(), **options)).all()
    with pytest.raises(ValueError, match=f"unknown option of {name} 'copies'"):
        catalogue.bind(assignments, name, {"copies": 3})


# --- Repetition ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("workers", "copies"), [(9, 3), (45, 5)])
def test_detox_groups_are_fixed_unless_reshuffled(workers, copies):
    fixed = np.arange(workers).reshape(-1, copies)
    rng = streams()
    assert (assignments.detox(workers, copies) == fixed).all()
    assert (assignments.detox(workers, copies, rng=rng) == fixed).all()
    assert (assignments.detox(workers, copies, reshuffle=True) == fixed).all()
    drawn = [assignments.detox(workers, copies, rng=rng, reshuffle=True) for _ in range(2)]
    assert (drawn[0] != drawn[1]).any()
    again = assignments.detox(workers, copies, rng=streams(), reshuffle=True)
    assert (again == drawn[0]).all()
    for holders in drawn:
        assert sorted(holders.ravel().tolist()) == list(range(workers))


@pytest.mark.parametrize(("workers", "copies"), [(1, 1), (5, 3), (5, 5), (15, 5)])
def test_cyclic_gives_each_worker_a_run_of_files(workers, copies):
    holders = assignments.cyclic(workers, copies)
    for worker, held in enumerate(incidence(holders)):
        assert set(np.flatnonzero(held)) == {(worker + c) % workers for c in range(copies)}
    for file, column in itertools.product(range(workers), range(copies)):
        assert holders[file, column] == (file - column) % workers


# --- Expanders -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("load", "copies"), [(5, 3), (7, 5), (11, 1), (13, 11)])
def test_mols_of_a_prime_load_are_arithmetic_modulo_the_load(load, copies):
    holders = assignments.mols(load=load, copies=copies)
    for i, j, k in itertools.product(range(load), range(load), range(1, copies + 1)):
        assert holders[i * load + j, k - 1] == (k - 1) * load + (k * i + j) % load


@pytest.mark.parametrize(
    ("load", "copies"), [(4, 3), (5, 3), (7, 5), (8, 3), (8, 7), (9, 7), (16, 15), (25, 5), (27, 3)]
)
def test_latin_squares_are_orthogonal(load, copies):
    square = np.arange(load * copies) // load
    expected = (square[:, None] != square) + load * np.eye(len(square), dtype=int)
    assert (shared(assignments.mols(load=load, copies=copies)) == expected).all()


@pytest.mark.parametrize(
    ("case", "copies", "load"),
    [(1, 1, 5), (1, 3, 5), (1, 3, 7), (1, 5, 7), (2, 3, 3), (2, 3, 6), (2, 5, 5), (2, 5, 15)],
)
def test_ramanujan_bigraphs_are_blocks_of_powers_of_the_shift(case, copies, load):
    prime, columns = (load, copies) if case == 1 else (copies, load)
    shift = np.array([[j == (i - 1) % prime for j in range(prime)] for i in range(prime)], int)
    power = np.linalg.matrix_power
    graph = np.block([[power(shift, i * j) for j in range(columns)] for i in range(prime)])
    held = incidence(assignments.ramanujan(load=load, copies=copies))
    assert (held == (graph.T if case == 1 else graph)).all()


@pytest.mark.parametrize(
    ("name", "load", "copies"),
    [
        *[("mols", load, copies) for load, copies in ((4, 3), (5, 3), (7, 5), (8, 5), (9, 5))],
        *[("ramanujan", load, copies) for load, copies in ((5, 3), (7, 3), (7, 5), (11, 9))],
        *[("ramanujan", load, copies) for load, copies in ((3, 3), (5, 5), (7, 7))],
        *[("ramanujan", load, copies) for load, copies in ((6, 3), (12, 3), (10, 5))],
    ],
)
def test_the_second_eigenvalue_is_one_over_copies(name, load, copies):
    holders = getattr(assignments, name)(load=load, copies=copies)
    values = np.linalg.eigvalsh(shared(holders) / (load * copies))
    assert values[-1] == pytest.approx(1)
    assert values[-2] == pytest.approx(1 / copies)
    second = np.linalg.svd(incidence(holders).astype(float), compute_uv=False)[1]
    assert second < (load - 1) ** 0.5 + (copies - 1) ** 0.5  # which defines a Ramanujan bigraph


@pytest.mark.parametrize(("byzantine", "most"), [(2, 1), (3, 3), (4, 5), (5, 8), (6, 12), (7, 14)])
def test_published_worst_cases_of_mols(byzantine, most):
    assert most_lost(assignments.mols(load=5, copies=3), byzantine) == most
    assert most_lost(assignments.ramanujan(load=5, copies=3), byzantine) == most


@pytest.mark.parametrize(("byzantine", "most"), [(3, 1), (4, 1), (5, 2), (6, 4), (7, 5), (8, 7)])
def test_published_worst_cases_of_ramanujan(byzantine, most):
    assert most_lost(assignments.ramanujan(load=5, copies=5), byzantine) == most


@pytest.mark.parametrize(
    ("workers", "copies", "load"),
    [(20, 3, 6), (4, 3, 3), (6, 5, 5), (9, 5, 10), (7, 3, 300), (45, 23, 23), (100, 51, 51)],
)
def test_a_random_graph_is_regular_and_public(workers, copies, load):
    graph = assignments.random_regular(workers, copies, load=load)
    assert len(graph) * copies == workers * load
    assert (incidence(graph).sum(axis=0) == copies).all()
    assert (incidence(graph).sum(axis=1) == load).all()
    again, other = (
        assignments.random_regular(workers, copies, load=load, graph_seed=seed) for seed in (0, 1)
    )
    assert (again == graph).all()
    assert (incidence(other) != incidence(graph)).any()


@pytest.mark.parametrize(("workers", "copies", "load"), [(6, 3, 3), (5, 3, 3), (8, 5, 5)])
def test_a_random_graph_pairs_all_workers_alike(workers, copies, load):
    draws = 600
    pairs = sum(
        shared(assignments.random_regular(workers, copies, load=load, graph_seed=seed))
        for seed in range(draws)
    )
    found = pairs[np.triu_indices(workers, 1)] / draws
    expected = load * (copies - 1) / (workers - 1)
    assert np.abs(found - expected).max() < 0.1 * expected
    assert found.mean() == pytest.approx(expected)


# --- Designs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("workers", "copies"), [(3, 1), (5, 3), (15, 3), (9, 5), (8, 7)])
def test_every_subset_is_a_file(workers, copies):
    holders = assignments.subsets(workers, copies)
    assert len(holders) == comb(workers, copies)
    members = (mask for mask in range(2**workers) if mask.bit_count() == copies)
    expected = sorted([i for i in range(workers) if mask >> i & 1] for mask in members)
    assert holders.tolist() == expected


TRIPLES = [(workers, 3) for workers in (3, 7, 9, 13, 15, 19, 21, 25, 27, 31, 33, 97, 99)]
AFFINE = [(5, 2), (3, 3), (9, 2), (7, 2), (5, 3), (3, 1), (2, 4), (4, 2)]  # order, dimension
PROJECTIVE = [(4, 2), (2, 3), (8, 2), (2, 1), (3, 3), (4, 3), (5, 2)]


def assert_any_two_meet_once(holders, workers):
    copies = holders.shape[1]
    assert len(holders) * copies * (copies - 1) == workers * (workers - 1)
    together = shared(holders)
    assert together.shape == (workers, workers)
    assert (together[~np.eye(workers, dtype=bool)] == 1).all()


@pytest.mark.parametrize(
    ("workers", "copies"),
    [*TRIPLES, *DESIGNS]
    + [(order**n, order) for order, n in AFFINE if order % 2]
    + [((k ** (n + 1) - 1) // (k - 1), k + 1) for k, n in PROJECTIVE if k % 2 == 0],
)
def test_any_two_workers_of_a_design_share_one_file(workers, copies):
    assert_any_two_meet_once(assignments.bibd(workers, copies), workers)


@pytest.mark.parametrize("order_dimension", AFFINE)
def test_affine_lines_join_any_two_points_and_are_parallel(order_dimension):
    order, dimension = order_dimension
    lines = geometries.affine_lines(order, dimension)
    assert_any_two_meet_once(lines.reshape(-1, order), order**dimension)
    for parallel in lines:
        assert sorted(parallel.ravel().tolist()) == list(range(order**dimension))


@pytest.mark.parametrize("order_dimension", PROJECTIVE)
def test_projective_lines_join_any_two_points(order_dimension):
    order, dimension = order_dimension
    points = sum(order**i for i in range(dimension + 1))
    assert_any_two_meet_once(geometries.projective_lines(order, dimension), points)


def test_lines_of_a_projective_plane_meet():
    lines = geometries.projective_lines(4, 2)
    meets = incidence(lines).T @ incidence(lines)
    assert (meets[~np.eye(len(lines), dtype=bool)] == 1).all()


# --- Finite fields -------------------------------------------------------------------------------


def tables(order):
    elements = np.arange(order)
    pairs = elements[:, None], elements
    return finite_fields.add(*pairs, order), finite_fields.multiply(*pairs, order)


@pytest.mark.parametrize("order", FIELDS)
def test_a_field_is_a_field(order):
    add, times = tables(order)
    a, b, c = np.ogrid[:order, :order, :order]
    for table, neutral, group in ((add, 0, range(order)), (times, 1, range(1, order))):
        assert (table == table.T).all()
        assert (table[table[a, b], c] == table[a, table[b, c]]).all()
        assert (table[neutral] == np.arange(order)).all()
        for element in group:
            assert sorted(table[element, list(group)]) == list(group)
    assert (times[a, add[b, c]] == add[times[a, b], times[a, c]]).all()
    assert (times[0] == 0).all()


@pytest.mark.parametrize("order", [2, 3, 5, 7, 11, 101])
def test_a_prime_field_is_arithmetic_modulo_the_order(order):
    add, times = tables(order)
    elements = np.arange(order)
    assert (add == (elements[:, None] + elements) % order).all()
    assert (times == elements[:, None] * elements % order).all()


@pytest.mark.parametrize("operation", [finite_fields.add, finite_fields.multiply])
@pytest.mark.parametrize(
    ("order", "message"),
    [
        (6, "prime power, got 6; use 5 or 7$"),
        (15, "prime power, got 15; use 13 or 16$"),
        (1, "order must be an integer of 2 or more, got 1"),
        (4.0, "order must be an integer"),
    ],
)
def test_there_is_no_field_of_another_order(operation, order, message):
    with pytest.raises(ValueError, match=message):
        operation(0, 0, order)


def test_primes_and_their_powers_are_told_from_other_numbers():
    primes = [n for n in range(2, 1000) if all(n % d for d in range(2, isqrt(n) + 1))]
    powers = {p**e for p in primes for e in range(1, 10)} & set(range(1000))
    numbers = range(-2, 1000)
    assert [n for n in numbers if finite_fields.is_prime(n)] == primes
    assert {n for n in numbers if finite_fields.is_prime_power(n)} == powers


SECRET = {"detox": (45, 5), "mols": (15, 3), "ramanujan": (25, 5), "bibd": (15, 3)}
SECRET["random_regular"] = (20, 3)


@pytest.mark.parametrize("name", assignments.__all__)
def test_a_reshuffled_assignment_renames_the_workers(name):
    function = getattr(assignments, name)
    assert ("reshuffle" in inspect.signature(function).parameters) == (name in SECRET)
    if name not in SECRET:
        return
    known = function(*SECRET[name])
    drawn = [function(*SECRET[name], rng=streams(seed), reshuffle=True) for seed in (0, 0, 1)]
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).any()
    names = dict(zip(known.ravel().tolist(), drawn[0].ravel().tolist(), strict=True))
    assert sorted(names.values()) == sorted(names)
    assert (np.vectorize(names.get)(known) == drawn[0]).all()
    with pytest.raises(ValueError, match="reshuffle is True or False, got 1"):
        function(*SECRET[name], reshuffle=1)
