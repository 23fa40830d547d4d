"""A rule from outside needs three things: itself with its facts, a slow reference and one case."""

import importlib

import numpy as np
import pytest
import reference
import rule_cases
import test_arbitrary_rows
import test_conformance
import test_laws  # noqa: F401 (its laws are in LAWS)

from detox_sim import Trial, train
from detox_sim.aggregators.facts import facts_of

FUNCTION = '''
from detox_sim.aggregators.conditions import Facts, require
from detox_sim.primitives import order_mean

MIDHINGE = Facts("midhinge", "mean of two order statistics", "a test", sorts=2)


def midhinge(rows, /, *, byzantine, scale):
    """Average in each coordinate the least and largest value left after trimming."""
    n = require(MIDHINGE, rows, byzantine)
    low, high = {low}, n - byzantine - 1
    return scale * ((order_mean(rows, low, low) + order_mean(rows, high, high)) / 2)
'''


def slow_midhinge(rows, byzantine, scale):
    columns = [sorted(map(float, column)) for column in zip(*rows, strict=True)]
    return [scale * (c[byzantine] + c[len(c) - byzantine - 1]) / 2 for c in columns]


CASE = {
    "options": {"scale": 1.0},
    "byzantine": 1,
    "needs": "n >= 2 f + 1",
    "rows": [[0], [1], [4], [5], [90]],
    "expected": [3],
    "definition": "midpoint of the values left",
    "source": "by hand",
}


@pytest.fixture
def add_rule(tmp_path, monkeypatch):
    """Return ``add(module, low) -> name``, which writes a module with the rule."""

    def add(module, low="byzantine"):
        (tmp_path / f"{module}.py").write_text(FUNCTION.format(low=low))
        importlib.invalidate_caches()
        name = f"{module}:midhinge"
        monkeypatch.setattr(rule_cases, "CASES", [*rule_cases.CASES, {"rule": name, **CASE}])
        monkeypatch.setattr(test_conformance, "CASES", rule_cases.CASES)
        return name

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(reference, "midhinge", slow_midhinge, raising=False)
    return add


def test_every_law_runs_on_a_rule_from_outside(add_rule):
    name = add_rule("midhinge_of_a_test")
    assert {law.__module__ for law in rule_cases.LAWS} == {"test_laws", "test_arbitrary_rows"}
    for law in rule_cases.LAWS:
        law(name=name)
    test_conformance.test_function_gives_published_numbers("rule", name)
    assert facts_of(importlib.import_module("midhinge_of_a_test").midhinge).needs == "n >= 2 f + 1"
    result = train(Trial(outer=name, outer_options={"scale": 1.0}, steps=2, evaluate_every=2))
    assert np.isfinite(result.accuracy).all()


def test_laws_refuse_a_rule_that_trims_too_little(add_rule):
    name = add_rule("wrong_midhinge_of_a_test", low="byzantine - 1 if byzantine else 0")
    law = test_arbitrary_rows.test_arbitrary_rows_keep_rule_within_honest_spread
    with pytest.raises(AssertionError, match="1e30"):
        law(name=name)
    with pytest.raises(AssertionError, match="midpoint of the values left"):
        test_conformance.test_function_gives_published_numbers("rule", name)
