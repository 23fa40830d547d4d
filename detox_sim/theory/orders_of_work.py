"""Orders of the work of a round, by method."""

from typing import NamedTuple


class Complexity(NamedTuple):
    """Orders of the work of a round, with T the time to compute all gradients once.

    p workers, d parameters, r copies, k vote groups, I steps of the geometric median. "compute" is
    the work of all workers together, "server" that of the server.
    """

    method: str
    compute: str
    server: str
    total: str


def complexity() -> list[Complexity]:
    """Return the orders of work of each method: of the workers, of the server and in total.

    Examples
    --------
    >>> complexity()[0]
    Complexity(method='mean', compute='T', server='p d', total='T + p d')

    References
    ----------
    Rajput et al., DETOX, NeurIPS 2019, section 4.1, quoted from memory, for the mean, the rules of
    Krum's family, and DETOX with the mean in k << sqrt(p) vote groups; the others are derived here.
    """
    return [
        Complexity("mean", "T", "p d", "T + p d"),
        Complexity("median", "T", "p log(p) d", "T + p log(p) d"),
        Complexity("geometric_median", "T", "I p d", "T + I p d"),
        Complexity("krum, multi_krum, bulyan", "T", "p² d", "T + p² d"),
        Complexity("DETOX: vote, mean", "r T", "p d + p d / r", "r T + p d"),
        Complexity(
            "DETOX: vote, mean in k groups, any of them", "r T, r ~ ln q",
            "p d + p d / r + k² d", "T ln q + p d",
        ),
        Complexity(
            "DETOX: vote, multi_krum in k groups, mean", "r T",
            "p d + p² d / (k r²) + k d", "r T + p d + p² d / (k r²)",
        ),
        Complexity(
            "DETOX: vote, krum or bulyan on all votes", "r T",
            "p d + p² d / r²", "r T + p d + p² d / r²",
        ),
    ]  # fmt: skip


def complexity_markdown() -> str:
    """Return `complexity` as a table in Markdown.

    Examples
    --------
    >>> print(complexity_markdown().splitlines()[2])
    | mean | T | p d | T + p d |
    """
    lines = ["| method | compute | server | total |", "|---|---|---|---|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in complexity()])
