"""What each rule needs, costs and withstands, and where it comes from: one line a rule."""

from typing import NamedTuple

import numpy as np

from detox_sim.arrays import is_array, namespace


class Facts(NamedTuple):
    """One rule.

    Attributes
    ----------
    factor, plus : int
        The rule needs n >= factor * byzantine + plus rows.
    does : str
    passes, sorts, pairs : int
        How often it reads every value, orders every value, and measures every pair of rows.
    extra : str
        Work beyond (n, d) passes; in n and f.
    breakdown : str
        The largest share of arbitrary rows under which the result stays bounded.
    source : str
    """

    factor: int
    plus: int
    does: str
    passes: int
    sorts: int
    pairs: int
    extra: str
    breakdown: str
    source: str

    @property
    def work(self) -> tuple[int, int, int]:
        return self.passes, self.sorts, self.pairs

    @property
    def needs(self) -> str:
        return f"n >= {self.factor} f + {self.plus}" if self.factor else f"n >= {self.plus}"

    @property
    def cost(self) -> str:
        """The order of its work, the leading terms only."""
        terms = ["n² d"] * (self.pairs > 0) + ["n d log² n"] * (self.sorts > 0) + ["n d"]
        return terms[0] + (f" + {self.extra}" if self.extra else "")


_NEAR_HALF, _NONE = "< 1/2", "0"

FACTS = {
    "mean": Facts(0, 1, "average: no defence", 1, 0, 0, "", _NONE, "-"),
    "median": Facts(
        2, 1, "middle value of each coordinate", 0, 1, 0, "", _NEAR_HALF, "Yin et al. 2018"
    ),
    "trimmed_mean": Facts(
        2, 1, "mean of each coordinate without its extremes", 0, 1, 0, "", "f / n",
        "Yin et al. 2018",
    ),
    "meamed": Facts(
        2, 1, "mean of the values nearest the median", 0, 1, 0, "", "f / n", "Xie et al. 2018"
    ),
    "phocas": Facts(
        2, 1, "mean of the values nearest the trimmed mean", 0, 1, 0, "", "f / n",
        "Xie et al. 2018",
    ),
    "median_of_means": Facts(
        2, 1, "median of the means of buckets", 1, 0, 0, "", "f / n", "Chen et al. 2017"
    ),
    "geometric_median": Facts(
        2, 1, "point with the least sum of distances", 1, 0, 1, "n² a step", _NEAR_HALF,
        "Weiszfeld 1937; Chen et al. 2017",
    ),
    "medoid": Facts(
        2, 1, "row with the least sum of distances", 0, 0, 1, "", _NEAR_HALF, "Xie et al. 2018"
    ),
    "krum": Facts(
        2, 3, "row nearest to its neighbours", 0, 0, 1, "n² log n", "f / n", "Blanchard et al. 2017"
    ),
    "multi_krum": Facts(
        2, 3, "mean of the rows Krum scores best", 1, 0, 1, "n² log n", "f / n",
        "Blanchard et al. 2017",
    ),
    "bulyan": Facts(
        4, 3, "Krum selection, then a mean near the median", 0, 1, 1, "n³ log n", "f / n",
        "El Mhamdi et al. 2018",
    ),
    "mda": Facts(
        2, 1, "mean of the n - f rows of least diameter", 1, 0, 1, "exponential in f", "f / n",
        "Rousseeuw 1985; El Mhamdi et al. 2020",
    ),
    "smea": Facts(
        2, 1, "mean of the n - f rows of least top variance", 1, 0, 1, "C(n, f) n³", "f / n",
        "Allouah et al. 2023",
    ),
    "monna": Facts(
        2, 1, "mean of the n - f rows nearest to a trusted one", 2, 0, 0, "", "f / n",
        "Farhadkhani et al. 2023",
    ),
    "fltrust": Facts(
        1, 1, "rows weighted by their cosine to a trusted one", 3, 0, 0, "", "all but one",
        "Cao et al. 2021",
    ),
    "cge": Facts(
        2, 1, "mean of the n - f shortest rows", 2, 0, 0, "", "f / n", "Gupta, Liu, Vaidya 2021"
    ),
    "centered_clipping": Facts(
        2, 1, "mean of the rows clipped around a start", 2, 0, 0, "", _NEAR_HALF,
        "Karimireddy et al. 2021",
    ),
    "caf": Facts(
        2, 1, "mean reweighted until no direction varies much", 1, 0, 1, "n³ a step", "f / n",
        "Allouah et al. 2025",
    ),
    "dnc": Facts(
        2, 1, "mean without the outliers of the top direction", 1, 0, 1, "n³", "1 row",
        "Shejwalkar, Houmansadr 2021",
    ),
    "sign_majority": Facts(
        2, 1, "majority of the signs of each coordinate", 2, 0, 0, "", "< 1/2",
        "Bernstein et al. 2019",
    ),
}  # fmt: skip

_INSTEAD = {
    "bulyan": ", or multi_krum (n >= 2 * byzantine + 3)",
    "krum": ", or median (n >= 2 * byzantine + 1)",
    "multi_krum": ", or median (n >= 2 * byzantine + 1)",
}


def require(rule: str, rows, byzantine: int) -> int:
    """Return n, or say which inequality fails, with the numbers and what would work.

    Examples
    --------
    >>> require("median", np.ones((2, 5)), 1)
    Traceback (most recent call last):
    ValueError: median needs n >= 2 * byzantine + 1 = 3 rows, got 2 with byzantine=1; use ...
    """
    factor, plus = FACTS[rule][:2]
    check_rows(rule, rows)
    if isinstance(byzantine, bool) or not isinstance(byzantine, int | np.integer) or byzantine < 0:
        raise ValueError(f"{rule} needs an integer byzantine >= 0, got {byzantine!r}")
    n, least = rows.shape[0], factor * byzantine + plus
    if n < least:
        most = (n - plus) // factor if factor else -1
        works = f"byzantine <= {most}" if most >= 0 else f"at least {plus} rows"
        raise ValueError(
            f"{rule} needs n >= {factor} * byzantine + {plus} = {least} rows, got {n} with "
            f"byzantine={byzantine}; use {works}{_INSTEAD.get(rule, '')}"
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


def as_markdown() -> str:
    """Return the table of rules: what each does, needs, costs and withstands, and its source.

    Examples
    --------
    >>> print(as_markdown().splitlines()[2])
    | `mean` | average: no defence | n >= 1 | n d | 0 | - |
    """
    lines = ["| rule | does | needs | work | breakdown | source |", "|---|---|---|---|---|---|"]
    for name, facts in FACTS.items():
        cells = (f"`{name}`", facts.does, facts.needs, facts.cost, facts.breakdown, facts.source)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
