"""What a rule needs, costs and withstands, and the checks of its input."""

from dataclasses import dataclass

import numpy as np

from detox_sim.arrays import is_array, is_matrix, namespace


@dataclass(frozen=True)
class Facts:
    """What one rule does, needs, costs and withstands; it stands beside the rule.

    Attributes
    ----------
    rule : str
        The name of the function.
    does : str
    source : str
    breakdown : str
        The largest share of arbitrary rows under which the result stays bounded; "f / n" is the
        share `byzantine` / n that the rule is given.
    factor, plus : int
        The rule needs n >= factor * byzantine + plus rows.
    passes, sorts, pairs : int
        How often it reads every value, orders every value, and measures every pair of rows.
    left_out : tuple of int
        (a, b): it orders only the rows that it selects, all but a * byzantine + b.
    extra : str
        Work beyond (n, d) passes; in n and f.
    instead : str
        A rule to use where there are too few rows.
    """

    rule: str
    does: str
    source: str
    breakdown: str = "f / n"
    factor: int = 2
    plus: int = 1
    passes: int = 0
    sorts: int = 0
    pairs: int = 0
    left_out: tuple[int, int] = (0, 0)
    extra: str = ""
    instead: str = ""

    @property
    def work(self) -> tuple[int, int, int]:
        return self.passes, self.sorts, self.pairs

    def ordered(self, rows: int, byzantine: int | None = None) -> int:
        """Return how many of the rows it orders; by default with the most `byzantine` it serves.

        Examples
        --------
        >>> two_left_out = Facts("trimmed", "", "", factor=4, plus=3, left_out=(1, 2))
        >>> two_left_out.ordered(15, 2), two_left_out.ordered(15), Facts("all", "", "").ordered(15)
        (11, 10, 15)
        """
        most = max(0, (rows - self.plus) // self.factor) if self.factor else rows
        served = most if byzantine is None else min(byzantine, most)
        return max(1, rows - self.left_out[0] * served - self.left_out[1])

    @property
    def needs(self) -> str:
        return f"n >= {self.factor} f + {self.plus}" if self.factor else f"n >= {self.plus}"

    @property
    def cost(self) -> str:
        """The order of its work, the leading terms only."""
        terms = ["n² d"] * (self.pairs > 0) + ["n d log² n"] * (self.sorts > 0) + ["n d"]
        return terms[0] + (f" + {self.extra}" if self.extra else "")


def require(facts: Facts, rows, byzantine: int) -> int:
    """Return n, or raise where the rule cannot serve (n, byzantine).

    Raises
    ------
    ValueError
        With the inequality that fails, its numbers and what would work.

    Examples
    --------
    >>> require(Facts("median", "", ""), np.ones((2, 5)), 1)
    Traceback (most recent call last):
    ValueError: median needs n >= 2 * byzantine + 1 = 3 rows, got 2 with byzantine=1; use ...
    """
    rule, factor, plus = facts.rule, facts.factor, facts.plus
    if not is_matrix(rows):
        check_rows(rule, rows)
    if isinstance(byzantine, bool) or not isinstance(byzantine, int | np.integer) or byzantine < 0:
        raise ValueError(f"{rule} needs an integer byzantine >= 0, got {byzantine!r}")
    n, least = rows.shape[0], factor * byzantine + plus
    if n < least:
        most = (n - plus) // factor if factor else -1
        works = f"byzantine <= {most}" if most >= 0 else f"at least {plus} rows"
        raise ValueError(
            f"{rule} needs n >= {factor} * byzantine + {plus} = {least} rows, got {n} with "
            f"byzantine={byzantine}; use {works}" + (f", or {facts.instead}" * bool(facts.instead))
        )
    return n


def check_rows(name: str, rows) -> None:
    """Raise unless the value is an (n, d) array of real floating-point numbers.

    Examples
    --------
    >>> check_rows("median", np.ones(3))
    Traceback (most recent call last):
    ValueError: median needs rows of shape (n >= 1, d >= 1), got (3,)
    """
    if not is_array(rows):
        raise ValueError(f"{name} needs an array of rows, got {type(rows).__name__}")
    if any(size != size for size in rows.shape):  # a Dask array after a selection
        raise ValueError(f"{name} needs rows of known shape; call rows.compute_chunk_sizes() first")
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"{name} needs rows of shape (n >= 1, d >= 1), got {tuple(rows.shape)}")
    if not namespace(rows).isdtype(rows.dtype, "real floating"):
        raise ValueError(f"{name} needs floating-point rows, got {rows.dtype}")
