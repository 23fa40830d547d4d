"""Upper bounds on the number of files that Byzantine workers can distort, from eigenvalues."""

import functools
import math

import numpy as np

from detox_sim.theory.holders import check_holders, majority, shared_files


def spectral_bound(holders: np.ndarray, byzantine: int) -> float:
    """Return ByzShield's bound on the files that any `byzantine` workers can distort.

    Parameters
    ----------
    holders : int (files, copies)
        Every worker holds equally many files, each file is on distinct workers.
    byzantine : int
        0 to all workers.

    Returns
    -------
    float
        gamma = (q l - beta) / ((r - 1) / 2) with beta = (q l / r) / (mu + (1 - mu) q / K) and mu
        the second eigenvalue of A A^T / (l r), A the workers-by-files matrix, l the load; with
        one copy, q l.

    Raises
    ------
    ValueError
        For holders of unequal load or with a worker twice in a file, and impossible counts.

    Examples
    --------
    >>> from detox_sim import assignments
    >>> round(spectral_bound(assignments.mols(15, 3), 4), 6)
    6.956522

    References
    ----------
    Konstantinidis and Ramamoorthy, ByzShield, MLSys 2021; beta bounds from below the files that q
    workers hold: Tanner, Explicit concentrators from generalized N-gons, 1984.
    """
    holders = check_holders(holders, byzantine)
    copies, workers = holders.shape[1], int(holders.max()) + 1
    load = holders.size // workers
    if copies == 1 or byzantine == 0:
        return float(byzantine * load)
    second = (_second_eigenvalue(holders.tobytes(), holders.shape) + load) / (load * copies)
    reached = byzantine * load / copies / (second + (1 - second) * byzantine / workers)
    return float((byzantine * load - reached) / (copies // 2))


def second_moment_bound(holders: np.ndarray, byzantine: int) -> int:
    """Return a bound on the distorted files, never above that of `spectral_bound`.

    Parameters
    ----------
    holders : int (files, copies)
        Every worker holds equally many files, each file is on distinct workers.
    byzantine : int
        0 to all workers.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        For holders of unequal load or with a worker twice in a file, and impossible counts.

    Examples
    --------
    >>> from detox_sim import assignments
    >>> [second_moment_bound(assignments.mols(15, 3), q) for q in range(2, 8)]
    [1, 3, 5, 8, 12, 16]

    Notes
    -----
    Let c be the number of Byzantine workers that hold a file; over the files it sums to q l. The
    sum of C(c, 2) counts the files that each two Byzantine workers share; it is at most
    e = (l (r - 1) q^2 / K + nu (q - q^2 / K)) / 2 with nu the second eigenvalue of A A^T - l I.
    The bound is the largest t for which t files with c of at least the majority, the others as
    even as can be, keep the sum of C(c, 2) within e. ByzShield's bound follows from the same two
    sums by Cauchy and Schwarz, so it is never smaller.

    References
    ----------
    Derived here. In ByzShield's tables it is attained by MOLS (K = 15) up to q = 6.
    """
    holders = check_holders(holders, byzantine)
    files, copies = holders.shape
    workers = int(holders.max()) + 1
    load = holders.size // workers
    even = byzantine * byzantine / workers
    second = _second_eigenvalue(holders.tobytes(), holders.shape)
    pairs = (load * (copies - 1) * even + second * (byzantine - even)) / 2
    pairs = math.floor(pairs + 1e-9 * (1 + abs(pairs)))
    held, need = byzantine * load, majority(holders)
    distorted = min(files, held // need)
    while _least_pairs(files, distorted, need, held) > pairs:
        distorted -= 1
    return distorted


def _least_pairs(files: int, distorted: int, need: int, held: int) -> int:
    """Return the least sum of C(c, 2) over files, for c that sum to `held`.

    Of `distorted` files c is at least `need`.
    """
    rest = files - distorted
    if rest == 0 or held - distorted * need >= rest * need:
        return _even_pairs(files, held)
    return distorted * math.comb(need, 2) + _even_pairs(rest, held - distorted * need)


def _even_pairs(files: int, held: int) -> int:
    """Return the sum of C(c, 2) over files when c differs by at most one."""
    level, above = divmod(held, files)
    return files * math.comb(level, 2) + above * level


@functools.lru_cache(maxsize=64)
def _second_eigenvalue(data: bytes, shape: tuple[int, int]) -> float:
    """Return the second largest eigenvalue of A A^T - l I, or 0 with one worker."""
    shared = shared_files(np.frombuffer(data, dtype=np.int64).reshape(shape))
    return float(np.linalg.eigvalsh(shared.astype(float))[-2]) if len(shared) > 1 else 0.0
