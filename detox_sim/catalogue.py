"""Names to functions: a catalogue is a module, its entries are the module's ``__all__``."""

import difflib
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

KINDS = {"voting": "vote", "data": "data set"}  # where a catalogue's name is not a plural

# The caller supplies these to a function with a keyword parameter of that name; never options.
SUPPLIED = (
    "rng", "step", "known", "server", "relabelled", "holders", "sizes", "damage", "previous",
    "excluded", "weights",
)  # fmt: skip


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """Return the error for an unknown name, with the nearest known spelling.

    Examples
    --------
    >>> print(unknown("aggregator", "medain", ["mean", "median"]))
    unknown aggregator 'medain'; did you mean 'median'? known: mean, median
    """
    known = [str(each) for each in known]
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return ValueError(f"unknown {kind} {name!r};{hint} known: {', '.join(known) or 'none'}")


def check_known(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise for the first of `names` that is not known.

    Examples
    --------
    >>> check_known("field", ["seeds"], ["seed", "steps"])
    Traceback (most recent call last):
    ValueError: unknown field 'seeds'; did you mean 'seed'? known: seed, steps
    """
    known = list(known)
    for name in names:
        if name not in known:
            raise unknown(kind, name, known)


def check_integer(name: str, value: object, least: int) -> None:
    """Raise unless the value is an integer (of Python or NumPy) of at least `least`.

    Examples
    --------
    >>> check_integer("steps", 1.5, 1)
    Traceback (most recent call last):
    ValueError: steps must be an integer of 1 or more, got 1.5
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be an integer of {least} or more, got {value!r}")


def check_number(name: str, value: object) -> None:
    """Raise unless the value is a real number; NaN and Inf are numbers.

    Examples
    --------
    >>> check_number("scale", "big")
    Traceback (most recent call last):
    ValueError: scale must be a number, got 'big'
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ValueError(f"{name} must be a number, got {value!r}")


def resolve(catalogue: ModuleType, name: str) -> Callable:
    """Return the function that `name` stands for in a catalogue.

    Parameters
    ----------
    catalogue : module
        Its ``__all__`` lists the known names.
    name : str
        One of them, or ``"package.module:function"`` for a function from outside.

    Raises
    ------
    ValueError
        When there is no such name, module or function.

    Examples
    --------
    >>> from detox_sim import aggregators
    >>> resolve(aggregators, "median") is aggregators.median
    True
    """
    module_name = catalogue.__name__.rpartition(".")[2]
    kind = KINDS.get(module_name, module_name.removesuffix("s"))
    if not isinstance(name, str):
        raise ValueError(f"{kind} must be a name, got {name!r}")
    if ":" in name:
        module, _, attribute = name.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"cannot load {kind} {name!r}: {error}") from error
    if name not in catalogue.__all__:
        raise unknown(kind, name, catalogue.__all__)
    return getattr(catalogue, name)


def name_of(catalogue: ModuleType, value: object) -> object:
    """Return the shortest name by which `resolve` finds a function; any other value unchanged.

    Raises
    ------
    ValueError
        For a function without a name at the top level of a module, which no other process finds.

    Examples
    --------
    >>> from detox_sim import aggregators
    >>> name_of(aggregators, aggregators.median), name_of(aggregators, "detox_sim.aggregators:krum")
    ('median', 'krum')
    >>> name_of(aggregators, difflib.get_close_matches)
    'difflib:get_close_matches'
    """
    if isinstance(value, str) and ":" in value:
        try:
            function = resolve(catalogue, value)
        except ValueError:
            return value
        own = (name for name in catalogue.__all__ if getattr(catalogue, name) is function)
        return next(own, value)
    if not callable(value):
        return value
    name = getattr(value, "__qualname__", repr(value))
    if name in catalogue.__all__ and getattr(catalogue, name) is value:
        return name
    module = sys.modules.get(getattr(value, "__module__", ""))
    if getattr(module, name, None) is not value:
        raise ValueError(f"a function must be found at the top level of a module, got {name}")
    return f"{value.__module__}:{name}"


def plain(value: Any) -> Any:
    """Return a value with Python's numbers and lists in place of NumPy's.

    Examples
    --------
    >>> plain({"radius": np.float32(0.5), "bits": np.arange(2)})
    {'radius': 0.5, 'bits': [0, 1]}
    """
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | np.ndarray | range):
        return [plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def bind(catalogue: ModuleType, name: str, options: Mapping[str, object]) -> Callable:
    """Return the function called `name` with its options fixed.

    A parameter named in `SUPPLIED` is never an option: the caller supplies its value.

    Raises
    ------
    ValueError
        For an unknown option, or when an option without default is missing.
    """
    function = resolve(catalogue, name)
    parameters = list(_parameters(function).values())
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in SUPPLIED]
        check_known(f"option of {name}", options, known)
    for p in parameters:
        given = p.name in options or p.name in SUPPLIED or p.name == "byzantine"
        if p.kind is p.KEYWORD_ONLY and p.default is p.empty and not given:
            raise ValueError(f"{name} needs the option {p.name!r}")
    return functools.partial(function, **options) if options else function


def _parameters(function: Callable) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a function, inspected once: a training step asks several times."""
    count, keywords = 0, frozenset[str]()
    if isinstance(function, functools.partial):  # the cache must not keep its values
        count, keywords = len(function.args), frozenset(function.keywords)
        function = function.func
    inspect_once = _inspect if isinstance(function, Hashable) else _inspect.__wrapped__
    return inspect_once(function, count, keywords)


@functools.lru_cache(maxsize=1024)
def _inspect(function: Callable, count: int, keywords: frozenset[str]):
    """Return the parameters where the first `count` and those named `keywords` are bound."""
    if count or keywords:
        function = functools.partial(function, *[None] * count, **dict.fromkeys(keywords))
    return inspect.signature(function).parameters


def accepts(function: Callable, name: str) -> bool:
    """Return whether a function has a keyword-only parameter of that name.

    Examples
    --------
    >>> from detox_sim import voting
    >>> accepts(voting.clique, "holders"), accepts(voting.majority, "holders")
    (True, False)
    """
    parameter = _parameters(function).get(name)
    return parameter is not None and parameter.kind is parameter.KEYWORD_ONLY


def supplied(function: Callable, **facts: object) -> Callable:
    """Return the function with those of the facts fixed that are its keyword-only parameters.

    Examples
    --------
    >>> from detox_sim import voting
    >>> supplied(voting.majority, holders=None, sizes=[3]).keywords
    {'sizes': [3]}
    """
    return functools.partial(function, **{k: v for k, v in facts.items() if accepts(function, k)})
