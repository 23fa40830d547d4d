"""DRACO's cyclic code: the plain sum is the oracle, whatever Byzantine workers send."""

import itertools

import numpy as np
from coded_gradients import LIBRARIES, normal, real_gradients, relative
from refusals import assert_refused

from detox_sim import assignments, coding
from detox_sim.coding import cyclic_decode, cyclic_encode
from detox_sim.coding.cyclic import _spaces

CODES = [(3, 3), (5, 3), (7, 5), (8, 3), (9, 9), (15, 7), (16, 5), (45, 11), (45, 15)]

# name -> f(honest messages (2 t, d) of t Byzantine workers, rng) -> what they send instead
FORGERIES = {
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


def forge(received, byzantine, forgery, seed=0):
    """Return the messages (2 p, d) in which some workers send a forgery."""
    workers = np.asarray(byzantine, dtype=int)
    parts = np.concatenate([workers, workers + len(received) // 2])  # real, then imaginary
    forged = received.copy()
    with np.errstate(over="ignore"):
        honest = received[parts].astype(np.float64)
        forged[parts] = FORGERIES[forgery](honest, np.random.default_rng(seed))
    return forged


def decode(received, copies, seed=0):
    """Return the decoded sum, and the list of workers that are located as Byzantine."""
    total, byzantine = cyclic_decode(received, copies, rng=np.random.default_rng(seed))
    assert byzantine.shape == (received.shape[0] // 2,)
    return total, np.flatnonzero(byzantine).tolist()


# --- The code --------------------------------------------------------------------------------


def test_workers_combine_the_files_they_compute():
    for workers, copies in CODES:
        code = coding.cyclic_code(workers, copies)
        computes = np.zeros((workers, workers), dtype=bool)
        for file, holders in enumerate(assignments.cyclic(workers, copies)):
            computes[holders, file] = True
        assert np.array_equal(code != 0, computes), (workers, copies)
        np.testing.assert_allclose(code.sum(axis=0), 1, atol=1e-12, err_msg=f"{workers, copies}")


def test_columns_are_null_vectors_of_their_moments():
    """Against the null vector by SVD: 2 s frequencies g, 2 g, ... of every column are zero."""
    for workers, copies in CODES:
        case = workers, copies
        code = coding.cyclic_code(workers, copies)
        spectrum = np.fft.fft(code, axis=0)
        zero = np.flatnonzero(np.abs(spectrum).max(axis=1) < 1e-10 * np.abs(spectrum).max())
        assert len(zero) == copies - 1, case
        multiples = [{g * m % workers for m in range(1, copies)} for g in range(workers)]
        assert set(zero.tolist()) in multiples, case
        for file in (0, workers // 2):
            support = np.flatnonzero(code[:, file])
            moments = np.exp(-2j * np.pi * np.outer(zero, support) / workers)
            null = np.linalg.svd(moments)[2][-1].conj()
            wanted = null / null.sum()
            np.testing.assert_allclose(code[support, file], wanted, atol=1e-9, err_msg=str(case))


def test_messages_are_as_long_as_gradients():
    """With the stride 1 of DRACO the coefficients of (45, 11) add up to 10^5."""
    for workers, copies in CODES:
        code = coding.cyclic_code(workers, copies)
        assert np.abs(code).sum(axis=0).max() < 4, (workers, copies)


def test_any_p_minus_2s_messages_determine_the_sum():
    code = coding.cyclic_code(7, 5)
    for kept in itertools.combinations(range(7), 3):
        weights = np.linalg.lstsq(code[list(kept)].T, np.ones(7), rcond=None)[0]
        np.testing.assert_allclose(weights @ code[list(kept)], 1, atol=1e-10, err_msg=str(kept))


# --- The decoder -----------------------------------------------------------------------------


def test_every_set_of_byzantine_workers_is_located():
    sets = [(), *((i,) for i in range(7)), *itertools.combinations(range(7), 2)]
    for forgery, dtype in itertools.product(FORGERIES, (np.float32, np.float64)):
        rows = normal((7, 20), dtype=dtype)
        received = cyclic_encode(rows, 5)
        for byzantine in sets:
            case = forgery, dtype, byzantine
            total, found = decode(forge(received, byzantine, forgery), 5)
            assert found == list(byzantine), case
            assert total.dtype == dtype, case
            error = relative(total, rows.sum(axis=0, dtype=float))
            assert error < 16 * np.finfo(dtype).eps, case


def test_most_byzantine_workers_that_the_code_withstands_are_located():
    sizes = [(15, 3), (15, 5), (15, 11), (16, 5), (45, 3), (45, 7), (45, 11), (45, 15)]
    wheres = "anywhere", "neighbours", "neighbours on the circle"
    for (workers, copies), where in itertools.product(sizes, wheres):
        most, rows = copies // 2, normal((workers, 200), dtype=np.float32)
        circle = np.argsort(np.angle(_spaces(workers, copies)[1].points))
        received, total = cyclic_encode(rows, copies), rows.sum(axis=0, dtype=float)
        for forgery in FORGERIES:
            rng = np.random.default_rng(copies)
            for seed in range(3):
                near = (rng.integers(workers) + np.arange(most)) % workers
                sets = {
                    "anywhere": rng.choice(workers, most, replace=False),
                    "neighbours": near,
                    "neighbours on the circle": circle[near],
                }
                byzantine = np.sort(sets[where])
                got, found = decode(forge(received, byzantine, forgery, seed), copies, seed)
                case = workers, copies, where, forgery, seed
                assert found == byzantine.tolist(), case
                assert relative(got, total) < 1e-6, case


def test_byzantine_workers_are_located_where_only_new_starts_of_the_search_help():
    """Seven neighbours of 100, each message off by the same little."""
    received = cyclic_encode(normal((100, 50), dtype=np.float32), 15)
    for seed in range(10):
        byzantine = np.sort((seed * 10 + np.arange(7)) % 100)
        forged = forge(received, byzantine, "same small shift")
        assert decode(forged, 15, seed)[1] == byzantine.tolist(), seed


def test_fewer_byzantine_workers_are_located_and_no_others():
    received = cyclic_encode(normal((45, 50), dtype=np.float32), 11)
    for count, seed in itertools.product(range(6), range(10)):
        byzantine = np.random.default_rng(seed).choice(45, count, replace=False)
        found = decode(forge(received, byzantine, "small", seed), 11, seed)[1]
        assert found == sorted(byzantine.tolist()), (count, seed)


def test_long_message_of_one_byzantine_worker_hides_no_other():
    """It is too short to be found by its length, and must not widen the rounding errors allowed."""
    received = cyclic_encode(normal((15, 50), dtype=np.float32), 5)
    for long, small in itertools.permutations(range(0, 15, 4), 2):
        sent = received.copy()
        sent[[long, long + 15]] *= 900
        sent[[small, small + 15]] *= np.float32(1 + 1e-4)
        assert decode(sent, 5)[1] == sorted([long, small]), (long, small)


def test_honest_workers_are_not_located():
    sizes = [(5, 3), (15, 7), (15, 15), (45, 11)]
    for (workers, copies), dtype in itertools.product(sizes, (np.float32, np.float64)):
        for seed in range(200):
            rng = np.random.default_rng(seed)
            rows = rng.normal(size=(workers, int(rng.integers(1, 300))))
            rows = (rows * np.exp(rng.normal(size=(workers, 1))) + rng.normal()).astype(dtype)
            found = decode(cyclic_encode(rows, copies), copies, seed)[1]
            assert not found, (workers, copies, dtype, seed)


def test_equal_rounding_errors_do_not_add_up():
    """A projection of mean 1 adds them up, to 38 times the threshold."""
    rows = np.repeat(normal((45, 1), dtype=np.float32), 200_000, axis=1)
    received = cyclic_encode(rows, 11)
    for seed in range(3):
        assert not decode(received, 11, seed)[1], seed


def test_gradient_that_is_longer_than_all_others_is_honest():
    rows = normal((15, 30))
    rows[4] *= 1e6
    for byzantine in ([], [2, 9, 11], [2, 3, 4]):
        total, found = decode(forge(cyclic_encode(rows, 7), byzantine, "zero"), 7)
        assert found == byzantine
        assert relative(total, rows.sum(axis=0)) < 1e-14, byzantine


def test_gradients_of_zero_are_summed():
    total, found = decode(forge(cyclic_encode(np.zeros((7, 3)), 5), [2], "constant"), 5)
    assert total.tolist() == [0, 0, 0]
    assert found == [2]


def test_sum_is_finite_under_more_byzantine_workers_than_the_code_withstands():
    for workers, copies in [(4, 1), (5, 3), (15, 5), (15, 15)]:
        received = cyclic_encode(normal((workers, 10)), copies)
        counts = copies // 2 + 1, workers - 1, workers
        for forgery, count in itertools.product(FORGERIES, counts):
            case = workers, copies, forgery, count
            total, _ = decode(forge(received, range(count), forgery), copies)
            assert total.shape == (10,), case
            assert np.isfinite(total).all(), case


def test_every_array_library_decodes_the_same_bits():
    rows = normal((15, 4000), dtype=np.float32)
    rows.flags.writeable = False
    wanted = cyclic_encode(rows, 7)
    forged = forge(wanted, [1, 2, 14], "small")
    forged.flags.writeable = False
    for library, convert in LIBRARIES.items():
        received = cyclic_encode(convert(rows), 7)
        assert type(received) is type(convert(rows)), library
        assert np.asarray(received).tobytes() == wanted.tobytes(), library
        total, found = decode(convert(forged), 7)
        assert found == [1, 2, 14], library
        assert np.asarray(total).tobytes() == decode(forged, 7)[0].tobytes(), library


def test_sum_does_not_depend_on_the_size_of_blocks(monkeypatch):
    forged = forge(cyclic_encode(normal((15, 4000), dtype=np.float32), 7), [0, 7], "small")
    whole = decode(forged, 7)
    monkeypatch.setattr("detox_sim.primitives.reference.BLOCK", 100)
    cut = decode(forged, 7)
    assert whole[0].tobytes() == cut[0].tobytes()
    assert whole[1] == cut[1]


def test_real_gradients_are_summed():
    rows = real_gradients(15)
    received = cyclic_encode(rows, 7)
    for forgery in FORGERIES:
        total, found = decode(forge(received, [3, 4, 10], forgery), 7)
        assert found == [3, 4, 10], forgery
        assert relative(total, rows.sum(axis=0, dtype=float)) < 1e-6, forgery


def test_impossible_messages_are_refused():
    for shape, copies, message in [
        ((9, 2), 3, r"2 \* workers"),
        ((10,), 3, r"got \(10,\)"),
        ((10, 2), 4, "use 3 or 5"),
        ((10, 2), 7, "at most 5"),
    ]:
        assert_refused(message, cyclic_decode, np.ones(shape), copies, rng=None)
