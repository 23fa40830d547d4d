"""Codes over gradients: the plain sum is the oracle, whoever lies or is late."""

import itertools
from fractions import Fraction

import array_api_strict
import dask.array
import numpy as np
import pytest

from detox_sim import assignments, coding, data, models
from detox_sim.coding import cyclic_decode, cyclic_encode, decode_weights, gradient_code
from detox_sim.coding.cyclic import _spaces
from detox_sim.streams import stream

CODES = [(3, 3), (5, 3), (7, 5), (8, 3), (9, 9), (15, 7), (16, 5), (45, 11), (45, 15)]


def normal(shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def real_gradients(files):
    """Gradients (files, 4810) of a perceptron on the digits, one row a file."""
    digits = data.digits()
    images, labels = digits.train_images, digits.train_labels
    model = models.Model(models.mlp, images.shape[1:], digits.classes)
    parts = [array[: 12 * files].reshape(files, 12, *array.shape[1:]) for array in (images, labels)]
    with models.one_thread():
        return model.gradients(model.initial(stream(0, "parameters")), *parts)[1]


def relative(got, wanted):
    return np.linalg.norm(np.asarray(got) - wanted) / np.linalg.norm(wanted)


def decode(received, copies, seed=0):
    return cyclic_decode(received, copies, rng=np.random.default_rng(seed))


# --- What liars send: lie(honest messages (2 p, d), liars, rng) -> the liars' rows (2 t, d) --


def both(liars, workers):
    liars = np.asarray(liars, dtype=int)
    return np.concatenate([liars, liars + workers])


LIES = {
    "random": lambda rows, rng: rng.normal(size=rows.shape),
    "reverse": lambda rows, rng: -rows,
    "zero": lambda rows, rng: 0 * rows,
    "constant": lambda rows, rng: 0 * rows - 100,
    "huge": lambda rows, rng: 1e30 * rng.normal(size=rows.shape),
    "same small shift": lambda rows, rng: rows + 1e-3 * rows[:1].sum(axis=0),
    "small": lambda rows, rng: rows * (1 + 1e-3 * rng.normal(size=rows.shape)),
    "nan": lambda rows, rng: np.where(rng.random(rows.shape) < 0.5, np.nan, rows),
    "inf": lambda rows, rng: np.where(rng.random(rows.shape) < 0.5, -np.inf, rows),
    "mixed": lambda rows, rng: rows * 10.0 ** np.linspace(-3, 30, len(rows))[:, None] * -1.5,
}


def forge(received, liars, lie, seed=0):
    places = both(liars, len(received) // 2)
    forged = received.copy()
    with np.errstate(over="ignore"):
        forged[places] = LIES[lie](received[places].astype(np.float64), np.random.default_rng(seed))
    return forged


# --- The cyclic code -------------------------------------------------------------------------


@pytest.mark.parametrize(("workers", "copies"), CODES)
def test_workers_combine_the_files_they_hold(workers, copies):
    code = coding.cyclic_code(workers, copies)
    held = np.zeros((workers, workers), dtype=bool)
    for file, holders in enumerate(assignments.cyclic(workers, copies)):
        held[holders, file] = True
    assert np.array_equal(code != 0, held)
    np.testing.assert_allclose(code.sum(axis=0), 1, atol=1e-12)


@pytest.mark.parametrize(("workers", "copies"), CODES)
def test_columns_are_what_the_zeros_of_their_spectrum_leave(workers, copies):
    """Against the null vector by SVD: 2 s frequencies g, 2 g, ... of every column are zero."""
    code = coding.cyclic_code(workers, copies)
    spectrum = np.fft.fft(code, axis=0)
    zero = np.flatnonzero(np.abs(spectrum).max(axis=1) < 1e-10 * np.abs(spectrum).max())
    assert len(zero) == copies - 1
    steps = [g for g in range(workers) if set(zero) == {g * m % workers for m in range(1, copies)}]
    assert steps
    for file in (0, workers // 2):
        support = np.flatnonzero(code[:, file])
        moments = np.exp(-2j * np.pi * np.outer(zero, support) / workers)
        null = np.linalg.svd(moments)[2][-1].conj()
        np.testing.assert_allclose(code[support, file], null / null.sum(), atol=1e-9)


@pytest.mark.parametrize(("workers", "copies"), CODES)
def test_messages_are_as_long_as_gradients(workers, copies):
    """With the stride 1 of DRACO the coefficients of (45, 11) add up to 10^5."""
    assert np.abs(coding.cyclic_code(workers, copies)).sum(axis=0).max() < 4


def test_any_p_minus_2s_messages_determine_the_sum():
    code = coding.cyclic_code(7, 5)
    for kept in itertools.combinations(range(7), 3):
        weights = np.linalg.lstsq(code[list(kept)].T, np.ones(7), rcond=None)[0]
        np.testing.assert_allclose(weights @ code[list(kept)], 1, atol=1e-10)


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_set_of_liars_is_found(lie, dtype):
    rows = normal((7, 20), dtype=dtype)
    received = cyclic_encode(rows, 5)
    for liars in [(), *((i,) for i in range(7)), *itertools.combinations(range(7), 2)]:
        total, found = decode(forge(received, liars, lie), 5)
        assert np.flatnonzero(found).tolist() == list(liars)
        assert total.dtype == dtype
        assert relative(total, rows.sum(axis=0, dtype=float)) < 16 * np.finfo(dtype).eps


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("where", ["random", "neighbours", "neighbours on the circle"])
@pytest.mark.parametrize(
    ("workers", "copies"),
    [(15, 3), (15, 5), (15, 11), (16, 5), (45, 3), (45, 7), (45, 11), (45, 15)],
)
def test_as_many_liars_as_can_be_are_found(workers, copies, where, lie):
    most, rng = copies // 2, np.random.default_rng(copies)
    rows = normal((workers, 200), dtype=np.float32)
    order = np.argsort(np.angle(_spaces(workers, copies)[1].points))
    received = cyclic_encode(rows, copies)
    for seed in range(3):
        near = (rng.integers(workers) + np.arange(most)) % workers
        sets = {
            "random": rng.choice(workers, most, replace=False),
            "neighbours": near,
            "neighbours on the circle": order[near],
        }
        liars = np.sort(sets[where])
        total, found = decode(forge(received, liars, lie, seed), copies, seed)
        assert np.flatnonzero(found).tolist() == liars.tolist()
        assert relative(total, rows.sum(axis=0, dtype=float)) < 1e-6


def test_liars_are_found_where_algebra_is_no_help():
    """Seven of 100 neighbours, each off by the same little: only new starts of the search help."""
    received = cyclic_encode(normal((100, 50), dtype=np.float32), 15)
    for seed in range(10):
        liars = np.sort((seed * 10 + np.arange(7)) % 100)
        found = decode(forge(received, liars, "same small shift"), 15, seed).liars
        assert np.flatnonzero(found).tolist() == liars.tolist()


@pytest.mark.parametrize("count", range(6))
def test_fewer_liars_are_found_without_accusing_others(count):
    rows = normal((45, 50), dtype=np.float32)
    received = cyclic_encode(rows, 11)
    for seed in range(10):
        liars = np.random.default_rng(seed).choice(45, count, replace=False)
        found = decode(forge(received, liars, "small", seed), 11, seed).liars
        assert np.flatnonzero(found).tolist() == sorted(liars)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("workers", "copies"), [(5, 3), (15, 7), (15, 15), (45, 11)])
def test_no_false_alarms(workers, copies, dtype):
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rows = rng.normal(size=(workers, int(rng.integers(1, 300))))
        rows = (rows * np.exp(rng.normal(size=(workers, 1))) + rng.normal()).astype(dtype)
        received = cyclic_encode(rows, copies)
        assert not decode(received, copies, seed).liars.any()


def test_equal_rounding_errors_do_not_add_up():
    """A projection of mean 1 adds them up, to 38 times the threshold."""
    rows = np.repeat(normal((45, 1), dtype=np.float32), 200_000, axis=1)
    received = cyclic_encode(rows, 11)
    assert not any(decode(received, 11, seed).liars.any() for seed in range(3))


def test_a_gradient_that_is_longer_than_all_others_is_no_lie():
    rows = normal((15, 30))
    rows[4] *= 1e6
    for liars in ([], [2, 9, 11], [2, 3, 4]):
        total, found = decode(forge(cyclic_encode(rows, 7), liars, "zero"), 7)
        assert np.flatnonzero(found).tolist() == liars
        assert relative(total, rows.sum(axis=0)) < 1e-14


def test_gradients_of_zero_are_summed():
    total, found = decode(forge(cyclic_encode(np.zeros((7, 3)), 5), [2], "constant"), 5)
    assert total.tolist() == [0, 0, 0]
    assert np.flatnonzero(found).tolist() == [2]


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize(("workers", "copies"), [(4, 1), (5, 3), (15, 5), (15, 15)])
def test_more_liars_than_can_be_do_not_crash(workers, copies, lie):
    received = cyclic_encode(normal((workers, 10)), copies)
    for count in (copies // 2 + 1, workers - 1, workers):
        total, found = decode(forge(received, range(count), lie), copies)
        assert total.shape == (10,)
        assert found.shape == (workers,)
        assert np.isfinite(total).all()


LIBRARIES = {
    "strict": array_api_strict.asarray,
    "whole": lambda rows: rows,
    "dask": lambda rows: dask.array.from_array(rows, chunks=(7, 900)),
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_any_array_library_gives_the_same(library):
    rows = normal((15, 4000), dtype=np.float32)
    rows.flags.writeable = False
    received = cyclic_encode(LIBRARIES[library](rows), 7)
    assert type(received) is type(LIBRARIES[library](rows))
    honest = np.asarray(received)
    assert honest.tobytes() == cyclic_encode(rows, 7).tobytes()
    forged = forge(honest, [1, 2, 14], "small")
    forged.flags.writeable = False
    total, found = decode(LIBRARIES[library](forged), 7)
    assert np.flatnonzero(found).tolist() == [1, 2, 14]
    assert np.asarray(total).tobytes() == decode(forged, 7).total.tobytes()


def test_answers_do_not_depend_on_blocks(monkeypatch):
    forged = forge(cyclic_encode(normal((15, 4000), dtype=np.float32), 7), [0, 7], "small")
    whole = decode(forged, 7)
    monkeypatch.setattr("detox_sim.primitives.reference.BLOCK", 100)
    cut = decode(forged, 7)
    assert whole.total.tobytes() == cut.total.tobytes()
    assert whole.liars.tolist() == cut.liars.tolist()


def test_real_gradients_survive_liars():
    rows = real_gradients(15)
    received = cyclic_encode(rows, 7)
    for lie in LIES:
        total, found = decode(forge(received, [3, 4, 10], lie), 7)
        assert np.flatnonzero(found).tolist() == [3, 4, 10]
        assert relative(total, rows.sum(axis=0, dtype=float)) < 1e-6


@pytest.mark.parametrize(
    ("shape", "copies", "said"),
    [
        ((9, 2), 3, r"2 \* workers"),
        ((10,), 3, r"got \(10,\)"),
        ((10, 2), 4, "use 3 or 5"),
        ((10, 2), 7, "at most 5"),
    ],
)
def test_impossible_messages_are_refused(shape, copies, said):
    with pytest.raises(ValueError, match=said):
        decode(np.ones(shape), copies)


# --- Gradient coding -------------------------------------------------------------------------


@pytest.mark.parametrize(("workers", "stragglers"), [(1, 0), (5, 0), (5, 4), (8, 2), (45, 10)])
def test_the_cyclic_code_has_its_pattern_and_rank(workers, stragglers):
    code = gradient_code(workers, stragglers)
    files = (np.arange(workers)[:, None] + np.arange(stragglers + 1)) % workers
    held = np.zeros((workers, workers), dtype=bool)
    np.put_along_axis(held, files, True, axis=1)
    assert np.array_equal(code != 0, held)
    np.testing.assert_array_equal(np.diag(code), 1)
    values = np.linalg.svd(code, compute_uv=False)
    assert (values > 1e-10 * values[0]).sum() == workers - stragglers


def test_the_repetition_code_has_its_pattern():
    code = gradient_code(6, 2, kind="repetition")
    assert code.tolist() == [[float(i // 3 == j // 3) for j in range(6)] for i in range(6)]


@pytest.mark.parametrize(
    ("workers", "stragglers", "kind"),
    [
        (8, 2, "cyclic"),
        (9, 2, "repetition"),
        (8, 3, "repetition"),
        (7, 3, "cyclic"),
        (4, 0, "cyclic"),
    ],
)
def test_every_pattern_of_stragglers_leaves_the_sum(workers, stragglers, kind):
    code, rows = gradient_code(workers, stragglers, kind=kind), normal((workers, 6))
    for count in range(stragglers + 1):
        for gone in itertools.combinations(range(workers), count):
            late = np.isin(np.arange(workers), gone)
            messages = np.where(late[:, None], np.nan, code @ rows)
            weights = decode_weights(code, late)
            assert not weights[late].any()
            np.testing.assert_allclose(weights @ code, 1, atol=1e-10)
            got = coding.cyclic.combine(weights[None], messages)[0]
            assert relative(got, rows.sum(axis=0)) < 1e-11


def test_more_stragglers_leave_no_sum():
    code = gradient_code(8, 2)
    for gone in itertools.combinations(range(8), 3):
        with pytest.raises(ValueError, match=r"3 of 8 workers are late.*withstands any 2"):
            decode_weights(code, np.isin(np.arange(8), gone))


def test_repetition_needs_one_holder_of_each_file():
    code = gradient_code(6, 2, kind="repetition")
    late = np.array([True, True, False, True, False, True])
    np.testing.assert_allclose(decode_weights(code, late), [0, 0, 1, 0, 1, 0], atol=1e-12)
    with pytest.raises(ValueError, match="3 of 6"):
        decode_weights(code, np.arange(6) < 3)


def test_the_random_code_comes_from_the_stream():
    default = gradient_code(8, 2)
    assert np.array_equal(default, gradient_code(8, 2, rng=stream(0, "gradient code")))
    assert not np.array_equal(default, gradient_code(8, 2, rng=np.random.default_rng(1)))


def test_the_best_of_many_draws_keeps_its_digits():
    """The first draw of this stream has a coefficient of 867."""
    assert np.abs(gradient_code(8, 2)).max() < 3


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (
            (8, 2),
            "repetition",
            r"stragglers \+ 1 = 3 to divide the 8.*0, 1, 3, 7, or kind='cyclic'",
        ),
        ((8, 8), "cyclic", "use at most 7"),
        ((8, -1), "cyclic", "stragglers must be an integer of 0 or more"),
        ((8, 2), "cyclical", "did you mean 'cyclic'"),
    ],
)
def test_impossible_codes_are_refused(arguments, kind, said):
    with pytest.raises(ValueError, match=said):
        gradient_code(*arguments, kind=kind)


def test_decoding_wants_to_know_of_every_worker():
    with pytest.raises(ValueError, match="each of 8 workers"):
        decode_weights(gradient_code(8, 2), np.zeros(7, dtype=bool))


def test_a_lie_passes_through_gradient_coding_and_not_through_the_cyclic_code():
    """With s late workers, what a liar sends is what honest workers send on other gradients."""
    rows = normal((9, 5))
    code, late = gradient_code(9, 2), np.arange(9) >= 7
    lie = code @ rows
    lie[3] += 1.0
    got = decode_weights(code, late) @ lie
    assert np.abs(got - rows.sum(axis=0)).min() > 0.1
    others = np.linalg.lstsq(code[~late], lie[~late], rcond=None)[0]
    np.testing.assert_allclose((code @ others)[~late], lie[~late], atol=1e-10)
    np.testing.assert_allclose(others.sum(axis=0), got, atol=1e-10)

    received = cyclic_encode(rows, 5)
    received[3] += 1.0
    total, liars = decode(received, 5)
    assert np.flatnonzero(liars).tolist() == [3]
    np.testing.assert_allclose(total, rows.sum(axis=0), rtol=1e-12)


# --- CodedReduce -----------------------------------------------------------------------------

# children, layers, stragglers: nodes, files, load.
TREES = {
    (3, 1, 1): (3, 3, 2),
    (4, 1, 0): (4, 4, 1),
    (3, 2, 0): (12, 12, 1),
    (3, 2, 1): (12, 15, 4),
    (3, 2, 2): (12, 6, 3),
    (4, 2, 1): (20, 12, 2),
    (4, 3, 1): (84, 28, 2),
    (5, 3, 1): (155, 195, 8),
    (2, 4, 1): (30, 8, 2),
}


@pytest.mark.parametrize("shape", TREES)
def test_a_tree_has_its_nodes_files_and_equal_load(shape):
    children, layers, stragglers = shape
    tree = coding.coded_reduce(children, layers, stragglers)
    assert (len(tree.parent), tree.files, tree.load) == TREES[shape]
    assert (np.count_nonzero(tree.weights, axis=1) == tree.load).all()
    growth = Fraction(children, stragglers + 1)
    fraction = 1 / sum(growth**layer for layer in range(1, layers + 1))
    assert Fraction(tree.load, tree.files) == fraction
    counts = np.bincount(tree.parent + 1)
    assert (counts == children).all()
    assert len(counts) == 1 + sum(children**layer for layer in range(1, layers))


@pytest.mark.parametrize("shape", TREES)
def test_no_smaller_load_splits_evenly(shape):
    children, layers, stragglers = shape
    for load in range(1, TREES[shape][2]):
        sizes = [Fraction(load)]
        for _ in range(1, layers):
            sizes.append(load + sizes[-1] * children / (stragglers + 1))
        assert any((size / (stragglers + 1)).denominator > 1 for size in sizes)


def test_parents_come_layer_by_layer():
    assert coding.coded_reduce(2, 3, 1).parent.tolist() == [
        -1,
        -1,
        0,
        0,
        1,
        1,
        2,
        2,
        3,
        3,
        4,
        4,
        5,
        5,
    ]


@pytest.mark.parametrize(
    ("workers", "stragglers", "kind"), [(8, 2, "cyclic"), (6, 2, "repetition")]
)
def test_one_layer_is_gradient_coding(workers, stragglers, kind):
    tree = coding.coded_reduce(workers, 1, stragglers, kind=kind)
    code = gradient_code(workers, stragglers, kind=kind)
    if kind == "cyclic":
        assert (tree.files, tree.load) == (workers, stragglers + 1)
    assert np.array_equal(tree.weights, code)
    rows, late = normal((workers, 4)), np.arange(workers) < stragglers
    wanted = decode_weights(code, late) @ (code @ rows)
    np.testing.assert_allclose(coding.reduce(tree, rows, late), wanted, rtol=1e-12)


def children_of(tree, node):
    return np.flatnonzero(tree.parent == node)


def patterns(tree):
    """Every choice of s late children below every parent of a tree of two layers."""
    below = [
        list(itertools.combinations(children_of(tree, node), tree.stragglers))
        for node in range(-1, tree.children)
    ]
    for chosen in itertools.product(*below):
        late = np.zeros(len(tree.parent), dtype=bool)
        late[[node for some in chosen for node in some]] = True
        yield late


@pytest.mark.parametrize(
    ("children", "stragglers", "kind"),
    [
        (3, 1, "cyclic"),
        (4, 1, "repetition"),
        (4, 1, "cyclic"),
        (3, 2, "cyclic"),
        (3, 2, "repetition"),
        (3, 0, "cyclic"),
    ],
)
def test_every_pattern_of_late_children_leaves_the_sum(children, stragglers, kind):
    tree = coding.coded_reduce(children, 2, stragglers, kind=kind)
    rows = normal((tree.files, 3))
    for late in patterns(tree):
        assert relative(coding.reduce(tree, rows, late), rows.sum(axis=0)) < 1e-10


@pytest.mark.parametrize(("children", "layers", "stragglers"), [(4, 3, 1), (5, 3, 2), (2, 4, 1)])
def test_deeper_trees_leave_the_sum(children, layers, stragglers):
    tree = coding.coded_reduce(children, layers, stragglers)
    rows, rng = normal((tree.files, 3)), np.random.default_rng(0)
    for _ in range(20):
        late = np.zeros(len(tree.parent), dtype=bool)
        for parent in range(-1, tree.parent.max() + 1):
            below = children_of(tree, parent)
            late[rng.choice(below, int(rng.integers(stragglers + 1)), replace=False)] = True
        assert relative(coding.reduce(tree, rows, late), rows.sum(axis=0)) < 1e-8


def test_messages_are_combined_from_the_leaves_up():
    """Two layers by hand: each node adds its own gradients to its children's decoded messages."""
    tree = coding.coded_reduce(3, 2, 1)
    rows, late = normal((tree.files, 4)), np.isin(np.arange(12), [1, 3, 11])
    messages = tree.weights @ rows
    for node in (0, 2):
        own = children_of(tree, node)
        messages[node] += decode_weights(tree.code, late[own]) @ messages[own]
    wanted = decode_weights(tree.code, late[:3]) @ messages[:3]
    np.testing.assert_allclose(coding.reduce(tree, rows, late), wanted, rtol=1e-12)
    np.testing.assert_allclose(wanted, rows.sum(axis=0), rtol=1e-12)


def test_too_many_late_children_are_named():
    tree, late = coding.coded_reduce(3, 2, 1), np.zeros(12, dtype=bool)
    rows = normal((15, 2))
    late[[6, 7]] = True
    with pytest.raises(ValueError, match="children of node 1: 2 of 3 workers are late"):
        coding.reduce(tree, rows, late)
    late[1] = True
    assert relative(coding.reduce(tree, rows, late), rows.sum(axis=0)) < 1e-12
    late[2] = True
    with pytest.raises(ValueError, match="children of the master: 2 of 3"):
        coding.reduce(tree, rows, late)


def test_a_late_node_takes_its_sub_tree_with_it():
    tree = coding.coded_reduce(3, 2, 1)
    rows, late = normal((15, 2)), np.isin(np.arange(12), [1])
    below = late | np.isin(tree.parent, [1])
    assert coding.reduce(tree, rows, late).tolist() == coding.reduce(tree, rows, below).tolist()


def test_below_a_late_node_nobody_is_missed():
    tree = coding.coded_reduce(2, 3, 1)
    rows, late = normal((tree.files, 2)), np.isin(np.arange(14), [0, 6, 7])
    assert set(tree.parent[[6, 7]]) == {2}
    assert relative(coding.reduce(tree, rows, late), rows.sum(axis=0)) < 1e-12
    late[0] = False
    with pytest.raises(ValueError, match="children of node 2"):
        coding.reduce(tree, rows, late)


@pytest.mark.parametrize("library", LIBRARIES)
def test_trees_add_real_gradients_of_any_array_library(library):
    tree = coding.coded_reduce(4, 2, 1)
    rows = real_gradients(tree.files)
    late = np.isin(np.arange(20), [2, 5, 9, 13, 18])
    got = coding.reduce(tree, LIBRARIES[library](rows), late)
    assert type(got) is type(LIBRARIES[library](rows))
    assert got.dtype == LIBRARIES[library](rows).dtype
    assert relative(got, rows.sum(axis=0, dtype=float)) < 1e-5


def test_reduce_refuses_other_shapes():
    tree = coding.coded_reduce(3, 2, 1)
    with pytest.raises(ValueError, match=r"15 gradients and late of shape \(12,\), got 14 and"):
        coding.reduce(tree, np.ones((14, 2)), np.zeros(12, dtype=bool))
    with pytest.raises(ValueError, match=r"got 15 and \(3,\)"):
        coding.reduce(tree, np.ones((15, 2)), np.zeros(3, dtype=bool))


# --- Faults ----------------------------------------------------------------------------------


def test_faults_are_independent_subsets_of_exact_sizes():
    rng, overlaps = np.random.default_rng(0), []
    for _ in range(4000):
        bad, late = coding.draw(6, 2, 3, rng)
        assert (bad.sum(), late.sum()) == (2, 3)
        overlaps.append((bad & late).sum())
    chances = np.bincount(overlaps) / 4000
    np.testing.assert_allclose(chances, [0.2, 0.6, 0.2], atol=0.035)


@pytest.mark.parametrize("sizes", [(5, 6, 0), (5, 0, 6)])
def test_more_faults_than_workers_are_refused(sizes):
    with pytest.raises(ValueError, match="must be at most the 5 workers, got 6"):
        coding.draw(*sizes, np.random.default_rng(0))
