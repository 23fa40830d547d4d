"""Names to functions: every catalogue resolves its names and explains the others."""

import functools
import gc
import inspect
import weakref
from unittest import mock

import numpy as np
import pytest

from detox_sim import (
    aggregators,
    assignments,
    attacks,
    catalogue,
    data,
    encodings,
    mixers,
    models,
    partitions,
    placements,
    voting,
)
from detox_sim.streams import stream

CATALOGUES = [
    aggregators,
    assignments,
    attacks,
    data,
    encodings,
    mixers,
    models,
    partitions,
    placements,
    voting,
]
by_catalogue = pytest.mark.parametrize("module", CATALOGUES, ids=lambda m: m.__name__)


@by_catalogue
def test_entries_resolve_and_are_documented(module):
    for name in module.__all__:
        function = catalogue.resolve(module, name)
        assert function is getattr(module, name), name
        assert function is catalogue.resolve(module, f"{module.__name__}:{name}"), name
        assert ">>>" in function.__doc__, name


@by_catalogue
def test_misspelt_name_suggests_nearest_and_unknown_option_is_refused(module):
    for name in module.__all__:
        with pytest.raises(ValueError, match=f"did you mean '{name}'.* known: .*{name}"):
            catalogue.resolve(module, name + "x")
        with pytest.raises(ValueError, match=f"unknown option of {name} 'colour'"):
            catalogue.bind(module, name, {"colour": 1})


def test_names_that_cannot_be_loaded_are_refused():
    for name in ("nowhere:rule", "math:nothing", ":rule", "math:", None, 3):
        with pytest.raises(ValueError, match=r"cannot load aggregator|must be a name"):
            catalogue.resolve(aggregators, name)


def test_bound_options_reach_the_function():
    attack = catalogue.bind(attacks, "constant", {"value": 7.0})
    assert attack(np.ones((1, 2)), np.array([[True]]), rng=None).rows[-1].tolist() == [7.0, 7.0]


def test_missing_option_is_refused():
    with pytest.raises(ValueError, match="centered_clipping needs the option 'radius'"):
        catalogue.bind(aggregators, "centered_clipping", {})


class Unhashable:
    __hash__ = None

    def __call__(self, rows, /, *, rng):
        return rng


def with_rest(rows, **rest):
    return rest


def test_accepts_equals_signature_for_every_callable():
    """A bound positional argument or keyword changes which parameters are keyword-only."""

    def function(rows, sizes=1, *, rng, step=0):
        return rows

    callables = [
        function,
        with_rest,
        Unhashable(),
        functools.partial(function, rng=1),
        functools.partial(function, 1),
        functools.partial(function, rows=1),
        functools.partial(functools.partial(function, step=2), rng=3),
        *(getattr(module, name) for module in CATALOGUES for name in module.__all__),
    ]
    for some in callables:
        parameters = inspect.signature(some).parameters
        for name in ("rows", "sizes", "rng", "step", "rest", "nothing"):
            wanted = name in parameters and parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
            assert catalogue.accepts(some, name) == wanted, (some, name)


def test_function_is_inspected_once_and_bound_values_are_not_kept():
    def function(rows, /, *, rng, weights):
        return rng, weights

    weights = np.ones(3)
    kept = weakref.ref(weights)
    with mock.patch("inspect.signature", wraps=inspect.signature) as signature:
        for _ in range(3):
            bound = catalogue.supplied(functools.partial(function, weights=weights), rng=1, step=2)
            assert bound(None) == (1, weights)
    assert signature.call_count == 1
    del weights, bound
    gc.collect()
    assert kept() is None


def test_streams_differ_by_seed_purpose_step_and_index():
    keys = [(0, "batch"), (1, "batch"), (0, "attack"), (0, "batch", 1), (0, "batch", 0, 1)]
    draws = [stream(*key).integers(2**62) for key in (*keys, keys[0])]
    assert len(set(draws)) == len(keys)
    assert draws[0] == draws[-1]
