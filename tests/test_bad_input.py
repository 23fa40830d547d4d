"""Bad input of public functions, and of functions from outside: each is refused in one line."""

import dataclasses
import inspect

import numpy as np
import pytest

from detox_sim import (
    Trial,
    aggregators,
    assignments,
    placements,
    planning,
    sweep,
    theory,
    train,
)

WRONG = (None, -1, "nosuch", [], {}, 1.5, float("nan"), True, b"x")
FIELDS = [field.name for field in dataclasses.fields(Trial)]
ALLOWED = {  # what `WRONG` has that a field may be
    "groups": [None],
    "encoding": [None],
    "mixers": [[], {}],
    "channels_last": [True],
    **{name: [1.5] for name in ("rate", "momentum", "worker_momentum", "decay")},
    **{name: [{}] for name in FIELDS if name.endswith("_options")},
}
ROWS = np.zeros((15, 3), np.float32)
WRONG_ROWS = (
    *(None, 3, "x", [], [[1.0]], ROWS[0], ROWS[:0], ROWS[:, :0]),
    *(ROWS.astype(int), ROWS.astype(object)),
)
WRONG_BYZANTINE = (None, -1, 1.5, "x", float("nan"))
WRONG_SIZES = (
    *((0, 1), (-1, 3), (15, 0), (15, -3), (15, 16), (1.5, 3), (15, 1.5), ("x", 3), (15, None)),
    *((float("nan"), 3), (15, 3.0)),
)

OUTSIDE = """
import numpy as np
def none(*_, **__): return None
def numbers(*_, **__): return [0.0]
def array(*_, **__): return np.zeros(7)
def key(*_, **__): raise KeyError("a")
def nan(rows, *, byzantine): return np.full(rows.shape[1], np.nan, np.float32)
def double(rows, *, byzantine): return rows.mean(axis=0).astype(float)
def same(rows, *, byzantine): return rows
"""
STAGES = {  # field -> functions from outside that do not fit, and what the error begins with
    "outer": (("none", "numbers", "array", "key", "double", "same"), "outer: "),
    "inner": (("none", "numbers", "array", "key", "double", "same"), "inner: "),
    "attack": (("none", "numbers", "array", "key"), "attack: "),
    "mixers": (("none", "numbers", "key"), "mixers: "),
    "model": (("none", "numbers", "array", "key"), "model: "),
    "data": (("none", "numbers", "array", "key"), "data: "),
    "assignment": (("none", "numbers", "array", "key"), "assignment: "),
    "placement": (("none", "numbers", "array", "key"), "placement: "),
    "vote": (("none", "numbers", "array", "key"), "vote: "),
    "partition": (("none", "numbers", "array", "key"), "partition: "),
}


def calls(module):
    """Return (what is called, how its error begins, the call) for each kind of bad input."""
    found = []
    for field in FIELDS:
        for value in WRONG:
            if repr(value) not in map(repr, ALLOWED.get(field, [])):
                found.append((f"Trial({field}={value!r})", "", _call(Trial, **{field: value})))
    for field, (names, begins) in STAGES.items():
        for name in names:
            value = f"{module}:{name}"
            fields = {field: [value] if field == "mixers" else value}
            if field == "outer":
                fields |= {"groups": None, "inner": None}
            found.append((f"Trial({field}={name})", begins, _call(Trial, **fields)))
    begins = f"the rules (mean, {module}:nan) return nan"
    found.append(("nan", begins, _call(Trial, groups=3, outer=f"{module}:nan")))
    begins = f"attack: KeyError: 'a' (in key, {module}.py line"
    found.append(("line", begins, _call(Trial, attack=f"{module}:key")))
    for name in aggregators.__all__:
        options = {"radius": 1.0} if name == "centered_clipping" else {}
        rule = getattr(aggregators, name)
        for rows in WRONG_ROWS:
            given = options | ({"byzantine": 1} if _takes(rule, "byzantine") else {})
            found.append((f"{name}({rows!r})", "", _call(rule, rows, **given)))
        for value in WRONG_BYZANTINE if _takes(rule, "byzantine") else ():
            found.append((f"{name}, {value!r}", "", _call(rule, ROWS, byzantine=value, **options)))
    for name in assignments.__all__:
        for sizes in WRONG_SIZES:
            call = _call(getattr(assignments, name), *sizes, rng=None)
            found.append((f"{name}{sizes}", "", call))
    for value in (None, {}, "x", 3, Trial):
        found.append((f"train({value!r})", "train needs a Trial", _call(train, value)))
    for value in (None, {}, 3, "x", [1]):
        found.append((f"sweep(axes={value!r})", "axes must be", _call(sweep, {}, value)))
        found.append((f"sweep(base={value!r})", "", _call(sweep, value, {"steps": []})))
    for value in ([["nnm"]], [{"steps": 3}]):
        call = _call(sweep, {}, {"mixers": value})
        found.append((f"axis {value!r}", "axis 'mixers' has values that are lists", call))
    found.append(
        ("vote", "an axis cannot be called 'vote'", _call(sweep, {}, {"vote": ["clique"]}))
    )
    for axes in (
        {"seed": [0, 1], "rule": {"a": {"seed": 5}, "b": {}}},
        {"rule": {"a": {"outer": "median"}}, "kind": {"b": {"steps": 1}, "c": {"outer": "krum"}}},
    ):
        one, other = axes
        begins = f"axes {one!r} and {other!r} both set the field"
        found.append((f"axes {axes}", begins, _call(sweep, {}, axes)))
    found.append(("risk", "risk must be a chance", _call(planning.plan, 9, 1, risk=2)))
    coefficient = _call(theory.robustness_coefficient, "medan", 15, 2)
    found.append(("medan", "unknown aggregator 'medan'; did you mean 'median'?", coefficient))
    workers = np.arange(9).reshape(3, 3)
    call = _call(placements.fixed, workers, 10, np.random.default_rng(0))
    found.append(("placement", "byzantine must be at most the 9 workers, got 10", call))
    for value in (3, "ab", [], {}, None, {"a": 3}):
        found.append((f"axis {value!r}", "axis 'steps' needs", _call(sweep, {}, {"steps": value})))
    return found


def _takes(function, name):
    return name in inspect.signature(function).parameters


def _call(function, *arguments, **options):
    return lambda: function(*arguments, **options)


@pytest.mark.filterwarnings("ignore")
def test_bad_input_is_one_line_that_says_what_is_wrong(tmp_path, monkeypatch):
    (tmp_path / "unfit.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    wrong, tried = [], calls("unfit")
    assert len(tried) > 600
    for what, begins, call in tried:
        try:
            call()
        except ValueError as error:
            said = str(error)
            if "\n" in said or not said.startswith(begins):
                wrong.append((what, said))
        except Exception as error:
            wrong.append((what, repr(error)))
        else:
            wrong.append((what, "accepted"))
    assert wrong == []
