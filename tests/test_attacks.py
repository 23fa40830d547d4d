"""What every attack of `attacks.__all__` owes, and the formulas."""

import inspect

import array_api_strict
import numpy as np
import pytest
import reference

from detox_sim import attacks

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
        }.get(name, {}),
    }.items()
]


def rows_of(dtype=np.float32, d=5, seed=0):
    return np.random.default_rng(seed).normal(size=(6, d)).astype(dtype)


def send(name, options, rows, forged, seed=2):
    return getattr(attacks, name)(rows, forged, rng=np.random.default_rng(seed), **options)


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


@pytest.mark.parametrize("name", attacks.__all__)
def test_an_attack_goes_on_when_no_honest_node_is_left(name):
    rows, forged = rows_of(), FORGED["everybody"]
    messages = send(name, REQUIRED.get(name, {}), rows, forged)
    assert messages.rows[:6].tobytes() == rows.tobytes()
    assert np.isfinite(messages.rows).all()


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_randomness_comes_only_from_the_stream(name, options):
    rows, forged = rows_of(), FORGED["some"]
    once, again = send(name, options, rows, forged), send(name, options, rows, forged)
    other = send(name, options, rows, forged, seed=99)
    assert once.rows.tobytes() == again.rows.tobytes()
    assert once.row_of.tolist() == again.row_of.tolist()
    assert (other.rows.tobytes() != once.rows.tobytes()) == (name == "gaussian")


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_another_array_library_gives_the_same_answer(name, options):
    rows, forged = rows_of(), FORGED["some"]
    got = send(name, options, array_api_strict.asarray(rows), forged)
    wanted = send(name, options, rows, forged)
    assert got.rows.dtype == array_api_strict.float32
    np.testing.assert_array_equal(np.asarray(got.rows), wanted.rows)
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
    ],
)
def test_what_is_sent(name, options, sent):
    messages = send(name, options, FIVE, FIRST)
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
