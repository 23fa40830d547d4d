"""Order the options that are safe within a risk, and keep those worth choosing."""

from operator import le

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

    Returns
    -------
    list of Option
        The recommendation first; `planning.pareto` keeps those worth choosing. `planning.seen` is
        what the atlas, a grid of real training runs, has of one; `planning.atlas_text` says it.

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
    stochastic gradient descent needs near its end grows with the variance. Of equal products the
    faster option comes first.

    Parameters
    ----------
    found : list of Option
    risk : float
        Largest accepted chance per step that the condition fails.
    informed : bool
        Attackers know the groups: the condition must hold in the worst case, and its error counts.

    Examples
    --------
    >>> best = rank(options(45, 5))[0]
    >>> best.scheme, best.pipeline
    ('...', '...')
    """
    if not 0 <= risk <= 1:
        raise ValueError(f"risk must be a chance between 0 and 1, got {risk!r}")
    if informed:
        safe = [option for option in found if not option.fails_informed]
    else:
        safe = [option for option in found if option.fails + 2 * option.fails_error <= risk]

    def key(option: Option) -> tuple[float, ...]:
        seconds, error, computed = prices(option, informed=informed)
        return seconds * error, seconds, error, computed

    return sorted(safe, key=key)


def pareto(found: list[Option], *, informed: bool = False) -> list[Option]:
    """Return the options worth choosing: those that no other one dominates, in the given order.

    One option dominates another if it is at least as good in all three of `seconds` (a round),
    error and `computed` (times the computation without redundancy), and better in one of them.
    Options of the same three numbers do not dominate each other. What is left is the Pareto front:
    choosing among it means to give up one of the three for another. The first option of `rank` is
    always on the front of that ranking, as it has the least product of seconds and error.

    Parameters
    ----------
    found : list of Option
        Those that `rank` returns: a dominated option can be safer than the one that dominates it.
    informed : bool
        Attackers know the groups: the error is that of the worst case (`error_informed`).

    Examples
    --------
    >>> ranked = rank(options(45, 5))
    >>> front = pareto(ranked)
    >>> front[0] == ranked[0], len(front) < len(ranked)
    (True, True)
    >>> min(option.seconds for option in ranked) == min(option.seconds for option in front)
    True
    """
    all_prices = [prices(option, informed=informed) for option in found]

    def dominated(own: tuple[float, ...]) -> bool:
        rivals = (other for other in all_prices if other != own)
        return any(all(map(le, other, own)) for other in rivals)

    return [option for option, own in zip(found, all_prices, strict=True) if not dominated(own)]


def prices(option: Option, *, informed: bool) -> tuple[float, float, float]:
    """Return the seconds, error and computation of an option: less is better in each."""
    return option.seconds, option.error_informed if informed else option.error, option.computed
