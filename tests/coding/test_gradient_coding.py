"""Gradient coding and the draw of faults: the plain sum is the oracle, whoever is late."""

import itertools

import numpy as np
from coded_gradients import normal, relative
from refusals import assert_refused

from detox_sim import coding
from detox_sim.coding import cyclic_decode, cyclic_encode, decode_weights, gradient_code
from detox_sim.primitives import combine
from detox_sim.streams import stream


def late_among(workers, late):
    return np.isin(np.arange(workers), late)


def test_cyclic_gradient_code_has_its_pattern_and_rank():
    for workers, stragglers in [(1, 0), (5, 0), (5, 4), (8, 2), (45, 10)]:
        case = workers, stragglers
        code = gradient_code(workers, stragglers)
        files = (np.arange(workers)[:, None] + np.arange(stragglers + 1)) % workers
        computes = np.zeros((workers, workers), dtype=bool)
        np.put_along_axis(computes, files, True, axis=1)
        assert np.array_equal(code != 0, computes), case
        assert (np.diag(code) == 1).all(), case
        values = np.linalg.svd(code, compute_uv=False)
        assert (values > 1e-10 * values[0]).sum() == workers - stragglers, case


def test_repetition_gradient_code_has_its_pattern():
    code = gradient_code(6, 2, kind="repetition")
    assert code.tolist() == [[float(i // 3 == j // 3) for j in range(6)] for i in range(6)]


def test_every_pattern_of_stragglers_leaves_the_sum():
    for workers, stragglers, kind in [
        (8, 2, "cyclic"),
        (9, 2, "repetition"),
        (8, 3, "repetition"),
        (7, 3, "cyclic"),
        (4, 0, "cyclic"),
    ]:
        code, rows = gradient_code(workers, stragglers, kind=kind), normal((workers, 6))
        counts = range(stragglers + 1)
        patterns = (itertools.combinations(range(workers), count) for count in counts)
        for pattern in itertools.chain.from_iterable(patterns):
            case = workers, stragglers, kind, pattern
            late = late_among(workers, pattern)
            messages = np.where(late[:, None], np.nan, code @ rows)
            weights = decode_weights(code, late)
            assert not weights[late].any(), case
            assert np.abs(weights @ code - 1).max() < 1e-10, case
            got = combine(weights[None], messages)[0]
            assert relative(got, rows.sum(axis=0)) < 1e-11, case


def test_more_stragglers_than_the_code_withstands_are_refused():
    code = gradient_code(8, 2)
    for pattern in itertools.combinations(range(8), 3):
        message = r"3 of 8 workers are late.*withstands any 2"
        assert_refused(message, decode_weights, code, late_among(8, pattern))
    assert_refused("each of 8 workers", decode_weights, code, np.zeros(7, dtype=bool))


def test_repetition_needs_one_worker_of_each_group():
    code = gradient_code(6, 2, kind="repetition")
    weights = decode_weights(code, late_among(6, [0, 1, 3, 5]))
    np.testing.assert_allclose(weights, [0, 0, 1, 0, 1, 0], atol=1e-12)
    assert_refused("3 of 6", decode_weights, code, np.arange(6) < 3)


def test_cyclic_gradient_code_is_drawn_from_the_stream():
    default = gradient_code(8, 2)
    assert np.array_equal(default, gradient_code(8, 2, rng=stream(0, "gradient code")))
    assert not np.array_equal(default, gradient_code(8, 2, rng=np.random.default_rng(1)))


def test_cyclic_gradient_code_has_small_coefficients():
    """The first draw of this stream has a coefficient of 867."""
    assert np.abs(gradient_code(8, 2)).max() < 3


def test_impossible_gradient_codes_are_refused():
    for sizes, kind, message in [
        ((8, 2), "repetition", r"= 3 to divide the 8.*0, 1, 3, 7, or kind='cyclic'"),
        ((8, 8), "cyclic", "use at most 7"),
        ((8, -1), "cyclic", "stragglers must be an integer of 0 or more"),
        ((8, 2), "cyclical", "did you mean 'cyclic'"),
    ]:
        assert_refused(message, gradient_code, *sizes, kind=kind)


def test_forged_message_changes_the_sum_of_gradient_coding_and_not_of_the_cyclic_code():
    """With s late workers, a forged message equals honest ones of other gradients."""
    rows = normal((9, 5))
    code, late = gradient_code(9, 2), np.arange(9) >= 7
    forged = code @ rows
    forged[3] += 1.0
    got = decode_weights(code, late) @ forged
    assert np.abs(got - rows.sum(axis=0)).min() > 0.1
    others = np.linalg.lstsq(code[~late], forged[~late], rcond=None)[0]
    np.testing.assert_allclose((code @ others)[~late], forged[~late], atol=1e-10)
    np.testing.assert_allclose(others.sum(axis=0), got, atol=1e-10)

    received = cyclic_encode(rows, 5)
    received[3] += 1.0
    total, byzantine = cyclic_decode(received, 5, rng=np.random.default_rng(0))
    assert np.flatnonzero(byzantine).tolist() == [3]
    np.testing.assert_allclose(total, rows.sum(axis=0), rtol=1e-12)


# --- Faults ----------------------------------------------------------------------------------


def test_faults_are_independent_subsets_of_exact_sizes():
    rng, overlaps = np.random.default_rng(0), []
    for _ in range(4000):
        byzantine, late = coding.draw(6, 2, 3, rng)
        assert (byzantine.sum(), late.sum()) == (2, 3)
        overlaps.append((byzantine & late).sum())
    shares = np.bincount(overlaps) / 4000
    np.testing.assert_allclose(shares, [0.2, 0.6, 0.2], atol=0.035)


def test_more_faults_than_workers_are_refused():
    for sizes in [(5, 6, 0), (5, 0, 6)]:
        assert_refused("must be at most the 5 workers, got 6", coding.draw, *sizes, stream(0, "-"))
