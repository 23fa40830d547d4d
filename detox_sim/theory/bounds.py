"""Theorem 1 of DETOX: bounds on the expected number of distorted files, with their proofs."""

from detox_sim.catalogue import check_known
from detox_sim.theory.groups import check_workers

_FROM_MEMORY = "proven; the paper's constant is quoted from memory"
BOUNDS = {"paper": _FROM_MEMORY, "paper-r3": _FROM_MEMORY, "sharp": "proven", "sharp-r3": "proven"}


def expected_distorted_files_bound(
    workers: int, byzantine: int, copies: int, *, form: str = "paper"
) -> float:
    """Return an upper bound on the expected number of distorted files, with e = q / p.

    Parameters
    ----------
    workers, byzantine, copies : int
        p, q < p / 2, and r odd that divides p.
    form : {"paper", "paper-r3", "sharp", "sharp-r3"}
        "paper": (q / r) (40 e (1 - e))^((r - 1) / 2).
        "paper-r3": q (4 e - 2 e^2) / 3, for r = 3 only.
        "sharp": (q / r) (4 e (1 - e))^((r - 1) / 2).
        "sharp-r3": q (3 e - 2 e^2) / 3, for r = 3 only.
        All four are proven below. That the paper's constants are 40 and 4 is quoted from memory.

    Returns
    -------
    float
        In files of a step.

    Raises
    ------
    ValueError
        For an unknown form, impossible (p, q, r), or a form of r = 3 at another r.

    Examples
    --------
    >>> [round(expected_distorted_files_bound(45, 5, 3, form=form), 4) for form in BOUNDS]
    [6.5844, 0.6996, 0.6584, 0.5144]

    Notes
    -----
    Let k = (r + 1) / 2, m = (r - 1) / 2 and w = e (1 - e). X is the number of Byzantine workers
    among r distinct random workers (hypergeometric), B among r random workers drawn with
    replacement (binomial).

    **Lemma 1.** P[X >= k] <= P[B >= k] for e <= 1/2.

    Proof. A fair coin decides whether q or p - q workers are marked; which ones is random. From the
    marks of r distinct random workers one has to guess the coin. Marks with x marked workers have
    the probability C(p - r, q - x) / C(p, q) if q are marked, and C(p - r, p - q - x) / C(p, q) if
    p - q are. C(p - r, i) does not grow with the distance of i from (p - r) / 2, which is
    abs(p/2 - q + (x - r/2)) in the first case and abs(p/2 - q - (x - r/2)) in the second. So q is
    at least as likely when x < r/2, and p - q when x > r/2: the majority of the marks is a best
    guess. It is wrong with chance P[X >= k], whatever the coin shows. The marks of r draws with
    replacement can be made from those of r distinct random workers: draw which of the r draws
    coincide, which is independent of the marks, and give distinct draws distinct workers. Hence no
    guess from draws with replacement is wrong less often, and their majority is wrong with chance
    P[B >= k].

    **Lemma 2.** C(2 m + 1, m + 1) w^m e <= P[B >= k] <= e (4 w)^m for e <= 1/2.

    Proof. Let T_j be the chance that a majority of 2 j + 1 draws is Byzantine. Two more draws
    change the majority of 2 j - 1 only if it is a majority by one and both are against it, so
    T_j = T_(j-1) - C(2 j - 1, j) (1 - 2 e) w^j, with T_0 = e. For e < 1/2, T_j tends to 0, so
    T_m = (1 - 2 e) sum over j > m of C(2 j - 1, j) w^j, and e = T_0 is the same sum over j >= 1.
    As C(2 j + 1, j + 1) = C(2 j - 1, j) (4 - 2 / (j + 1)), a factor that is below 4 and grows with
    j, the term m places after that of j is at most (4 w)^m times that of j, and at least
    C(2 m + 1, m + 1) w^m times. At e = 1/2, P[B >= k] = 1/2, and both sides follow from continuity.

    **Theorem.** Each of the F = p / r files is distorted with chance P[X >= k], so the expectation
    is at most F e (4 w)^m = (q / r) (4 e (1 - e))^m. With 40 for 4 it is larger. Expectations add
    even if files share workers: F e (4 w)^m holds for any assignment of F files.

    **Copies for an expectation of eta files.** For q >= 1 and e < 1/2 they are enough if
    (4 w)^m <= r eta / q, so r >= 1 + 2 ln(q / (r eta)) / ln(1 / (4 w)).

    **Three copies.** P[B >= 2] = 3 e^2 - 2 e^3, so by lemma 1 the expectation is at most
    (p / 3) e (3 e - 2 e^2) = q (3 e - 2 e^2) / 3. With 4 e for 3 e it is larger.

    References
    ----------
    Rajput et al., DETOX, NeurIPS 2019, theorem 1 and its appendix: statements quoted from memory.
    The proofs, and the constants 4 and 3, are ours.
    """
    workers, byzantine, copies = check_workers(workers, byzantine, copies)
    check_known("form of the bound", [form], BOUNDS)
    share = byzantine / workers
    paper = form.startswith("paper")
    if form.endswith("-r3"):
        if copies != 3:
            raise ValueError(f"the bound {form!r} is for copies=3, got {copies}; use 'sharp'")
        return byzantine * ((4 if paper else 3) * share - 2 * share**2) / 3
    constant = 40 if paper else 4
    return byzantine / copies * (constant * share * (1 - share)) ** ((copies - 1) / 2)
