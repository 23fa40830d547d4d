"""Schemes of redundancy: exact counts against slow loops, published values and real votes."""

import functools
import itertools
import json
import re
from math import comb

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from matplotlib.figure import Figure

from detox_sim import assignments
from studies.redundancy import schemes
from studies.redundancy.arrangements import LOADS, PUBLISHED, SCHEMES, SMALL, arrangements, label
from studies.redundancy.schemes_results import COUNTS, finding, shares
from studies.style import draw

BASE, _ = schemes.PROFILES["smoke"]
ARRANGEMENTS = arrangements()
MAJORITY_OF_15 = ["DETOX", "Latin squares", "block design", "random graph"]
MAJORITY_OF_25 = ["DETOX", "Ramanujan graph", "block design", "random graph"]
MAJORITIES = [(s, (15, 3)) for s in MAJORITY_OF_15] + [(s, (25, 5)) for s in MAJORITY_OF_25]
STRONG, WEAK = "detection (strong attack)", "detection (weak attack)"


def fields(scheme: str, workers: int = 15, copies: int = 3, **changes) -> dict:
    name = label(scheme, workers, copies)
    return schemes.prepare(BASE | ARRANGEMENTS[name] | changes)


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


def most_distorted(files: list[tuple[int, ...]], workers: int, byzantine: int) -> int:
    """The definition, in plain loops."""
    most = 0
    for chosen in itertools.combinations(range(workers), byzantine):
        attackers = set(chosen)
        distorted = sum(2 * len(attackers.intersection(file)) > len(file) for file in files)
        most = max(most, distorted)
    return most


def test_worst_case_is_that_of_all_placements():
    for scheme in ["no redundancy", *MAJORITY_OF_15, "all subsets"]:
        for q in (1, 2, 3, 4):
            expected = most_distorted(holders_of(scheme), 15, q)
            point = cell(scheme).sel(byzantine=q)
            found = float(point.worst_case), float(point.bound), float(point.proven)
            assert found == (expected, expected, 1), (scheme, q)
    for scheme in MAJORITY_OF_25:
        point = cell(scheme, 25, 5).sel(byzantine=3)
        expected = most_distorted(holders_of(scheme, 25, 5), 25, 3)
        assert point.worst_case == expected, scheme


def test_worst_cases_are_those_that_byzshield_publishes():
    cases = {
        ("Latin squares", 15, 3): [1, 3, 5, 8, 12, 14],
        ("Ramanujan graph", 25, 5): [0, 1, 1, 2, 4, 5, 7],
    }
    for case, files in cases.items():
        data = cell(*case)
        q = 2 + np.arange(len(files))
        assert data.worst_case.sel(byzantine=q).values.tolist() == files, case
        assert (data.proven.sel(byzantine=q) == 1).all(), case
        for count, published in PUBLISHED[label(*case)].items():
            assert data.worst_case.sel(byzantine=count) == published, (case, count)


def test_groups_and_single_workers_lose_the_known_share():
    q = np.arange(1, 8)
    assert cell("DETOX").worst_case.values[:7].tolist() == (q // 2).tolist()
    assert shares(cell("no redundancy")).worst_case.values[:7] == pytest.approx(q / 15)
    assert shares(cell("DETOX")).worst_case.values[:7] == pytest.approx(
        [0, 0.2, 0.2, 0.4, 0.4, 0.6, 0.6]
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_real_vote_distorts_the_worst_case(scheme):
    sizes = [(15, 3)] if scheme != "Ramanujan graph" else [(25, 5)]
    sizes += [(25, 5)] if scheme in MAJORITY_OF_25 else []
    for size in set(sizes):
        data = cell(scheme, *size)
        asked = data.worst_case.notnull()
        assert asked.sum() >= 7, size
        assert (data.simulated_worst == data.worst_case)[asked].all(), size
        assert (data.worst_case <= data.bound)[asked].all(), size
        assert ((data.worst_case == data.bound) == (data.proven == 1))[asked].all(), size


def test_forging_only_decisive_copies_distorts_as_much_under_other_votes():
    changes = {"byzantine": "[1, 3]", "draws": "2"}
    for scheme in ("Latin squares", "cyclic code"):
        decisive = cell(scheme, forged='"through the vote"', **changes)
        everywhere = cell(scheme, **changes)
        assert decisive.simulated_worst.sel(byzantine=3) > 0, scheme
        assert decisive.simulated_worst.equals(everywhere.simulated_worst), scheme
        assert decisive.simulated.equals(everywhere.simulated), scheme


def test_spectral_bound_is_above_the_worst_case():
    for scheme, size in MAJORITIES:
        data = cell(scheme, *size)
        asked = data.spectral.notnull()
        assert asked.sum() >= 7, (scheme, size)
        assert (data.spectral >= data.worst_case - 1e-9)[asked].all(), (scheme, size)


# --- random workers ------------------------------------------------------------------------------


def test_all_majority_votes_expect_the_hypergeometric_share():
    for scheme, (workers, copies) in [*MAJORITIES, ("all subsets", (15, 3))]:
        expected = shares(cell(scheme, workers, copies)).expected.dropna("byzantine")
        law = scipy.stats.hypergeom(workers, expected.byzantine.values, copies)
        assert expected.values == pytest.approx(law.sf(copies // 2), abs=1e-12), (scheme, workers)


def test_simulated_votes_lie_at_the_expectation():
    for scheme, size in MAJORITIES:
        data = cell(scheme, *size, draws="300", byzantine="[3, 7]")
        frequent = data.expected * data.draws >= 10
        assert frequent.sum() >= 1, (scheme, size)
        score = (abs(data.simulated - data.expected) / data.simulated_error).where(frequent)
        assert score.max() < 4.5, (scheme, size)


def test_every_draw_equals_the_expectation_where_all_workers_are_alike():
    for scheme in ("no redundancy", "all subsets", WEAK, STRONG, "cyclic code"):
        data = cell(scheme).sel(byzantine=slice(1, 7))
        assert data.simulated.values == pytest.approx(data.expected.values), scheme
        assert (data.simulated_error == 0).all(), scheme


def test_cell_depends_on_its_seed_and_not_on_other_values_of_the_axis():
    known = cell("DETOX", byzantine="[5]")
    assert known.identical(schemes.run(fields("DETOX", byzantine=[5])))
    assert known.simulated.sel(byzantine=5) == cell("DETOX").simulated.sel(byzantine=5)
    other = schemes.run(fields("DETOX", byzantine=[5], seed=1))
    assert known.simulated.sel(byzantine=5) != other.simulated.sel(byzantine=5)


# --- detection and the cyclic code ---------------------------------------------------------------


def test_weak_attack_on_detection_distorts_files_without_honest_copies():
    q = np.arange(1, 8)
    assert cell(WEAK).worst_case.values[:7].tolist() == [comb(k, 3) for k in q]
    assert cell(WEAK).simulated_worst.values[:7].tolist() == [comb(k, 3) for k in q]


def test_strong_attack_on_detection_distorts_more_than_the_published_optimum():
    found = cell(STRONG).simulated_worst.values[:7]
    assert found.tolist() == [0, 2, 15, 40, 80, 155, 266]
    published = [PUBLISHED[label(STRONG, 15, 3)][q] for q in range(2, 8)]
    assert published == [2, 10, 28, 60, 110, 182]


def test_detection_distorts_more_than_a_majority_where_attackers_are_many():
    strong, plain = cell(STRONG).worst_case, cell("all subsets").worst_case
    assert (strong < plain).values[1:5].all()
    assert strong.sel(byzantine=6) == plain.sel(byzantine=6) == 155
    assert (strong.sel(byzantine=7), plain.sel(byzantine=7)) == (266, 203)


def test_cyclic_code_is_exact_up_to_its_limit_and_never_beyond():
    for workers, copies, exact in [(15, 3, 1), (25, 5, 2)]:
        data = cell("cyclic code", workers, copies, draws="2", byzantine="[1, 2, 3]")
        q = data.byzantine.sel(byzantine=slice(1, 3))
        for name in ("simulated_worst", "simulated", "worst_case"):
            assert (data[name].sel(byzantine=q) == (q > exact)).all(), (workers, name)
    for q, copies in [(5, 11), (9, 19)]:
        data = cell("cyclic code", 45, copies, draws="2", byzantine=f"[{q}]").sel(byzantine=q)
        assert (data.simulated_worst, data.simulated) == (0, 0), q


# --- the sweep and its figure --------------------------------------------------------------------


def test_workers_compute_the_same_share_in_every_scheme():
    for size, (_, names) in SMALL.items():
        for name in set(names) - {"no redundancy"}:
            given = fields(name, *size)
            holders = np.array(holders_of(name, *size))
            load = np.bincount(holders.ravel(), minlength=size[0]) / len(holders)
            assert load == pytest.approx(given["copies"] / size[0]), (name, size)


@pytest.fixture
def dataset() -> xr.Dataset:
    """Three arrangements of which q Byzantine workers distort q files; nothing was run."""
    sizes = {label("DETOX", 15, 3): (15, 3, 5), label(STRONG, 15, 3): (15, 3, 455)}
    sizes |= {label("DETOX", 45, 3): (45, 3, 15)}
    q = np.arange(1.0, 11)
    counts = {name: (("arrangement", "byzantine"), np.tile(q, (3, 1))) for name in COUNTS}
    workers, copies, votes = np.array(list(sizes.values()), dtype=float).T
    scalars = {"workers": workers, "copies": copies, "votes": votes, "files": votes}
    about = {"profile": "smoke", "scale": "exact", "hardware": ["none"], "axes": {},
             "failures": {}, "settings": {}}  # fmt: skip
    return xr.Dataset(
        counts
        | {"proven": (("arrangement", "byzantine"), np.ones((3, 10)))}
        | {name: ("arrangement", values) for name, values in scalars.items()},
        {"arrangement": list(sizes), "byzantine": q.astype(int)},
        {"provenance": json.dumps(about)},
    )


def marks(figure: Figure, panel: int, marker: str) -> list[tuple[float, float]]:
    lines = [line for line in figure.axes[panel].get_lines() if line.get_marker() == marker]
    return [(float(x), float(y)) for line in lines for x, y in line.get_xydata()]


def test_figure_shows_worst_cases_and_published_values(dataset):
    figure = draw(schemes.figure, dataset)
    assert len(figure.axes) == 6
    assert (2, 2 / 5) in marks(figure, 0, "s")
    assert dict(marks(figure, 0, "+")) == pytest.approx(
        {q: comb(2 * q, 3) / 2 / 455 for q in range(2, 8)}
    )
    assert any(y == pytest.approx(5 / 15) for _, y in marks(figure, 2, "s"))


def test_figure_opens_marks_that_are_not_proven(dataset):
    def hollow(figure: Figure) -> int:
        return sum(line.get_markerfacecolor() == "white" for line in figure.axes[0].get_lines()
                   if line.get_xydata().size)  # fmt: skip

    doubtful = dataset.assign(proven=0 * dataset.proven, bound=dataset.bound + 1)
    assert hollow(draw(schemes.figure, dataset)) == 0
    assert hollow(draw(schemes.figure, doubtful)) == 2


def test_finding_is_of_the_arrangements_that_were_computed(dataset):
    found = finding(dataset)
    assert "**15 workers, 3 copies, 2 Byzantine**" in found
    assert finding(dataset.where(False)) == "No cell of this dataset is finished."


def test_counts_of_the_figure_are_variables_of_a_cell():
    assert set(COUNTS) == set(schemes.VARIABLES) - {"proven"}
    assert set(LOADS) <= set(SCHEMES)


def refusal(given: dict) -> str:
    try:
        schemes.prepare(given)
    except ValueError as error:
        return str(error)
    return "accepted"


def test_impossible_fields_are_refused():
    cases = [
        ("DETOX", {"byzantin": [1]}, "did you mean 'byzantine'"),
        ("DETOX", {"byzantine": 3}, "byzantine must be a list of integers, got 3"),
        ("DETOX", {"byzantine": []}, r"byzantine must be a list of integers, got \[\]"),
        ("DETOX", {"byzantine": [8]}, "below workers / 2 = 7.5, got 8; use at most 7"),
        ("DETOX", {"byzantine": [0]}, "byzantine must be an integer of 1 or more, got 0"),
        ("DETOX", {"workers": 45, "byzantine": [11]}, "at most 10 and below .* got 11"),
        ("DETOX", {"copies": 4}, "copies must be odd"),
        ("DETOX", {"complete": 1}, "complete is True or False, got 1"),
        ("DETOX", {"draws": 1}, "draws must be an integer of 2 or more, got 1"),
        ("DETOX", {"forged": "everywhre"}, "did you mean 'everywhere'"),
        ("DETOX", {"vote": "majorty"}, "did you mean 'majority'"),
        ("DETOX", {"vote": "clique"}, "unknown assignment with vote clique 'detox'; .*subsets"),
        ("Latin squares", {"copies": 5}, "mols needs workers = load"),
        ("random graph", {"assignment_options": {"laod": 5}}, "did you mean 'load'"),
    ]
    for scheme, changes, message in cases:
        assert re.search(message, refusal(fields(scheme) | changes)), (scheme, changes)
