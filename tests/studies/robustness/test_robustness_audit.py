"""The audit of rules: the adversary finds what is known by hand, and nothing that is disproved."""

import json

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from detox_sim import aggregators
from detox_sim.sweeps import assemble
from detox_sim.sweeps.store import Store
from studies.robustness import robustness_audit as audit
from studies.style import draw
from studies.workflow.plans import make_plans

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


def worst(rule: str, n: int = 11, f: int = 2, **changes) -> float:
    return float(audit.run(fields(rule, n, f, **changes)).ratio.max())


def attack(rule, honest, byzantine: int, **changes) -> audit.Finding:
    options = {"evaluations": 200, "largest_scale": 1e4, "rng": np.random.default_rng(0)}
    return audit.search(rule, np.array(honest), byzantine, **options | changes)


def kappa(output: np.ndarray, honest: np.ndarray) -> float:
    """The definition, in plain loops."""
    mean = sum(honest) / len(honest)
    spread = sum(sum((row - mean) ** 2) for row in honest) / len(honest)
    return sum((output - mean) ** 2) / spread


def test_every_rule_of_gradients_is_audited():
    audited = {rule["aggregator"] for rule in audit.RULES.values()}
    assert audited == set(aggregators.__all__) - {"sign_majority"}


@pytest.mark.parametrize("scale", [10.0, 1e3, 1e5])
def test_the_mean_grows_with_the_scale_as_computed_by_hand(scale):
    assert worst("mean", largest_scale=scale) == pytest.approx((2 / 11 * scale) ** 2)


@pytest.mark.parametrize("rule", ["median", "trimmed mean", "Krum", "MDA", "NNM + median", "CAF"])
def test_a_robust_rule_does_not_grow_with_the_scale(rule):
    assert worst(rule, largest_scale=1e5) < 2 * worst(rule, largest_scale=10.0) < 20


@pytest.mark.parametrize(
    ("honest", "f", "known"),
    [
        ([0, 2], 1, 1.0),  # either honest row can be made the median
        ([0, 0, 1, 1], 1, 1.0),
        ([0, 0, 0, 1], 1, 1 / 3),  # no majority for the one
        ([0, 0, 0, 0, 0, 1, 1, 1, 1], 2, 1.25),  # share 4 / 9 apart: (1 - s) / s
        ([0, 0, 0, 0, 0, 1, 1], 4, 2.5),
    ],
)
def test_the_worst_of_the_median_is_found(honest, f, known):
    found = attack(lambda rows: np.median(rows, axis=0), np.array(honest)[:, None], f)
    assert found.ratio == pytest.approx(known, rel=0.03)


@pytest.mark.parametrize(("n", "f"), SHARES)
def test_what_is_known_by_hand_is_found_in_a_cell(n, f):
    share = (n // 2 + 1 - f) / (n - f)
    ratio = audit.run(fields("median", n, f)).ratio
    assert float(ratio.sel(family="close vote")) == pytest.approx((1 - share) / share, rel=0.01)


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_a_planted_weak_spot_is_found(dimension):
    """Rows within 3 of the origin along one hidden direction are believed, all others are zero."""
    hidden = np.random.default_rng(7).standard_normal(dimension)
    hidden /= np.linalg.norm(hidden)

    def rule(rows):
        along = rows @ hidden
        return np.where(abs(along) <= 3, along, 0.0).mean() * hidden

    honest = 0.3 * np.random.default_rng(8).standard_normal((8, dimension))
    honest -= honest.mean(axis=0)
    spread = np.sqrt((honest**2).sum(axis=1).mean())
    known = (2 * 3 / 10 / spread) ** 2
    found = attack(rule, honest, 2, evaluations=600).ratio
    assert 0.9 * known < found < known * (1 + 1e-9)


@pytest.mark.parametrize("rule", audit.RULES)
@pytest.mark.parametrize(("n", "f"), SHARES)
def test_between_the_least_possible_and_the_proven(rule, n, f):
    cell = audit.run(fields(rule, n, f))
    if audit.reason(cell):
        assert cell.ratio.isnull().all()
        return
    assert float(cell.ratio.max()) >= audit.least_kappa(n, f) * (1 - 1e-6)
    assert not float(cell.ratio.max()) > float(cell.bound)
    given = cell.ratio.sel(family=list(audit.FAMILIES)).max()
    assert float(cell.ratio.sel(family=audit.MOVED)) >= float(given) * (1 - 1e-6)
    assert (cell.ratio >= cell.unrefined * (1 - 1e-6)).all()
    assert (cell["scale"] <= 1e4 * (1 + 1e-9)).all()
    assert (cell.evaluations <= 40 * 2).all()


def test_bounds_by_hand():
    known = {"krum": 8.0, "geometric_median": 64 / 9, "median": 64 / 9, "trimmed_mean": 8 / 3}
    for name, value in known.items():
        assert audit.bound(name, None, 8, 2) != pytest.approx(value)
        assert audit.bound(name, None, 10, 2) == pytest.approx(value)
        assert audit.bound(name, "nnm", 10, 2) == pytest.approx(2 * (1 + value))
    assert audit.bound("smea", None, 10, 2) == pytest.approx(16 / 9)
    assert np.isnan(audit.bound("cge", None, 10, 2))
    assert np.isnan(audit.bound("median", "arc", 10, 2))


def test_other_options_have_no_bound():
    assert np.isnan(audit.run(fields("trimmed mean", options={"trim": 1})).bound)
    assert audit.run(fields("geometric median")).bound > 0


@pytest.mark.parametrize("rule", ["Krum", "median of means", "CGE", "DnC"])
def test_the_rows_of_a_finding_give_its_ratio(rule):
    cell = fields(rule)
    honest = audit.honest_rows("heavy tails", cell, 3)
    real = getattr(aggregators, cell["aggregator"])
    found = attack(lambda rows: real(rows, byzantine=2), honest, 2)
    bad = audit.places(11, 2)
    spread = np.sqrt(((honest - honest.mean(axis=0)) ** 2).sum(axis=1).mean())
    rows = honest.mean(axis=0) + spread * found.rows
    np.testing.assert_allclose(rows[~bad], honest, atol=1e-9)
    assert found.ratio == pytest.approx(kappa(real(rows, byzantine=2), honest), rel=1e-6)
    assert found.scale == pytest.approx(np.linalg.norm(found.rows[bad], axis=1).max())


def test_moved_honest_rows_are_still_counted_by_the_definition():
    cell = fields("Krum")
    start = [audit._attacked(family, cell, 1) for family in ("normal", "f apart")]
    found = audit._moved(start, cell)
    bad = audit.places(11, 2)
    output = aggregators.krum(found.rows, byzantine=2)
    assert found.ratio == pytest.approx(kappa(output, found.rows[~bad]), rel=1e-6)
    assert found.ratio >= max(one.ratio for one in start) * (1 - 1e-6)


@pytest.mark.parametrize("rule", ["SMEA", "MDA", "Phocas", "MeaMed", "NNM + trimmed mean"])
def test_rules_that_keep_n_minus_f_rows_share_a_weak_spot(rule):
    """The f honest rows apart are left out for Byzantine ones just nearer on the other side."""
    honest = np.array([[-1.0]] * 4 + [[0.0]] * 3)
    cell = audit._bound_rule(fields(rule, 11, 4), 1.0)
    found = attack(cell, honest, 4, evaluations=400)
    assert found.ratio > 0.97 * 16 / 3
    if rule != "MeaMed":  # its weakest spot is another
        assert found.ratio <= 16 / 3 * (1 + 1e-9)


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
    for family in audit.FAMILIES:
        rows = audit.honest_rows(family, cell, 3)
        np.testing.assert_array_equal(rows, audit.honest_rows(family, fields("Krum"), 3))
        centre, spread = audit.centre_of(rows)
        assert rows.shape == (9, 3)
        assert np.linalg.norm(centre) == pytest.approx(3 * spread)
        assert not np.array_equal(rows, audit.honest_rows(family, cell | {"seed": 1}, 3))
    apart = {"one apart": 1, "f apart": 2, "close vote": 4}
    for family, count in apart.items():
        rows = audit.honest_rows(family, cell, 3).round(9)
        assert (rows == rows[0]).all(axis=1).sum() == count


def test_places_spare_the_trusted_row():
    for n in range(3, 25):
        for f in range(1, (n + 1) // 2):
            bad = audit.places(n, f)
            assert bad.sum() == f
            assert not bad[0]


def test_the_same_fields_give_the_same_bits():
    first, again = (audit.run(fields("Krum")) for _ in range(2))
    assert first.identical(again)
    assert not first.identical(audit.run(fields("Krum", seed=1)))


def test_the_search_keeps_to_its_budget():
    calls = []

    def rule(rows):
        calls.append(rows)
        return rows.mean(axis=0)

    found = attack(rule, [[0.0, 1.0], [2.0, 0.0], [1.0, 5.0]], 2, evaluations=50)
    assert len(calls) == found.evaluations <= 50


def test_a_rule_that_returns_nan_is_an_error():
    with pytest.raises(ValueError, match="not finite for the rows"):
        attack(lambda rows: rows[0] * np.nan, [[0.0], [1.0]], 1)


@pytest.mark.parametrize(
    ("rule", "n", "f", "text"),
    [
        ("Bulyan", 11, 4, "too few rows"),
        ("Krum", 5, 2, "too few rows"),
        ("NNM + Krum", 5, 2, "too few rows"),
        ("SMEA", 20, 4, "too many subsets"),
        ("MDA", 20, 4, ""),
    ],
)
def test_why_a_rule_is_left_out(rule, n, f, text):
    cell = audit.run(fields(rule, n, f, dimensions=[1], evaluations=8))
    assert audit.reason(cell) == text
    assert cell.ratio.isnull().all() == bool(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
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
    ],
)
def test_bad_fields_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        audit.prepare(fields("median") | changes)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Run a few rules of the smoke profile; return the dataset as it was read from its file."""
    store = Store(tmp_path_factory.mktemp("cells"))
    rules = ["mean", "median", "Bulyan", "NNM + median"]
    [plan] = make_plans(["robustness_audit"], "smoke", {"rule": rules})
    record = {"packages": {}, "commit": None, "dirty": None, "host": "here"}
    record |= {"hardware": "x86_64, 2 cores", "time": "2026-01-01", "seconds": 1.0}
    for cell in plan.cells:
        store.write(cell, cell.run(cell.fields), dict(record))
    about = {"scale": audit.STUDY.scale, "profile": "smoke", "settings": plan.settings}
    path = store.folder / "all.nc"
    assemble(plan.cells, plan.axes, store, about).to_netcdf(path, engine="netcdf4")
    with xr.open_dataset(path, engine="netcdf4") as dataset:
        return dataset.load()


def test_a_figure_needs_only_the_dataset(stored, monkeypatch):
    monkeypatch.setattr(audit, "search", None)
    monkeypatch.setattr(audit, "honest_rows", None)
    figure = draw(audit.figure, stored)
    assert isinstance(figure, Figure)
    assert [ax.get_title() for ax in figure.axes] == list(stored.setting.values)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == audit.ordered(stored)
    assert names[-1] == "mean"
    assert [text.get_text() for text in figure.axes[1].texts] == ["too few rows"]


def test_a_figure_survives_failed_cells(stored):
    holes = stored.astype(float).where(stored.rule != "median").assign_attrs(stored.attrs)
    assert isinstance(draw(audit.figure, holes), Figure)
    assert isinstance(draw(audit.figure, holes.where(holes.rule == "Bulyan")), Figure)


def test_the_dataset_keeps_what_was_asked(stored):
    assert stored.ratio.dims == ("rule", "setting", "seed", "family")
    assert list(stored.family.values) == [*audit.FAMILIES, audit.MOVED]
    assert stored.play.attrs["flag_meanings"].split() == list(audit.PLAYS)
    assert json.loads(stored.attrs["provenance"])["failures"] == {}
    assert float(stored.bound.sel(rule="median", setting="n=11, f=2").squeeze()) == pytest.approx(
        4 * (1 + 2 / 7) ** 2
    )


@pytest.mark.parametrize("profile", audit.PROFILES)
def test_cells_expect_what_they_cost(profile):
    [plan] = make_plans(["robustness_audit"], profile, {})
    seconds = [cell.seconds for cell in plan.cells]
    assert 0 < min(seconds) < max(seconds) < 20
    assert sum(seconds) < 90
