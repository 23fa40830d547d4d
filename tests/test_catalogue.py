"""Names to functions: every catalogue resolves its names and explains the others."""

import numpy as np
import pytest

from detox_sim import (
    aggregators,
    assignments,
    attacks,
    catalogue,
    data,
    models,
    placements,
    voting,
)

CATALOGUES = [aggregators, assignments, attacks, data, models, placements, voting]
ENTRIES = [
    pytest.param(module, name, id=f"{module.__name__.rpartition('.')[2]}-{name}")
    for module in CATALOGUES
    for name in module.__all__
]


@pytest.mark.parametrize(("module", "name"), ENTRIES)
def test_an_entry_resolves_and_is_documented(module, name):
    function = catalogue.resolve(module, name)
    assert function is getattr(module, name)
    assert function is catalogue.resolve(module, f"{module.__name__}:{name}")
    assert ">>>" in function.__doc__


@pytest.mark.parametrize(("module", "name"), ENTRIES)
def test_a_slip_of_the_pen_is_answered_with_the_name(module, name):
    with pytest.raises(ValueError, match=f"did you mean '{name}'.* known: .*{name}"):
        catalogue.resolve(module, name + "x")


@pytest.mark.parametrize(("module", "name"), ENTRIES)
def test_an_unknown_option_is_never_dropped(module, name):
    with pytest.raises(ValueError, match=f"unknown option of {name} 'colour'"):
        catalogue.bind(module, name, {"colour": 1})


@pytest.mark.parametrize("name", ["nowhere:rule", "math:nothing", ":rule", "math:", None, 3])
def test_what_cannot_be_loaded_is_refused(name):
    with pytest.raises(ValueError, match=r"cannot load aggregator|must be a name"):
        catalogue.resolve(aggregators, name)


def test_bound_options_reach_the_function():
    attack = catalogue.bind(attacks, "constant", {"value": 7.0})
    assert attack(np.ones((1, 2)), np.array([[True]]), rng=None).rows[-1].tolist() == [7.0, 7.0]
