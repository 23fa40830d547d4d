"""Numbers that tell the published definitions apart; none of them was computed by this project.

`conformance.json` is a list of cases. ``definition`` says which definition gives the number and
who uses it, ``source`` how the number was found; ``"ours": false`` marks a definition that no
option of ours has. One case of a rule states its published condition in ``needs``.
"""

import itertools
import json

import numpy as np
import pytest
from rule_cases import CASES

from detox_sim import aggregators, attacks, mixers, voting
from detox_sim.aggregators.facts import facts_of
from detox_sim.catalogue import resolve
from detox_sim.messages import Messages

KINDS = ("rule", "mixer", "attack", "vote")


def kind_and_name(case):
    (kind,) = [kind for kind in KINDS if kind in case]
    return kind, case[kind]


def cases_of(kind, name):
    return [case for case in CASES if case.get("ours", True) and case.get(kind) == name]


ENTRIES = sorted(
    {kind_and_name(case) for case in CASES}, key=lambda entry: (KINDS.index(entry[0]), entry[1])
)


def options_of(case, dtype):
    options = dict(case["options"])
    if isinstance(options.get("start"), list):
        options["start"] = np.array(options["start"], dtype)
    return options


def rule(name, rows, options, byzantine):
    return resolve(aggregators, name)(rows, byzantine=byzantine, **options)


def mixer(name, rows, options, byzantine):
    rng = np.random.default_rng(0)
    return getattr(mixers, name)(rows, byzantine=byzantine, rng=rng, **options)


def attack(name, rows, options, byzantine):
    """Return the forged row of one more worker, Byzantine, whose own gradient does not count."""
    rows = np.concatenate([rows, 1e3 * np.ones_like(rows[:1])])
    forged = np.arange(len(rows))[:, None] == len(rows) - 1
    messages = getattr(attacks, name)(rows, forged, rng=None, **options)
    return messages.rows[messages.row_of[-1, 0]]


def vote(name, rows, options, byzantine):
    """Return the vote of one file; the rows are its copies."""
    return getattr(voting, name)(Messages(rows, np.arange(len(rows))[None, :])).rows[0]


FUNCTIONS = {"rule": rule, "mixer": mixer, "attack": attack, "vote": vote}


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_function_gives_published_numbers(kind, name):
    for case in cases_of(kind, name):
        for dtype, tolerance in ((np.float64, 1e-9), (np.float32, 1e-6)):
            rows = np.array(case["rows"], dtype)
            got = FUNCTIONS[kind](name, rows, options_of(case, dtype), case.get("byzantine"))
            assert got.shape == np.shape(case["expected"]), case
            message = f"{case['definition']}, {dtype.__name__}"
            np.testing.assert_allclose(got, case["expected"], tolerance, tolerance, err_msg=message)
    if kind == "rule":
        needs = [case["needs"] for case in CASES if case.get("rule") == name and "needs" in case]
        assert needs == [facts_of(resolve(aggregators, name)).needs]


def same_input(case):
    return json.dumps([*kind_and_name(case), case["rows"], case.get("byzantine")])


def test_definitions_of_one_input_differ_in_the_number():
    for _, group in itertools.groupby(sorted(CASES, key=same_input), same_input):
        for one, other in itertools.combinations(group, 2):
            numbers = one["expected"], other["expected"]
            if one["definition"] == other["definition"]:
                assert numbers[0] == numbers[1], one
            elif np.shape(numbers[0]) == np.shape(numbers[1]):
                assert not np.allclose(*numbers, rtol=1e-4), (one, other)


def test_every_rule_and_mixer_has_cases_that_say_who_and_how():
    for kind, catalogue in (("rule", aggregators), ("mixer", mixers)):
        assert {case[kind] for case in CASES if kind in case} == set(catalogue.__all__)
        assert all(cases_of(kind, name) for name in catalogue.__all__)
    known = {*KINDS, "options", "byzantine", "rows", "expected"}
    known |= {"definition", "source", "ours", "needs"}
    for case in CASES:
        assert set(case) <= known, case
        assert case["definition"], case
        assert case["source"] in ("by hand", "exact arithmetic"), case
