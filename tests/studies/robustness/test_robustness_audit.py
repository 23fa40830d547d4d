"""The audit of rules: the search finds what is known by hand, and nothing that is disproved."""

import json
import re

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from detox_sim import aggregators, theory
from studies.robustness import robustness_audit as audit
from studies.robustness.robustness_audit_results import finding, ordered, reason
from studies.robustness.worst_rows import (
    DIRECTIONS,
    FAMILIES,
    FORMATIONS,
    Finding,
    centre_of,
    places,
    search,
)
from studies.style import draw

SHARES = [(11, 1), (11, 2), (11, 4)]
BASE = {
    "dimensions": [1, 3],
    "evaluations": 40,
    "largest_scale": 1e4,
    "offset": 3.0,
    "seed": 0,
}


def fields(rule: str, n: int = 11, f: int = 2, **changes) -> dict:
    return audit.prepare(BASE | audit.RULES[rule] | {"workers": n, "byzantine": f} | changes)


def cell_of(given: dict) -> xr.Dataset:
    return audit.derive(given, audit.run(given))


def worst(rule: str, n: int = 11, f: int = 2, **changes) -> float:
    return float(audit.run(fields(rule, n, f, **changes)).ratio.max())


def attack(rule, honest, byzantine: int, **changes) -> Finding:
    options = {"evaluations": 200, "largest_scale": 1e4, "rng": np.random.default_rng(0)}
    return search(rule, np.array(honest), byzantine, **options | changes)


def kappa(output: np.ndarray, honest: np.ndarray) -> float:
    """The definition, in plain loops."""
    mean = sum(honest) / len(honest)
    spread = sum(sum((row - mean) ** 2) for row in honest) / len(honest)
    return sum((output - mean) ** 2) / spread


def test_every_rule_of_gradients_is_audited():
    audited = {rule["aggregator"] for rule in audit.RULES.values()}
    assert audited == set(aggregators.__all__) - {"sign_majority"}


def test_mean_moves_with_the_scale_as_computed_by_hand():
    for scale in (10.0, 1e3, 1e5):
        found = worst("mean", largest_scale=scale)
        assert found == pytest.approx((2 / 11 * scale) ** 2), scale


def test_robust_rules_do_not_move_with_the_scale():
    for rule in ("median", "trimmed mean", "Krum", "MDA", "NNM + median", "CAF"):
        far, near = (worst(rule, largest_scale=scale) for scale in (1e5, 10.0))
        assert far < 2 * near < 20, rule


def test_search_finds_the_known_worst_of_the_median():
    cases = [
        ([0, 2], 1, 1.0),  # either honest row can be made the median
        ([0, 0, 1, 1], 1, 1.0),
        ([0, 0, 0, 1], 1, 1 / 3),  # no majority for the one
        ([0, 0, 0, 0, 0, 1, 1, 1, 1], 2, 1.25),  # share 4 / 9 apart: (1 - s) / s
        ([0, 0, 0, 0, 0, 1, 1], 4, 2.5),
    ]
    for honest, f, known in cases:
        found = attack(lambda rows: np.median(rows, axis=0), np.array(honest)[:, None], f)
        assert found.ratio == pytest.approx(known, rel=0.03), honest
    for n, f in SHARES:
        share = (n // 2 + 1 - f) / (n - f)
        ratio = float(audit.run(fields("median", n, f)).ratio.sel(family="close vote"))
        assert ratio == pytest.approx((1 - share) / share, rel=0.01), (n, f)


def test_search_finds_a_planted_weakness():
    """Rows within 3 of the origin along one hidden direction count, all others are zero."""
    for dimension in (1, 2, 5):
        hidden = np.random.default_rng(7).standard_normal(dimension)
        hidden /= np.linalg.norm(hidden)

        def rule(rows, hidden=hidden):
            along = rows @ hidden
            return np.where(abs(along) <= 3, along, 0.0).mean() * hidden

        honest = 0.3 * np.random.default_rng(8).standard_normal((8, dimension))
        honest -= honest.mean(axis=0)
        spread = np.sqrt((honest**2).sum(axis=1).mean())
        known = (2 * 3 / 10 / spread) ** 2
        found = attack(rule, honest, 2, evaluations=600).ratio
        assert 0.9 * known < found < known * (1 + 1e-9), dimension


FOUND_BY_SEARCH = {
    name: [
        row.value
        for row in theory.COEFFICIENTS
        if row.rule == rule["aggregator"] and rule["mixer"] is None and "search" in row.tag
    ]
    for name, rule in audit.RULES.items()
}


@pytest.mark.parametrize("rule", audit.RULES)
def test_ratio_lies_between_the_lower_bound_and_the_proven_one(rule):
    for n, f in SHARES:
        cell = cell_of(fields(rule, n, f))
        if reason(cell):
            assert cell.ratio.isnull().all(), (n, f)
            continue
        found = float(cell.ratio.max())
        assert found >= float(cell.lower_bound) * (1 - 1e-6), (n, f)
        assert not found > float(cell.upper_bound) * (1 + 1e-9), (n, f)
        for value in FOUND_BY_SEARCH.get(rule, []):
            assert found <= value(n, f) * (1 + 1e-6), (n, f)
        given = cell.ratio.sel(family=list(FAMILIES)).max()
        moved = float(cell.ratio.sel(family=audit.MOVED))
        assert moved >= float(given) * (1 - 1e-6), (n, f)
        assert (cell.ratio >= cell.unrefined * (1 - 1e-6)).all(), (n, f)
        assert (cell["scale"] <= 1e4 * (1 + 1e-9)).all(), (n, f)
        assert (cell.evaluations <= 40 * 2).all(), (n, f)


def test_bounds_are_those_of_the_rule_and_its_options():
    """The run does not hold them, so that stored cells have those of today."""
    quick = {"dimensions": [1], "evaluations": 8}
    assert not {"upper_bound", "exact", "lower_bound"} & set(audit.run(fields("Krum", **quick)))
    for rule, changes, bound, exact in [
        ("trimmed mean", {}, 2 / 7, 1),
        ("trimmed mean", {"options": {"trim": 3}}, 3 / 6, 1),
        ("trimmed mean", {"options": {"trim": 1}}, np.nan, 0),
        ("NNM + trimmed mean", {}, 16 / 7, 0),
        ("median", {}, 5 / 4, 1),
        ("median", {"options": {"middle": "lower"}}, np.nan, 0),
        ("geometric median", {}, 4 * (9 / 7) ** 2, 0),
        ("CGE", {}, np.nan, 0),
    ]:
        cell = cell_of(fields(rule, **changes, **quick))
        assert float(cell.upper_bound) == pytest.approx(bound, nan_ok=True), (rule, changes)
        assert cell.exact == exact, (rule, changes)
        assert float(cell.lower_bound) == pytest.approx(2 / 7)


def test_rows_of_a_finding_give_its_ratio():
    for rule in ("Krum", "median of means", "CGE", "DnC"):
        cell = fields(rule)
        honest = audit.honest_rows("heavy tails", cell, 3)
        real = getattr(aggregators, cell["aggregator"])
        found = attack(lambda rows, real=real: real(rows, byzantine=2), honest, 2)
        mask = places(11, 2)
        spread = np.sqrt(((honest - honest.mean(axis=0)) ** 2).sum(axis=1).mean())
        rows = honest.mean(axis=0) + spread * found.rows
        np.testing.assert_allclose(rows[~mask], honest, atol=1e-9, err_msg=rule)
        expected = kappa(real(rows, byzantine=2), honest)
        assert found.ratio == pytest.approx(expected, rel=1e-6), rule
        assert found.scale == pytest.approx(np.linalg.norm(found.rows[mask], axis=1).max()), rule


def test_ratio_of_moved_honest_rows_is_that_of_the_definition():
    cell = fields("Krum")
    start = [audit._attacked(family, cell, 1) for family in ("normal", "f apart")]
    found = audit._moved(start, cell)
    mask = places(11, 2)
    output = aggregators.krum(found.rows, byzantine=2)
    assert found.ratio == pytest.approx(kappa(output, found.rows[~mask]), rel=1e-6)
    assert found.ratio >= max(one.ratio for one in start) * (1 - 1e-6)


def test_rules_that_keep_n_minus_f_rows_have_the_same_worst_input():
    """The f honest rows apart are left out for Byzantine ones just nearer on the other side."""
    honest = np.array([[-1.0]] * 4 + [[0.0]] * 3)
    for rule in ("SMEA", "MDA", "Phocas", "MeaMed", "NNM + trimmed mean"):
        bound_rule = audit._bound_rule(fields(rule, 11, 4), 1.0)
        found = attack(bound_rule, honest, 4, evaluations=400)
        assert found.ratio > 0.97 * 16 / 3, rule
        if rule != "MeaMed":  # whose worst input is another
            assert found.ratio <= 16 / 3 * (1 + 1e-9), rule


def test_dnc_fails_for_a_staggered_pair():
    rows = np.array([[0.0], [0.0], [0.0], [1e3], [1e4]])
    assert aggregators.dnc(rows, byzantine=2) == pytest.approx(1e3 / 3)
    assert worst("DnC", 11, 1) < 1 < 1e5 < worst("DnC", 11, 2)


def test_fltrust_returns_its_trusted_row_when_no_other_points_its_way():
    honest = np.array([[5.0], *[[-1.0]] * 6])
    found = attack(lambda rows: aggregators.fltrust(rows, byzantine=4), honest, 4)
    assert found.ratio == pytest.approx(6.0)  # n - f - 1


def test_cge_depends_on_where_the_origin_is():
    near, far = (worst("CGE", offset=offset) for offset in (3.0, 30.0))
    assert far > 20 * near
    assert worst("Krum", offset=30.0) == pytest.approx(worst("Krum", offset=3.0), rel=0.5)


def test_honest_rows_are_as_described():
    cell = fields("median")
    for family in FAMILIES:
        rows = audit.honest_rows(family, cell, 3)
        np.testing.assert_array_equal(rows, audit.honest_rows(family, fields("Krum"), 3))
        centre, spread = centre_of(rows)
        assert rows.shape == (9, 3)
        assert np.linalg.norm(centre) == pytest.approx(3 * spread)
        assert not np.array_equal(rows, audit.honest_rows(family, cell | {"seed": 1}, 3))
    apart = {"one apart": 1, "f apart": 2, "close vote": 4}
    for family, count in apart.items():
        rows = audit.honest_rows(family, cell, 3).round(9)
        assert (rows == rows[0]).all(axis=1).sum() == count


def test_places_leave_the_trusted_row_honest():
    for n in range(3, 25):
        for f in range(1, (n + 1) // 2):
            mask = places(n, f)
            assert mask.sum() == f, (n, f)
            assert not mask[0], (n, f)


def test_same_fields_give_the_same_bits():
    first, again = (audit.run(fields("Krum")) for _ in range(2))
    assert first.identical(again)
    assert not first.identical(audit.run(fields("Krum", seed=1)))


def test_search_makes_no_more_evaluations_than_allowed():
    calls = []

    def rule(rows):
        calls.append(rows)
        return rows.mean(axis=0)

    found = attack(rule, [[0.0, 1.0], [2.0, 0.0], [1.0, 5.0]], 2, evaluations=50)
    assert len(calls) == found.evaluations <= 50


def test_rule_that_returns_nan_is_an_error():
    with pytest.raises(ValueError, match="not finite for the rows"):
        attack(lambda rows: rows[0] * np.nan, [[0.0], [1.0]], 1)


def test_reason_says_why_a_rule_is_not_run():
    cases = [
        ("Bulyan", 11, 4, "too few rows"),
        ("Krum", 5, 2, "too few rows"),
        ("NNM + Krum", 5, 2, "too few rows"),
        ("SMEA", 20, 4, "too many subsets"),
        ("MDA", 20, 4, ""),
    ]
    for rule, n, f, text in cases:
        cell = audit.run(fields(rule, n, f, dimensions=[1], evaluations=8))
        assert reason(cell) == text, (rule, n, f)
        assert cell.ratio.isnull().all() == bool(text), (rule, n, f)


def refusal(given: dict) -> str:
    try:
        audit.prepare(given)
    except ValueError as error:
        return str(error)
    return "accepted"


def test_impossible_fields_are_refused():
    cases = [
        ({"sed": 1}, "did you mean 'seed'"),
        ({"byzantine": 0}, "byzantine must be an integer of 1 or more"),
        ({"byzantine": 6}, "needs n > 2 \\* byzantine = 12 rows, got workers=11.*<= 5"),
        ({"evaluations": 7}, "evaluations must be an integer of 8 or more"),
        ({"dimensions": 3}, "dimensions must be a list"),
        ({"dimensions": []}, "dimensions must be a list"),
        ({"dimensions": [0]}, "dimensions must be an integer of 1 or more"),
        ({"largest_scale": float("inf")}, "largest_scale must be finite"),
        ({"largest_scale": "far"}, "largest_scale must be a number"),
        ({"offset": -1.0}, "offset must be finite and 0 or more"),
        ({"aggregator": "medain"}, "did you mean 'median'"),
        ({"aggregator": "sign_majority"}, "sign_majority returns signs; use median"),
        ({"mixer": "bucketing"}, "unknown mixer of robustness_audit 'bucketing'"),
        ({"options": {"radios": 1}}, "unknown option of median 'radios'"),
        ({"options": None}, "options must be a mapping"),
    ]
    for changes, message in cases:
        found = refusal(fields("median") | changes)
        assert re.search(message, found), (changes, found)


@pytest.fixture
def dataset() -> xr.Dataset:
    """Made-up ratios of four rules in two settings; Bulyan is not run in the second.

    The median's bound counts as exact.
    """
    rules, settings = ["mean", "median", "Bulyan", "NNM + median"], ["n=11, f=2", "n=11, f=4"]
    families = [*FAMILIES, audit.MOVED]
    ratio = np.outer([1e4, 2.0, 3.0, 4.0], np.ones(2))[..., None, None] * np.ones(len(families))
    ratio[2, 1] = np.nan
    axes = ("rule", "setting", "seed")
    not_run = np.zeros((4, 2, 1))
    not_run[2, 1] = 1
    bounds = {"lower_bound": [2 / 7, 4 / 3], "upper_bound": [6.0, 21.0]}
    exact = np.zeros((4, 2, 1))
    exact[1] = 1
    about = {"profile": "smoke", "scale": "made up", "settings": {}, "failures": {}}
    about |= {"axes": {"seed": [0]}, "hardware": ["none"]}
    return xr.Dataset(
        {"ratio": ((*axes, "family"), ratio), "not_run": (axes, not_run), "exact": (axes, exact)}
        | {k: (axes, np.tile(np.array(v)[None, :, None], (4, 1, 1))) for k, v in bounds.items()},
        {"rule": rules, "setting": settings, "seed": [0], "family": families},
        {"provenance": json.dumps(about)},
    )


def test_figure_orders_rules_and_names_what_is_not_run(dataset, monkeypatch):
    monkeypatch.setattr(audit, "search", None)
    monkeypatch.setattr(audit, "honest_rows", None)
    figure = draw(audit.figure, dataset)
    assert [ax.get_title() for ax in figure.axes] == list(dataset.setting.values)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ordered(dataset)
    assert names[-1] == "mean"
    assert [text.get_text() for text in figure.axes[1].texts] == ["too few rows"]
    holes = dataset.astype(float).where(dataset.rule != "median").assign_attrs(dataset.attrs)
    assert isinstance(draw(audit.figure, holes), Figure)
    assert isinstance(draw(audit.figure, holes.where(holes.rule == "Bulyan")), Figure)


def test_finding_counts_what_the_dataset_has(dataset):
    found = finding(dataset)
    assert "median (n=11, f=2: 7.00 times it); median (n=11, f=4: 1.50 times it)" in found
    assert "**Ratios above 200**: mean (n=11, f=2; n=11, f=4)" in found
    assert "median lower in 0, higher in 2 of 2 settings" in found
    assert "exceeds 2 of 7" in found
    assert found.splitlines()[-1].endswith("where it is known: median 10% to 33%.")
    older = finding(dataset.drop_vars("exact"))
    assert older.splitlines()[-1].endswith("where it is known: not run.")
    assert finding(dataset.where(False)) == "No cell of this dataset is finished."


def test_cell_names_families_and_flags():
    cell = audit.run(fields("median", dimensions=[1], evaluations=8))
    assert list(cell.family.values) == [*FAMILIES, audit.MOVED]
    assert cell.formation.attrs["flag_meanings"].split() == list(FORMATIONS)
    assert cell.direction.attrs["flag_meanings"].split() == list(DIRECTIONS)
