"""Order the options that are safe within a risk."""

from detox_sim.planning.schemes import Option, options


def plan(
    workers: int, byzantine: int, *, risk: float = 1e-3, informed: bool = False, **limits
) -> list[Option]:
    """Return the redundancy and rules that are safe within a risk, the best first.

    Parameters
    ----------
    workers, byzantine : int
        p, at most 10,000, and q < p / 2.
    risk, informed
        As in `rank`.
    limits
        The other arguments of `options`, such as ``most_copies``.

    Raises
    ------
    ValueError
        For impossible numbers.

    Examples
    --------
    >>> best = plan(45, 5, most_copies=3)[0]
    >>> best.scheme, best.pipeline
    ('...', '...')
    >>> best.fails <= 1e-3
    True
    """
    return rank(options(workers, byzantine, **limits), risk=risk, informed=informed)


def rank(found: list[Option], *, risk: float = 1e-3, informed: bool = False) -> list[Option]:
    """Return the options whose condition holds, the best first.

    Options are ordered by seconds a round times the least error: the number of steps that
    stochastic gradient descent needs near its end grows with the variance.

    Parameters
    ----------
    found : list of Option
    risk : float
        Largest accepted chance a round that the condition fails.
    informed : bool
        Attackers know the groups: the condition must hold in the worst case, and its error counts.

    Examples
    --------
    >>> best = rank(options(45, 5))[0]
    >>> best.scheme, best.pipeline
    ('...', '...')
    """
    if informed:
        safe = [option for option in found if not option.fails_informed]
        return sorted(safe, key=lambda option: option.seconds * option.error_informed)
    safe = [option for option in found if option.fails + 2 * option.fails_error <= risk]
    return sorted(safe, key=lambda option: option.seconds * option.error)
