"""The rules under test, with their options, the exceptions to the laws, and rows to draw.

A rule is a name of `aggregators.__all__`, or ``"module:function"`` for one from outside.
"""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import reference
from hypothesis import strategies as st

from detox_sim import aggregators
from detox_sim.aggregators.facts import facts_of
from detox_sim.catalogue import resolve

CASES = json.loads(Path(__file__).with_name("conformance.json").read_text())

# Options under test beside the defaults: label -> options at (n, byzantine).
VARIANTS = {
    "median": {"lower": lambda n, f: {"middle": "lower"}},
    "trimmed_mean": {"most": lambda n, f: {"trim": (n - 1) // 2}},
    "geometric_median": {
        "loose": lambda n, f: {"tolerance": 1e-6},
        "from zero": lambda n, f: {"start": "zero"},
        "ByzFL": lambda n, f: {"start": "zero", "max_iterations": 3, "smoothing": 0.1},
    },
    "krum": {
        "n-f-1": lambda n, f: {"neighbours": n - f - 1},
        "n-f": lambda n, f: {"neighbours": min(n - f, n - 1)},
        "power 1": lambda n, f: {"power": 1},
        "power 4": lambda n, f: {"power": 4},
    },
    "multi_krum": {
        "keep n-f": lambda n, f: {"keep": n - f},
        "keep 1, n-f-1": lambda n, f: {"keep": 1, "neighbours": n - f - 1},
        "power 1": lambda n, f: {"power": 1},
    },
    "bulyan": {
        "one-shot": lambda n, f: {"selection": "one-shot"},
        "one-shot-median": lambda n, f: {"selection": "one-shot-median"},
    },
    "monna": {"trusts the last": lambda n, f: {"trusted": n - 1}},
    "fltrust": {"trusts the last": lambda n, f: {"trusted": n - 1}},
    "centered_clipping": {
        "short radius": lambda n, f: {"radius": 1.0},
        "from median": lambda n, f: {"radius": 1.0, "start": "median", "steps": 3},
    },
    "dnc": {
        "filter 1.5": lambda n, f: {"filter": 1.5},
        "one coordinate": lambda n, f: {"coordinates": 1, "seed": 3},
    },
    "median_of_means": {"2f+2": lambda n, f: {"buckets": min(2 * f + 2, n)}},
}

TRUST = "one row is trusted: has a law of its own"
LENGTHS = "lengths are measured from zero"
REGION = "stays in a region of its own"
COORDINATES = "has no regard to directions"

# The only exceptions to the laws: of a rule, of one variant, or as name[] of the defaults only.
EXCEPTIONS = {
    "reference": {"dnc[one coordinate]": "draws its coordinates: has a law of its own"},
    "far row": {
        "mean": "a far row blurs it, in the reference as well",
        "dnc": "a far row blurs the direction, in the reference as well",
        "geometric_median[]": "a far row blurs it, in the reference as well",
        "geometric_median[loose]": "a far row blurs it, in the reference as well",
        "geometric_median[from zero]": "a far row blurs it, in the reference as well",
    },
    "order": {
        "mda": "subsets of one diameter tie: has a law of its own",
        "monna": TRUST,
        "fltrust": TRUST,
        "median_of_means": "buckets are consecutive rows: has a law of its own",
    },
    "translation": {
        "sign_majority": "signs change when rows move",
        "cge": LENGTHS,
        "fltrust": LENGTHS,
        "centered_clipping[]": "starts at zero: has a law of its own",
        "centered_clipping[short radius]": "starts at zero: has a law of its own",
        "geometric_median[ByzFL]": "after three steps the start at zero still matters",
    },
    "scaling": {
        "sign_majority": "signs stay when rows grow",
        "centered_clipping": "the radius must grow as well: has a law of its own",
        "geometric_median[ByzFL]": "the smoothing must grow as well: has a law of its own",
    },
    "rotation": {
        "centered_clipping[from median]": COORDINATES,
        "dnc[one coordinate]": COORDINATES,
    },
    "unanimous": {
        "sign_majority": "only the sign is returned",
        "centered_clipping[]": "a step is no longer than the radius: has a law of its own",
        "centered_clipping[short radius]": "a step is no longer than the radius",
    },
    "robust": {
        "mean": "averages finite arbitrary rows: a test shows that it breaks the law",
        "sign_majority": "returns signs: has a law of its own",
        "dnc": "sees one direction only: has a law of its own",
        "geometric_median": REGION,
        "multi_krum[power 1]": REGION,
        "medoid": REGION,
        "mda": REGION,
        "monna": REGION,
        "meamed": REGION,
        "phocas": REGION,
        "cge": REGION,
        "centered_clipping": REGION,
        "caf": REGION,
        "smea": REGION,
        "fltrust": REGION,
    },
}


def excepted(name, label, law):
    """Return why the law leaves out this variant of a rule; None if it does not."""
    return EXCEPTIONS[law].get(name) or EXCEPTIONS[law].get(f"{name}[{label}]")


def variants(name, law=None, reason=None):
    """Return the (label, options at (n, byzantine)) of a rule to which a law applies."""
    every = {"": lambda n, f: {}, **VARIANTS.get(name, {})}.items()
    return [(a, b) for a, b in every if law is None or excepted(name, a, law) == reason]


LAWS = []  # the tests that a new rule must pass


def by_rule(*laws, reason=None):
    """Parametrise a test by the names of the rules that one of the laws is for; all if none is."""
    some = laws or (None,)
    rules = aggregators.__all__
    names = [name for name in rules if any(variants(name, law, reason) for law in some)]

    def parametrise(test):
        if reason is None:
            LAWS.append(test)
        return pytest.mark.parametrize("name", names)(test)

    return parametrise


def of(*names):
    return pytest.mark.parametrize("name", names)


def least(name, byzantine):
    """Return the least number of rows that a rule serves."""
    facts = facts_of(resolve(aggregators, name))
    return facts.factor * byzantine + facts.plus


def with_required(name, options):
    """Return the options, and those without a default as in the rule's first conformance case."""
    parameters = inspect.signature(resolve(aggregators, name)).parameters.values()
    missing = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
    missing -= {"byzantine", *options}
    if not missing:
        return options
    first = next(case for case in CASES if case.get("rule") == name)
    return {option: first["options"][option] for option in missing} | options


def call(name, rows, byzantine, **options):
    return resolve(aggregators, name)(rows, byzantine=byzantine, **with_required(name, options))


def apply(name, options, rows, byzantine):
    return call(name, rows, byzantine, **options(rows.shape[0], byzantine))


def slow(name, options, rows, byzantine):
    function = getattr(reference, name.rpartition(":")[2])
    return function(rows, byzantine, **with_required(name, options(len(rows), byzantine)))


def close(got, want, dtype, scale=1.0, slack=1.0, case=""):
    tolerance = slack * (1e-6 if dtype == np.float32 else 1e-7) * scale
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance, err_msg=f"case: {case}")


def draw_rows(kind, n, d, dtype, seed):
    """Draw distinct normal rows, rows of small integers (ties, exact sums), or repeated rows."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, d))
    if kind == "ties":
        rows = rng.integers(-2, 3, size=(n, d))
    if kind == "repeated":
        rows = rows[rng.integers(n, size=n)]
    rows = rows.astype(dtype)
    if kind == "nan":
        rows[1] = np.nan
    return rows


def cases(kinds=("distinct",), byzantine=(0, 1, 2, 3), extra=0):
    return st.tuples(
        st.sampled_from(kinds),
        st.sampled_from(byzantine),
        st.integers(extra, extra + 4),
        st.integers(1, 6),
        st.sampled_from([np.float32, np.float64]),
        st.integers(0, 2**32 - 1),
    )


def rows_of(name, case):
    kind, byzantine, more, d, dtype, seed = case
    return draw_rows(kind, least(name, byzantine) + more, d, dtype, seed), byzantine


# Two rows that are each other's only neighbour always tie, and ties go to the lowest index. So
# the order of rows cannot matter only where Krum counts two neighbours at its every pick.
NO_TIES = cases(byzantine=(0, 3), extra=2)


def ties_on_a_line(name, options, rows):
    """Say whether the points between two middle rows all have the least sum of distances."""
    more = options(*rows.shape)
    sums = name in ("medoid", "geometric_median") or more.get("power") == 1
    return sums and rows.shape[1] == 1 and "smoothing" not in more


# What a Byzantine worker may put into a coordinate.
ARBITRARY = {
    "1e30": lambda rng, dtype: 1e30,
    "-1e30": lambda rng, dtype: -1e30,
    "1e38": lambda rng, dtype: 1e38,  # its square is too large for float32
    "largest": lambda rng, dtype: np.finfo(dtype).max,  # its square is too large for any
    "nan": lambda rng, dtype: np.nan,
    "+inf": lambda rng, dtype: np.inf,
    "-inf": lambda rng, dtype: -np.inf,
    "mixed": lambda rng, dtype: rng.choice([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0]),
    "far": lambda rng, dtype: 1e6 * rng.normal(),
    "1e20 or 1e38": lambda rng, dtype: rng.choice([1e20, 1e38]),
}
NOT_FINITE = (np.nan, np.inf, -np.inf)


def attacked(name, kind, dtype, byzantine, seed, d=4, trusted=None):
    """Return rows of which `byzantine`, at random places, are arbitrary, and the honest ones.

    Arbitrary rows are so in half of their coordinates or all, and alike if the seed is even.
    """
    rng = np.random.default_rng([seed, byzantine])
    n = least(name, byzantine) + seed % 3 + (2 * byzantine if name == "mean" else 0)
    rows = rng.normal(3.0, 1.0, size=(n, d)).astype(dtype)
    trusted = trusted(n, byzantine).get("trusted", 0) if trusted else None
    forged = [i for i in rng.permutation(n) if i != trusted][:byzantine]
    same = ARBITRARY[kind](rng, dtype)
    for i in forged:
        if seed % 2:  # every one by itself
            rows[i, rng.permutation(d)[: d // 2]] = ARBITRARY[kind](rng, dtype)
            rows[i, 0] = ARBITRARY[kind](rng, dtype)
        else:  # all alike, so that they are each other's nearest
            rows[i] = same
    return rows, np.delete(rows, forged, axis=0)


def put_into_rows(rows, count, value, seed):
    """Put the value into one or all coordinates of some rows, never of the first one."""
    rng = np.random.default_rng(seed)
    rows, changed = rows.copy(), 1 + rng.permutation(len(rows) - 1)[:count]
    for i in changed:
        rows[i, slice(None) if seed % 2 else rng.integers(rows.shape[1])] = value
    return rows, changed
