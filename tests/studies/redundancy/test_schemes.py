"""Schemes of redundancy: exact counts against slow loops, published values and the votes."""

import functools
import itertools
import json
from math import comb

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from matplotlib.figure import Figure

from detox_sim import assignments
from studies.redundancy import schemes
from studies.redundancy.schemes import PROFILES, PUBLISHED, SCHEMES, label
from studies.style import draw

BASE, AXES = PROFILES["smoke"]
MAJORITY_OF_15 = ["no redundancy", "DETOX", "Latin squares", "block design", "random graph"]
MAJORITY_OF_25 = ["DETOX", "Ramanujan graph", "block design", "random graph"]
STRONG, WEAK = "detection (strong attack)", "detection (weak attack)"


def fields(scheme: str, workers: int = 15, copies: int = 3, **changes) -> dict:
    name = label(scheme, workers, copies)
    return schemes.prepare(BASE | AXES["arrangement"][name] | changes)


@functools.cache
def cell(scheme: str, workers: int = 15, copies: int = 3, **changes) -> xr.Dataset:
    changes = {name: json.loads(value) for name, value in changes.items()}
    return schemes.run(fields(scheme, workers, copies, **changes))


def holders_of(scheme: str, workers: int = 15, copies: int = 3) -> list[tuple[int, ...]]:
    given = fields(scheme, workers, copies)
    assign = getattr(assignments, given["assignment"])
    holders = assign(workers, given["copies"], **given["assignment_options"])
    return [tuple(file) for file in holders.tolist()]


# --- the worst case ------------------------------------------------------------------------------


def most_captured(files: list[tuple[int, ...]], workers: int, byzantine: int) -> int:
    """The definition, in plain loops."""
    most = 0
    for attackers in itertools.combinations(range(workers), byzantine):
        liars = set(attackers)
        lost = sum(2 * len(liars.intersection(file)) > len(file) for file in files)
        most = max(most, lost)
    return most


@pytest.mark.parametrize("scheme", [*MAJORITY_OF_15, "all subsets"])
def test_the_worst_case_is_that_of_all_placements(scheme):
    data = cell(scheme)
    for q in (1, 2, 3, 4):
        expected = most_captured(holders_of(scheme), 15, q)
        point = data.sel(byzantine=q)
        assert (point.worst_case, point.bound, point.proven) == (expected, expected, 1)


@pytest.mark.parametrize("scheme", MAJORITY_OF_25)
def test_the_worst_case_of_five_copies_is_that_of_all_placements(scheme):
    point = cell(scheme, 25, 5).sel(byzantine=3)
    assert point.worst_case == most_captured(holders_of(scheme, 25, 5), 25, 3)


@pytest.mark.parametrize(
    ("scheme", "workers", "copies", "files"),
    [
        ("Latin squares", 15, 3, [1, 3, 5, 8, 12, 14]),
        ("Ramanujan graph", 25, 5, [0, 1, 1, 2, 4, 5, 7]),
    ],
)
def test_byzshields_published_worst_cases(scheme, workers, copies, files):
    data = cell(scheme, workers, copies)
    q = 2 + np.arange(len(files))
    assert data.worst_case.sel(byzantine=q).values.tolist() == files
    assert (data.proven.sel(byzantine=q) == 1).all()
    for count, published in PUBLISHED[label(scheme, workers, copies)].items():
        assert data.worst_case.sel(byzantine=count) == published


def test_groups_and_single_nodes_are_lost_as_known():
    q = np.arange(1, 8)
    assert cell("DETOX").worst_case.values[:7].tolist() == (q // 2).tolist()
    assert schemes.shares(cell("no redundancy")).worst_case.values[:7] == pytest.approx(q / 15)
    assert schemes.shares(cell("DETOX")).worst_case.values[:7] == pytest.approx(
        [0, 0.2, 0.2, 0.4, 0.4, 0.6, 0.6]
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_vote_itself_loses_the_worst_case(scheme):
    sizes = [(15, 3)] if scheme != "Ramanujan graph" else [(25, 5)]
    sizes += [(25, 5)] if scheme in MAJORITY_OF_25 else []
    for size in set(sizes):
        data = cell(scheme, *size)
        asked = data.worst_case.notnull()
        assert asked.sum() >= 7
        assert (data.placed == data.worst_case)[asked].all()
        assert (data.worst_case <= data.bound)[asked].all()
        assert ((data.worst_case == data.bound) == (data.proven == 1))[asked].all()


@pytest.mark.parametrize("scheme", ["Latin squares", "cyclic code"])
def test_attackers_who_behave_where_they_cannot_win_lose_as_much(scheme):
    changes = {"byzantine": "[1, 3]", "draws": "2"}
    sly = cell(scheme, lies='"through the vote"', **changes)
    blunt = cell(scheme, **changes)
    assert sly.placed.sel(byzantine=3) > 0
    assert sly.placed.equals(blunt.placed)
    assert sly.simulated.equals(blunt.simulated)


@pytest.mark.parametrize(
    ("scheme", "size"),
    [(s, (15, 3)) for s in MAJORITY_OF_15[1:]] + [(s, (25, 5)) for s in MAJORITY_OF_25],
)
def test_the_spectral_bound_holds(scheme, size):
    data = cell(scheme, *size)
    asked = data.spectral.notnull()
    assert asked.sum() >= 7
    assert (data.spectral >= data.worst_case - 1e-9)[asked].all()


# --- random nodes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "size"),
    [(s, (15, 3)) for s in [*MAJORITY_OF_15[1:], "all subsets"]]
    + [(s, (25, 5)) for s in MAJORITY_OF_25],
)
def test_all_majority_votes_expect_the_same_fraction(scheme, size):
    workers, copies = size
    expected = schemes.shares(cell(scheme, *size)).expected.dropna("byzantine")
    law = scipy.stats.hypergeom(workers, expected.byzantine.values, copies)
    assert expected.values == pytest.approx(law.sf(copies // 2), abs=1e-12)


@pytest.mark.parametrize(
    ("scheme", "size"),
    [(s, (15, 3)) for s in MAJORITY_OF_15[1:]] + [(s, (25, 5)) for s in MAJORITY_OF_25],
)
def test_simulated_votes_lie_at_the_expectation(scheme, size):
    data = cell(scheme, *size, draws="300", byzantine="[3, 7]")
    frequent = data.expected * data.draws >= 10
    assert frequent.sum() >= 1
    score = (abs(data.simulated - data.expected) / data.simulated_error).where(frequent)
    assert score.max() < 4.5


@pytest.mark.parametrize("scheme", ["no redundancy", "all subsets", WEAK, STRONG, "cyclic code"])
def test_where_all_nodes_are_alike_every_draw_loses_the_expectation(scheme):
    data = cell(scheme).sel(byzantine=slice(1, 7))
    assert data.simulated.values == pytest.approx(data.expected.values)
    assert (data.simulated_error == 0).all()


def test_a_draw_depends_on_the_seed_and_on_nothing_else():
    known = cell("DETOX", byzantine="[5]")
    assert known.identical(schemes.run(fields("DETOX", byzantine=[5])))
    assert known.simulated.sel(byzantine=5) == cell("DETOX").simulated.sel(byzantine=5)
    other = schemes.run(fields("DETOX", byzantine=[5], seed=1))
    assert known.simulated.sel(byzantine=5) != other.simulated.sel(byzantine=5)


# --- detection -----------------------------------------------------------------------------------


def test_detection_leaves_weak_attackers_what_no_honest_node_holds():
    q = np.arange(1, 8)
    assert cell(WEAK).worst_case.values[:7].tolist() == [comb(k, 3) for k in q]
    assert cell(WEAK).placed.values[:7].tolist() == [comb(k, 3) for k in q]


def test_strong_attackers_lose_more_than_the_published_optimum():
    found = cell(STRONG).placed.values[:7]
    assert found.tolist() == [0, 2, 15, 40, 80, 155, 266]
    published = [PUBLISHED[label(STRONG, 15, 3)][q] for q in range(2, 8)]
    assert published == [2, 10, 28, 60, 110, 182]


def test_detection_costs_files_where_attackers_are_many():
    strong, plain = cell(STRONG).worst_case, cell("all subsets").worst_case
    assert (strong < plain).values[1:5].all()
    assert strong.sel(byzantine=6) == plain.sel(byzantine=6) == 155
    assert (strong.sel(byzantine=7), plain.sel(byzantine=7)) == (266, 203)


# --- the code ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("workers", "copies", "exact"), [(15, 3, 1), (25, 5, 2)])
def test_the_cyclic_code_loses_nothing_and_then_everything(workers, copies, exact):
    data = cell("cyclic code", workers, copies, draws="2", byzantine="[1, 2, 3]")
    q = data.byzantine.sel(byzantine=slice(1, 3))
    for found in (data.placed, data.simulated, data.worst_case):
        assert (found.sel(byzantine=q) == (q > exact)).all()


@pytest.mark.parametrize(("q", "copies"), [(5, 11), (9, 19)])
def test_the_cyclic_code_is_exact_at_the_least_load(q, copies):
    data = cell("cyclic code", 45, copies, draws="2", byzantine=f"[{q}]").sel(byzantine=q)
    assert (data.placed, data.simulated) == (0, 0)


# --- the sweep and its figure --------------------------------------------------------------------


def test_nodes_compute_the_same_share_in_every_scheme():
    for size, (_, names) in schemes.SMALL.items():
        for name in set(names) - {"no redundancy"}:
            given = fields(name, *size)
            holders = np.array(holders_of(name, *size))
            load = np.bincount(holders.ravel(), minlength=size[0]) / len(holders)
            assert load == pytest.approx(given["copies"] / size[0])


@pytest.fixture(scope="module")
def dataset():
    names = [label(s, 15, 3) for s in ("DETOX", STRONG)] + [label("DETOX", 45, 3)]
    cells = [cell("DETOX"), cell(STRONG), cell("DETOX", 45, 3)]
    about = {"profile": "smoke", "scale": "exact", "hardware": ["none"], "axes": {},
             "failures": {}, "settings": {}}  # fmt: skip
    joined = xr.concat(cells, "arrangement", coords="minimal", compat="equals", join="exact")
    return joined.assign_coords(arrangement=names).assign_attrs(provenance=json.dumps(about))


def marks(figure: Figure, panel: int, marker: str) -> list[tuple[float, float]]:
    lines = [line for line in figure.axes[panel].get_lines() if line.get_marker() == marker]
    return [(float(x), float(y)) for line in lines for x, y in line.get_xydata()]


def test_the_figure_shows_worst_cases_and_published_values(dataset):
    figure = draw(schemes.figure, dataset)
    assert len(figure.axes) == 6
    assert (2, 1 / 5) in marks(figure, 0, "s")
    assert dict(marks(figure, 0, "+")) == pytest.approx(
        {q: comb(2 * q, 3) / 2 / 455 for q in range(2, 8)}
    )
    assert any(y == pytest.approx(2 / 15) for _, y in marks(figure, 2, "s"))


def test_the_figure_opens_marks_that_are_not_proven(dataset):
    def hollow(figure: Figure) -> int:
        return sum(line.get_markerfacecolor() == "white" for line in figure.axes[0].get_lines()
                   if line.get_xydata().size)  # fmt: skip

    doubtful = dataset.assign(proven=0 * dataset.proven, bound=dataset.bound + 1)
    assert hollow(draw(schemes.figure, dataset)) == 0
    assert hollow(draw(schemes.figure, doubtful)) == 2


@pytest.mark.parametrize(
    ("scheme", "changes", "message"),
    [
        ("DETOX", {"byzantin": [1]}, "did you mean 'byzantine'"),
        ("DETOX", {"byzantine": 3}, "byzantine must be a list of integers, got 3"),
        ("DETOX", {"byzantine": []}, r"byzantine must be a list of integers, got \[\]"),
        ("DETOX", {"byzantine": [8]}, "below workers / 2 = 7.5, got 8; use at most 7"),
        ("DETOX", {"byzantine": [0]}, "byzantine must be an integer of 1 or more, got 0"),
        ("DETOX", {"workers": 45, "byzantine": [11]}, "at most 10 and below .* got 11"),
        ("DETOX", {"copies": 4}, "copies must be odd"),
        ("DETOX", {"complete": 1}, "complete is True or False, got 1"),
        ("DETOX", {"draws": 1}, "draws must be an integer of 2 or more, got 1"),
        ("DETOX", {"lies": "everywhre"}, "did you mean 'everywhere'"),
        ("DETOX", {"vote": "majorty"}, "did you mean 'majority'"),
        ("DETOX", {"vote": "clique"}, "unknown assignment with vote clique 'detox'; .*subsets"),
        ("Latin squares", {"copies": 5}, "mols needs workers = load"),
        ("random graph", {"assignment_options": {"laod": 5}}, "did you mean 'load'"),
    ],
)
def test_refusals(scheme, changes, message):
    with pytest.raises(ValueError, match=message):
        schemes.prepare(fields(scheme) | changes)
