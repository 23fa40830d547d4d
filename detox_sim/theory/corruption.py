"""Silent data corruption: published rates, and what a vote that compares bits does about it."""

from math import comb, expm1
from typing import NamedTuple

from detox_sim.catalogue import check_integer, check_known, check_number

EVENTS = "corruptions a processor-hour"
SHARE = "share of processors that are defective"


class Reported(NamedTuple):
    """A published number on silent data corruption.

    Attributes
    ----------
    value : float
    unit : str
        "corruptions a processor-hour", or "share of processors that are defective".
    source, read : str
        Who published it, and how it was read here.
    """

    value: float
    unit: str
    source: str
    read: str


REPORTED_CORRUPTION = {
    "llama3": Reported(
        6 / (54 * 24 * 16_384), EVENTS, "The Llama 3 herd of models, 2024", "on secondary pages"
    ),
    "alibaba": Reported(
        3.61e-4, SHARE, "Wang et al., SOSP 2023, on the processors of Alibaba", "from memory"
    ),
    "meta": Reported(
        1e-3, SHARE, "Dixit et al., Silent data corruptions at scale, 2021", "in the abstract"
    ),
}


def corruption_chance(rate: str | float, *, seconds: float, acceleration: float = 1.0) -> float:
    """Return the chance that a worker is hit in one step.

    A run of a few hundred steps sees nothing at published rates, so it accelerates them; state the
    factor beside the result.

    Parameters
    ----------
    rate : str or float
        A name in `REPORTED_CORRUPTION` that is a rate, or corruptions a processor-hour.
    seconds : float
        Of a step, above 0.
    acceleration : float
        By which the rate is multiplied, above 0.

    Returns
    -------
    float
        1 - exp(-rate * hours * acceleration), as of events at random times.

    Raises
    ------
    ValueError
        For an unknown name, that of a share, or numbers out of range.

    Notes
    -----
    What `REPORTED_CORRUPTION` holds, and how it was read here:

    =========  =========================================================================
    llama3     6 interruptions by silent data corruption in 54 days on 16,384 GPUs:
               2.8e-7 a GPU-hour (read on secondary pages)
    alibaba    3.61 per ten thousand of over a million CPUs are defective (from memory)
    meta       hundreds of hundreds of thousands of machines are, so about 1 per thousand
               (read in the abstract: an order of magnitude)
    =========  =========================================================================

    They count what was found, not what stayed silent.

    Examples
    --------
    >>> f"{corruption_chance('llama3', seconds=3.0):.1e}"
    '2.4e-10'
    >>> round(corruption_chance("llama3", seconds=3.0, acceleration=1e8), 4)
    0.0233
    """
    if isinstance(rate, str):
        check_known("rate of corruption", [rate], REPORTED_CORRUPTION)
        reported = REPORTED_CORRUPTION[rate]
        if reported.unit != EVENTS:
            raise ValueError(
                f"{rate!r} is a {reported.unit}, {reported.value:g}, and no rate; mark that share "
                "of the workers as `byzantine` under attack 'stuck', or use 'llama3'"
            )
        rate = reported.value
    for name, value in (("rate", rate), ("seconds", seconds), ("acceleration", acceleration)):
        check_number(name, value)
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be above 0 and finite, got {value!r}")
    return -expm1(-rate * seconds / 3600 * acceleration)


def corrected_by_vote(copies: int, chance: float) -> float:
    """Return the chance that a file has a corrupt copy, and an honest majority that outvotes it.

    Parameters
    ----------
    copies : int
        r, odd.
    chance : float
        s, that a copy is corrupt, independently of the others.

    Returns
    -------
    float
        The sum over 1 <= i < r / 2 of C(r, i) s^i (1 - s)^(r - i): 3 s (1 - s)^2 for three copies.
        One copy has nothing to outvote it.

    Examples
    --------
    >>> round(corrected_by_vote(3, 0.01), 6)
    0.029403
    """
    copies, chance = _checked(copies, chance)
    return _binomial(copies, chance, range(1, copies // 2 + 1))


def majority_corrupt(copies: int, chance: float) -> float:
    """Return the chance that more than half of the copies of a file are corrupt.

    Parameters
    ----------
    copies : int
        r, odd.
    chance : float
        That a copy is corrupt, independently of the others: s in a step, or D, the share of
        workers with a persistent defect that changes every message.

    Returns
    -------
    float
        The sum over i > r / 2 of C(r, i) s^i (1 - s)^(r - i): 3 s^2 (1 - s) + s^3 for three copies.
        Corrupt copies differ, so the vote is then undecided. It elects a corrupt value only where
        more than half of the copies have the same wrong bits. So this bounds both chances.

    Examples
    --------
    >>> [f"{majority_corrupt(copies, 3.61e-4):.1e}" for copies in (1, 3, 5)]
    ['3.6e-04', '3.9e-07', '4.7e-10']
    """
    copies, chance = _checked(copies, chance)
    return _binomial(copies, chance, range(copies // 2 + 1, copies + 1))


def _checked(copies: int, chance: float) -> tuple[int, float]:
    check_integer("copies", copies, 1)
    if copies % 2 == 0:
        raise ValueError(f"copies must be odd, got {copies}; use {copies - 1} or {copies + 1}")
    check_number("chance", chance)
    if not 0 <= chance <= 1:
        raise ValueError(f"chance must be 0 to 1, got {chance!r}")
    return int(copies), float(chance)


def _binomial(trials: int, chance: float, counts: range) -> float:
    """Return the chance that the number of successes is one of the counts."""
    return sum(comb(trials, i) * chance**i * (1 - chance) ** (trials - i) for i in counts)
