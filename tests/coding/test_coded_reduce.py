"""CodedReduce: the plain sum is the oracle, whichever children are late."""

import itertools
from fractions import Fraction

import numpy as np
from coded_gradients import LIBRARIES, normal, real_gradients, relative
from refusals import assert_refused

from detox_sim import coding
from detox_sim.coding import decode_weights, gradient_code

# children, layers, stragglers: workers, files, load.
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


def children_of(tree, worker):
    return np.flatnonzero(tree.parent == worker)


def late_among(tree, late):
    return np.isin(np.arange(len(tree.parent)), late)


def test_tree_has_its_workers_files_and_equal_load():
    for shape, sizes in TREES.items():
        children, layers, stragglers = shape
        tree = coding.coded_reduce(children, layers, stragglers)
        assert (len(tree.parent), tree.files, tree.load) == sizes, shape
        assert (np.count_nonzero(tree.weights, axis=1) == tree.load).all(), shape
        growth = Fraction(children, stragglers + 1)
        fraction = 1 / sum(growth**layer for layer in range(1, layers + 1))
        assert Fraction(tree.load, tree.files) == fraction, shape
        counts = np.bincount(tree.parent + 1)
        assert (counts == children).all(), shape
        assert len(counts) == 1 + sum(children**layer for layer in range(1, layers)), shape


def test_no_smaller_load_splits_evenly():
    for (children, layers, stragglers), (_, _, least) in TREES.items():
        for load in range(1, least):
            sizes = [Fraction(load)]
            for _ in range(1, layers):
                sizes.append(load + sizes[-1] * children / (stragglers + 1))
            case = children, layers, stragglers, load
            assert any((size / (stragglers + 1)).denominator > 1 for size in sizes), case


def test_workers_are_numbered_layer_by_layer():
    parents = coding.coded_reduce(2, 3, 1).parent
    assert parents.tolist() == [parent for parent in range(-1, 6) for _ in range(2)]


def test_tree_of_one_layer_is_gradient_coding():
    for workers, stragglers, kind in [(8, 2, "cyclic"), (6, 2, "repetition")]:
        tree = coding.coded_reduce(workers, 1, stragglers, kind=kind)
        code = gradient_code(workers, stragglers, kind=kind)
        if kind == "cyclic":
            assert (tree.files, tree.load) == (workers, stragglers + 1)
        assert np.array_equal(tree.weights, code), kind
        rows, late = normal((workers, 4)), np.arange(workers) < stragglers
        wanted = decode_weights(code, late) @ (code @ rows)
        got = coding.reduce(tree, rows, late)
        np.testing.assert_allclose(got, wanted, rtol=1e-12, err_msg=kind)


def test_every_pattern_of_late_children_leaves_the_sum():
    """Every choice of s late children below every parent of a tree of two layers."""
    for children, stragglers, kind in [
        (3, 1, "cyclic"),
        (4, 1, "repetition"),
        (4, 1, "cyclic"),
        (3, 2, "cyclic"),
        (3, 2, "repetition"),
        (3, 0, "cyclic"),
    ]:
        tree = coding.coded_reduce(children, 2, stragglers, kind=kind)
        rows = normal((tree.files, 3))
        below = [
            list(itertools.combinations(children_of(tree, worker), stragglers))
            for worker in range(-1, children)
        ]
        for chosen in itertools.product(*below):
            late = late_among(tree, list(itertools.chain(*chosen)))
            error = relative(coding.reduce(tree, rows, late), rows.sum(axis=0))
            assert error < 1e-10, (children, stragglers, kind, chosen)


def test_deeper_trees_leave_the_sum():
    for children, layers, stragglers in [(4, 3, 1), (5, 3, 2), (2, 4, 1)]:
        tree = coding.coded_reduce(children, layers, stragglers)
        rows, rng = normal((tree.files, 3)), np.random.default_rng(0)
        for draw in range(20):
            late = np.zeros(len(tree.parent), dtype=bool)
            for parent in range(-1, tree.parent.max() + 1):
                count = int(rng.integers(stragglers + 1))
                late[rng.choice(children_of(tree, parent), count, replace=False)] = True
            error = relative(coding.reduce(tree, rows, late), rows.sum(axis=0))
            assert error < 1e-8, (children, layers, stragglers, draw)


def test_messages_are_combined_from_the_leaves_up():
    """Two layers by hand: each worker adds its own gradients to its children's decoded messages."""
    tree = coding.coded_reduce(3, 2, 1)
    rows, late = normal((tree.files, 4)), np.isin(np.arange(12), [1, 3, 11])
    messages = tree.weights @ rows
    for worker in (0, 2):
        own = children_of(tree, worker)
        messages[worker] += decode_weights(tree.code, late[own]) @ messages[own]
    wanted = decode_weights(tree.code, late[:3]) @ messages[:3]
    np.testing.assert_allclose(coding.reduce(tree, rows, late), wanted, rtol=1e-12)
    np.testing.assert_allclose(wanted, rows.sum(axis=0), rtol=1e-12)


def test_too_many_late_children_are_refused_with_their_parent():
    tree, rows = coding.coded_reduce(3, 2, 1), normal((15, 2))
    message = "children of worker 1: 2 of 3 workers are late"
    assert_refused(message, coding.reduce, tree, rows, late_among(tree, [6, 7]))
    found = coding.reduce(tree, rows, late_among(tree, [1, 6, 7]))
    assert relative(found, rows.sum(axis=0)) < 1e-12
    message = "children of the server: 2 of 3"
    assert_refused(message, coding.reduce, tree, rows, late_among(tree, [1, 2, 6, 7]))


def test_sub_tree_of_a_late_worker_is_missing():
    tree, rows = coding.coded_reduce(3, 2, 1), normal((15, 2))
    late = late_among(tree, [1])
    below = late | np.isin(tree.parent, [1])
    assert coding.reduce(tree, rows, late).tolist() == coding.reduce(tree, rows, below).tolist()


def test_any_workers_below_a_late_one_may_be_late():
    tree = coding.coded_reduce(2, 3, 1)
    rows = normal((tree.files, 2))
    assert set(tree.parent[[6, 7]]) == {2}
    found = coding.reduce(tree, rows, late_among(tree, [0, 6, 7]))
    assert relative(found, rows.sum(axis=0)) < 1e-12
    message = "children of worker 2"
    assert_refused(message, coding.reduce, tree, rows, late_among(tree, [6, 7]))


def test_real_gradients_of_every_array_library_are_summed():
    tree = coding.coded_reduce(4, 2, 1)
    rows = real_gradients(tree.files)
    for library, convert in LIBRARIES.items():
        got = coding.reduce(tree, convert(rows), late_among(tree, [2, 5, 9, 13, 18]))
        assert type(got) is type(convert(rows)), library
        assert got.dtype == convert(rows).dtype, library
        assert relative(got, rows.sum(axis=0, dtype=float)) < 1e-5, library


def test_other_shapes_are_refused():
    tree = coding.coded_reduce(3, 2, 1)
    rows, late = np.ones((15, 2)), np.zeros(12, dtype=bool)
    message = r"15 gradients and late of shape \(12,\), got 14 and"
    assert_refused(message, coding.reduce, tree, rows[:14], late)
    assert_refused(r"got 15 and \(3,\)", coding.reduce, tree, rows, late[:3])
