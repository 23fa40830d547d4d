"""Solve small linear systems with the same bits on every processor, which LAPACK does not give."""

import numpy as np

from detox_sim.primitives.cpu.compiled import kernel

# An unknown depends on others if elimination leaves less than this share of its own coefficient.
DEPENDENT = 1e-9


@kernel
def solve(matrix, right):
    """Solve a positive semidefinite system by elimination; unknowns that depend on others are 0.

    Parameters
    ----------
    matrix : float64 (n, n)
        With a positive diagonal, else all unknowns are NaN.
    right : float64 (n,)

    Returns
    -------
    float64 array (n,)

    Examples
    --------
    >>> solve(np.array([[4.0, 2.0], [2.0, 2.0]]), np.array([6.0, 4.0]))
    array([1., 1.])
    >>> solve(np.ones((2, 2)), np.array([3.0, 3.0]))
    array([3., 0.])
    """
    size = right.size
    scale = np.sqrt(np.diag(matrix))
    system = np.empty((size, size + 1))
    for i in range(size):
        for j in range(size):
            system[i, j] = matrix[i, j] / scale[j] / scale[i]
        system[i, size] = right[i] / scale[i]
    waiting, result = np.ones(size, np.bool_), np.zeros(size)
    row = np.empty(size + 1)
    for _ in range(size):
        pivot = np.argmax(np.where(waiting, np.diag(system), 0.0))
        if not waiting[pivot] or system[pivot, pivot] < DEPENDENT:
            break
        row[:] = system[pivot] / system[pivot, pivot]
        for i in range(size):
            factor = system[i, pivot]
            for k in range(size + 1):
                system[i, k] -= factor * row[k]
        system[pivot] = row
        waiting[pivot] = False
    for i in range(size):
        if not waiting[i]:
            result[i] = system[i, size] / scale[i]
    return result
