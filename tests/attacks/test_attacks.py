"""What every attack of `attacks.__all__` owes, the formulas, and what attackers may know."""

import functools
import inspect
import itertools
import math
import statistics

import array_api_strict
import numpy as np
import pytest
import reference
import scipy.linalg

from detox_sim import aggregators, attacks, mixers, voting
from detox_sim.attacks import forgery, searching

REQUIRED = {"inner_product": {"factor": 10.0}}
FORGED = {
    "nobody": np.zeros((6, 3), dtype=bool),
    "one": np.eye(6, 3, dtype=bool) & (np.arange(6) == 2)[:, None],
    "some": np.random.default_rng(1).random((6, 3)) < 0.4,
    "captured": np.repeat([[True], [False], [True], [False], [False], [False]], 3, axis=1),
    "everybody": np.ones((6, 3), dtype=bool),
    "one copy": np.array([[True], [False], [True], [False], [False], [False]]),
}
VARIANTS = [
    pytest.param(name, options, id=name + (f"[{label}]" if label else ""))
    for name in attacks.__all__
    for label, options in {
        "": REQUIRED.get(name, {}),
        **{
            "alie": {"all": {"over": "all"}, "baruch": {"z": "baruch", "sign": -1}},
            "constant": {"nan": {"value": np.nan}},
            "gaussian": {"alone": {"colluding": False}},
            "not_finite": {kind: {"kind": kind} for kind in ("inf", "-inf", "mixed")},
            "mimic": {"target": {"target": 1}},
            "min_max": {name: {"direction": name} for name in ("unit", "sign")},
            "min_sum": {name: {"direction": name} for name in ("unit", "sign")},
            "searched": {
                "sign": {"directions": ["sign", "mean"], "evaluations": 12},
                "descent": {"objective": "descent", "evaluations": 4},
            },
        }.get(name, {}),
    }.items()
]


def rows_of(dtype=np.float32, d=5, seed=0):
    return np.random.default_rng(seed).normal(size=(6, d)).astype(dtype)


def accepts(name, fact):
    return fact in inspect.signature(getattr(attacks, name)).parameters


def middle(messages):
    return aggregators.median(voting.majority(messages).rows, byzantine=0)


def send(name, options, rows, forged, seed=2, **facts):
    """Call an attack with the facts that it asks for."""
    facts = {"server": middle, "relabelled": rows[::-1, :]} | facts
    facts = {fact: value for fact, value in facts.items() if accepts(name, fact)}
    return getattr(attacks, name)(rows, forged, rng=np.random.default_rng(seed), **facts, **options)


def sent(messages, forged):
    """The bits of every forged copy."""
    return messages.rows[messages.row_of[forged]].tobytes()


@pytest.mark.parametrize(("name", "options"), VARIANTS)
@pytest.mark.parametrize("who", [who for who in FORGED if who != "everybody"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_only_forged_copies_change_and_the_input_never(name, options, who, dtype):
    rows, forged = rows_of(dtype), FORGED[who].copy()
    before = rows.copy(), forged.copy()
    rows.flags.writeable = forged.flags.writeable = False
    messages = send(name, options, rows, forged)
    assert messages.rows.dtype == dtype
    assert messages.rows[:6].tobytes() == rows.tobytes()
    assert messages.row_of.shape == forged.shape
    received = messages.rows[messages.row_of]
    for file, copy in zip(*np.nonzero(~forged), strict=True):
        assert received[file, copy].tobytes() == rows[file].tobytes()
    assert (rows == before[0]).all()
    assert (forged == before[1]).all()
    if name != "none":
        assert (messages.row_of[forged] >= 6).all()
    assert (messages.search is not None) == (name == "searched")


@pytest.mark.parametrize("name", attacks.__all__)
def test_an_attack_goes_on_when_no_honest_node_is_left(name):
    rows, forged = rows_of(), FORGED["everybody"]
    messages = send(name, REQUIRED.get(name, {}), rows, forged)
    assert messages.rows[:6].tobytes() == rows.tobytes()
    assert np.isfinite(messages.rows[6:]).all() == (name != "not_finite")


@pytest.mark.parametrize(("name", "options"), VARIANTS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("where", [1, slice(None)])
def test_an_attack_goes_on_when_training_diverges(name, options, bad, where):
    rows, forged = rows_of(), FORGED["captured"]
    rows[where, 2] = bad
    messages = send(name, options, rows, forged)
    assert messages.rows[:6].tobytes() == rows.tobytes()
    assert (messages.row_of[~forged] < 6).all()
    if name in ("mimic", "min_max", "min_sum") and where == 1 and "target" not in options:
        assert np.isfinite(messages.rows[-1]).all()


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_randomness_comes_only_from_the_stream(name, options):
    rows, forged = rows_of(), FORGED["some"]
    once, again = send(name, options, rows, forged), send(name, options, rows, forged)
    other = send(name, options, rows, forged, seed=99)
    assert once.rows.tobytes() == again.rows.tobytes()
    assert once.row_of.tolist() == again.row_of.tolist()
    drawn = name == "gaussian" or options.get("kind") == "mixed"
    assert (other.rows.tobytes() != once.rows.tobytes()) == drawn


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_another_array_library_gives_the_same_answer(name, options):
    rows, forged = rows_of(), FORGED["some"]
    got = send(name, options, array_api_strict.asarray(rows), forged)
    wanted = send(name, options, rows, forged)
    assert got.rows.dtype == array_api_strict.float32
    rounding = 1e-6 if name in ("min_max", "min_sum") else 0.0  # of distances
    np.testing.assert_allclose(np.asarray(got.rows), wanted.rows, rtol=0, atol=rounding)
    np.testing.assert_array_equal(got.row_of, wanted.row_of)


@pytest.mark.parametrize("name", attacks.__all__)
def test_signature_is_the_contract(name):
    rows, forged, rng, *_ = inspect.signature(getattr(attacks, name)).parameters.values()
    assert rows.kind is forged.kind is rows.POSITIONAL_ONLY
    assert (rng.name, rng.kind, rng.default) == ("rng", rng.KEYWORD_ONLY, rng.empty)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_colluding_nodes_send_the_same_bits(name, options):
    rows, forged = rows_of(), FORGED["captured"]
    received = send(name, options, rows, forged)
    groups = {received.rows[i].tobytes() for i in received.row_of[0]}
    assert len(groups) == (3 if options.get("colluding") is False else 1)
    if name not in ("none", "reverse", "label_flip") and options.get("colluding") is not False:
        assert {received.rows[i].tobytes() for i in received.row_of[forged]} == groups


# --- Formulas --------------------------------------------------------------------------------

FIVE = np.array([[1.0], [2.0], [3.0], [4.0], [10.0]])
FIRST = np.arange(5)[:, None] == 0


@pytest.mark.parametrize(
    ("name", "options", "sent"),
    [
        ("reverse", {}, -100.0),
        ("reverse", {"scale": 2.0}, -2.0),
        ("constant", {}, -100.0),
        ("constant", {"value": 7.0}, 7.0),
        ("constant", {"value": np.inf}, np.inf),
        ("sign_flip", {}, -(2 + 3 + 4 + 10) / 4),
        ("inner_product", {"factor": 10.0}, -10 * (2 + 3 + 4 + 10) / 4),
        ("none", {}, 1.0),
        ("alie", {"over": "all"}, 7.1622776602),
        ("alie", {"over": "all", "sign": -1}, 4 - 10**0.5),
        ("alie", {"over": "all", "spread": "sample"}, 4 + 12.5**0.5),
        ("alie", {"over": "all", "z": 0.0}, 4.0),
        ("not_finite", {"kind": "inf"}, np.inf),
        ("not_finite", {"kind": "-inf"}, -np.inf),
        ("label_flip", {"relabelled": 3.0 * FIVE}, 3.0),
        ("mimic", {}, 10.0),
        ("mimic", {"target": 3}, 4.0),
        ("min_max", {}, 2.0),  # 2, 3, 4 and 10, whose mean is 4.75: 8 from 10
        ("min_max", {"direction": "unit"}, 2.0),
        ("min_sum", {}, 4.75 - (149 - 38.75) ** 0.5 / 2),  # 64 + 49 + 36, and 38.75 from the mean
        ("min_sum", {"direction": "sign"}, 4.75 - (149 - 38.75) ** 0.5 / 2),
    ],
)
def test_what_is_sent(name, options, sent):
    messages = getattr(attacks, name)(FIVE, FIRST, rng=None, **options)
    assert messages.rows[messages.row_of[0, 0]] == pytest.approx(sent, abs=1e-9)


def test_reverse_uses_the_gradient_that_the_node_should_send():
    rows, forged = rows_of(np.float64), FORGED["some"]
    messages = send("reverse", {"scale": 3.0}, rows, forged)
    for file, copy in zip(*np.nonzero(forged), strict=True):
        assert messages.rows[messages.row_of[file, copy]].tolist() == (-3.0 * rows[file]).tolist()


def test_gaussian_has_the_asked_deviation():
    rows = np.zeros((1, 20_000))
    noise = send("gaussian", {"scale": 3.0}, rows, np.array([[True]])).rows[1]
    assert noise.std() == pytest.approx(3.0, abs=4.5 * 3 / (2 * 20_000) ** 0.5)
    assert noise.mean() == pytest.approx(0.0, abs=4.5 * 3 / 20_000**0.5)


def test_inner_product_asks_for_its_factor():
    with pytest.raises(TypeError, match="factor"):
        attacks.inner_product(FIVE, FIRST, rng=None)


@pytest.mark.parametrize("who", ["one", "some", "captured", "one copy"])
@pytest.mark.parametrize("z", [1.0, 0.3, "baruch", "baruch-n"])
@pytest.mark.parametrize("spread", ["population", "sample"])
@pytest.mark.parametrize("over", ["honest", "all"])
@pytest.mark.parametrize("sign", [1, -1])
def test_alie_equals_the_slow_reference(who, z, spread, over, sign):
    options = {"z": z, "spread": spread, "over": over, "sign": sign}
    rows, forged = rows_of(np.float64), FORGED[who]
    messages = send("alie", options, rows, forged)
    wanted = reference.alie(rows, forged, **options)
    np.testing.assert_allclose(messages.rows[-1], wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("formula", "nodes", "byzantine", "z"),
    [
        ("baruch", 45, 5, 0.12566135),
        ("baruch", 45, 9, 0.28221615),
        ("baruch", 45, 10, 0.32807211),
        ("baruch", 45, 15, 0.62292572),
        ("baruch", 45, 20, 1.17498679),
        ("baruch", 45, 22, 1.71167531),
        ("baruch", 50, 24, 1.42607687),
        ("baruch", 15, 7, 1.15034938),
        ("baruch", 25, 5, 0.25334710),
        ("baruch-n", 45, 5, 0.25334710),
        ("baruch-n", 45, 22, 2.00987477),
        ("baruch-n", 50, 24, 1.75068607),
    ],
)
def test_published_alie_z(formula, nodes, byzantine, z):
    assert attacks.alie_z(nodes, byzantine, formula) == pytest.approx(z, abs=6e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"over": "some"}, "over='honest' or 'all'.*'some'"),
        ({"spread": "std"}, "spread='population' or 'sample'.*'std'"),
        ({"sign": 2}, "sign=1 or -1; got .* 2"),
        ({"z": "max"}, "a number, 'baruch' or 'baruch-n', got 'max'"),
    ],
)
def test_alie_refuses_unknown_options(options, message):
    with pytest.raises(ValueError, match=message):
        attacks.alie(FIVE, FIRST, rng=None, **options)


@pytest.mark.parametrize("kind", ["nan", "inf", "-inf", "mixed"])
def test_not_finite_sends_what_it_says(kind):
    rows, forged = rows_of(d=500), FORGED["some"]
    row = send("not_finite", {"kind": kind}, rows, forged).rows[-1]
    values = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
    wanted = list(values.values()) if kind == "mixed" else [values[kind]]
    for value in wanted:
        count = int((np.isnan(row) if math.isnan(value) else row == value).sum())
        assert abs(count / 500 - 1 / len(wanted)) <= 4.5 * (2 / 9 / 500) ** 0.5
    assert not np.isfinite(row).any()


def test_not_finite_refuses_an_unknown_kind():
    with pytest.raises(ValueError, match=r"unknown kind of not_finite 'null'.*known: nan, inf"):
        attacks.not_finite(FIVE, FIRST, rng=None, kind="null")


def test_label_flip_sends_each_file_its_own_gradient():
    rows, other, forged = rows_of(), rows_of(seed=7), FORGED["some"]
    messages = send("label_flip", {}, rows, forged, relabelled=other)
    for file, copy in zip(*np.nonzero(forged), strict=True):
        assert messages.rows[messages.row_of[file, copy]].tobytes() == other[file].tobytes()


@pytest.mark.parametrize(("other", "got"), [(None, "None"), (FIVE[:3], r"\(3, 1\)")])
def test_label_flip_says_what_it_lacks(other, got):
    with pytest.raises(ValueError, match=rf"relabelled of shape .* = \(5, 1\).* got {got}"):
        attacks.label_flip(FIVE, FIRST, rng=None, relabelled=other)


# --- Mimic -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_mimic_chooses_as_a_singular_value_decomposition_does(seed, offset):
    rng = np.random.default_rng(seed)
    rows = offset + rng.normal(size=(12, 30)) * np.exp(rng.normal(size=30))
    forged, known = rng.random((12, 1)) < 0.3, rng.random(12) < 0.7
    chosen = np.flatnonzero(known & ~forged[:, 0])
    centred = rows[chosen] - rows[chosen].mean(axis=0)
    along = np.abs(centred @ np.linalg.svd(centred)[2][0])
    got = attacks.mimic(rows, forged, rng=None, known=known).rows[-1]
    assert got.tobytes() == rows[chosen[along.argmax()]].tobytes()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_mimic_takes_the_first_of_equally_far_files(sign):
    rows = sign * np.array([[0.1, 3.0], [5.0, 0.0], [-5.0, 0.0], [-0.1, -3.0], [0.0, 0.0]])
    forged = np.array([[False], [False], [False], [False], [True]])
    assert attacks.mimic(rows, forged, rng=None).rows[-1].tolist() == rows[1].tolist()
    assert attacks.mimic(np.ones((5, 2)), forged, rng=None).rows[-1].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("seed", range(8))
def test_mimic_takes_files_for_equally_far_that_differ_by_rounding(seed):
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(4, 6))
    farthest = np.abs(half @ np.linalg.svd(half)[2][0]).argmax()
    rows = 0.1 + np.concatenate([half, -half, np.zeros((1, 6))])
    messages = attacks.mimic(rows, (np.arange(9) == 8)[:, None], rng=None)
    assert messages.rows[-1].tolist() == rows[farthest].tolist()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (4, r"know: one of \[0, 2\], got 4"),
        (1, r"know: one of \[0, 2\], got 1"),
        (-1, "target must be an integer of 0 or more"),
        ("first", "target must be an integer of 0 or more"),
    ],
)
def test_mimic_refuses_a_target_that_attackers_do_not_know(target, message):
    known = np.array([True, False, True, False, False])
    with pytest.raises(ValueError, match=message):
        attacks.mimic(FIVE, FIRST, rng=None, known=known, target=target)


# --- Min-Max and Min-Sum ---------------------------------------------------------------------


def by_bisection(name, rows, direction):
    """What Min-Max and Min-Sum send, by plain loops and bisection on gamma."""
    rows = [[float(value) for value in row] for row in rows]
    mean = reference.mean(rows, 0)
    step = {
        "deviation": [-statistics.pstdev(column) for column in zip(*rows, strict=True)],
        "unit": [-value / math.hypot(*mean) for value in mean],
        "sign": [-math.copysign(1.0, value) for value in mean],
    }[direction]
    total = {"min_max": max, "min_sum": math.fsum}[name]

    def measure(point):
        return total(reference.distance(row, point) for row in rows)

    def place(gamma):
        return [value + gamma * move for value, move in zip(mean, step, strict=True)]

    limit = max(measure(row) for row in rows)
    low, high = 0.0, 1.0
    while measure(place(high)) <= limit:
        low, high = high, 2 * high
    while low < (low + high) / 2 < high:
        middle = (low + high) / 2
        low, high = (middle, high) if measure(place(middle)) <= limit else (low, middle)
    return np.array(place(low)), measure(place(low)), limit


@pytest.mark.parametrize("name", ["min_max", "min_sum"])
@pytest.mark.parametrize("direction", ["deviation", "unit", "sign"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("seed", range(3))
def test_gamma_is_the_largest_that_bisection_finds(name, direction, scale, offset, seed):
    rng = np.random.default_rng(seed)
    rows = scale * (offset + rng.normal(size=(7, 9)) * np.exp(rng.normal(size=9)))
    forged = (np.arange(7) == 3)[:, None]
    got = send(name, {"direction": direction}, rows, forged).rows[-1]
    honest = np.delete(rows, 3, axis=0)
    wanted, reached, limit = by_bisection(name, honest, direction)
    assert reached == pytest.approx(limit, rel=1e-9)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-9 * limit**0.5)


@pytest.mark.parametrize("name", ["min_max", "min_sum"])
@pytest.mark.parametrize("direction", ["deviation", "unit", "sign"])
def test_equal_rows_leave_no_room_to_move(name, direction):
    for row in ([1.0, -2.0, 3.0], [0.0, 0.0, 0.0]):
        rows = np.tile(row, (5, 1))
        messages = send(name, {"direction": direction}, rows, FIRST)
        assert messages.rows[-1].tolist() == pytest.approx(row, abs=1e-15)


@pytest.mark.parametrize("name", ["min_max", "min_sum"])
@pytest.mark.parametrize("seed", range(3))
def test_rows_that_differ_in_their_last_bit_leave_next_to_no_room(name, seed):
    rng = np.random.default_rng(seed)
    far_apart = (scipy.linalg.hadamard(16)[:, 1:] > 0) ^ rng.integers(0, 2, 15, dtype=bool)
    rows = 2.0**53 + 2.0 * rng.integers(0, 4, 15) + 2.0 * far_apart
    rows *= rng.choice([-1.0, 1.0], 15)
    rows = np.concatenate([rows, np.zeros((1, 15))])
    got = send(name, {}, rows, (np.arange(17) == 16)[:, None]).rows[-1]
    assert np.abs(got - rows[0]).max() <= 20.0


@pytest.mark.parametrize("name", ["min_max", "min_sum"])
def test_a_mean_of_zero_leaves_no_direction(name):
    rows = np.array([[1.0], [-1.0], [9.0]])
    forged = np.array([[False], [False], [True]])
    for direction, wanted in (("unit", 0.0), ("sign", 0.0), ("deviation", -1.0)):
        assert send(name, {"direction": direction}, rows, forged).rows[-1] == pytest.approx(wanted)


@pytest.mark.parametrize("name", ["min_max", "min_sum"])
def test_an_unknown_direction_is_refused(name):
    with pytest.raises(ValueError, match=r"unknown direction 'std'.*known: deviation, unit, sign"):
        send(name, {"direction": "std"}, FIVE, FIRST)


# --- Knowledge -------------------------------------------------------------------------------

ASKING = [variant for variant in VARIANTS if accepts(variant.values[0], "known")]
KNOWN = {
    "own": lambda forged: forged.any(axis=1),
    "more": lambda forged: forged.any(axis=1) | (np.arange(len(forged)) == 1),
}


def test_the_statistical_attacks_ask_what_is_known():
    assert {variant.values[0] for variant in ASKING} == {
        *("alie", "sign_flip", "inner_product", "mimic", "min_max", "min_sum", "searched")
    }


@pytest.mark.parametrize(("name", "options"), ASKING)
@pytest.mark.parametrize("who", ["one", "some", "captured", "one copy"])
@pytest.mark.parametrize("knowledge", KNOWN)
@pytest.mark.parametrize("other", [1e6, np.nan])
def test_what_attackers_do_not_know_changes_nothing(name, options, who, knowledge, other):
    forged = FORGED[who]
    known = KNOWN[knowledge](forged)
    if "target" in options:
        options = {"target": int(np.flatnonzero(known)[0])}
    rows = rows_of(np.float64)
    changed = np.where(known[:, None], rows, other)
    moved = np.where(known[:, None], rows + rows_of(np.float64, seed=5), rows)
    bits = sent(send(name, options, rows, forged, known=known), forged)
    assert sent(send(name, options, changed, forged, known=known), forged) == bits
    assert sent(send(name, options, moved, forged, known=known), forged) != bits


@pytest.mark.parametrize(("name", "options"), ASKING)
@pytest.mark.parametrize("who", FORGED)
def test_none_stands_for_all_files(name, options, who):
    if who == "everybody" and options.get("z") == "baruch":
        pytest.skip("the formula has no z for only Byzantine nodes")
    rows, forged = rows_of(), FORGED[who]
    everything = send(name, options, rows, forged, known=np.ones(6, dtype=bool))
    assert everything.rows.tobytes() == send(name, options, rows, forged).rows.tobytes()


@pytest.mark.parametrize(("name", "options"), ASKING)
def test_attackers_that_do_not_exist_may_know_nothing(name, options):
    rows, nobody = rows_of(), FORGED["nobody"]
    messages = send(name, options, rows, nobody, known=np.zeros(6, dtype=bool))
    assert messages.row_of.tolist() == [[file] * 3 for file in range(6)]


@pytest.mark.parametrize(("name", "options"), ASKING)
@pytest.mark.parametrize(
    ("known", "message"),
    [
        (np.zeros(6, dtype=bool), "these know none; use known=None"),
        (np.ones(5, dtype=bool), r"shape \(files,\) = \(6,\), got"),
        ([True] * 6, r"must be bool of shape \(files,\)"),
        (np.arange(6), r"must be bool of shape \(files,\)"),
    ],
)
def test_impossible_knowledge_is_refused(name, options, known, message):
    with pytest.raises(ValueError, match=message):
        send(name, options, rows_of(), FORGED["some"], known=known)


@pytest.mark.parametrize(
    ("known", "counted"),
    [
        ([1, 1, 1, 1, 1], [1, 2, 3, 4]),
        ([1, 1, 0, 1, 0], [1, 3]),
        ([0, 1, 0, 0, 0], [1]),
        ([1, 0, 0, 0, 0], [0]),
    ],
)
def test_statistics_are_of_known_files_that_honest_nodes_hold(known, counted):
    known, values = np.array(known, dtype=bool), [FIVE[i, 0] for i in counted]
    mean, deviation = statistics.fmean(values), statistics.pstdev(values)
    spread = 2 * max(values) - min(values) - max(values)  # of the farthest two
    wanted = {
        "alie": mean + deviation,
        "sign_flip": -mean,
        "inner_product": -10 * mean,
        "mimic": max(values, key=lambda value: abs(value - mean)),
        "min_max": max(values) - spread,
    }
    for name, value in wanted.items():
        got = send(name, REQUIRED.get(name, {}), FIVE, FIRST, known=known).rows[-1]
        assert got == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("spread", ["population", "sample"])
def test_alie_over_all_counts_every_known_file(spread):
    known = np.array([True, True, False, False, True])
    forged = np.repeat(FIRST, 3, axis=1)
    copies = [value for value in (1.0, 2.0, 10.0) for _ in range(3)]
    deviation = {"population": statistics.pstdev, "sample": statistics.stdev}[spread](copies)
    got = attacks.alie(FIVE, forged, rng=None, known=known, over="all", spread=spread).rows[-1]
    assert got == pytest.approx(statistics.fmean(copies) + deviation)


# --- The search ------------------------------------------------------------------------------

BAD = 3
SERVERS = {
    **{
        name: functools.partial(getattr(aggregators, name), byzantine=BAD)
        for name in ("median", "trimmed_mean", "multi_krum", "geometric_median")
    },
    "nnm and trimmed_mean": lambda rows: aggregators.trimmed_mean(
        mixers.nnm(rows, byzantine=BAD), byzantine=BAD
    ),
}
SEEDS = range(5)


class Server:
    """Votes and a rule; remembers the messages and what became of them."""

    def __init__(self, rule):
        self.rule, self.calls = rule, []

    def __call__(self, messages):
        self.calls.append((messages, self.rule(voting.majority(messages).rows)))
        return self.calls[-1][1]


def heterogeneous(seed, copies=1):
    """Rows (15, 20) of unlike files around a common part; three nodes and files are captured."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=20) * rng.choice([0.1, 1.0, 3.0])
    own = np.exp(rng.normal(size=20)) * np.exp(rng.normal(size=(15, 1)) / 2)
    forged = np.zeros((15, copies), dtype=bool)
    forged[rng.choice(15, BAD, replace=False)] = True
    return (common + own * rng.normal(size=(15, 20))).astype(np.float32), forged


def damage(objective, aggregate, rows):
    centre, aggregate = rows.astype(np.float64).mean(axis=0), aggregate.astype(np.float64)
    moved = aggregate - centre
    return float(moved @ moved if objective == "error" else -aggregate @ centre)


FIXED = [("alie", {})] + [("inner_product", {"factor": factor}) for factor in (1, 10, 100)]


@pytest.mark.parametrize("rule", SERVERS)
@pytest.mark.parametrize("objective", ["error", "descent"])
@pytest.mark.parametrize("copies", [1, 3])
def test_a_search_beats_the_fixed_attacks(rule, objective, copies):
    gains = []
    for seed in SEEDS:
        rows, forged = heterogeneous(seed, copies)
        server = Server(SERVERS[rule])
        messages = send("searched", {"objective": objective}, rows, forged, server=server)
        found = damage(objective, server(messages), rows)
        assert messages.search.value == pytest.approx(found, rel=1e-9, abs=1e-12)
        best = max(
            damage(objective, server(send(name, options, rows, forged)), rows)
            for name, options in FIXED
        )
        assert found >= best
        gains.append((found - best) / abs(best))
    assert max(gains) > {"error": 0.05, "descent": 0.001}[objective]


@pytest.mark.parametrize("evaluations", [4, 5, 8, 13, 32, 80])
@pytest.mark.parametrize("rule", ["median", "multi_krum"])
@pytest.mark.parametrize(
    "directions", [["deviation", "mean", "mean"], ["sign"], ["sign", "deviation"]]
)
def test_a_search_stays_within_its_budget_and_reports_its_best(evaluations, rule, directions):
    rows, forged = heterogeneous(1)
    server = Server(SERVERS[rule])
    options = {"evaluations": evaluations, "directions": directions}
    search = send("searched", options, rows, forged, server=server).search
    assert search.evaluations == len(server.calls) <= evaluations
    values = [damage("error", aggregate, rows) for _, aggregate in server.calls]
    assert search.value == pytest.approx(max(values), rel=1e-9)
    assert len({messages.rows[-1].tobytes() for messages, _ in server.calls}) == len(values)


def test_the_fixed_attacks_are_tried_first_bit_for_bit():
    rows, forged = heterogeneous(0)
    for directions, fixed in (
        (["mean", "deviation"], [*FIXED[1:], FIXED[0]]),
        (["sign", "deviation", "mean"], FIXED),
    ):
        server = Server(SERVERS["median"])
        options = {"directions": directions, "evaluations": 4}
        send("searched", options, rows, forged, server=server)
        for (messages, _), (name, options) in zip(server.calls, fixed, strict=True):
            assert sent(messages, forged) == sent(send(name, options, rows, forged), forged)


@pytest.mark.parametrize("rule", SERVERS)
def test_a_search_comes_near_the_best_of_a_dense_grid(rule):
    ratios = []
    for seed in SEEDS:
        rows, forged = heterogeneous(seed)
        honest = rows[~forged[:, 0]]
        mean, deviation = honest.mean(axis=0), honest.std(axis=0)
        server = Server(SERVERS[rule])

        def value(row, rows=rows, forged=forged, server=server):
            return damage("error", server(forgery.one_row(rows, forged, row)), rows)

        scales = np.geomspace(0.05, 20, 60)
        unit = np.linalg.norm(deviation) / np.linalg.norm(mean)
        dense = max(
            value(row)
            for z in scales
            for row in (mean + z * deviation, mean - z * deviation, (1 - z * unit) * mean)
        )
        found = send("searched", {}, rows, forged, server=server).search.value
        ratios.append(found / dense)
    assert statistics.median(ratios) > 0.98
    assert min(ratios) > 0.9


@pytest.mark.parametrize("objective", ["error", "descent"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_aggregate_that_is_not_finite_is_the_largest_damage(objective, bad):
    rows, forged = heterogeneous(2)
    rows[:, 3] = 0.0
    calls = itertools.count(1)

    def server(messages):
        aggregate = rows.mean(axis=0)
        aggregate[3] = bad if next(calls) == 7 else 0.0
        aggregate[0] += next(iter(messages.rows[-1]))
        return aggregate

    search = send("searched", {"objective": objective}, rows, forged, server=server).search
    assert search == (7, np.inf)


def test_a_search_ends_when_nothing_makes_a_difference():
    rows, forged = heterogeneous(0)
    server = Server(lambda votes: rows.mean(axis=0))
    assert send("searched", {}, rows, forged, server=server).search.evaluations == 16
    forged = np.zeros_like(forged)
    assert send("searched", {}, rows, forged, server=server).search.evaluations == 1


def test_stand_ins_have_the_statistics_of_what_is_known():
    rows, forged = rows_of(np.float64, d=20_000), np.arange(6)[:, None] < 3
    server = Server(SERVERS["median"].func)
    server.rule = functools.partial(aggregators.median, byzantine=1)
    known = np.array([True, True, False, True, True, False])
    send("searched", {}, rows, forged, known=known, server=server)
    shown = server.calls[0][0].rows[:6]
    assert shown[known].tobytes() == rows[known].tobytes()
    mean, deviation = rows[[3, 4]].mean(axis=0), rows[[3, 4]].std(axis=0)
    for row in (shown[2], shown[5]):
        drawn = (row - mean) / deviation
        assert drawn.mean() == pytest.approx(0.0, abs=4.5 / 20_000**0.5)
        assert drawn.std() == pytest.approx(1.0, abs=4.5 / (2 * 20_000) ** 0.5)
    assert all(messages.rows[:6].tobytes() == shown.tobytes() for messages, _ in server.calls)


@pytest.mark.parametrize(
    ("best", "cliff"),
    [(0.07, False), (1.0, False), (300.0, False), (1.0, True), (5.3, True), (300.0, True)],
)
def test_a_scale_is_found_on_one_line(best, cliff):
    def value(scale):
        if cliff and scale > best:
            return 0.0
        return 10.0 - abs(math.log(scale / best))

    line = searching.Line(lambda scale: scale, 1.0)
    found, search = searching.maximise(value, [line], 40)
    assert search.value == value(found)
    assert search.evaluations <= 40
    assert found == pytest.approx(best, rel=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"server": None}, "needs a server.*'min_max' needs none"),
        ({"evaluations": 3}, "evaluations must be an integer of 4 or more, got 3"),
        ({"evaluations": 8.0}, "evaluations must be an integer of 4 or more, got 8.0"),
        ({"objective": "loss"}, "unknown objective 'loss'.*known: error, descent"),
        ({"directions": []}, "directions must be a list of one or more of deviation, mean, sign"),
        ({"directions": "mean"}, "directions must be a list .*; got 'mean'"),
        ({"directions": ["mena"]}, "unknown direction 'mena'; did you mean 'mean'"),
    ],
)
def test_a_search_refuses_what_it_cannot_do(options, message):
    with pytest.raises(ValueError, match=message):
        attacks.searched(FIVE, FIRST, rng=None, **{"server": middle} | options)
