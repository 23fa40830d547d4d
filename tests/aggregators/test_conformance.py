"""Numbers that tell the published definitions apart; none of them was computed by this project.

`conformance.json` is a list of cases. ``definition`` says which definition gives the number and
who uses it, ``source`` how the number was found; ``"ours": false`` marks a definition that no
option of ours has.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from detox_sim import aggregators, attacks, mixers, voting
from detox_sim.messages import Messages

CASES = json.loads(Path(__file__).with_name("conformance.json").read_text())
KINDS = ("rule", "mixer", "attack", "vote")
OURS = [case for case in CASES if case.get("ours", True)]


def kind_and_name(case):
    (kind,) = [kind for kind in KINDS if kind in case]
    return kind, case[kind]


def title(case):
    return f"{kind_and_name(case)[1]}: {case['definition']}"


def options_of(case, dtype):
    options = dict(case["options"])
    if isinstance(options.get("start"), list):
        options["start"] = np.array(options["start"], dtype)
    return options


def rule(name, rows, options, byzantine):
    return getattr(aggregators, name)(rows, byzantine=byzantine, **options)


def mixer(name, rows, options, byzantine):
    rng = np.random.default_rng(0)
    return getattr(mixers, name)(rows, byzantine=byzantine, rng=rng, **options)


def attack(name, rows, options, byzantine):
    """The rows are honest; one more node, whose own row does not count, is forged."""
    rows = np.concatenate([rows, 1e3 * np.ones_like(rows[:1])])
    forged = np.arange(len(rows))[:, None] == len(rows) - 1
    messages = getattr(attacks, name)(rows, forged, rng=None, **options)
    return messages.rows[messages.row_of[-1, 0]]


def vote(name, rows, options, byzantine):
    """The rows are the copies of one file."""
    return getattr(voting, name)(Messages(rows, np.arange(len(rows))[None, :])).rows[0]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", OURS, ids=title)
def test_our_function_gives_the_number(case, dtype):
    kind, name = kind_and_name(case)
    rows = np.array(case["rows"], dtype)
    got = globals()[kind](name, rows, options_of(case, dtype), case.get("byzantine"))
    assert got.shape == np.shape(case["expected"])
    tolerance = 1e-6 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(got, case["expected"], rtol=tolerance, atol=tolerance)


def same_input(case):
    return json.dumps([*kind_and_name(case), case["rows"], case.get("byzantine")])


INPUTS = [list(some) for _, some in itertools.groupby(sorted(CASES, key=same_input), same_input)]


@pytest.mark.parametrize("some", INPUTS, ids=lambda some: title(some[0]))
def test_definitions_of_one_input_differ_in_the_number(some):
    for one, other in itertools.combinations(some, 2):
        if one["definition"] != other["definition"]:
            assert np.shape(one["expected"]) != np.shape(other["expected"]) or not np.allclose(
                one["expected"], other["expected"], rtol=1e-4
            )
        else:
            assert one["expected"] == other["expected"]


@pytest.mark.parametrize("kind", ["rule", "mixer"])
def test_every_entry_has_a_case(kind):
    catalogue = {"rule": aggregators, "mixer": mixers}[kind]
    assert {case[kind] for case in OURS if kind in case} == set(catalogue.__all__)


def test_cases_say_who_and_how():
    known = {*KINDS, "options", "byzantine", "rows", "expected", "definition", "source", "ours"}
    for case in CASES:
        assert set(case) <= known
        assert case["definition"]
        assert case["source"] in ("by hand", "exact arithmetic")
