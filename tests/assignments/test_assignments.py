"""The contract of every assignment, and what each of them promises."""

import inspect
import itertools

import numpy as np
import pytest
from incidence import incidence
from refusals import assert_refused

from detox_sim import Trial, assignments, catalogue, train
from detox_sim.assignments.repetition import check_groups

# The list of cases: a new assignment adds sizes (workers, copies), and the laws run over them.
OUTSIDE = f"{__name__}:strided"
SIZES = {
    "none": [(1, 1), (7, 1), (10_000, 1)],
    "detox": [(1, 1), (7, 1), (9, 3), (15, 3), (45, 3), (45, 5), (45, 9), (21, 21), (9999, 3)],
    "mols": [(2, 1), (7, 1), (12, 3), (15, 3), (24, 3), (35, 5), (45, 5), (63, 7), (9977, 11)],
    "ramanujan": [(2, 1), (7, 1), (9, 3), (15, 3), (25, 5), (35, 5), (49, 7), (9409, 97)],
    "subsets": [(1, 1), (7, 1), (3, 3), (7, 3), (15, 3), (9, 5), (14, 13), (180, 3)],
    "bibd": [(3, 3), (7, 3), (9, 3), (33, 3), (21, 5), (25, 5), (73, 9), (81, 9), (9409, 97)],
    "random_regular": [(1, 1), (7, 1), (3, 3), (4, 3), (15, 3), (45, 9), (21, 21), (10_000, 5)],
    "cyclic": [(1, 1), (7, 1), (3, 3), (4, 3), (15, 5), (45, 9), (10_000, 5)],
    OUTSIDE: [(9, 3), (45, 5)],
}
RESHUFFLED = {"detox": (45, 5), "mols": (15, 3), "ramanujan": (25, 5), "bibd": (15, 3)}
RESHUFFLED["random_regular"] = (20, 3)
NAMES = [*(name for name in assignments.__all__ if name not in assignments.UNEQUAL), OUTSIDE]
ASSIGNMENTS = pytest.mark.parametrize("name", NAMES)


def strided(workers, copies, *, rng=None):
    """Make groups of workers with a stride: an assignment that is not of the package."""
    check_groups(workers, copies)
    return np.arange(workers).reshape(copies, -1).T


def streams(seed=0):
    return np.random.default_rng(seed)


# --- The contract --------------------------------------------------------------------------------


@ASSIGNMENTS
def test_assignment_gives_distinct_workers_equal_loads(name):
    function = catalogue.resolve(assignments, name)
    for workers, copies in SIZES[name]:
        case = workers, copies
        holders = function(workers=workers, copies=copies)
        assert holders.shape == (len(holders), copies), case
        assert holders.dtype == np.int64, case
        assert (np.diff(np.sort(holders, axis=1), axis=1) > 0).all(), case
        loads = np.bincount(holders.ravel(), minlength=workers)
        assert len(loads) == workers, case
        assert loads.min() == loads.max() == holders.size / workers, case
        rng = streams()
        assert (function(workers, copies, rng=rng) == holders).all(), case
        assert rng.bit_generator.state == streams().bit_generator.state, case


@ASSIGNMENTS
def test_assignment_asks_for_its_stream_by_keyword(name):
    parameters = inspect.signature(catalogue.resolve(assignments, name)).parameters
    rng = parameters["rng"]
    assert (rng.kind, rng.default) == (rng.KEYWORD_ONLY, None)
    assert ("reshuffle" in parameters) == (name in (*RESHUFFLED, "cyclic"))


def test_reshuffled_cycle_permutes_the_files():
    known = assignments.cyclic(15, 5)
    assert (assignments.cyclic(15, 5, reshuffle=True) == known).all()
    drawn = [assignments.cyclic(15, 5, rng=streams(seed), reshuffle=True) for seed in (0, 0, 1)]
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).any()
    for one in drawn:
        assert sorted(map(tuple, one)) == sorted(map(tuple, known))


@pytest.mark.parametrize("name", assignments.UNEQUAL)
def test_unequal_assignment_pads_holders(name):
    function = getattr(assignments, name)
    for workers, copies in ((1, 1), (5, 3), (9, 5), (15, 7), (45, 5)):
        holders = function(workers, copies)
        assert len(holders) == workers, (name, workers)
        for line in holders:
            there = line[line >= 0]
            assert (line[: there.size] == there).all(), (name, workers)  # -1 comes last
            assert (np.diff(there) > 0).all(), (name, workers)
        assert (np.unique(holders[holders >= 0]) == np.arange(workers)).all(), (name, workers)
        assert (holders >= 0).any(axis=1).all(), (name, workers)
        assert (holders >= 0).any(axis=0).all(), (name, workers)
        if name == "election":
            assert ((holders >= 0).sum(axis=1) >= copies).all(), (name, workers)


@pytest.mark.parametrize("name", RESHUFFLED)
def test_reshuffled_assignment_permutes_the_workers(name):
    function = getattr(assignments, name)
    known = function(*RESHUFFLED[name])
    assert (function(*RESHUFFLED[name], reshuffle=True) == known).all()
    drawn = [function(*RESHUFFLED[name], rng=streams(seed), reshuffle=True) for seed in (0, 0, 1)]
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).any()
    names = dict(zip(known.ravel().tolist(), drawn[0].ravel().tolist(), strict=True))
    assert sorted(names.values()) == sorted(names)
    assert (np.vectorize(names.get)(known) == drawn[0]).all()
    refusal = "reshuffle is True or False, got 1"
    assert_refused(refusal, function, *RESHUFFLED[name], reshuffle=1)


@ASSIGNMENTS
def test_impossible_copies_are_refused_with_what_works(name):
    function = catalogue.resolve(assignments, name)
    for workers, copies, message in [
        (45, 2, "use 'detox'|copies must be odd.*got 2, use 1 or 3"),
        (0, 1, "workers must be an integer of 1 or more, got 0"),
        (3, 0, "use 'detox'|copies must be an integer of 1 or more, got 0"),
        (9.0, 1, r"workers must be an integer of 1 or more, got 9\.0"),
        (9, "3", "use 'detox'|copies must be an integer of 1 or more, got '3'"),
        (True, 1, "workers must be an integer of 1 or more, got True"),
        (4, 5, "use 'detox'|on distinct workers; got 5 for 4 workers, use at most 3"),
    ]:
        assert_refused(message, function, workers, copies)


def test_training_runs_an_assignment_from_outside_the_package():
    fields = {"workers": 9, "model": "softmax", "batch": 27, "steps": 3, "evaluate_every": 2}
    fields |= {"byzantine": 3, "groups": None, "placement": "whole_group", "attack": "reverse"}
    outside, inside = (
        train(Trial(**fields, assignment=name)).loss.values for name in (OUTSIDE, "detox")
    )
    assert outside.tolist() == inside.tolist()


TWO = "needs two of workers, copies and load; got "
MOLS = r"load a prime power above copies; got workers={}, copies={}, load={}; use workers = {}$"
RAMANUJAN = r"a prime that divides load; got workers={}, copies={}, load={}; use workers = {}$"


REFUSED = [  # name, (workers, copies, load, graph_seed), message
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
        RAMANUJAN.format(45, 5, 9, r"35 \(load 7\) or 55 \(load 11\) or 25 \(load 5, 10, ...\)"),
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
]


def test_impossible_sizes_are_refused_with_what_works():
    for name, sizes, message in REFUSED:
        options = dict(zip(("load", "graph_seed"), sizes[2:], strict=False))
        assert_refused(message, getattr(assignments, name), *sizes[:2], **options)


def test_two_of_workers_copies_and_load_determine_the_third():
    for name, calls in [
        ("mols", [(15, 3), (None, 3, 5), (15, None, 5), (15, 3, 5)]),
        ("mols", [(45, 5), (None, 5, 9), (45, None, 9), (45, 5, 9)]),
        ("ramanujan", [(15, 3), (None, 3, 5), (15, None, 5), (15, 3, 5)]),
        ("ramanujan", [(25, 5), (None, 5, 5), (25, None, 5), (25, 5, 5)]),
        ("ramanujan", [(9, 3, 6), (None, 3, 6), (9, None, 6)]),
        ("random_regular", [(20, 3), (20, 3, 3)]),
    ]:
        function = getattr(assignments, name)
        first, *others = [function(*call[:2], load=(*call, None)[2]) for call in calls]
        for other, call in zip(others, calls[1:], strict=True):
            assert (other == first).all(), (name, call)


def test_options_reach_the_assignment():
    for name, options in [
        ("detox", {"reshuffle": True}),
        ("mols", {"load": 5}),
        ("ramanujan", {"load": 5}),
        ("random_regular", {"load": 6, "graph_seed": 1}),
    ]:
        holders = catalogue.bind(assignments, name, options)(15, 3, rng=streams())
        wanted = getattr(assignments, name)(15, 3, rng=streams(), **options)
        assert (holders == wanted).all(), name
        message = f"unknown option of {name} 'copies'"
        assert_refused(message, catalogue.bind, assignments, name, {"copies": 3})


# --- Repetition ----------------------------------------------------------------------------------


def test_detox_makes_groups_of_consecutive_workers_unless_reshuffled():
    for workers, copies in [(9, 3), (45, 5)]:
        groups = np.arange(workers).reshape(-1, copies)
        rng = streams()
        assert (assignments.detox(workers, copies) == groups).all()
        assert (assignments.detox(workers, copies, rng=rng) == groups).all()
        drawn = [assignments.detox(workers, copies, rng=rng, reshuffle=True) for _ in range(2)]
        assert (drawn[0] != drawn[1]).any()
        for holders in drawn:
            assert sorted(holders.ravel().tolist()) == list(range(workers))


def test_cyclic_assigns_consecutive_files_to_each_worker():
    for workers, copies in [(1, 1), (5, 3), (5, 5), (15, 5)]:
        holders = assignments.cyclic(workers, copies)
        for worker, computes in enumerate(incidence(holders)):
            wanted = {(worker + c) % workers for c in range(copies)}
            assert set(np.flatnonzero(computes)) == wanted, (workers, copies, worker)
        for file, column in itertools.product(range(workers), range(copies)):
            assert holders[file, column] == (file - column) % workers, (workers, copies, file)
