"""Elimination has the bits of the same arithmetic in NumPy, where no unknown is left out."""

import numpy as np

from detox_sim.trials.elimination import DEPENDENT, solve


def by_numpy(matrix, right):
    scale = np.sqrt(np.diag(matrix))
    system = np.column_stack([matrix / scale / scale[:, None], right / scale])
    waiting = np.ones(len(right), dtype=bool)
    result = np.zeros(len(right))
    for _ in right:
        left = np.where(waiting, np.diag(system), 0.0)
        pivot = left.argmax()
        if left[pivot] < DEPENDENT:
            break
        row = system[pivot] / left[pivot]
        system -= system[:, pivot, None] * row
        system[pivot], waiting[pivot] = row, False
    return np.where(waiting, result, system[:, -1] / scale)


def test_bits_are_those_of_numpy():
    rng = np.random.default_rng(0)
    for n in (1, 2, 7, 44):
        for rank in (n, n // 2 + 1):
            factor = rng.normal(size=(n, rank)) * 10.0 ** rng.integers(-6, 6)
            matrix, wanted = factor @ factor.T, rng.normal(size=n)
            right = (matrix * wanted).sum(axis=1)
            found = solve(matrix, right)
            np.testing.assert_array_equal(found, by_numpy(matrix, right), err_msg=f"{n}, {rank}")
            error = np.abs((matrix * found).sum(axis=1) - right)
            assert error.max() <= 1e-4 * np.abs(matrix).max(), (n, rank)
            assert (found == 0).sum() == n - rank, (n, rank)
